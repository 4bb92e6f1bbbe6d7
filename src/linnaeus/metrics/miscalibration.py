"""Miscalibration: how far probabilities are from frequencies, each distance with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from linnaeus.errors import SourceError
from linnaeus.metrics.calibration import Calibration, equal_mass, reliability
from linnaeus.metrics.intervals import NUMBERS_AT_ONCE, Z_95, resample_weights, units_of
from linnaeus.metrics.scores import score
from linnaeus.records import Estimate, Predictions

BINS = 15
PICTURES_PER_BIN = 10
"""The variance of a bin is estimated from its pictures: small sets have fewer bins."""
CLASSWISE_MULTIPLICATIONS = 500_000_000
"""About a second, since every resample of the classwise error looks at all N x K probabilities."""
FEWEST_CLASSWISE, MOST_CLASSWISE = 200, 2000


def calibration_document(
    before: Predictions,
    after: Predictions,
    calibration: Calibration,
    *,
    part: str = "test",
    groups: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Write what calibration did to pictures that it was not fitted on: the document "calibration".

    Args:
        before: Plain softmax of the logits.
        after: The same pictures, calibrated.
        calibration: What was fitted.
        part: Where the pictures are from.
        groups: A name per row: see `score`.

    Raises:
        SourceError: No picture has a label.
    """
    return {
        "chosen": calibration.kind,
        "tried": dict(calibration.tried),
        "before": {name: asdict(one) for name, one in calibration_errors(before, groups=groups).items()},
        "after": {name: asdict(one) for name, one in calibration_errors(after, groups=groups).items()},
        "bins_before": [asdict(one) for one in reliability(before)],
        "bins_after": [asdict(one) for one in reliability(after)],
        "part": part,
    }


def calibration_errors(
    predictions: Predictions, *, seed: int = 0, groups: Sequence[str] | None = None
) -> dict[str, Estimate]:
    """Measure how far the probabilities are from the frequencies, each distance with a 95 % interval.

    * log_loss, ece: as in `score`.
    * ece_debiased: the root mean square distance between confidence and accuracy, see `debiased_error`.
    * classwise_ece: the ECE of "is it class k?", averaged over the K classes; 15 bins of equally many pictures each.

    Args:
        predictions: Rows with label -1 are left out.
        seed: Of the bootstrap.
        groups: A name per row: rows of one group are drawn together.

    Raises:
        SourceError: No row has a label.

    Source:
        M. P. Naeini, G. Cooper, M. Hauskrecht (2015), AAAI (ECE). M. Kull et al. (2019), Beyond temperature scaling,
        NeurIPS, arXiv:1910.12656 (classwise). R. Roelofs et al. (2022), AISTATS, arXiv:2012.08668: bins of equally many
        pictures have the lower bias.
    """
    rows = np.flatnonzero(predictions.labels >= 0)
    if not len(rows):
        raise SourceError(
            "calibration is measured on pictures whose class is known.",
            got="no known label",
            fix="give labelled pictures.",
        )
    rows = rows[np.argsort(np.asarray(predictions.ids, dtype=str)[rows], kind="stable")]
    p_NK, labels = predictions.probabilities[rows], predictions.labels[rows]
    units = units_of(len(labels), [groups[int(row)] for row in rows] if groups is not None else None)
    confidence = p_NK.max(axis=1)
    scores = score(predictions, seed=seed, groups=groups).overall
    return {
        "log_loss": scores["log_loss"],
        "ece": scores["ece"],
        "ece_debiased": debiased_error(confidence - (p_NK.argmax(axis=1) == labels), confidence, units),
        "classwise_ece": _classwise(p_NK, labels, units, seed),
    }


