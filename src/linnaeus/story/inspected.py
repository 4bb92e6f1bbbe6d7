"""Audit a source without training: every question that can be asked of pictures and labels alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus import __version__
from linnaeus.config import Recipe, SplitSettings
from linnaeus.data.corrections import silence
from linnaeus.data.folders import default_cache_dir
from linnaeus.data.ties import unite
from linnaeus.data.traits import measure
from linnaeus.errors import RunError
from linnaeus.learn.embeddings import NETWORK, embed
from linnaeus.learn.engine import one_blas_thread
from linnaeus.records import PARTS, Dataset, Example, Finding, Split
from linnaeus.run import Run
from linnaeus.story.divided import divide, grouped
from linnaeus.story.pictures import Looked, look_at_all, open_pictures, where_of, where_of_run
from linnaeus.story.planned import Planned
from linnaeus.talk import Talk
from linnaeus.verbs.audit import audit_labels, find_drift, find_imbalance, find_odd, find_shortcuts, opinions_on
from linnaeus.verbs.audit.drift import Drift
from linnaeus.verbs.audit.grown import Growth
from linnaeus.verbs.audit.labels import LabelAudit
from linnaeus.verbs.audit.remembered import remembered_result
from linnaeus.verbs.plan import preprocessing
from linnaeus.verbs.report import report
from linnaeus.verbs.split import split

MOST_IDS = 500
"""Pictures named for one finding in the document; `audit.csv` names all."""


ASIDE = "set aside"
"""What stands in place of a part."""
JUDGED = (3, __version__)
"""Raise the number when the same pictures would be judged otherwise."""


@dataclass(frozen=True)
class Judged:
    """What features tell of a whole set: it is kept, so that an unchanged set is not judged again.

    Attributes:
        labels: Which are likely wrong, and more.
        drift: Between parts.
        enough: The learning curve, of the set that was fitted.
        growth: How this set differs from the one that was fitted; None where it is that one.
    """

    labels: LabelAudit
    drift: Drift
    enough: dict[str, Any] | None
    growth: Growth | None


@dataclass(frozen=True)
class Inspected:
    """What an audit found.

    Attributes:
        looked: Every picture, and what became of it.
        findings: All of them, the gravest first.
        table: For every file that was found: id, label, part, findings, suggested, quality, outlier, cluster, and what
            the picture is like; NaN or "" where it is not known.
        facts: "balance", "shortcuts", "drift", "labels", "enough", "growth": document of each question, or None.
        seconds: Wall-clock time by stage.
    """

    looked: Looked
    findings: Sequence[Finding]
    table: Mapping[str, Sequence[Any]]
    facts: Mapping[str, Any]
    seconds: Mapping[str, float]

    def document(self) -> dict[str, Any]:
        """Write as plain values for JSON."""
        doubtful = [row for row, kinds in enumerate(self.table["findings"]) if kinds]
        shown = ("id", "label", "suggested", "quality", "cluster")
        return {
            "source": self.looked.dataset.source,
            "accounted": dict(self.looked.accounted),
            "classes": self.looked.dataset.counts(),
            "findings": [
                asdict(one) | {"ids": list(one.ids[:MOST_IDS]), "count": len(one.ids)} for one in self.findings
            ],
            "table": {name: [_plain(self.table[name][row]) for row in doubtful] for name in shown},
            **self.facts,
            "seconds": dict(self.seconds),
        }

    def kinds(self) -> dict[str, int]:
        """Count the pictures of each kind of finding."""
        counts: dict[str, int] = {}
        for one in self.findings:
            counts[one.kind] = counts.get(one.kind, 0) + max(1, len(one.ids))
        return counts


def inspect(
    source: str,
    recipe: Recipe,
    *,
    data_dir: Path | None = None,
    corrections: str | Path | None = None,
    talk: Talk | None = None,
) -> Inspected:
    """Audit a source, or the source of a run: files, copies, quality, labels, shortcuts, balance, drift, and how much.

    A run keeps what was found, and its report tells it.

    Args:
        source: What `open_source` takes, or the folder of a run.
        recipe: How pictures are to be looked at; open settings are decided from the data. A run has its own.
        data_dir: Where the data of a built-in name are.
        corrections: File with the decisions of a review, or "none"; by default what a run was told, else the one beside
            the source.
        talk: Where words and progress go.
    """
    talk, run = talk or Talk(), run_at(source)
    if run is None:
        return inspect_pictures(where_of(source, data_dir=data_dir, corrections=corrections), recipe, talk)
    where = where_of_run(run, data_dir=data_dir, corrections=corrections)
    found = inspect_pictures(where, run.recipe(), talk, run)
    run.write_result("audit", found.document())
    if run.has_scores("test") or run.has_scores("val"):
        report(run)
    return found


def run_at(folder: str) -> Run | None:
    """Open the run in a folder; None if there is no run."""
    try:
        return Run.open(folder)
    except RunError:
        return None


def inspect_pictures(where: Mapping[str, Any], recipe: Recipe, talk: Talk, run: Run | None = None) -> Inspected:
    """Audit what `where` says how to open, divided as the run divided it, if there is one; see `inspect`."""
    opened = open_pictures(where, talk)
    used = Planned.for_data(opened, recipe).used
    settings = used.split
    if settings.fold is None:
        # Of a cross-validation as a whole no picture is in one part.
        settings = settings.model_copy(update={"folds": None})
    dataset = grouped(opened, settings, talk)
    how, data, cache_dir = preprocessing(used), used.data, default_cache_dir() / "pixels"
    looked = look_at_all(dataset, where, how, data.cache_gb, talk, copies=True)
    kept, scan = looked.dataset, looked.scan
    copies = looked.clusters or [""] * len(kept)
    keys = unite([one.group for one in kept.examples], scan.hashes, copies)
    parts, said = _divided(looked, settings, run, talk)
    with talk.stage("quality"), one_blas_thread():
        traits = measure(kept, scan, how, cache_dir=cache_dir)
        odd = find_odd(kept, scan, traits, how)
        balance = find_imbalance(kept, parts=parts, test_share=settings.test)
        shortcuts = find_shortcuts(kept, scan, traits, clusters=keys)

    def judge() -> Judged:
        with talk.stage("features"):
            features = embed(
                scan, how, cache_dir=cache_dir, cache_gb=data.cache_gb, memory_gb=data.memory_gb, talk=talk
            )
        with talk.stage("labels"), one_blas_thread():
            opinions, more, growth = opinions_on(cache_dir, (JUDGED, NETWORK, how), kept, scan.hashes, keys, features)
            labels = audit_labels(kept, features, keys, opinions)
            drift = find_drift(kept, parts, traits, features=features, clusters=keys)
        return Judged(labels, drift, more, growth)

    about = (JUDGED, NETWORK, how, kept.classes, scan.hashes, keys, parts.tolist(), *map(_told, kept.examples))
    judged = remembered_result(cache_dir, about, Judged, judge)
    labels, drift, growth = judged.labels, judged.drift, judged.growth
    if growth is not None:
        talk.say(growth.words())
    doubts = [*labels.findings, *shortcuts.findings, *balance.findings, *drift.findings, *odd]
    findings = [*kept.findings, *said, *silence(doubts, kept, scan.hashes, looked.decided)]
    order = ("set aside", "warning", "note")
    findings.sort(key=lambda one: order.index(one.severity))
    facts = {
        "balance": balance.document(),
        "shortcuts": shortcuts.document(),
        "drift": drift.document(),
        "labels": labels.document,
        "enough": judged.enough,
        "growth": asdict(growth) if growth is not None else None,
    }
    columns = {
        "suggested": [row.suggested for row in labels.rows],
        "quality": [row.quality for row in labels.rows],
        "outlier": [row.outlier for row in labels.rows],
        "cluster": _sets(unite([""] * len(kept), scan.hashes, copies), keys, parts),
    }
    # A table's own column may have one of these names.
    taken = {"id", "label", "part", "findings", *columns}
    columns |= {f"{name} (table)" if name in taken else name: one for name, one in traits.columns().items()}
    table = _table(looked, parts, findings, columns)
    return Inspected(looked, findings, table, facts, {name: round(value, 2) for name, value in talk.seconds.items()})


def _divided(
    looked: Looked, settings: SplitSettings, run: Run | None, talk: Talk
) -> tuple[np.ndarray, tuple[Finding, ...]]:
    """Say in which part each picture in use is, and what there is to be said of it.

    What was set aside for the sake of what is held out is in no part.
    """
    kept, scan = looked.dataset, looked.scan
    if run is not None and run.has_split():
        dataset, parts, findings = _as_the_run(run, looked, settings)
    else:
        divided = divide(kept, scan, looked.accounted, settings, clusters=looked.clusters, talk=talk)
        dataset, parts, findings = divided.dataset, divided.split, divided.findings
    part_of = dict(zip((one.id for one in dataset.examples), parts.parts.tolist(), strict=True))
    return np.array([part_of.get(one.id, ASIDE) for one in kept.examples]), (*findings, *parts.findings)


def _as_the_run(run: Run, looked: Looked, settings: SplitSettings) -> tuple[Dataset, Split, tuple[Finding, ...]]:
    """Put every picture where the run put it; what has come since counts as for training."""
    told, hashes = run.split(), looked.scan.hashes
    parts = [part if part in PARTS else "train" for part in told["split"]]
    by_id, by_hash = dict(zip(told["id"], parts, strict=True)), dict(zip(told["hash"], parts, strict=True))
    aside = {id for one in run.findings() if one.severity == "set aside" for id in one.ids}
    rows = [row for row, one in enumerate(looked.dataset.examples) if one.id in by_id or one.id not in aside]
    given = tuple(
        replace(one, split=by_id.get(one.id) or by_hash.get(hashes[row], "train"))
        for row, one in zip(rows, looked.dataset.take(rows).examples, strict=True)
    )
    dataset = replace(looked.dataset, examples=given)
    clusters = [looked.clusters[row] for row in rows] if looked.clusters else ()
    whole = settings.model_copy(update={"val": 0.0, "test": 0.0})
    found = split(dataset, [hashes[row] for row in rows], whole, clusters=clusters)
    # What one fold does not test, another one does.
    said = tuple(one for one in found.findings if settings.folds is None or one.kind != "not tested")
    return dataset, replace(found, findings=said), ()


def _told(example: Example) -> tuple[object, ...]:
    """List what a source says of a picture, apart from where it is."""
    return example.id, example.label, example.group, example.extra


def _table(
    looked: Looked, parts: np.ndarray, findings: Sequence[Finding], columns: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """Lay out what was found for every file: those in use, and those that were set aside."""
    kinds: dict[str, list[str]] = {}
    for one in findings:
        for id in one.ids:
            kinds.setdefault(id, []).append(one.kind)
    examples = looked.dataset.examples
    row_of = {one.id: row for row, one in enumerate(examples)}
    label_of = {one.id: one.label for one in looked.everything.examples}
    # A finding may be about a class instead of a picture.
    aside = [one.ids for one in findings if one.severity == "set aside"]
    ids = [*(one.id for one in examples), *dict.fromkeys(id for some in aside for id in some if id not in row_of)]
    table: dict[str, list[Any]] = {
        "id": ids,
        "label": [examples[row_of[id]].label if id in row_of else label_of.get(id, "") for id in ids],
        "part": [str(parts[row_of[id]]) if id in row_of else ASIDE for id in ids],
        "findings": ["|".join(dict.fromkeys(kinds.get(id, ()))) for id in ids],
    }
    for name, values in columns.items():
        number = isinstance(values, np.ndarray) or name in ("quality", "outlier")
        empty = float("nan") if number else ""
        given = [empty if value is None else value for value in values]
        table[name] = given + [empty] * (len(ids) - len(examples))
    return table


def _sets(copies: Sequence[str], keys: Sequence[str], parts: np.ndarray) -> list[str]:
    """Name the set that each picture is one of: its copies, else its group, where that leaks; "" of one by itself."""
    counts, sides = Counter(copies), defaultdict[str, set[str]](set)
    for key, part in zip(keys, parts.tolist(), strict=True):
        sides[key].add(part)
    return [
        copy if counts[copy] > 1 else key if len(sides[key]) > 1 else "" for copy, key in zip(copies, keys, strict=True)
    ]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value
