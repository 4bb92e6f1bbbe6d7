"""Rank pictures by the probability of each class, one against the rest: AUROC, average precision, and their curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from linnaeus.metrics.curves import Curve, precision_recall_curve, roc_curve
from linnaeus.metrics.intervals import spread_ends, strata_of, units_of
from linnaeus.metrics.scores import labelled_rows
from linnaeus.records import Estimate, Predictions

PRIOR_PICTURES = 10
"""DeLong's variance is mixed with Hanley and McNeil's as if theirs came from so many pictures."""
NOTHING = Estimate(0.0, 0.0, 1.0, 0, "no class to rank")


@dataclass(frozen=True)
class ClassRanking:
    """How well the probability of one class tells its pictures from all others.

    Attributes:
        name: Of the class.
        auroc: Probability that a picture of the class gets more than another picture; equals count half.
        average_precision: Mean over the pictures of the class of the precision down to each.
        roc: At most 100 points (false positive rate, true positive rate), straight between them; area: the AUROC.
        precision_recall: At most 100 points (recall, precision), in steps; area: the average precision.
    """

    name: str
    auroc: Estimate
    average_precision: Estimate
    roc: Curve
    precision_recall: Curve


@dataclass(frozen=True)
class Ranking:
    """The ranking of every class that can be ranked, and the means over them; `notes` says what was left out."""

    classes: tuple[ClassRanking, ...]
    macro_auroc: Estimate
    macro_average_precision: Estimate
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Write as plain values for JSON."""
        return asdict(self)


def rank(predictions: Predictions, *, groups: Sequence[str] | None = None) -> Ranking:
    """Rank the pictures by each class's probability, one against the rest, with 95 % intervals.

    Both scores are smooth functions of sums over pairs, so that the influence of each picture on them is known exactly,
    and with it their spread: for AUROC this is DeLong's method, for average precision the infinitesimal jackknife,
    which is the same idea. No resampling: it costs one sort per class instead of thousands, is the same every time, and
    the means over classes get their interval from the very same influences, which know that all classes are judged on
    the same pictures. Wilson's interval is put around it (`spread_ends`), since the plain one leaves 0..1 and vanishes
    where all is perfect: there it counts as many trials as the smaller side has pictures, since no AUROC of that value
    spreads more (Birnbaum and Klose).

    Few pictures near perfection show too little spread. So DeLong's variance is mixed with Hanley and McNeil's, which
    knows only the AUROC. In 15 simulations of 400 trials (3 to 1000 pictures of the class) the interval held the truth
    in 91 to 99 %, without the mixing in 86 to 99 %. Of average precision: 91 to 99 %; with fewer than about 10 pictures
    of the class its value itself is some hundredths too high, as average precision is.

    A class without pictures, or with all of them, cannot be ranked: it is left out, and named in the notes.

    Args:
        predictions: Rows with label -1 are left out.
        groups: A name per row: rows of one group stand and fall together (Obuchowski's clustered DeLong).

    Raises:
        SourceError: No row has a label, or a probability is not a number within 0..1.

    Source:
        E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson (1988), Biometrics 44, 837-845. N. A. Obuchowski (1997),
        Biometrics 53, 567-578. J. A. Hanley, B. J. McNeil (1982), Radiology 143, 29-36. L. A. Jaeckel (1972), The
        infinitesimal jackknife, Bell Laboratories. Z. W. Birnbaum, O. M. Klose (1957), Ann. Math. Stat. 28, 933-945.
        F. E. Satterthwaite (1946), Biometrics Bulletin 2, 110-114 (degrees of freedom).
    """
    rows = labelled_rows(predictions)
    labels, columns = predictions.labels[rows], np.ascontiguousarray(predictions.probabilities[rows].T)
    units = units_of(len(labels), [groups[int(row)] for row in rows] if groups is not None else None)
    sample = _Sample(labels, units, by_group=groups is not None)
    support = np.bincount(labels, minlength=len(columns))
    able = np.flatnonzero((support > 0) & (support < len(labels)))
    found, total = [], np.zeros((2, len(labels)))
    for k in able:
        order = _Order.of(columns[k], labels == k)
        influences = order.influences()
        total += influences / len(able)
        found.append(_class(predictions.classes[k], order, influences, sample))
    return Ranking(
        tuple(found),
        _mean([one.auroc for one in found], total[0], sample, able),
        _mean([one.average_precision for one in found], total[1], sample, able),
        _notes(predictions, support),
    )


