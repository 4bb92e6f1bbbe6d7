"""Compare models on the same pictures: paired differences, exact tests, and who is right where the other is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from linnaeus.errors import SourceError
from linnaeus.metrics.intervals import Z_95, over_classes, resample_sums, units_of
from linnaeus.metrics.multiple import holm
from linnaeus.metrics.power import LEVEL, smallest_difference
from linnaeus.records import Estimate, Predictions

RESAMPLES = 2000
SMALLEST = float(np.finfo(np.float64).eps)
NOISE = 1e-6
"""Sums are resampled in single precision: less than this is nothing."""
MEASURES = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "brier")


@dataclass(frozen=True)
class Matched:
    """Several models' predictions for the same pictures, in one order of rows and classes.

    Attributes:
        predictions: Of each model, for the pictures that all of them have.
        missing: For each model: ids that another model has and it lacks.
        relabelled: Ids whose true class is not the same everywhere; they are left out.
        unlabelled: Ids that all models have and whose true class no model knows; they are left out.
    """

    predictions: tuple[Predictions, ...]
    missing: tuple[tuple[str, ...], ...]
    relabelled: tuple[str, ...]
    unlabelled: tuple[str, ...]


@dataclass(frozen=True)
class ClassDifference:
    """How two models differ on the pictures of one class: share found (recall) by each, second - first."""

    name: str
    first: float
    second: float
    difference: Estimate
    p: float
    p_adjusted: float


@dataclass(frozen=True)
class Pair:
    """Two models on the same pictures.

    Attributes:
        first: Number of the first model.
        second: Number of the second model.
        differences: Measure -> second - first, with its interval. Of log loss and Brier less is better.
        both_right: Number of pictures.
        only_first: Ids that only the first model has right.
        only_second: Ids that only the second model has right.
        both_wrong: Number of pictures.
        p: Of McNemar's exact two-sided test on the accuracy.
        p_adjusted: After Holm's correction over all pairs.
        per_class: Corrected over the classes of this pair.
        smallest_difference: In accuracy, that this test would show four times out of five on so many pictures; None
            where they are too few for any.
    """

    first: int
    second: int
    differences: Mapping[str, Estimate]
    both_right: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    both_wrong: int
    p: float
    p_adjusted: float
    per_class: tuple[ClassDifference, ...]
    smallest_difference: float | None

    @property
    def shown(self) -> bool:
        """Tell whether the accuracies differ beyond chance, all pairs allowed for."""
        return self.p_adjusted <= LEVEL

    def document(self) -> dict[str, Any]:
        """Write as plain values for JSON."""
        return asdict(self) | {"shown": self.shown}


def match(models: Sequence[Predictions]) -> Matched:
    """Find the pictures that all models have judged; pictures are matched by id, classes by name.

    A class that a model does not know becomes a column of zeros.

    Raises:
        SourceError: An id stands twice, a probability is no number, or no labelled picture is left.
    """
    rows = [_rows_by_id(one) for one in models]
    everywhere = set(rows[0]).intersection(*rows[1:])
    anywhere = dict.fromkeys(id for one in models for id in one.ids)
    missing = tuple(tuple(id for id in anywhere if id not in own) for own in rows)
    kept, relabelled, unlabelled = list[str](), list[str](), list[str]()
    for id in models[0].ids:
        if id in everywhere:
            names = {_label(one, own[id]) for one, own in zip(models, rows, strict=True)} - {""}
            (kept if len(names) == 1 else relabelled if names else unlabelled).append(id)
    if not kept:
        raise SourceError(
            "models are compared on the same labelled pictures.",
            got=f"{len(everywhere)} pictures that all have, {len(relabelled)} of them with several labels",
            fix="compare models that were tested on the same data.",
        )
    classes = tuple(dict.fromkeys(name for one in models for name in one.classes))
    true = {id: name for one, own in zip(models, rows, strict=True) for id in kept if (name := _label(one, own[id]))}
    number = {name: k for k, name in enumerate(classes)}
    labels = np.array([number[true[id]] for id in kept], dtype=np.int64)
    laid = tuple(_lay(one, [own[id] for id in kept], labels, classes) for one, own in zip(models, rows, strict=True))
    return Matched(laid, missing, tuple(relabelled), tuple(unlabelled))


def compare_pairs(
    matched: Matched, *, groups: Sequence[str] | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[Pair, ...]:
    """Compare each two models.

    The difference in accuracy has Tango's score interval, which holds for few pictures and for models that never
    disagree. All other differences are resampled: the same pictures are drawn for both models, within each class.

    Args:
        matched: At least two models.
        groups: A name per picture: those of one group are drawn together, and no interval is narrower than without.
            The tests take every picture for independent all the same.
        seed: Of the resampling.
        resamples: Number of bootstrap samples.

    Source:
        Q. McNemar (1947), Psychometrika 12, 153-157. T. Tango (1998), Stat. Med. 17, 891-908. B. Efron (1979), Ann.
        Stat. 7, 1-26.
    """
    found = [
        _compare(matched.predictions, first, second, groups, seed, resamples)
        for first, second in combinations(range(len(matched.predictions)), 2)
    ]
    adjusted = holm(np.array([one.p for one in found]))
    level = LEVEL / max(1, len(found))
    return tuple(
        replace(one, p_adjusted=float(p), smallest_difference=_smallest(one, level))
        for one, p in zip(found, adjusted, strict=True)
    )


def mcnemar(only_first: int | np.ndarray, only_second: int | np.ndarray) -> np.ndarray:
    """Compute the exact two-sided p-value of so many pictures which only one of two models has right."""
    from scipy.stats import binom

    fewer, both = np.minimum(only_first, only_second), np.add(only_first, only_second)
    return np.minimum(1.0, 2 * binom.cdf(fewer, both, 0.5))


def accuracy_difference(
    right_first: np.ndarray, right_second: np.ndarray, *, groups: Sequence[str] | None = None, z: float = Z_95
) -> Estimate:
    """Estimate the difference second - first of two accuracies, of which it is known who was right where, bool [N] each.

    Args:
        right_first: Where the first is right.
        right_second: Where the second is right.
        groups: A name per picture, "" of none: those of one group stand and fall together, and no interval is narrower
            than without.
        z: Standard normal quantile of either end; 1.96 gives 95 %.

    Source:
        Tango's score interval (see `tango`); with groups, wherever it is wider, that of the sums over groups with
        Student's quantile: M. H. Hansen, W. N. Hurwitz, W. G. Madow (1953), Sample Survey Methods and Theory.
    """
    n, change = len(right_first), right_second.astype(np.float64) - right_first
    alone = tango(int((change < 0).sum()), int((change > 0).sum()), n, z=z)
    units = units_of(n, groups)
    U = int(units.max(initial=-1)) + 1
    if U in (0, n):
        return alone
    sums = np.bincount(units, weights=change - alone.value)
    half = _student(z, U - 1) * (np.square(sums).sum() * U / (U - 1)) ** 0.5 / n if U > 1 else 2.0
    low, high = max(-1.0, alone.value - half), min(1.0, alone.value + half)
    return replace(alone, low=min(low, alone.low), high=max(high, alone.high), method="tango and groups")


def _student(z: float, freedom: int) -> float:
    """Give the quantile of Student's distribution that stands for one of the normal distribution."""
    from scipy.special import ndtr, stdtrit

    return float(stdtrit(freedom, ndtr(z)))


