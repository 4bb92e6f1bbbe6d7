"""linnaeus audit."""

from __future__ import annotations

from linnaeus.cli.app import Corrections, DataDir, Json, Settings, app, pairs, print_json
from linnaeus.terminal import talking


@app.command
def audit(
    source: str,
    /,
    *,
    data_dir: DataDir = None,
    corrections: Corrections = None,
    set_: Settings = None,
    json_: Json = False,
) -> None:
    """Look at every picture before training: what cannot be used and why, copies, conflicts, class sizes.

    Example: linnaeus audit photos/
    """
    from linnaeus import story
    from linnaeus.config import load_recipe

    with talking() as talk:
        found = story.inspect(
            source, load_recipe(None, pairs(set_)), data_dir=data_dir, corrections=corrections, talk=talk
        ).document()
    if json_:
        print_json(found)
        return
    print("  ".join(f"{name}: {count:,}" for name, count in found["accounted"].items()))
    for name, count in found["classes"].items():
        print(f"{count:8,}  {name}")
    for one in found["findings"]:
        print(f"[{one['severity']}] {one['kind']}: {one['evidence']}")
