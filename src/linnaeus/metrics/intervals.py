"""Intervals: Wilson's for proportions, and a bootstrap stratified by class and clustered by group for all else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from linnaeus.records import Estimate

Z_95 = 1.959963984540054


def wilson(right: int, n: int, *, z: float = Z_95) -> Estimate:
    """Estimate a proportion with an interval that holds near 0 and 1.

    Args:
        right: Successes, 0..n.
        n: Trials. Of none nothing is known: the value is 0 and the interval goes from 0 to 1.
        z: Half-width in standard deviations; 1.96 gives 95 %.

    Source:
        E. B. Wilson (1927), J. Am. Stat. Assoc. 22, 209-212; clamped so that the interval holds right/n.
    """
    if n == 0:
        return Estimate(0.0, 0.0, 1.0, 0, "no pictures")
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return Estimate(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)), n, "wilson")


def units_of(labels: np.ndarray, groups: Sequence[str] | None) -> np.ndarray:
    """Number what is drawn together: each picture, or each group; [N]."""
    if groups is None:
        return np.arange(len(labels))
    return np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1].reshape(-1)


def resample_weights(units: np.ndarray, labels: np.ndarray, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Yield how often each picture is drawn, [r, N], in pieces of a few million numbers.

    Units are drawn within their stratum, which is the class of most of a unit's pictures.
    """
    stratum = _stratum(units, labels)
    order = np.argsort(stratum, kind="stable")
    _, starts, counts = np.unique(stratum[order], return_index=True, return_counts=True)
    first, size = np.repeat(starts, counts), np.repeat(counts, counts)
    U, rng = len(stratum), np.random.default_rng(seed)
    step = max(1, 2_000_000 // len(units))
    for begin in range(0, resamples, step):
        r = min(step, resamples - begin)
        drawn = order[(first + rng.random((r, U)) * size).astype(np.int64)]
        flat = (drawn + np.arange(r)[:, None] * U).ravel()
        yield np.bincount(flat, minlength=r * U).reshape(r, U)[:, units].astype(np.float64)


def _stratum(units: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if len(units) == units.max() + 1:
        return labels
    pairs, counts = np.unique(np.stack([units, labels]), axis=1, return_counts=True)
    best = np.lexsort((-counts, pairs[0]))
    _, first = np.unique(pairs[0][best], return_index=True)
    return pairs[1][best][first]


def percentile(value: float, resampled: np.ndarray, n: int, limits: tuple[float, float]) -> Estimate:
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Estimate(value, float(min(low, value)), float(max(high, value)), n, "bootstrap")


def basic_or_percentile(value: float, resampled: np.ndarray, n: int, limits: tuple[float, float]) -> Estimate:
    """Span both intervals, since the ECE is biased.

    In four simulations (N = 60 or 250) the percentile interval held the truth in 17 to 93 % of 300 trials, the basic
    one in 81 to 93 %, both together in 89 to 95 %.
    """
    ends = np.quantile(resampled, (0.025, 0.975))
    both = np.array([*ends, *(2 * value - ends), value]).clip(*limits)
    return Estimate(value, float(both.min()), float(both.max()), n, "basic and percentile bootstrap")


def unanimous(estimate: Estimate, accuracy: Estimate) -> Estimate:
    """Borrow the accuracy's open end, since answers that are all right, or all wrong, have no spread to resample."""
    low = min(estimate.low, accuracy.low) if accuracy.value == 1 else estimate.low
    high = max(estimate.high, accuracy.high) if accuracy.value == 0 else estimate.high
    return Estimate(estimate.value, low, high, estimate.n, "wilson of the accuracy")


def widen(share: Estimate, resampled: np.ndarray) -> Estimate:
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Estimate(
        share.value, float(min(low, share.low)), float(max(high, share.high)), share.n, "clustered bootstrap"
    )