def tango(only_first: int, only_second: int, n: int, *, z: float = Z_95) -> Estimate:
    """Estimate the difference second - first of two accuracies on the same n pictures, by Tango's score interval.

    Args:
        only_first: Pictures that only the first has right.
        only_second: Pictures that only the second has right.
        n: Pictures.
        z: Standard normal quantile of either end; 1.96 gives 95 %.

    Source:
        T. Tango (1998), Stat. Med. 17, 891-908: every difference that the score test would not reject.
    """
    from scipy.optimize import brentq

    if n == 0:
        return Estimate(0.0, -1.0, 1.0, 0, "no pictures")
    value = (only_second - only_first) / n

    def score(difference: float) -> float:
        line = difference * (2 * n - only_second + only_first) - only_first - only_second
        inside = line * line + 8 * n * only_first * difference * (1 - difference)
        share = (max(0.0, inside) ** 0.5 - line) / (4 * n)
        variance = n * (2 * share + difference * (1 - difference))
        return (only_second - only_first - n * difference) / max(variance, 1e-300) ** 0.5

    # At the very ends no variance is left.
    edge = 1 - 1e-9
    low = brentq(lambda one: score(one) - z, -edge, value) if value > -edge and score(-edge) > z else -1.0
    high = brentq(lambda one: score(one) + z, value, edge) if value < edge and score(edge) < -z else 1.0
    return Estimate(value, float(low), float(high), n, "tango")