@dataclass(frozen=True)
class _Order:
    """Pictures in the order of falling probability of one class; pictures of equal probability share a place.

    Attributes:
        place: Of each picture, [N].
        true: Whether it is of the class, [N].
        hits: Pictures of the class up to each place, [T].
        alarms: Other pictures up to each place, [T].
    """

    place: np.ndarray
    true: np.ndarray
    hits: np.ndarray
    alarms: np.ndarray

    @classmethod
    def of(cls, probability: np.ndarray, true: np.ndarray) -> _Order:
        values, place = np.unique(-probability, return_inverse=True)
        hits, alarms = (np.bincount(place, weights=one, minlength=len(values)).cumsum() for one in (true, ~true))
        return cls(place.reshape(-1), true, hits, alarms)

    @cached_property
    def auroc(self) -> float:
        area = (np.diff(self.alarms, prepend=0) * (self.hits + np.append(0, self.hits[:-1]))).sum() / 2
        return float(area / (self.hits[-1] * self.alarms[-1]))

    @cached_property
    def average_precision(self) -> float:
        gained = np.diff(self.hits, prepend=0)
        return float((gained * self.hits / (self.hits + self.alarms)).sum() / self.hits[-1])

    def influences(self) -> np.ndarray:
        """Compute how much each picture moves the AUROC and the average precision, [2, N]; each row adds up to 0.

        The numbers of pictures of the class and of others are taken as given.
        """
        m, n = self.hits[-1], self.alarms[-1]
        of_true, of_other = self.hits / m, self.alarms / n
        below = 1 - (of_other + np.append(0, of_other[:-1])) / 2
        above = (of_true + np.append(0, of_true[:-1])) / 2
        auroc = np.where(self.true, (below[self.place] - self.auroc) / m, (above[self.place] - self.auroc) / n)

        precision, named = self.hits / (self.hits + self.alarms), self.hits + self.alarms
        share = np.diff(self.hits, prepend=0) / m
        # What one more picture of the class, or one more other, at or above a place does to the precisions from there on.
        gain, loss = share * self.alarms / named**2, share * self.hits / named**2
        by_true = precision - self.average_precision + m * (_from_here(gain) - (gain * of_true).sum())
        by_other = -n * (_from_here(loss) - (loss * of_other).sum())
        return np.stack([auroc, np.where(self.true, by_true[self.place] / m, by_other[self.place] / n)])


def _from_here(values: np.ndarray) -> np.ndarray:
    return values[::-1].cumsum()[::-1]


@dataclass(frozen=True)
class _Sample:
    """What was drawn: pictures of given classes, or groups of whatever they hold."""

    labels: np.ndarray
    units: np.ndarray
    by_group: bool

    def spread(self, influence: np.ndarray, strata: np.ndarray) -> tuple[float, float]:
        """Compute the variance of a score from the influence of each picture, and its degrees of freedom."""
        of_unit = np.bincount(self.units, weights=influence)
        inside = [np.arange(len(of_unit))] if self.by_group else strata_of(self.units, strata)
        parts = [(of_unit[one].var(ddof=1) * len(one), len(one) - 1) for one in inside if len(one) > 1]
        variance = sum(part for part, _ in parts)
        below = sum(part**2 / freedom for part, freedom in parts)
        return variance, variance**2 / below if below > 0 else np.inf

    def count(self, rows: np.ndarray) -> int:
        """Count the pictures, or the groups, in some rows."""
        return int(np.count_nonzero(np.bincount(self.units[rows])))


def _class(name: str, order: _Order, influences: np.ndarray, sample: _Sample) -> ClassRanking:
    true, N = order.true, len(order.true)
    m, n = sample.count(true), sample.count(~true)
    by_group = " by group" if sample.by_group else ""

    variance, freedom = sample.spread(influences[0], true)
    # One picture shows no spread among the pictures of its class.
    weight = PRIOR_PICTURES / (PRIOR_PICTURES + min(m, n)) if min(m, n) > 1 else 1.0
    error = ((1 - weight) * variance + weight * hanley_mcneil(order.auroc, m, n)) ** 0.5
    low, high = spread_ends(order.auroc, error, few=min(m, n), freedom=freedom + PRIOR_PICTURES)
    auroc = Estimate(order.auroc, low, high, N, f"wilson with the spread of DeLong{by_group}")

    variance, freedom = sample.spread(influences[1], true)
    error = variance**0.5 if m > 1 else 0.0
    low, high = spread_ends(order.average_precision, error, few=m, freedom=max(1.0, freedom))
    method = f"wilson with the spread of the infinitesimal jackknife{by_group}"
    precision = Estimate(order.average_precision, low, high, N, method)

    curves = roc_curve(order.hits, order.alarms), precision_recall_curve(order.hits, order.alarms)
    return ClassRanking(name, auroc, precision, *curves)


def hanley_mcneil(auroc: float, m: int, n: int) -> float:
    """Compute the variance of the AUROC of m pictures of a class and n others, from its value alone.

    Source:
        J. A. Hanley, B. J. McNeil (1982), Radiology 143, 29-36.
    """
    for_true, for_other = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    above = auroc * (1 - auroc) + (m - 1) * (for_true - auroc**2) + (n - 1) * (for_other - auroc**2)
    return max(0.0, above / (m * n))


def _mean(estimates: Sequence[Estimate], influence: np.ndarray, sample: _Sample, able: np.ndarray) -> Estimate:
    if not estimates:
        return NOTHING
    value = float(np.mean([one.value for one in estimates]))
    counts = np.array([sample.count(sample.labels == k) for k in able])
    variance, freedom = sample.spread(influence, sample.labels)
    # The most that pictures can vary which are alone in their class, and so show no spread.
    variance += (
        sum(one.value * (1 - one.value) for one, m in zip(estimates, counts, strict=True) if m == 1) / len(able) ** 2
    )
    # Where all is perfect: as many trials as the classes together, halved since each mistake tells on two of them.
    few = len(able) ** 2 / (1 / counts).sum() / 2
    low, high = spread_ends(value, variance**0.5, few=few, freedom=max(1.0, freedom))
    method = f"wilson with the spread of {'groups' if sample.by_group else 'pictures'}' influences"
    return Estimate(value, low, high, estimates[0].n, method)


def _notes(predictions: Predictions, support: np.ndarray) -> tuple[str, ...]:
    notes = []
    for names, why in (
        ([name for name, m in zip(predictions.classes, support, strict=True) if not m], "No picture"),
        ([name for name, m in zip(predictions.classes, support, strict=True) if m == support.sum()], "Only pictures"),
    ):
        if names:
            shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
            notes.append(f"{why} of {shown}: left out of the ranking.")
    return tuple(notes)
