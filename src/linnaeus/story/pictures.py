"""Open a source, look at every picture, and say what became of each."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from linnaeus.data import corrections
from linnaeus.data.cache import Scan, scan
from linnaeus.data.folders import default_cache_dir
from linnaeus.data.sources import open_source
from linnaeus.learn.engine import one_blas_thread
from linnaeus.records import Dataset, Finding, Preprocessing
from linnaeus.run import Run
from linnaeus.talk import Talk
from linnaeus.verbs.audit import account, audit, find_copies

TOLD = 3
"""Warnings of one kind that are said while training; the report has all of them."""


@dataclass(frozen=True)
class Looked:
    """Every picture of a source was looked at.

    Attributes:
        dataset: What can be used, with what was found in `findings`.
        scan: Of just that.
        accounted: "found", "used", and one entry per reason.
        clusters: Key of each picture of `dataset` that all its near-duplicates have too; () where nobody looked.
        everything: As listed by the source, before corrections and before anything was set aside.
        hashes: Content of each picture of `everything`.
        decided: What a person decided about them.
    """

    dataset: Dataset
    scan: Scan
    accounted: Mapping[str, int]
    clusters: Sequence[str]
    everything: Dataset
    hashes: tuple[str, ...]
    decided: corrections.Corrections

    def settled(self) -> dict[str, str]:
        """Label of each picture of `dataset` that a person kept or relabelled, by id."""
        return corrections.settled(self.dataset, self.scan.hashes, self.decided)


def where_of(source: str, *, data_dir: Path | None = None, corrections: str | Path | None = None) -> dict[str, Any]:
    """Say how to open a source again, as plain values.

    Args:
        source: What `open_source` takes.
        data_dir: Where the data of a built-in name are.
        corrections: File with the decisions of a review, or "none"; by default the one beside the source.
    """
    return {
        "source": str(source),
        "data_dir": str(data_dir) if data_dir else None,
        "corrections": str(corrections) if corrections else None,
    }


def where_of_run(run: Run, *, data_dir: Path | None = None, corrections: str | Path | None = None) -> dict[str, Any]:
    """Say how to open a run's source again: as the run did, but for what is given here.

    Args:
        run: The run.
        data_dir: Where the data of a built-in name are now.
        corrections: File with the decisions of a review, or "none"; by default what the run was told.
    """
    given = {"data_dir": data_dir, "corrections": corrections}
    return run.source() | {name: str(value) for name, value in given.items() if value}


def open_pictures(where: Mapping[str, Any], talk: Talk) -> Dataset:
    """List what a source holds."""
    with talk.stage("open"):
        data_dir = where.get("data_dir")
        dataset = open_source(
            where["source"],
            data_dir=Path(data_dir) if data_dir else None,
            cache_dir=default_cache_dir(),
            progress=talk.progress,
        )
    talk.say(f"{len(dataset):,} pictures in {len(dataset.classes)} classes")
    return dataset


def look_at_all(
    dataset: Dataset,
    where: Mapping[str, Any],
    how: Preprocessing,
    cache_gb: float,
    talk: Talk,
    *,
    copies: bool = False,
) -> Looked:
    """Scan every picture, apply what a person decided about it, and audit the rest.

    Args:
        dataset: As listed by its source.
        where: How it was opened.
        how: How pictures are stored.
        cache_gb: Most that they may take on the disk.
        talk: Where words and progress go.
        copies: Look for near-duplicates, too.
    """
    cache_dir = default_cache_dir() / "pixels"
    with talk.stage("audit"):
        found = scan(
            dataset,
            how,
            cache_dir=cache_dir,
            cache_gb=cache_gb,
            progress=partial(talk.progress, "reading pictures"),
        )
        decided = corrections.find(where["source"], where.get("corrections"))
        mended, said = corrections.apply(dataset, found.hashes, decided)
        rest = found.take(_rows(dataset, mended))
        alike = None
        if copies:
            progress = partial(talk.progress, "looking for copies")
            # It shares its work out to the cores by itself.
            with one_blas_thread():
                alike = find_copies(mended, rest, how, cache_dir=cache_dir, progress=progress)
        findings = corrections.silence(audit(mended, rest, alike), mended, rest.hashes, decided)
    kept = mended.without(findings)
    rows = _rows(mended, kept)
    if said:
        changed = sum(len(one.ids) for one in said if one.kind != "correction not applied")
        talk.say(f"{changed:,} pictures changed by the review in {decided.path}")
    accounted = account(dataset, [*said, *findings])
    clusters = alike.keys_of(rows) if alike else ()
    return Looked(kept, rest.take(rows), accounted, clusters, dataset, found.hashes, decided)


def aside(accounted: Mapping[str, int]) -> str:
    """Count what is not used, by reason; "" if nothing."""
    return ", ".join(f"{count} {reason}" for reason, count in accounted.items() if reason not in ("found", "used"))


def say_aside(accounted: Mapping[str, int], talk: Talk, listed: Path | None = None) -> None:
    """Say how many files are not used, and why."""
    unused = accounted["found"] - accounted["used"]
    if unused:
        where = f"; listed in {listed}" if listed else ""
        talk.say(f"{unused} of {accounted['found']:,} files set aside ({aside(accounted)}){where}")


def tell_findings(findings: tuple[Finding, ...], accounted: Mapping[str, int], run: Run, talk: Talk) -> None:
    """Say what was set aside, and every warning."""
    say_aside(accounted, talk, run.set_aside_path)
    told: Counter[str] = Counter()
    for one in findings:
        if one.severity == "warning":
            told[one.kind] += 1
            if told[one.kind] <= TOLD:
                talk.say(f"warning: {one.kind}: {one.evidence}")
    for kind, count in told.items():
        if count > TOLD:
            talk.say(
                f"warning: {kind}: {count - TOLD:,} more; linnaeus review {shlex.quote(str(run.folder))} shows them"
            )


def _rows(whole: Dataset, part: Dataset) -> list[int]:
    row_of = {example.id: row for row, example in enumerate(whole.examples)}
    return [row_of[example.id] for example in part.examples]
