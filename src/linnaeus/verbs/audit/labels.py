"""Say which labels are likely wrong, which classes overlap or are noisy, and which pictures are like no others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from linnaeus.learn.crossfit import CrossFit, cross_fit, folds_of_keys, judgeable
from linnaeus.metrics.labels import (
    Judged,
    Outliers,
    class_noise,
    confident_learning,
    far_from_neighbours,
    judge_labels,
    outliers,
    overall_noise,
    overlapping,
)
from linnaeus.records import Dataset, Finding
from linnaeus.verbs.audit.near import Near, nearest_others

SHOWN = 3
NOISY = 0.02
"""A class is called noisy where more than this share of its labels is wrong, at the lower end of the interval."""
OVERLAPPING = 0.05
SUSPECTS = 200
"""Most that are listed in the document; the table has all."""
LARGEST_MATRIX = 50


@dataclass(frozen=True, slots=True)
class LabelRow:
    """What is thought of one picture's label.

    Attributes:
        id: Of the example.
        label: As given.
        suggested: Another class, where the label is likely wrong; else "".
        quality: Probability that the label is right; None where it could not be checked.
        issue: Kinds of findings about it, separated by "; ".
        outlier: How many robust standard deviations it is farther from its neighbours than usual; None without features.
    """

    id: str
    label: str
    suggested: str
    quality: float | None
    issue: str
    outlier: float | None


@dataclass(frozen=True)
class LabelAudit:
    """What the labels of a dataset look like.

    Attributes:
        findings: For a person; the likeliest wrong label and the strangest picture first.
        rows: One for each example, in order: for audit.csv and review.
        document: For results/labels.json.
    """

    findings: tuple[Finding, ...]
    rows: tuple[LabelRow, ...]
    document: dict[str, Any]


@dataclass(frozen=True)
class Opinions:
    """What models and neighbours say of every picture.

    Attributes:
        found: Out of fold; None where fewer than two classes have pictures enough.
        near: How near the nearest others are.
    """

    found: CrossFit | None
    near: Near


def audit_labels(
    dataset: Dataset, features: np.ndarray, keys: Sequence[str] = (), opinions: Opinions | None = None
) -> LabelAudit:
    """Judge every label by models that did not learn from the picture, its copies, or its group.

    Args:
        dataset: What is audited.
        features: Of each example, float [N, D], NaN where it cannot be decoded: `linnaeus.learn.embeddings.embed`.
        keys: The same for all pictures that copies or a group tie together, [N], as `linnaeus.data.ties.unite` gives
            them; by default every picture is on its own.
        opinions: Of the same examples, where they are known: by default all is fitted.
    """
    assert len(features) == len(dataset), "one row of features per example"
    opinions = opinions or opinions_of(dataset, features, keys or [one.id for one in dataset.examples])
    audited = _Audited(dataset, opinions.found, stranger_than_usual(opinions.near, opinions.found))
    return LabelAudit(tuple(audited.findings()), tuple(audited.rows()), audited.document())


def opinions_of(dataset: Dataset, features: np.ndarray, keys: Sequence[str]) -> Opinions:
    """Fit models and look for neighbours; arguments as of `audit_labels`."""
    labels, folds = dataset.labels, folds_of_keys(keys)
    rows = judgeable(features, labels, folds)
    found = cross_fit(features, labels, folds) if len(np.unique(labels[rows])) > 1 else None
    return Opinions(found, nearest_others(features, keys))


def strangers(features: np.ndarray, keys: Sequence[str], found: CrossFit | None) -> tuple[np.ndarray, Outliers]:
    """Find pictures of no class among features [N, D]: see `stranger_than_usual`."""
    return stranger_than_usual(nearest_others(features, keys), found)


def stranger_than_usual(near: Near, found: CrossFit | None) -> tuple[np.ndarray, Outliers]:
    """Find pictures of no class: far from their neighbours, and unlike every class; copies are no neighbours.

    Args:
        near: How near the nearest others are.
        found: Out-of-fold opinions; pictures that have none are measured by their neighbours alone.

    Returns:
        The rows that were looked at, and what was found for them.
    """
    rows = near.rows
    if not len(rows):
        return rows, outliers(np.zeros(0))
    measures = [far_from_neighbours(near.similarities[rows])]
    if found is not None:
        unlike = np.full(len(near.similarities), np.median(found.strangeness))
        unlike[found.rows] = found.strangeness
        measures.append(unlike[rows])
    return rows, outliers(*measures)


@dataclass
class _Audited:
    """Everything that was found, by row of the dataset where it was judged."""

    dataset: Dataset
    found: CrossFit | None
    strange: tuple[np.ndarray, Outliers]

    def __post_init__(self) -> None:
        N, K = len(self.dataset), len(self.dataset.classes)
        self.labels = self.dataset.labels
        self.wrong = np.full(N, np.nan)
        self.suggested = self.labels.copy()
        self.likely, self.confident = np.zeros(N, bool), np.zeros(N, bool)
        self.score, self.outlying = np.full(N, np.nan), np.zeros(N, bool)
        rows, found = self.strange
        self.score[rows], self.outlying[rows] = found.score, found.strange
        self.judged: Judged | None = None
        self.noise = class_noise(np.zeros(0), np.zeros(0), K)
        if self.found is not None:
            self.judged = judge_labels(self.found.noise, self.found.labels)
            self.wrong[self.found.rows] = self.judged.wrong
            self.suggested[self.found.rows] = self.found.classes[self.judged.suggested]
            self.likely[self.found.rows] = self.judged.likely
            self.confident[self.found.rows] = confident_learning(self.found.noise.probabilities, self.found.labels)
            self.noise = class_noise(self.judged.wrong, self.labels[self.found.rows], K)
            self.overlaps = overlapping(self.found.noise, self.found.labels)

    def findings(self) -> Iterator[Finding]:
        yield from self._wrong_labels()
        yield from self._noisy_classes()
        yield from self._overlapping_classes()
        if self.outlying.any():
            rows = self._sorted(np.flatnonzero(self.outlying), -self.score)
            bounds = self.strange[1]
            chance = f"about {bounds.by_chance:.0f}" if bounds.by_chance >= 1 else "less than 1"
            evidence = (
                f"{_pictures(len(rows))} unlike all others, {bounds.threshold:.1f} robust standard deviations or more "
                f"(of usual pictures {chance} would be, by chance): {self._some(rows)}"
            )
            yield Finding("outlier", self._ids(rows), evidence, "note")
        unchecked = np.flatnonzero(np.isnan(self.wrong) & (self.labels >= 0))
        if len(unchecked):
            names = sorted({self.dataset.examples[row].label for row in unchecked.tolist()})
            evidence = f"{_pictures(len(unchecked))} of too small a class, or not decoded: {_some(names)}"
            yield Finding("label not checked", self._ids(unchecked), evidence, "note")

    def _wrong_labels(self) -> Iterator[Finding]:
        pairs: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for row in self._sorted(np.flatnonzero(self.likely), -self.wrong).tolist():
            pairs[int(self.labels[row]), int(self.suggested[row])].append(row)
        for (given, better), rows in sorted(pairs.items(), key=lambda item: -len(item[1])):
            told = [f"{self.dataset.examples[row].id} ({100 * self.wrong[row]:.0f} %)" for row in rows]
            names = self.dataset.classes
            evidence = f"{_pictures(len(rows))} labelled {names[given]!r} look like {names[better]!r}: {_some(told)}"
            evidence += f"; confident learning agrees on {int(self.confident[rows].sum())}"
            yield Finding("likely wrong label", self._ids(rows), evidence)

    def _noisy_classes(self) -> Iterator[Finding]:
        for k, share in enumerate(self.noise):
            if share.n and share.low > NOISY:
                rows = self._sorted(np.flatnonzero(self.likely & (self.labels == k)), -self.wrong)
                evidence = f"of the {share.n:,} pictures labelled {self.dataset.classes[k]!r} about {share.percent()} are wrong"
                yield Finding("noisy class", self._ids(rows), evidence)

    def _overlapping_classes(self) -> Iterator[Finding]:
        if self.found is None:
            return
        names = [self.dataset.classes[k] for k in self.found.classes]
        said = self.found.noise.probabilities.argmax(axis=1)
        for one in self.overlaps:
            if one.confused.low > OVERLAPPING:
                pair = {one.first, one.second}
                mixed = np.array(
                    [{a, b} == pair for a, b in zip(said.tolist(), self.found.labels.tolist(), strict=True)]
                )
                evidence = (
                    f"{names[one.first]!r} and {names[one.second]!r}: {one.confused.percent()} of their pictures are taken"
                    " for the other; is every picture of one class only?"
                )
                yield Finding("overlapping classes", self._ids(self.found.rows[mixed]), evidence, "note")

    def rows(self) -> Iterator[LabelRow]:
        for row, example in enumerate(self.dataset.examples):
            unchecked = bool(np.isnan(self.wrong[row]))
            issues = ["likely wrong label"] * bool(self.likely[row]) + ["outlier"] * bool(self.outlying[row])
            issues += ["label not checked"] * (unchecked and example.label != "")
            yield LabelRow(
                example.id,
                example.label,
                self.dataset.classes[self.suggested[row]] if self.likely[row] else "",
                None if unchecked else round(1 - float(self.wrong[row]), 6),
                "; ".join(issues),
                None if np.isnan(self.score[row]) else round(float(self.score[row]), 3),
            )

    def document(self) -> dict[str, Any]:
        names, checked = self.dataset.classes, ~np.isnan(self.wrong)
        top = self._sorted(np.flatnonzero(self.likely), -self.wrong)[:SUSPECTS].tolist()
        document: dict[str, Any] = {
            "pictures": len(self.dataset),
            "checked": int(checked.sum()),
            "likely": int(self.likely.sum()),
            "outliers": int(self.outlying.sum()),
            "wrong": asdict(overall_noise(self.wrong[checked])),
            "classes": [
                {"name": name, "noise": asdict(share), "likely": int((self.likely & (self.labels == k)).sum())}
                for k, (name, share) in enumerate(zip(names, self.noise, strict=True))
            ],
            "overlaps": [],
            "suspects": [
                {
                    "id": self.dataset.examples[row].id,
                    "label": self.dataset.examples[row].label,
                    "suggested": names[self.suggested[row]],
                    "wrong": float(self.wrong[row]),
                }
                for row in top
            ],
        }
        if self.found is None:
            return document
        inside = [names[k] for k in self.found.classes]
        document["overlaps"] = [
            {
                "first": inside[one.first],
                "second": inside[one.second],
                "confused": asdict(one.confused),
                "mislabelled": asdict(one.mislabelled),
            }
            for one in self.overlaps
        ]
        if len(inside) <= LARGEST_MATRIX:
            document["transition"] = {"classes": inside, "true_to_given": self.found.noise.transition.tolist()}
        return document

    def _sorted(self, rows: np.ndarray, by: np.ndarray) -> np.ndarray:
        return rows[np.argsort(by[rows], kind="stable")]

    def _ids(self, rows: Sequence[int] | np.ndarray) -> tuple[str, ...]:
        return tuple(self.dataset.examples[int(row)].id for row in rows)

    def _some(self, rows: np.ndarray) -> str:
        return _some(self._ids(rows))


def _pictures(n: int) -> str:
    return f"{n:,} picture{'' if n == 1 else 's'}"


def _some(told: Sequence[str]) -> str:
    return ", ".join(told[:SHOWN]) + (" ..." if len(told) > SHOWN else "")
