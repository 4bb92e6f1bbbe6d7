"""Score predictions: one number for each question, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnaeus.errors import SettingsError, SourceError
from linnaeus.metrics.calibration import equal_mass
from linnaeus.metrics.intervals import (
    RESAMPLES,
    Bootstrap,
    basic_or_percentile,
    over_classes,
    resample_sums,
    resamples_for,
    strata_of,
    units_of,
    widest,
    wilson,
)
from linnaeus.records import ClassScores, Estimate, Predictions, Scores

ECE_BINS = 15
SMALLEST = float(np.finfo(np.float64).eps)
LIMITS = {"log_loss": (0.0, -float(np.log(SMALLEST))), "brier": (0.0, 2.0)}
"""Where a score of the probabilities lies."""
MEANS = {"balanced_accuracy": "recall", "macro_precision": "precision", "macro_f1": "f1"}
"""Means over the classes, and of what."""


def score(
    predictions: Predictions,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    groups: Sequence[str] | None = None,
    top: int | Sequence[int] = 5,
) -> Scores:
    """Score predictions, each score with a 95 % interval.

    Proportions (accuracy, micro F1, top k, precision and recall of a class) have Wilson's interval; F1 of a class has
    it by way of the proportion F* = TP / (TP + FP + FN), since F1 = 2 F* / (1 + F*). All else has the spread of a
    bootstrap, stratified by class, in Wilson's interval (`Bootstrap.wilson`): it holds near perfection too, where
    resamples hardly vary. That of a mean over classes is at least as wide as the intervals of the classes make it (`over_classes`).

    * balanced_accuracy: mean recall of the classes that have pictures (macro recall).
    * weighted_accuracy: recall weighted by support. By its definition it equals the accuracy (Schuller et al. 2009
      call it weighted average recall); it is named because people look for it. So does micro_f1.
    * top5_accuracy: only of more than five classes; of equal probabilities that of the lower class number is first.
    * macro_precision, macro_f1: means over the classes that have pictures; weighted_...: weighted by support.
    * mcc: Matthews' correlation coefficient for K classes, -1..1; 0 where only one class is true or predicted.
    * cohen_kappa: agreement beyond chance, -1..1; 0 where only one class is both true and predicted.
    * log_loss: mean -ln p(true class), p at least 2.2e-16. brier: mean squared distance, 0..2.
    * ece: mean distance between confidence and accuracy over 15 bins of equally many pictures. It is biased upwards,
      and resampling adds to that: its interval spans the basic and the percentile bootstrap.

    Args:
        predictions: Rows with label -1 are left out, and counted in the notes.
        seed: Of the resampling: the same seed gives the same intervals, in whatever order the pictures come.
        resamples: Number of bootstrap samples; beyond 200,000 pictures fewer are taken, as the estimate's method says.
        groups: A name per row: rows of one group are drawn together; no proportion's interval gets narrower by that.
        top: The k of the top-k accuracies, one or several: each k becomes "top{k}_accuracy".

    Raises:
        SourceError: No row has a label, or a probability is not a number within 0..1.
        SettingsError: A k is below 1.

    Source:
        B. Efron (1979), Ann. Stat. 7, 1-26. D. Hand, P. Christen, N. Kirielle (2021), Mach. Learn. 110, 451-456 (F*).
        J. Gorodkin (2004), Comput. Biol. Chem. 28, 367-374 (MCC). J. Cohen (1960), Educ. Psychol. Meas. 20, 37-46.
        G. W. Brier (1950), Mon. Weather Rev. 78, 1-3. B. Schuller et al. (2009), Interspeech.
    """
    rows = labelled_rows(predictions)
    table = _Table.of(predictions, rows, _tops(top, len(predictions.classes)))
    clustered = groups is not None
    units = units_of(len(rows), [groups[int(row)] for row in rows] if groups is not None else None)
    columns = table.columns()
    values = table.measure(np.asarray(columns.sum(axis=0))[:, None])
    pieces = resample_sums(columns, units, table.labels, seed, resamples_for(units, resamples))
    found = [table.measure(piece.astype(np.float64), of_classes=clustered) for piece in pieces]
    spread = {name: np.concatenate([one[name] for one in found], axis=-1) for name in found[0]}
    confusion = np.zeros((table.K, table.K), dtype=np.int32)
    np.add.at(confusion, (table.labels, table.predicted), 1)
    strata = strata_of(units, table.labels)
    drawn = sum(len(one) for one in strata)
    overall = _overall(table, values, spread, Bootstrap(drawn, drawn - len(strata), clustered))
    per_class = _per_class(predictions.classes, confusion, _Groups(table, units, spread) if clustered else None)
    for name, of_class in MEANS.items():
        overall[name] = over_classes(overall[name], [getattr(one, of_class) for one in per_class if one.support])
    return Scores(
        overall=overall,
        per_class=per_class,
        confusion=confusion,
        notes=_notes(predictions, confusion),
    )


def labelled_rows(predictions: Predictions) -> np.ndarray:
    """List the rows that can be scored, in the order of the ids, so that the order of pictures changes nothing.

    Raises:
        SourceError: No row has a label, or a probability is not a number within 0..1.
    """
    rows = np.flatnonzero(predictions.labels >= 0)
    if not len(rows):
        raise SourceError(
            "scores need pictures whose class is known.", got="no known label", fix="give labelled pictures."
        )
    p = predictions.probabilities
    odd = np.flatnonzero(~((p >= 0) & (p <= 1 + 1e-6)).all(axis=1))
    if len(odd):
        wrong = p[odd[0]][~((p[odd[0]] >= 0) & (p[odd[0]] <= 1 + 1e-6))][0]
        raise SourceError(
            f"the probabilities of {predictions.ids[odd[0]]} should be numbers from 0 to 1.",
            got=f"{wrong}, and {len(odd)} such pictures",
            fix="give probabilities after the softmax; NaN means that the model broke.",
        )
    return rows[np.argsort(np.asarray(predictions.ids, dtype=str)[rows], kind="stable")]


def _tops(top: int | Sequence[int], K: int) -> tuple[int, ...]:
    """Keep the k that ask something: of K classes, the right one is always among the first K."""
    wanted = (top,) if isinstance(top, int) else tuple(top)
    if any(k < 1 for k in wanted):
        raise SettingsError("top should list numbers of 1 or more.", got=f"{list(wanted)}", fix="take top=5.")
    return tuple(sorted({k for k in wanted if k < K}))


@dataclass(frozen=True)
class _Table:
    """One row per labelled picture, with everything that is summed; `gap` is confidence - right.

    `rank` counts the classes that come before the true one.
    """

    labels: np.ndarray
    predicted: np.ndarray
    loss: np.ndarray
    brier: np.ndarray
    gap: np.ndarray
    bin: np.ndarray
    rank: np.ndarray
    K: int
    tops: tuple[int, ...]

    @classmethod
    def of(cls, predictions: Predictions, rows: np.ndarray, tops: tuple[int, ...]) -> _Table:
        p_NK, labels = predictions.probabilities[rows], predictions.labels[rows]
        predicted = p_NK.argmax(axis=1)
        p_true = np.take_along_axis(p_NK, labels[:, None], axis=1)
        confidence = p_NK.max(axis=1)
        earlier = np.arange(p_NK.shape[1]) < labels[:, None]
        return cls(
            labels=labels,
            predicted=predicted,
            loss=-np.log(np.clip(p_true[:, 0], SMALLEST, 1.0)),
            brier=np.square(p_NK).sum(axis=1) - 2 * p_true[:, 0] + 1,
            gap=confidence - (predicted == labels),
            bin=equal_mass(confidence, ECE_BINS),
            rank=(p_NK > p_true).sum(axis=1) + ((p_NK == p_true) & earlier).sum(axis=1),
            K=p_NK.shape[1],
            tops=tops,
        )

    def columns(self) -> Any:
        """Lay out what is summed, sparse [N, 3 K + 2 + bins + tops]: by class true, predicted and right; then the rest."""
        from scipy.sparse import csr_array

        K, rows = self.K, np.arange(len(self.labels))
        hits, one = np.flatnonzero(self.predicted == self.labels), np.ones(len(rows))
        parts = [
            (rows, self.labels, one),
            (rows, K + self.predicted, one),
            (hits, 2 * K + self.labels[hits], one[hits]),
            (rows, np.full(len(rows), 3 * K), self.loss),
            (rows, np.full(len(rows), 3 * K + 1), self.brier),
            (rows, 3 * K + 2 + self.bin, self.gap),
        ]
        for place, k in enumerate(self.tops, start=3 * K + 2 + ECE_BINS):
            inside = np.flatnonzero(self.rank < k)
            parts.append((inside, np.full(len(inside), place), one[inside]))
        where, column, values = (np.concatenate(one) for one in zip(*parts, strict=True))
        return csr_array((values, (where, column)), shape=(len(rows), 3 * K + 2 + ECE_BINS + len(self.tops)))

    def measure(self, sums: np.ndarray, *, of_classes: bool = False) -> dict[str, np.ndarray]:
        """Compute every score from the sums of `columns`, [M, R]: each [R], and [K, R] for those of the classes."""
        K = self.K
        support, predicted, hits = sums[:K], sums[K : 2 * K], sums[2 * K : 3 * K]
        bin_gap, tops = sums[3 * K + 2 : 3 * K + 2 + ECE_BINS], sums[3 * K + 2 + ECE_BINS :]
        n, right = support.sum(axis=0), hits.sum(axis=0)
        present = support > 0
        classes = present.sum(axis=0)
        recall, precision, f1 = (
            _ratio(hits, support),
            _ratio(hits, predicted),
            _ratio(2 * hits, support + predicted),
        )
        by_chance = (predicted * support).sum(axis=0)
        spread = np.sqrt((n**2 - (predicted**2).sum(axis=0)).clip(0) * (n**2 - (support**2).sum(axis=0)).clip(0))
        return {
            "accuracy": right / n,
            "balanced_accuracy": recall.sum(axis=0) / classes,
            "weighted_accuracy": right / n,
            **{f"top{k}_accuracy": one / n for k, one in zip(self.tops, tops, strict=True)},
            "macro_precision": (precision * present).sum(axis=0) / classes,
            "weighted_precision": (precision * support).sum(axis=0) / n,
            "macro_f1": (f1 * present).sum(axis=0) / classes,
            "micro_f1": right / n,
            "weighted_f1": (f1 * support).sum(axis=0) / n,
            "mcc": _ratio(right * n - by_chance, spread),
            "cohen_kappa": _ratio(right * n - by_chance, n**2 - by_chance),
            "log_loss": sums[3 * K] / n,
            "brier": sums[3 * K + 1] / n,
            "ece": np.abs(bin_gap).sum(axis=0) / n,
            **({"precision": precision, "recall": recall, "f1": f1} if of_classes else {}),
        }


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _overall(
    table: _Table, values: dict[str, np.ndarray], spread: dict[str, np.ndarray], bootstrap: Bootstrap
) -> dict[str, Estimate]:
    n, classes = len(table.labels), len(np.unique(table.labels))
    shares = dict.fromkeys(("accuracy", "weighted_accuracy", "micro_f1"), int((table.rank < 1).sum()))
    shares |= {f"top{k}_accuracy": int((table.rank < k).sum()) for k in table.tops}
    found = {}
    for name, (value,) in ((name, value.tolist()) for name, value in values.items()):
        if name in shares:
            alone = wilson(shares[name], n)
            found[name] = widest(alone, bootstrap.wilson(value, spread[name], n)) if bootstrap.by_group else alone
        elif name == "ece":
            found[name] = basic_or_percentile(value, spread[name], n, (0.0, 1.0))
        elif name in ("mcc", "cohen_kappa"):
            found[name] = bootstrap.wilson(value, spread[name], n, _beyond_chance(value, classes))
        else:
            limits, share = LIMITS.get(name, (0.0, 1.0)), name not in LIMITS
            found[name] = bootstrap.wilson(value, spread[name], n, limits, share=share)
    return found


def _beyond_chance(value: float, classes: int) -> tuple[float, float]:
    """Give the ends between which chance-corrected agreement behaves like the accuracy between 0 and 1."""
    least = -1 / (classes - 1) if classes > 1 else -1.0
    return (least if value >= least else -1.0), 1.0


@dataclass(frozen=True)
class _Groups:
    """Widen the intervals of classes by what a bootstrap of groups showed."""

    table: _Table
    units: np.ndarray
    spread: dict[str, np.ndarray]

    def widen(self, name: str, k: int, estimate: Estimate) -> Estimate:
        """Span the interval as if pictures were alone, and that of the groups that have to do with class k."""
        if not estimate.n:
            return estimate
        true, named = self.table.labels == k, self.table.predicted == k
        about = {"recall": true, "precision": named, "f1": true | named}[name]
        count = int(np.count_nonzero(np.bincount(self.units[about])))
        bootstrap = Bootstrap(count, count - 1, by_group=True)
        return widest(estimate, bootstrap.wilson(estimate.value, self.spread[name][k], estimate.n))


def _per_class(classes: Sequence[str], confusion: np.ndarray, groups: _Groups | None) -> tuple[ClassScores, ...]:
    hits, support, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)

    def at_least(name: str, k: int, estimate: Estimate) -> Estimate:
        return groups.widen(name, k, estimate) if groups else estimate

    return tuple(
        ClassScores(
            name=name,
            precision=at_least("precision", k, wilson(int(hits[k]), int(predicted[k]))),
            recall=at_least("recall", k, wilson(int(hits[k]), int(support[k]))),
            f1=at_least("f1", k, _f1(int(hits[k]), int(support[k] + predicted[k] - hits[k]))),
            support=int(support[k]),
        )
        for k, name in enumerate(classes)
    )


def _f1(hits: int, union: int) -> Estimate:
    share = wilson(hits, union)
    value, low, high = (2 * star / (1 + star) for star in (share.value, share.low, share.high))
    return Estimate(value, low, high, union, "wilson of F*" if union else share.method)


def _notes(predictions: Predictions, confusion: np.ndarray) -> tuple[str, ...]:
    notes = []
    unlabelled = int((predictions.labels < 0).sum())
    if unlabelled:
        notes.append(f"{unlabelled} pictures have no known label and are left out of the scores.")
    missing = [name for name, count in zip(predictions.classes, confusion.sum(axis=1), strict=True) if not count]
    if missing:
        shown = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        notes.append(f"No picture of {shown} to score on: left out of balanced accuracy and macro F1.")
    return tuple(notes)