def _rows_by_id(one: Predictions) -> dict[str, int]:
    rows = {id: row for row, id in enumerate(one.ids)}
    if len(rows) < len(one.ids):
        twice = next(id for row, id in enumerate(one.ids) if rows[id] != row)
        raise SourceError("predictions should have one row for each picture.", got=f"{twice} more than once")
    if not np.isfinite(one.probabilities).all():
        raise SourceError("probabilities should be numbers.", got="NaN or infinity", fix="leave those rows out.")
    return rows


def _label(one: Predictions, row: int) -> str:
    return one.classes[one.labels[row]] if one.labels[row] >= 0 else ""


def _lay(one: Predictions, rows: list[int], labels: np.ndarray, classes: tuple[str, ...]) -> Predictions:
    column = {name: k for k, name in enumerate(classes)}
    probabilities = np.zeros((len(rows), len(classes)))
    probabilities[:, [column[name] for name in one.classes]] = one.probabilities[rows]
    return Predictions(probabilities, labels, tuple(one.ids[row] for row in rows), classes)


def _compare(
    models: Sequence[Predictions],
    first: int,
    second: int,
    groups: Sequence[str] | None,
    seed: int,
    resamples: int,
) -> Pair:
    a, b = models[first], models[second]
    right_a, right_b = a.predicted == a.labels, b.predicted == b.labels
    per_class, differences = _per_class(a, right_a, right_b), _differences(a, b, groups, seed, resamples)
    balanced = over_classes(differences["balanced_accuracy"], [one.difference for one in per_class])
    only_first, only_second = np.flatnonzero(right_a & ~right_b), np.flatnonzero(right_b & ~right_a)
    return Pair(
        first=first,
        second=second,
        differences=differences | {"balanced_accuracy": balanced},
        both_right=int((right_a & right_b).sum()),
        only_first=tuple(a.ids[row] for row in only_first),
        only_second=tuple(a.ids[row] for row in only_second),
        both_wrong=int((~right_a & ~right_b).sum()),
        p=float(mcnemar(len(only_first), len(only_second))),
        p_adjusted=1.0,
        per_class=per_class,
        smallest_difference=None,
    )


def _smallest(one: Pair, level: float) -> float | None:
    differ = len(one.only_first) + len(one.only_second)
    n = differ + one.both_right + one.both_wrong
    return smallest_difference(n, differ / n, level=level)


def _per_class(a: Predictions, right_a: np.ndarray, right_b: np.ndarray) -> tuple[ClassDifference, ...]:
    K = len(a.classes)
    support, found_a, found_b, only_a, only_b = (
        np.bincount(a.labels, weights=marked, minlength=K).astype(np.int64)
        for marked in (np.ones(len(a)), right_a, right_b, right_a & ~right_b, right_b & ~right_a)
    )
    p = mcnemar(only_a, only_b)
    present = np.flatnonzero(support)
    adjusted = holm(p[present])
    return tuple(
        ClassDifference(
            name=a.classes[k],
            first=float(found_a[k] / support[k]),
            second=float(found_b[k] / support[k]),
            difference=tango(int(only_a[k]), int(only_b[k]), int(support[k])),
            p=float(p[k]),
            p_adjusted=float(adjusted[at]),
        )
        for at, k in enumerate(present.tolist())
    )


