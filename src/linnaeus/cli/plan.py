"""linnaeus plan."""

from __future__ import annotations

from linnaeus.cli.app import DataDir, Json, Settings, app, pairs, print_json
from linnaeus.terminal import talking


@app.command
def plan(
    source: str,
    /,
    *,
    model: str | None = None,
    recipe: str | None = None,
    effort: str | None = None,
    data_dir: DataDir = None,
    set_: Settings = None,
    json_: Json = False,
) -> None:
    """Show what train would decide for these pictures, each with its reason; nothing is trained.

    Example: linnaeus plan photos/
    """
    from dataclasses import asdict

    from linnaeus import story
    from linnaeus.config import load_recipe, recipe_for

    named = {"model.name": model, "effort": effort}
    given = {name: value for name, value in named.items() if value is not None} | pairs(set_)
    with talking() as talk:
        planned = story.foresee(
            source,
            load_recipe(recipe or recipe_for(str(given.get("model.name", ""))), given),
            data_dir=data_dir,
            talk=talk,
        )
    if json_:
        print_json(
            {
                "used": planned.used.model_dump(mode="json"),
                "decisions": [asdict(one) for one in planned.decisions],
                "expected_s": planned.facts["expected_s"],
            }
        )
        return
    for one in planned.decisions:
        print(f"{one.setting} = {one.value}: {one.reason}")
    print(planned.promise())
