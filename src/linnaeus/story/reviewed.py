"""Let a person look over what is doubtful about a source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linnaeus.config import Recipe
from linnaeus.data.corrections import default_path
from linnaeus.story.inspected import inspect_pictures, run_at
from linnaeus.story.pictures import where_of, where_of_run
from linnaeus.talk import Talk
from linnaeus.verbs.review import cases_of, disagreements, notes_of, review


def look_over(
    run_or_source: str,
    *,
    out: Path | None = None,
    port: int = 0,
    open_browser: bool = True,
    data_dir: Path | None = None,
    talk: Talk | None = None,
) -> dict[str, Any]:
    """Audit a source, show what was found in the browser, and keep every decision; ends with Ctrl-C.

    Args:
        run_or_source: A run, whose source and predictions are taken, or what `open_source` takes.
        out: File for the decisions; by default the one that a run was told to follow, else the one beside the source.
        port: 0 for any that is free.
        open_browser: Open the page.
        data_dir: Where the data of a built-in name are.
        talk: Where words and progress go.

    Returns:
        {"corrections": path, "kinds": [{"kind", "total", "decided", "set"}]}.
    """
    talk, run = talk or Talk(), run_at(run_or_source)
    where = where_of_run(run, data_dir=data_dir) if run else where_of(run_or_source, data_dir=data_dir)
    # Decided pictures are shown too: the page says so, and a decision can be taken back.
    found = inspect_pictures(where | {"corrections": "none"}, run.recipe() if run else Recipe(), talk, run)
    shown = {"id": "id", "suggested": "suggested", "cluster": "cluster", "quality": "score"}
    table = {name: found.table[column] for column, name in shown.items()}
    everything, hashes = found.looked.everything, found.looked.hashes
    cases = cases_of(found.findings, everything, hashes=hashes, table=table)
    if run is not None:
        # Apart from the audit's: both may have something to suggest for the same picture.
        parts = [run.predictions(part) for part in ("val", "test") if run.has_predictions(part)]
        more, doubted = disagreements(parts)
        cases += cases_of(more, everything, hashes=hashes, table=doubted)
    return review(
        cases,
        everything,
        out or _decisions_of(where),
        port=port,
        open_browser=open_browser,
        notes=notes_of(found.findings, everything),
        talk=talk,
    )


def _decisions_of(where: Mapping[str, Any]) -> Path:
    """Say where the decisions are kept that a source is opened with; those of a run without any, beside the source."""
    told = where.get("corrections")
    return default_path(where["source"]) if told in (None, "none") else Path(told).expanduser()
