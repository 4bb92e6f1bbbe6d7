"""Read what an audit wrote: findings of one kind together, the gravest first."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

SEVERITIES = ("warning", "set aside", "note")
NOT_TO_BE_TRUSTED = (
    "leak", "shortcut", "drift", "group is a class", "groups of one class", "unknown class", "single class", "not tested",
)  # fmt: skip
"""With these the scores of a model say little: they come first."""
WRONG = (
    "likely wrong label",
    "conflict",
    "near-duplicate conflict",
    "noisy class",
    "similar class names",
    "model disagrees",
)
LOST = ("missing", "unreadable", "empty", "truncated", "odd mode", "too large", "no label", "no class", "bad row",
        "repeated name")  # fmt: skip
SETTLED = ("excluded by review", "not a class", "copy of a held-out picture", "near-duplicate of a held-out picture",
           "repeated row", "group is held out in part")  # fmt: skip
"""Set aside on purpose: there is nothing to mend."""
SETS = ("copies", "same pixels", "near-duplicates", "conflict", "near-duplicate conflict", "leak")
"""Kinds about pictures that belong together."""


@dataclass(frozen=True)
class Row:
    """What is known of one picture; quality is the probability that its label is right."""

    label: str = ""
    suggested: str = ""
    quality: float | None = None
    cluster: str = ""


@dataclass(frozen=True)
class Noticed:
    """One finding: `count` pictures, of which `ids` are named."""

    ids: tuple[str, ...]
    evidence: str
    count: int


@dataclass(frozen=True)
class Kind:
    """All findings of one kind and severity."""

    name: str
    severity: str
    findings: tuple[Noticed, ...]

    @property
    def count(self) -> int:
        """Count the pictures, or whatever its findings are about."""
        return sum(one.count for one in self.findings)

    @property
    def to_mend(self) -> bool:
        """Tell whether somebody has to decide something."""
        return self.severity != "note" and self.name not in SETTLED

    @property
    def rank(self) -> tuple[bool, int, int, str]:
        """Sort the gravest first: what spoils the test, then wrong labels, then lost files; of equals the more frequent."""
        tiers = (NOT_TO_BE_TRUSTED, WRONG, LOST)
        tier = next((place for place, names in enumerate(tiers) if self.name in names), len(tiers))
        return not self.to_mend, tier + (self.severity == "note") * len(tiers), -self.count, self.name


@dataclass(frozen=True)
class Audited:
    """An audit's document, whatever of it there is.

    Attributes:
        source: What was audited, as it was typed.
        accounted: "found", "used", and one entry per reason; empty where it was not recorded.
        classes: Pictures of each class.
        kinds: The gravest first.
        rows: By id, of the pictures that a finding is about.
        document: All of it, as it was written.
    """

    source: str
    accounted: Mapping[str, int]
    classes: Mapping[str, int]
    kinds: tuple[Kind, ...]
    rows: Mapping[str, Row]
    document: Mapping[str, Any]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Audited:
        """Take what is there; anything may be missing."""
        return cls(
            source=str(document.get("source") or ""),
            accounted={str(key): int(n) for key, n in (document.get("accounted") or {}).items()},
            classes={str(name): int(n) for name, n in (document.get("classes") or {}).items()},
            kinds=tuple(sorted(_kinds(document.get("findings") or ()), key=lambda one: one.rank)),
            rows=_rows(document.get("table") or {}),
            document=document,
        )

    @property
    def command(self) -> str:
        """What to type to mend it."""
        return f"linnaeus review {shlex.quote(self.source) if self.source else 'SOURCE'}"

    def to_mend(self) -> list[Kind]:
        """List the kinds that ask for a decision, the gravest first."""
        return [one for one in self.kinds if one.to_mend]

    def sets(self, kind: Kind) -> list[tuple[str, ...]]:
        """List the pictures of a kind as sets that belong together: by their cluster, else by their finding."""
        found: dict[str, list[str]] = {}
        for place, one in enumerate(kind.findings):
            for id in one.ids:
                cluster = self.rows[id].cluster if id in self.rows else ""
                found.setdefault(cluster or f"\0{place}", []).append(id)
        return [tuple(dict.fromkeys(ids)) for ids in found.values()]

    def ids(self, kind: Kind) -> list[str]:
        """List the pictures of a kind, the worst label first, else the first of each finding before any second."""
        turns = sorted(((place, id) for one in kind.findings for place, id in enumerate(one.ids)), key=itemgetter(0))
        ids = list(dict.fromkeys(id for _, id in turns))
        if kind.name in WRONG:
            ids.sort(key=lambda id: _worst_first(self.rows.get(id)))
        return ids


def _worst_first(row: Row | None) -> float:
    return row.quality if row and row.quality is not None else math.inf


def _kinds(findings: Sequence[Mapping[str, Any]]) -> list[Kind]:
    grouped: dict[tuple[str, str], list[Noticed]] = {}
    for one in findings:
        ids = tuple(str(id) for id in one.get("ids") or ())
        noticed = Noticed(ids, str(one.get("evidence") or ""), int(one.get("count") or len(ids)))
        severity = str(one.get("severity") or "warning")
        key = str(one.get("kind") or ""), severity if severity in SEVERITIES else "warning"
        grouped.setdefault(key, []).append(noticed)
    return [Kind(name, severity, tuple(some)) for (name, severity), some in grouped.items()]


def _rows(table: Mapping[str, Sequence[Any]]) -> dict[str, Row]:
    ids = [str(id) for id in table.get("id") or ()]
    label, suggested, quality, cluster = (
        list(table.get(name) or ()) or [None] * len(ids) for name in ("label", "suggested", "quality", "cluster")
    )
    return {
        id: Row(str(given or ""), str(better or ""), _finite(share), str(key or ""))
        for id, given, better, share, key in zip(ids, label, suggested, quality, cluster, strict=True)
    }


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(float(value)) else None
