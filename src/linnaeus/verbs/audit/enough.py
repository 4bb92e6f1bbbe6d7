"""Are there enough pictures? A learning curve of a head on frozen features, and what twice the data would bring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from linnaeus.learn.components import components
from linnaeus.learn.crossfit import folds_of_keys, judgeable
from linnaeus.learn.discriminant import discriminant
from linnaeus.metrics.intervals import Bootstrap, resample_sums, units_of
from linnaeus.records import Estimate

SHARES = tuple(round(0.1 * tenth, 1) for tenth in range(1, 11))
DRAWS = 3
TWO_DRAWS_FROM = 20_000
"""From so many pictures on, draws differ little."""
SHRINKAGE = (0.1, 0.2, 0.4, 0.6, 0.8)
RESAMPLES = 1000
EXPONENTS = np.linspace(0.1, 1.5, 57)
DIMENSIONS = 256
FARTHEST = 100
"""No answer is given about more than so many times the data."""
FEWEST = 40


@dataclass(frozen=True)
class Curve:
    """Accuracy by number of training pictures.

    Attributes:
        sizes: Training pictures, float [S].
        right: How often each picture was classified rightly when it was held out, 0..1, [N, S].
        scatter: Variance of the mean accuracy that comes from drawing the training pictures, [S].
    """

    sizes: np.ndarray
    right: np.ndarray
    scatter: np.ndarray


def enough(features: np.ndarray, labels: np.ndarray, keys: Sequence[str], *, seed: int = 0) -> dict[str, Any] | None:
    """Measure a learning curve, extrapolate it by a power law, and say what twice the data would bring.

    Args:
        features: Of each picture, [N, D]; rows with NaN are left out.
        labels: Class numbers, int64 [N]; -1 is left out.
        keys: The same for copies of one picture and for pictures of one group, [N].
        seed: Of draws and resamples.

    Returns:
        {"points": [{"share", "n", "accuracy": {E}}], "twice": {E}, "half the error needs": n or None, "words"}; None with
        fewer than 40 pictures, or fewer than two classes.

    Source:
        error = floor + a n^-b: C. Cortes et al. (1993), "Learning curves: asymptotic values and rate of convergence",
        NIPS 6; J. Hestness et al. (2017), arXiv:1712.00409.
    """
    folds = folds_of_keys(keys)
    rows = judgeable(features, labels, folds)
    if len(rows) < FEWEST or len(np.unique(labels[rows])) < 2:
        return None
    kept = [keys[row] for row in rows.tolist()]
    curve = learning_curve(components(features, DIMENSIONS, rows), labels[rows], folds[rows], seed=seed)
    points, resampled = _accuracies(curve, labels[rows], kept, seed)
    return _document(curve, points, resampled, len(rows))


def learning_curve(features: np.ndarray, labels: np.ndarray, folds: np.ndarray, *, seed: int = 0) -> Curve:
    """Train a discriminant on growing shares of all folds but one, and test it on that one.

    Args:
        features: Components, float32 [N, D].
        labels: Class numbers, [N].
        folds: [N].
        seed: Of the draws.
    """
    numbers = np.unique(labels, return_inverse=True)[1]
    draws = 2 if len(labels) >= TWO_DRAWS_FROM else DRAWS
    shrinkage: dict[int, float] = {}
    right = np.zeros((draws, len(labels), len(SHARES)), np.float32)
    sizes = np.zeros(len(SHARES))
    names = np.unique(folds)
    for draw in range(draws):
        for fold in names:
            order = np.random.default_rng((seed, draw, int(fold))).permutation(np.flatnonzero(folds != fold))
            held = np.flatnonzero(folds == fold)
            for place, (n, sums) in enumerate(_growing(features, numbers, order)):
                sizes[place] += n / (draws * len(names))
                if place not in shrinkage:
                    shrinkage[place] = max(SHRINKAGE, key=lambda s: _right(features, numbers, held, sums, s).mean())
                right[draw, held, place] = _right(features, numbers, held, sums, shrinkage[place])
    # Three draws say little about each size: one variance is taken for all, which falls as 1 / n.
    spread = float((right.mean(axis=1, dtype=np.float64).var(axis=0, ddof=1) * sizes).mean())
    return Curve(sizes, right.mean(axis=0), spread / (draws * sizes))


Sums = tuple[np.ndarray, np.ndarray, np.ndarray]


def _growing(features: np.ndarray, numbers: np.ndarray, order: np.ndarray) -> Iterator[tuple[int, Sums]]:
    """Yield size and sums of growing shares of some rows: each adds to the one before."""
    K, D = numbers.max() + 1, features.shape[1]
    squares, sums, counts = np.zeros((D, D)), np.zeros((K, D)), np.zeros(K)
    before = 0
    for share in SHARES:
        n = max(K, round(share * len(order)))
        some = order[before:n]
        given = np.eye(K, dtype=np.float32)[numbers[some]]
        squares += features[some].T @ features[some]
        sums += given.T @ features[some]
        counts += given.sum(axis=0)
        before = max(before, n)
        yield before, (squares, sums, counts)


def _right(features: np.ndarray, numbers: np.ndarray, held: np.ndarray, sums: Sums, shrinkage: float) -> np.ndarray:
    weight, bias = discriminant(*sums, shrinkage)
    return (features[held] @ weight.T + bias).argmax(axis=1) == numbers[held]


def _accuracies(curve: Curve, labels: np.ndarray, keys: Sequence[str], seed: int) -> tuple[list[Estimate], np.ndarray]:
    """Give the accuracy at each size with its interval, and the resampled curves [R, S]."""
    N, units = len(labels), units_of(len(labels), keys)
    pieces = [sums.T for sums in resample_sums(curve.right, units, labels, seed, RESAMPLES)]
    resampled = np.concatenate(pieces).astype(np.float64) / N
    draw = np.random.default_rng(seed)
    resampled += draw.normal(0, 1, resampled.shape) * np.sqrt(curve.scatter)
    boot = Bootstrap(int(units.max()) + 1, int(units.max()), by_group=int(units.max()) + 1 < N)
    means = curve.right.mean(axis=0, dtype=np.float64)
    return [boot.wilson(float(mean), resampled[:, s], N) for s, mean in enumerate(means)], resampled


@dataclass(frozen=True)
class PowerLaw:
    """error = floor + scale * (n / unit) ** -exponent, one or many at once: all are arrays [R]."""

    floor: np.ndarray
    scale: np.ndarray
    exponent: np.ndarray
    unit: float

    def error(self, n: float) -> np.ndarray:
        """Compute the error with n training pictures, [R]."""
        return self.floor + self.scale * (n / self.unit) ** -self.exponent

    def pictures_for(self, error: np.ndarray) -> np.ndarray:
        """Compute how many training pictures bring the error down to this; infinity where none do."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.where(error > self.floor, (error - self.floor) / self.scale, np.nan)
            n = self.unit * ratio ** (-1 / self.exponent)
        return np.where(np.isfinite(n), n, np.inf)


