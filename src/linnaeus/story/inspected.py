"""Audit a source without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from linnaeus.config import Recipe
from linnaeus.records import Finding
from linnaeus.story.pictures import Looked, look_at_all, open_pictures, where_of
from linnaeus.story.planned import Planned
from linnaeus.talk import Talk
from linnaeus.verbs.plan import preprocessing
from linnaeus.verbs.split import split


@dataclass(frozen=True)
class Inspected:
    """What an audit found.

    Attributes:
        looked: Every picture, and what became of it.
        findings: All of them.
        table: What was found of each picture: column "id", and others of the same length.
    """

    looked: Looked
    findings: Sequence[Finding]
    table: Mapping[str, Sequence[Any]]

    def document(self) -> dict[str, Any]:
        """Write as plain values for JSON."""
        return {
            "accounted": self.looked.accounted,
            "classes": self.looked.dataset.counts(),
            "findings": [asdict(one) for one in self.findings],
        }


def inspect(
    source: str,
    recipe: Recipe,
    *,
    data_dir: Path | None = None,
    corrections: str | Path | None = None,
    talk: Talk | None = None,
) -> Inspected:
    """Audit a source without training: the account, the class sizes and all findings.

    Args:
        source: What `open_source` takes.
        recipe: How pictures are to be looked at; open settings are decided from the data.
        data_dir: Where the data of a built-in name are.
        corrections: File with the decisions of a review, or "none"; by default the one beside the source.
        talk: Where words and progress go.
    """
    return inspect_pictures(where_of(source, data_dir=data_dir, corrections=corrections), recipe, talk or Talk())


def inspect_pictures(where: Mapping[str, Any], recipe: Recipe, talk: Talk) -> Inspected:
    """Audit what `where` says how to open; see `inspect`."""
    dataset = open_pictures(where, talk)
    used = Planned.for_data(dataset, recipe).used
    how = preprocessing(used)
    looked = look_at_all(dataset, where, how, used.data.cache_gb, talk, copies=True)
    parts = split(looked.dataset, looked.scan.hashes, used.split, clusters=looked.clusters)
    return Inspected(looked, [*looked.dataset.findings, *parts.findings], {"id": []})
