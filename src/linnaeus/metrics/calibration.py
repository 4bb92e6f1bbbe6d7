"""Calibration: probabilities that mean what they say, and how to see whether they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from linnaeus.errors import ModelError, SourceError
from linnaeus.metrics.intervals import units_of, wilson
from linnaeus.records import Estimate, Predictions

KINDS = ("none", "temperature", "vector", "isotonic")
"""From the simplest to the one with the most numbers to learn."""

MANY_NUMBERS_NEED = 50
"""Vector scaling and isotonic regression are tried from so many pictures on, and from two for each class on: fewer can't
show that they help."""

FLOOR = 1e-6
"""Isotonic regression never says less, so that a surprise has a finite log loss."""


@dataclass(frozen=True)
class ReliabilityBin:
    """Pictures of similar confidence: how sure the model was, and how often it was right.

    Attributes:
        confidence: Mean confidence, 0..1.
        accuracy: Share that was right.
        count: Number of pictures.
    """

    confidence: float
    accuracy: Estimate
    count: int


@dataclass(frozen=True)
class Calibration:
    """A map from the network's logits to probabilities that mean what they say.

    Temperature never changes which class is the most probable one; vector scaling and isotonic regression may.

    Attributes:
        kind: "none" (plain softmax), "temperature", "vector" or "isotonic".
        temperature: Divides the logits. Of the other kinds it is the best single number, for a place that can only divide.
        scale: Of "vector": K factors of the logits.
        shift: Of "vector": K numbers added after that.
        knots: Of "isotonic": for each class, points (softmax, frequency) that are joined by straight lines.
        tried: Cross-validated log loss of each kind that was tried.
    """

    kind: str = "none"
    temperature: float = 1.0
    scale: tuple[float, ...] = ()
    shift: tuple[float, ...] = ()
    knots: tuple[tuple[tuple[float, float], ...], ...] = ()
    tried: Mapping[str, float] = field(default_factory=dict)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Turn logits [N, K] into calibrated probabilities, float64 [N, K].

        Raises:
            SourceError: A logit is NaN or plus infinity, or there are more or fewer classes than at the fitting.
        """
        scores = checked_logits(logits)
        learned = len(self.scale) or len(self.knots)
        if learned and scores.shape[1] != learned:
            raise SourceError(f"the calibration is for {learned} classes.", got=f"{scores.shape[1]} logits per picture")
        if self.kind == "vector":
            return apply_temperature(scores * self.scale + np.array(self.shift), 1.0)
        if self.kind == "isotonic":
            return _interpolate(apply_temperature(scores, 1.0), self.knots)
        return apply_temperature(scores, self.temperature if self.kind == "temperature" else 1.0)

    def document(self) -> dict[str, Any]:
        """Write as plain values for JSON."""
        return {
            "kind": self.kind,
            "temperature": self.temperature,
            "scale": list(self.scale),
            "shift": list(self.shift),
            "knots": [[list(point) for point in one] for one in self.knots],
            "tried": dict(self.tried),
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Calibration:
        """Read what `document` wrote.

        Raises:
            ModelError: It describes no calibration that this version knows.
        """
        try:
            read = cls(
                kind=document["kind"],
                temperature=float(document["temperature"]),
                scale=tuple(map(float, document["scale"])),
                shift=tuple(map(float, document["shift"])),
                knots=tuple(tuple((float(x), float(y)) for x, y in one) for one in document["knots"]),
                tried={name: float(value) for name, value in document["tried"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError("the model should hold its calibration.", got=f"{type(error).__name__}: {error}") from None
        missing = (read.kind == "vector" and not read.scale) or (read.kind == "isotonic" and not read.knots)
        if read.kind not in KINDS or missing or len(read.scale) != len(read.shift):
            raise ModelError(f"the calibration should be one of {', '.join(KINDS)}, whole.", got=str(document["kind"]))
        return read


def fit_calibration(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    keep_answers: bool = False,
    groups: Sequence[str] | None = None,
    raw: bool = True,
    folds: int = 5,
    seed: int = 0,
) -> Calibration:
    """Fit the calibration that predicts unseen pictures best, and no more complex than that needs.

    Each kind is fitted on all folds but one and judged on that one by its log loss. Going from the simplest to the most
    complex, a kind takes the lead if it is better by more than one standard error of the paired difference. Vector
    scaling and isotonic regression are tried from 50 labelled pictures on, and from twice as many as there are classes.
    A group counts as one picture there, and lies in one fold: pictures that are alike would judge what they taught.

    Args:
        logits: [N, K], of pictures that the network was not trained on.
        labels: [N]; rows with -1 are left out. A class without rows keeps the scale of the others.
        keep_answers: Try only what never changes which class is the most probable one: vector scaling and isotonic
            regression learn the frequencies of the classes, and so undo what was done for rare ones.
        groups: A name per row; "" is a group of its own.
        raw: The logits are those that the network gives. If they are logarithms of its probabilities, what all classes have
            in common is lost, and vector scaling, which would scale it with the rest, is not tried.
        folds: 2 or more; stratified by class.
        seed: Of the folds.

    Returns:
        Of fewer than two labelled rows or groups nothing is learned: kind "none".

    Raises:
        SourceError: A logit is NaN or plus infinity.

    Source:
        Guo et al. (2017), arXiv:1706.04599 (temperature, vector). B. Zadrozny, C. Elkan (2002), KDD, 694-699
        (isotonic, one against the rest). L. Breiman et al. (1984), Classification and Regression Trees (one standard
        error; here of the paired difference).
    """
    scores, labels = checked_logits(logits), np.asarray(labels)
    rows = np.flatnonzero(labels >= 0)
    scores, labels = scores[rows], labels[rows]
    units = units_of(len(rows), None if groups is None else [groups[int(row)] for row in rows])
    U = int(units.max(initial=-1)) + 1
    if U < 2:
        return Calibration()
    enough = max(MANY_NUMBERS_NEED, 2 * scores.shape[1])
    kinds: tuple[str, ...] = KINDS if enough <= U and not keep_answers else KINDS[:2]
    if not raw:
        kinds = tuple(kind for kind in kinds if kind != "vector")
    whole = _fit_all(kinds, scores, labels)
    first = np.unique(units, return_index=True)[1]
    losses = _cross_validated(whole, scores, labels, _folds(labels[first], min(folds, U), seed)[units])
    chosen = kinds[0]
    for kind in kinds[1:]:
        gain = losses[chosen] - losses[kind]
        by_unit = np.bincount(units, weights=gain - gain.mean(), minlength=U)
        if gain.mean() > (np.square(by_unit).sum() * U / (U - 1)) ** 0.5 / len(gain):
            chosen = kind
    return replace(whole[chosen], tried={kind: float(loss.mean()) for kind, loss in losses.items()})


def reliability(predictions: Predictions, bins: int = 10) -> tuple[ReliabilityBin, ...]:
    """Compare confidence with accuracy in bins of equally many labelled pictures, from least to most confident."""
    rows = np.flatnonzero(predictions.labels >= 0)
    if not len(rows):
        return ()
    confidence = predictions.probabilities[rows].max(axis=1)
    right = predictions.predicted[rows] == predictions.labels[rows]
    number = equal_mass(confidence, bins)
    found = []
    for one in np.unique(number):
        inside = number == one
        count = int(inside.sum())
        found.append(ReliabilityBin(float(confidence[inside].mean()), wilson(int(right[inside].sum()), count), count))
    return tuple(found)


def fit_temperature(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Find the temperature T at which softmax(log p / T) fits the labels best.

    The negative log-likelihood is convex in 1/T. A log-normal prior of unit width, worth one picture, keeps T moderate
    where all of a few pictures are right; it doesn't show from some hundred pictures on.

    Args:
        log_probabilities: [N, K], or logits.
        labels: [N]; rows with -1 are left out, and without any row T is 1.

    Returns:
        T within 0.05..20; above 1 the model was too sure of itself.

    Source:
        C. Guo et al. (2017), On Calibration of Modern Neural Networks, ICML, arXiv:1706.04599. The prior is ours.
    """
    from scipy.optimize import minimize_scalar

    known = labels >= 0
    scores = _finite(np.asarray(log_probabilities, dtype=np.float64)[known])
    if not len(scores):
        return 1.0
    scores = scores - scores.max(axis=1, keepdims=True)
    true = np.take_along_axis(scores, labels[known][:, None], axis=1).sum()

    def cost(log_temperature: float) -> float:
        colder = np.exp(-log_temperature)
        log_sum = np.log(np.exp(scores * colder).sum(axis=1)).sum()
        return float(log_sum - true * colder + 0.5 * log_temperature**2)

    best: Any = minimize_scalar(cost, bounds=(np.log(0.05), np.log(20.0)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x))


def apply_temperature(log_probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Turn log probabilities or logits [N, K] into calibrated probabilities, float64 [N, K]."""
    scaled = _finite(np.asarray(log_probabilities, dtype=np.float64)) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def equal_mass(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Number the bin of each picture, 0..bins-1; equal confidences share one, so that order is nothing."""
    edges = np.quantile(confidence, np.arange(1, bins) / bins, method="lower")
    return np.searchsorted(edges, confidence, side="right")


def checked_logits(logits: np.ndarray) -> np.ndarray:
    """Give logits as float64 [N, K]; minus infinity, the logarithm of 0, becomes a large finite number.

    Raises:
        SourceError: NaN or plus infinity among them.
    """
    scores = np.asarray(logits, dtype=np.float64)
    bad = np.isnan(scores) | np.isposinf(scores)
    if bad.any():
        rows = np.unique(np.nonzero(bad)[0])
        raise SourceError(
            "logits should be numbers.", got=f"NaN or infinity in {len(rows)} of {len(scores)} rows, first {rows[0]}"
        )
    return _finite(scores)


def _finite(scores: np.ndarray) -> np.ndarray:
    return np.maximum(scores, -1e4)


def _folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Deal the pictures out, class after class, so that each fold has as many of each; [N]."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % folds
    return fold


def _cross_validated(
    whole: Mapping[str, Calibration], scores: np.ndarray, labels: np.ndarray, fold: np.ndarray
) -> dict[str, np.ndarray]:
    """Log loss of each picture by calibrations of each kind that did not see it, [N] each."""
    losses = {kind: np.empty(len(labels)) for kind in whole}
    for one in np.unique(fold):
        inside = fold == one
        for kind, calibration in _fit_all(tuple(whole), scores[~inside], labels[~inside], whole).items():
            p = calibration.probabilities(scores[inside])
            true = np.take_along_axis(p, labels[inside][:, None], axis=1)[:, 0]
            losses[kind][inside] = -np.log(np.maximum(true, np.finfo(np.float64).eps))
    return losses


def _fit_all(
    kinds: tuple[str, ...], scores: np.ndarray, labels: np.ndarray, near: Mapping[str, Calibration] | None = None
) -> dict[str, Calibration]:
    """Fit every kind; `near` holds solutions for almost the same pictures, from where the search is short."""
    temperature = fit_temperature(scores, labels)
    fitted = {"none": Calibration(), "temperature": Calibration("temperature", temperature)}
    if "vector" in kinds:
        start = near["vector"] if near else None
        fitted["vector"] = _fit_vector(scores, labels, temperature, start)
    if "isotonic" in kinds:
        p_NK = apply_temperature(scores, 1.0)
        knots = tuple(_fit_knots(p_NK[:, k], labels == k) for k in range(p_NK.shape[1]))
        fitted["isotonic"] = Calibration("isotonic", temperature, knots=knots)
    return fitted


def _fit_vector(scores: np.ndarray, labels: np.ndarray, temperature: float, near: Calibration | None) -> Calibration:
    """Find the factor and the shift of each class by penalised maximum likelihood.

    Normal priors of unit width around the factor 1 / temperature (relative to it) and the shift 0, worth one picture
    each, keep the solution finite. A class without pictures stays there.
    """
    from scipy.optimize import minimize

    N, K = scores.shape
    scores = scores / temperature
    rows, seen = np.arange(N), np.bincount(labels, minlength=K) > 0

    def cost(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        factor, shift = numbers[:K], numbers[K:]
        gap = scores * factor + shift
        true = gap[rows, labels]
        top = gap.max(axis=1)
        gap -= top[:, None]
        np.exp(gap, out=gap)
        total = gap.sum(axis=1)
        gap /= total[:, None]
        gap[rows, labels] -= 1.0
        loss = (top + np.log(total) - true).sum()
        pull = np.concatenate([factor - 1.0, shift])
        slope = np.concatenate([np.einsum("nk,nk->k", gap, scores), gap.sum(axis=0)]) + pull
        return float(loss + 0.5 * pull @ pull) / N, slope * np.tile(seen, 2) / N

    start = np.concatenate([np.ones(K), np.zeros(K)])
    if near:
        start = np.where(np.tile(seen, 2), [*(np.array(near.scale) * temperature), *near.shift], start)
    bounds = [(0.0, None)] * K + [(None, None)] * K
    options = {"maxiter": 200, "ftol": 1e-8, "gtol": 1e-5}
    best: Any = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    scale, shift = best.x[:K] / temperature, best.x[K:]
    return Calibration("vector", temperature, tuple(scale.tolist()), tuple(shift.tolist()))


def _fit_knots(p: np.ndarray, hit: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Fit a rising step function to one class and give its corners.

    Each step is the share of hits in it, with one more picture counted that agrees with the network, so that no step
    says exactly 0 or 1. A class without pictures keeps the network's probability.
    """
    from scipy.optimize import isotonic_regression

    if not hit.any():
        return ((0.0, 0.0), (1.0, 1.0))
    place, which, count = np.unique(p, return_inverse=True, return_counts=True)
    hits = np.bincount(which.reshape(-1), weights=hit, minlength=len(place))
    starts = isotonic_regression(hits / count, weights=count).blocks[:-1]
    size = np.add.reduceat(count, starts)
    own = np.add.reduceat(place * count, starts) / size
    level = np.maximum.accumulate((np.add.reduceat(hits, starts) + own) / (size + 1))
    ends = np.append(starts[1:], len(place)) - 1
    corners = {(float(place[at]), float(y)) for at, y in zip((*starts, *ends), (*level, *level), strict=True)}
    return tuple(sorted(corners))


def _interpolate(p_NK: np.ndarray, knots: tuple[tuple[tuple[float, float], ...], ...]) -> np.ndarray:
    raised = np.empty_like(p_NK)
    for k, one in enumerate(knots):
        place, level = np.array(one).T
        raised[:, k] = np.maximum(np.interp(p_NK[:, k], place, level), FLOOR)
    return raised / raised.sum(axis=1, keepdims=True)
