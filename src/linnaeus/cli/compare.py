"""linnaeus compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from linnaeus.cli.app import Json, TrustCode, app, print_json
from linnaeus.errors import SettingsError
from linnaeus.terminal import talking


@app.command
def compare(
    runs: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    /,
    *,
    part: str = "test",
    out: Path | None = None,
    trust_code: TrustCode = False,
    json_: Json = False,
) -> None:
    """Tell which run is better, on the same pictures, and whether it is more than chance.

    Example: linnaeus compare runs/a runs/b --out compare.html

    Parameters
    ----------
    runs
        Two runs or more.
    part
        On which part of the split: test or val.
    out
        Also write a page with the pictures on which they differ.
    """
    from linnaeus.run import Run
    from linnaeus.verbs.compare import compare as compared
    from linnaeus.verbs.compare import tell, write_page

    if not runs or len(runs) < 2:
        raise SettingsError("compare needs two runs or more.", fix="linnaeus compare runs/a runs/b")
    with talking() as talk:
        found = compared([Run.open(run) for run in runs], part, trust_code=trust_code, talk=talk)
    if out is not None:
        write_page(found, out)
    print_json(found.document()) if json_ else print(tell(found))
