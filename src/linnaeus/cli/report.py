"""linnaeus report."""

from __future__ import annotations

from pathlib import Path

from linnaeus.cli.app import Json, app, print_json


@app.command
def report(run: Path, /, *, json_: Json = False) -> None:
    """Write a run's report and pictures again.

    Example: linnaeus report runs/flowers
    """
    from linnaeus.run import Run
    from linnaeus.verbs.report import report as write

    path = write(Run.open(run))
    print_json({"report": str(path)}) if json_ else print(path)
