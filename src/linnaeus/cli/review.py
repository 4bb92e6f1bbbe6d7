"""linnaeus review."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from linnaeus.cli.app import DataDir, Json, app, print_json
from linnaeus.terminal import talking


@app.command
def review(
    run_or_source: str,
    /,
    *,
    out: Path | None = None,
    port: int = 0,
    browser: Annotated[bool, Parameter(negative="--no-browser")] = True,
    data_dir: DataDir = None,
    json_: Json = False,
) -> None:
    """Look at what an audit or a training found doubtful, in the browser, and put it right.

    Decisions are kept beside the source, in SOURCE.corrections.csv; train, audit and evaluate follow them. The pictures
    themselves are never changed. Ctrl-C ends it.

    Example: linnaeus review runs/flowers

    Parameters
    ----------
    run_or_source
        A run, or what train takes.
    out
        Keep the decisions in this file instead; it is then given to train as --corrections.
    port
        Of the page on 127.0.0.1; by default any that is free.
    browser
        Open the page.
    """
    from linnaeus import story

    with talking() as talk:
        done = story.look_over(run_or_source, out=out, port=port, open_browser=browser, data_dir=data_dir, talk=talk)
    if json_:
        print_json(done)
        return
    for one in done["kinds"]:
        print(f"{one['decided']:6,} of {one['total']:6,}  {one['kind']}")
    print(f"decisions: {done['corrections']}")