def fit_power_laws(sizes: np.ndarray, errors: np.ndarray, weights: np.ndarray) -> PowerLaw:
    """Fit a power law to each row of errors by weighted least squares, with floor and scale of at least 0.

    For a given exponent the fit is linear, so all rows are solved at once for each of some exponents.

    Args:
        sizes: [S].
        errors: [R, S].
        weights: [S].
    """
    unit = float(sizes[-1])
    best = np.full(len(errors), np.inf)
    kept = np.zeros((3, len(errors)))
    for exponent in EXPONENTS:
        x = (sizes / unit) ** -exponent
        floor, scale = _line(x, errors, weights)
        loss = ((floor[:, None] + scale[:, None] * x - errors) ** 2 * weights).sum(axis=1)
        better = loss < best
        best[better] = loss[better]
        kept[:, better] = np.stack([floor, scale, np.full(len(errors), exponent)])[:, better]
    return PowerLaw(kept[0], kept[1], kept[2], unit)


def _line(x: np.ndarray, errors: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    share = weights / weights.sum()
    middle, mean = share @ x, errors @ share
    scale = (errors - mean[:, None]) @ (share * (x - middle)) / (share @ (x - middle) ** 2)
    floor = mean - scale * middle
    through_zero = errors @ (share * x) / (share @ x**2)
    scale = np.where(floor < 0, through_zero, scale)
    floor = np.where(floor < 0, 0.0, floor)
    flat = scale < 0
    return np.where(flat, mean, floor), np.where(flat, 0.0, scale)


def _document(curve: Curve, points: list[Estimate], resampled: np.ndarray, n: int) -> dict[str, Any]:
    weights = 1 / np.maximum(resampled.var(axis=0), 1e-8)
    law = fit_power_laws(curve.sizes, 1 - np.array([[point.value for point in points]]), weights)
    many = fit_power_laws(curve.sizes, 1 - resampled, weights)
    gains = many.error(n) - many.error(2 * n)
    value = float(law.error(n)[0] - law.error(2 * n)[0])
    low, high = np.quantile(gains, (0.025, 0.975))
    twice = Estimate(
        value, float(min(low, value)), float(max(high, value)), n, f"power law, bootstrap, {RESAMPLES:,} resamples"
    )
    needed = float(law.pictures_for(law.error(n) / 2)[0])
    half = round(needed) if law.error(n)[0] > 0 and needed <= FARTHEST * n else None
    return {
        "points": [
            {"share": share, "n": round(size), "accuracy": asdict(point)}
            for share, size, point in zip(SHARES, curve.sizes.tolist(), points, strict=True)
        ],
        "twice": asdict(twice),
        "half the error needs": half,
        "words": _words(points[-1], twice, half, n),
    }


def _words(last: Estimate, twice: Estimate, half: int | None, n: int) -> str:
    gain = f"{100 * twice.value:+.1f} points ({100 * twice.low:.1f} to {100 * twice.high:.1f})"
    more = (
        f"half the error would need about {half:,} pictures, {half / n:.1f} times as many"
        if half
        else f"half the error is out of reach of {FARTHEST} times as many"
    )
    return f"a head on frozen features has {last.percent()} right; twice the data would bring about {gain}; {more}"
