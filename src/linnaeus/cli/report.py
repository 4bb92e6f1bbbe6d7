"""linnaeus report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from linnaeus.cli.app import Json, TrustCode, app, print_json


@app.command
def report(
    run: Path,
    /,
    *,
    lang: str = "en",
    full: Annotated[bool, Parameter(negative="")] = False,
    trust_code: TrustCode = False,
    json_: Json = False,
) -> None:
    """Write a run's report again, as HTML, Markdown and JSON.

    Example: linnaeus report runs/flowers --lang zh

    Parameters
    ----------
    run
        The folder of a run.
    lang
        Language of the report: en or zh.
    full
        First explain answers and put the run under stress, where that was not done: it takes some minutes.
    """
    if full:
        from linnaeus import story
        from linnaeus.terminal import talking

        with talking() as talk:
            path = story.report_in_full(run, lang, trust_code=trust_code, talk=talk)
    else:
        from linnaeus.run import Run
        from linnaeus.verbs.report import report as write

        path = write(Run.open(run), lang)
    print_json({"report": str(path)}) if json_ else print(path)
