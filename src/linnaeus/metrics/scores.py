"""Score predictions: one number for each question, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linnaeus.errors import SourceError
from linnaeus.metrics.calibration import equal_mass
from linnaeus.metrics.intervals import (
    basic_or_percentile,
    percentile,
    resample_weights,
    unanimous,
    units_of,
    widen,
    wilson,
)
from linnaeus.records import ClassScores, Estimate, Predictions, Scores

ECE_BINS = 15
SMALLEST = float(np.finfo(np.float64).eps)


def score(
    predictions: Predictions, *, seed: int = 0, resamples: int = 1000, groups: Sequence[str] | None = None
) -> Scores:
    """Score predictions, each score with a 95 % interval.

    Proportions (accuracy, precision, recall, top 5) have Wilson's interval; F1 has it by way of the proportion
    F* = TP / (TP + FP + FN), since F1 = 2 F* / (1 + F*). All else is resampled by a percentile bootstrap, stratified by
    class. Answers that are all right, or all wrong, show no spread: there the end comes from the accuracy's interval.

    * balanced_accuracy: mean recall of the classes that have pictures.
    * weighted_accuracy: recall weighted by support. By its definition it equals the accuracy (Schuller et al. 2009
      call it weighted average recall); it is named because people look for it.
    * top5_accuracy: only of more than five classes; of equal probabilities that of the lower class number is first.
    * log_loss: mean -ln p(true class), p at least 2.2e-16. brier: mean squared distance, 0..2.
    * ece: mean distance between confidence and accuracy over 15 bins of equally many pictures. It is biased upwards,
      and resampling adds to that: its interval spans the basic and the percentile bootstrap.
    * mcc: Matthews' correlation coefficient for K classes, -1..1.

    Args:
        predictions: Rows with label -1 are left out, and counted in the notes.
        seed: Of the resampling: the same seed gives the same intervals.
        resamples: Number of bootstrap samples.
        groups: A name per row: rows of one group are drawn together, and no interval is narrower than without groups.

    Raises:
        SourceError: No row has a label.

    Source:
        B. Efron (1979), Ann. Stat. 7, 1-26. D. Hand, P. Christen, N. Kirielle (2021), Mach. Learn. 110, 451-456 (F*).
        J. Gorodkin (2004), Comput. Biol. Chem. 28, 367-374 (MCC). B. Schuller et al. (2009), Interspeech.
    """
    rows = np.flatnonzero(predictions.labels >= 0)
    # In the order of the ids, so that the same pictures in another order get the same intervals.
    rows = rows[np.argsort(np.asarray(predictions.ids, dtype=str)[rows], kind="stable")]
    if not len(rows):
        raise SourceError(
            "scores need pictures whose class is known.", got="no known label", fix="give labelled pictures."
        )
    table = _Table.of(predictions, rows)
    units = units_of(table.labels, [groups[int(row)] for row in rows] if groups is not None else None)
    values = _measure(_sums(table, np.ones((1, len(rows)))))
    chunks = [_measure(_sums(table, weights)) for weights in resample_weights(units, table.labels, seed, resamples)]
    spread = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in values}
    clustered = groups is not None
    confusion = np.zeros((table.K, table.K), dtype=np.int64)
    np.add.at(confusion, (table.labels, table.predicted), 1)
    return Scores(
        overall=_overall(table, values, spread, clustered),
        per_class=_per_class(predictions.classes, confusion, spread if clustered else None),
        confusion=confusion,
        notes=_notes(predictions, confusion),
    )


@dataclass(frozen=True)
class _Table:
    """One row per labelled picture, with everything that the sums need; `gap` is confidence - right."""

    labels: np.ndarray
    predicted: np.ndarray
    right: np.ndarray
    loss: np.ndarray
    brier: np.ndarray
    gap: np.ndarray
    bin: np.ndarray
    in_top5: np.ndarray
    K: int

    @classmethod
    def of(cls, predictions: Predictions, rows: np.ndarray) -> _Table:
        p_NK, labels = predictions.probabilities[rows], predictions.labels[rows]
        predicted = p_NK.argmax(axis=1)
        right = predicted == labels
        p_true = np.take_along_axis(p_NK, labels[:, None], axis=1)
        confidence = p_NK.max(axis=1)
        earlier = np.arange(p_NK.shape[1]) < labels[:, None]
        rank = (p_NK > p_true).sum(axis=1) + ((p_NK == p_true) & earlier).sum(axis=1)
        return cls(
            labels=labels,
            predicted=predicted,
            right=right,
            loss=-np.log(np.clip(p_true[:, 0], SMALLEST, 1.0)),
            brier=np.square(p_NK).sum(axis=1) - 2 * p_true[:, 0] + 1,
            gap=confidence - right,
            bin=equal_mass(confidence, ECE_BINS),
            in_top5=rank < 5,
            K=p_NK.shape[1],
        )


@dataclass(frozen=True)
class _Sums:
    """Weighted sums over pictures, one row per resample: [R] or, by class, [R, K]; `bin_gap` is [R, bins]."""

    n: np.ndarray
    support: np.ndarray
    predicted: np.ndarray
    true_positive: np.ndarray
    loss: np.ndarray
    brier: np.ndarray
    bin_gap: np.ndarray
    top5: np.ndarray


def _sums(table: _Table, weights_RN: np.ndarray) -> _Sums:
    return _Sums(
        n=weights_RN.sum(axis=1),
        support=_sum_by(weights_RN, table.labels, table.K),
        predicted=_sum_by(weights_RN, table.predicted, table.K),
        true_positive=_sum_by(weights_RN * table.right, table.labels, table.K),
        loss=weights_RN @ table.loss,
        brier=weights_RN @ table.brier,
        bin_gap=_sum_by(weights_RN * table.gap, table.bin, ECE_BINS),
        top5=weights_RN @ table.in_top5,
    )


def _sum_by(values_RN: np.ndarray, key_N: np.ndarray, size: int) -> np.ndarray:
    """Add up the columns that share a key: [R, size]; sorting first makes the cost independent of `size`."""
    order = np.argsort(key_N, kind="stable")
    keys, starts = np.unique(key_N[order], return_index=True)
    total = np.zeros((len(values_RN), size))
    total[:, keys] = np.add.reduceat(values_RN[:, order], starts, axis=1)
    return total


def _measure(sums: _Sums) -> dict[str, np.ndarray]:
    """Compute every score for each resample: [R], and [R, K] for precision, recall and f1."""
    n, support, predicted, hits = sums.n, sums.support, sums.predicted, sums.true_positive
    present = support > 0
    classes = present.sum(axis=1)
    recall, precision = _ratio(hits, support), _ratio(hits, predicted)
    f1 = _ratio(2 * hits, support + predicted)
    right = hits.sum(axis=1)
    spread = np.sqrt((n**2 - (predicted**2).sum(axis=1)) * (n**2 - (support**2).sum(axis=1)))
    return {
        "accuracy": right / n,
        "balanced_accuracy": recall.sum(axis=1) / classes,
        "weighted_accuracy": right / n,
        "top5_accuracy": sums.top5 / n,
        "macro_f1": (f1 * present).sum(axis=1) / classes,
        "weighted_f1": (f1 * support).sum(axis=1) / n,
        "mcc": _ratio(right * n - (predicted * support).sum(axis=1), spread),
        "log_loss": sums.loss / n,
        "brier": sums.brier / n,
        "ece": np.abs(sums.bin_gap).sum(axis=1) / n,
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _overall(
    table: _Table, values: dict[str, np.ndarray], spread: dict[str, np.ndarray], clustered: bool
) -> dict[str, Estimate]:
    n = len(table.labels)
    right = int(table.right.sum())
    accuracy = wilson(right, n)
    shares = {"accuracy": right, "weighted_accuracy": right, "top5_accuracy": int(table.in_top5.sum())}
    limits = {"mcc": (-1.0, 1.0), "log_loss": (0.0, np.inf), "brier": (0.0, 2.0)}
    found = {}
    for name, value in values.items():
        if value.ndim > 1 or (name == "top5_accuracy" and table.K <= 5):
            continue
        if name in shares:
            share = wilson(shares[name], n)
            found[name] = widen(share, spread[name]) if clustered else share
            continue
        interval = basic_or_percentile if name == "ece" else percentile
        estimate = interval(float(value[0]), spread[name], n, limits.get(name, (0.0, 1.0)))
        of_answers = name in ("balanced_accuracy", "macro_f1", "weighted_f1", "mcc")
        found[name] = unanimous(estimate, accuracy) if of_answers and right in (0, n) else estimate
    return found


def _per_class(
    classes: Sequence[str], confusion: np.ndarray, spread: dict[str, np.ndarray] | None
) -> tuple[ClassScores, ...]:
    hits, support, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)

    def at_least(name: str, k: int, estimate: Estimate) -> Estimate:
        return widen(estimate, spread[name][:, k]) if spread is not None and estimate.n else estimate

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