def _differences(
    a: Predictions, b: Predictions, groups: Sequence[str] | None, seed: int, resamples: int
) -> dict[str, Estimate]:
    right_a, right_b = a.predicted == a.labels, b.predicted == b.labels
    accuracy = tango(int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum()), len(a))
    columns, units = _columns(a, b), units_of(len(a), groups)
    values = _measure(columns.sum(axis=0)[:, None].astype(np.float64))
    pieces = [_measure(sums.astype(np.float64)) for sums in resample_sums(columns, units, a.labels, seed, resamples)]
    found = {}
    for name in MEASURES:
        value = float(values[name][0])
        low, high = np.quantile(np.concatenate([piece[name] for piece in pieces]), (0.025, 0.975)).tolist()
        if name == "accuracy":
            clustered = groups is not None
            low, high = (
                (min(low, accuracy.low), max(high, accuracy.high)) if clustered else (accuracy.low, accuracy.high)
            )
            method = "tango and clustered bootstrap" if clustered else "tango"
        elif high - low < NOISE and name in ("balanced_accuracy", "macro_f1"):
            # Models that answer alike on every picture show no spread to resample.
            low, high, method = min(value, accuracy.low), max(value, accuracy.high), "tango of the accuracy"
        else:
            method = "paired bootstrap"
        found[name] = Estimate(value, min(low, value), max(high, value), len(a), method)
    return found


def _columns(a: Predictions, b: Predictions) -> Any:
    """Lay out, for each picture, all that the sums need: sparse [N, 5 K + 2]."""
    from scipy.sparse import csr_array, hstack

    N, K = a.probabilities.shape

    def one_hot(number: np.ndarray, marked: np.ndarray) -> Any:
        return csr_array((marked.astype(np.float64), (np.arange(N), number)), shape=(N, K))

    every = np.ones(N)
    right_a, right_b = a.predicted == a.labels, b.predicted == b.labels
    losses = np.stack([_log_loss(b) - _log_loss(a), _brier(b) - _brier(a)], axis=1)
    blocks = [one_hot(a.labels, every), one_hot(a.predicted, every), one_hot(b.predicted, every)]
    blocks += [one_hot(a.labels, right_a), one_hot(a.labels, right_b)]
    return csr_array(hstack([*blocks, csr_array(losses)]))


def _measure(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Compute every difference from sums [5 K + 2, r]: each [r]."""
    K = (len(sums) - 2) // 5
    support, named_a, named_b, hits_a, hits_b = (sums[k * K : (k + 1) * K] for k in range(5))
    n, classes = support.sum(axis=0), (support > 0).sum(axis=0)

    def over_classes(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        share = np.divide(above, below, out=np.zeros_like(above), where=(below > 0) & (support > 0))
        return share.sum(axis=0) / classes

    return {
        "accuracy": (hits_b - hits_a).sum(axis=0) / n,
        "balanced_accuracy": over_classes(hits_b - hits_a, support),
        "macro_f1": over_classes(2 * hits_b, support + named_b) - over_classes(2 * hits_a, support + named_a),
        "log_loss": sums[-2] / n,
        "brier": sums[-1] / n,
    }


def _log_loss(one: Predictions) -> np.ndarray:
    p_true = np.take_along_axis(one.probabilities, one.labels[:, None], axis=1)[:, 0]
    return -np.log(np.clip(p_true, SMALLEST, 1.0))


def _brier(one: Predictions) -> np.ndarray:
    p_true = np.take_along_axis(one.probabilities, one.labels[:, None], axis=1)[:, 0]
    return np.square(one.probabilities).sum(axis=1) - 2 * p_true + 1