def debiased_error(gap: np.ndarray, confidence: np.ndarray, units: np.ndarray | None = None) -> Estimate:
    """Estimate the root mean square calibration error, corrected for the noise of the bins.

    The plain ECE of a perfectly calibrated model is above 0, since the accuracy of a bin is itself an estimate. Here the
    variance of each bin's mean is taken off its squared distance, which makes the mean square unbiased; below 0 it counts
    as 0. As a root mean square it is not smaller than the mean distance that the ECE estimates.

    The interval inverts the normal approximation of the mean square, whose variance A + B t grows with the true value t,
    as Wilson's does for a proportion. In 30 simulations of 20 to 3,000 pictures it held the truth in 87 to 100 % of 400
    trials each, in the median 95.5 %.

    Args:
        gap: Confidence less right (1) or wrong (0), [N].
        confidence: [N].
        units: Number of each picture's group, [N]; without it each picture is its own.

    Source:
        C. A. T. Ferro, T. E. Fricker (2012), Q. J. R. Meteorol. Soc. 138, 1954-1960; A. Kumar, P. Liang, T. Ma (2019),
        Verified Uncertainty Calibration, NeurIPS, arXiv:1909.10155 (debiasing); Y. Sun et al. (2024), arXiv:2408.08998
        (asymptotics; the residual's variance as here). The inversion is ours.
    """
    N = len(gap)
    units = np.arange(N) if units is None else units
    bins = equal_mass(confidence, max(1, min(BINS, N // PICTURES_PER_BIN)))
    mean, variance, weight = _bin_means(gap, bins, units)
    if not len(mean):
        return Estimate(0.0, 0.0, 1.0, N, "too few pictures")
    true = mean**2 - variance
    square = float(weight @ true)
    flat = 2.0 * float(weight**2 @ variance**2)
    likely = np.maximum(true, 0.0) if (true > 0).any() else np.ones(len(true))
    slope = 4.0 * float(weight**2 @ (variance * likely)) / float(weight @ likely)
    middle = square + Z_95**2 * slope / 2
    half = Z_95 * max(flat + slope * square + (Z_95 * slope) ** 2 / 4, 0.0) ** 0.5
    value, low, high = (max(0.0, one) ** 0.5 for one in (square, middle - half, middle + half))
    # A few pictures that are all right have no spread within their bins, which says nothing of the spread at large.
    blind = 1.0 - 0.05 ** (1 / N)
    return Estimate(value, min(low, value), min(1.0, max(high, value, blind)), N, "normal, inverted")


def _bin_means(gap: np.ndarray, bins: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean gap of each bin, the variance of that mean, and the bin's share; bins of a single unit have no variance."""
    pair, which = np.unique(np.stack([bins, units]), axis=1, return_inverse=True)
    which = which.reshape(-1)
    unit_sum, unit_size = np.bincount(which, weights=gap), np.bincount(which).astype(np.float64)
    bin_of = np.unique(pair[0], return_inverse=True)[1].reshape(-1)
    size, count = np.bincount(bin_of, weights=unit_size), np.bincount(bin_of)
    mean = np.bincount(bin_of, weights=unit_sum) / size
    left = np.bincount(bin_of, weights=(unit_sum - unit_size * mean[bin_of]) ** 2)
    usable = count > 1
    variance = left[usable] / size[usable] ** 2 * count[usable] / (count[usable] - 1)
    return mean[usable], variance, size[usable] / size[usable].sum()


def _classwise(p_NK: np.ndarray, labels: np.ndarray, units: np.ndarray, seed: int) -> Estimate:
    from scipy.sparse import csr_array

    N, K = p_NK.shape
    resamples = int(np.clip(CLASSWISE_MULTIPLICATIONS // (N * K), FEWEST_CLASSWISE, MOST_CLASSWISE))
    step, value, spread = max(1, NUMBERS_AT_ONCE // N), 0.0, np.zeros(resamples)
    for first in range(0, K, step):
        p_Nk = p_NK[:, first : first + step]
        k = p_Nk.shape[1]
        place = np.stack([equal_mass(one, BINS) for one in p_Nk.T], axis=1) + np.arange(k) * BINS
        gap = p_Nk - (labels[:, None] == first + np.arange(k))
        by_bin = csr_array((gap.ravel(), (place.ravel(), np.repeat(np.arange(N), k))), shape=(k * BINS, N))
        value += float(np.abs(by_bin @ np.ones(N)).sum()) / (N * K)
        # Drawn anew for each piece, and alike.
        drawn = resample_weights(units, labels, seed, resamples)
        found = [np.abs(by_bin @ np.ascontiguousarray(weights.T)).sum(axis=0) for weights in drawn]
        spread += np.concatenate(found) / (N * K)
    ends = np.quantile(spread, (0.025, 0.975))
    # Biased upwards as the ECE is, hence the span of the basic and the percentile interval, as there.
    both = np.array([*ends, *(2 * value - ends), value]).clip(0.0, 1.0)
    method = f"basic and percentile bootstrap, {resamples:,} resamples"
    return Estimate(value, float(both.min()), float(both.max()), N, method)
