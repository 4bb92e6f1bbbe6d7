"""linnaeus doctor."""

from __future__ import annotations

from linnaeus.cli.app import Json, app, print_json


@app.command
def doctor(*, json_: Json = False) -> None:
    """Print the environment: processor, memory, packages, decoders, cache, and what is missing.

    Example: linnaeus doctor
    """
    from linnaeus.verbs.doctor import doctor as examine

    found = examine()
    if json_:
        print_json(found)
        return
    for name, value in found.items():
        if name == "measured":
            print("\n".join(f"{work}: {told}" for work, told in value.items()) or "measured: nothing yet")
        elif isinstance(value, dict):
            print(f"{name}: " + ", ".join(f"{inner} {part}" for inner, part in value.items()))
        elif name != "problems":
            print(f"{name}: {value}")
    print("\n".join(f"problem: {one}" for one in found["problems"]) or "no problems found")
