"""The unknown: how strange a picture is, so that one of no known class can be told from those of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from linnaeus.errors import ModelError, SettingsError, SourceError
from linnaeus.metrics.intervals import Z_95, wilson, wilson_ends
from linnaeus.records import Estimate

BANK_ROWS = 2000
NEAREST = 10
COVARIANCE_ROWS = 5000
ROWS_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class Seen:
    """What the network made of some pictures.

    Attributes:
        logits: [N, K], before calibration.
        features: [N, D], what the last layer sees; None of a model that does not tell.
    """

    logits: np.ndarray
    features: np.ndarray | None = None


class Detector(Protocol):
    """Something that tells how strange pictures are; its whole state is arrays."""

    name: ClassVar[str]

    def score(self, seen: Seen) -> np.ndarray:
        """Tell how strange each picture is, float64 [N]; larger is stranger."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Give the state; `read_detector` makes the detector of it again."""
        ...


@dataclass(frozen=True, eq=False)
class Energy:
    """Minus log-sum-exp of the logits. It keeps no state.

    Source:
        W. Liu et al. (2020), Energy-based Out-of-distribution Detection, NeurIPS, arXiv:2010.03759; temperature 1.
    """

    name: ClassVar[str] = "energy"

    def score(self, seen: Seen) -> np.ndarray:
        """Tell how strange each picture is, float64 [N]."""
        logits = _numbers(seen.logits, "logits").astype(np.float64)
        top = logits.max(axis=1)
        return -(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Give the state."""
        return {"kind": _text(self.name)}


@dataclass(frozen=True, eq=False)
class MaxLogit:
    """Minus the largest logit. It keeps no state.

    Source:
        D. Hendrycks et al. (2022), Scaling Out-of-Distribution Detection for Real-World Settings, ICML, arXiv:1911.11132.
    """

    name: ClassVar[str] = "max logit"

    def score(self, seen: Seen) -> np.ndarray:
        """Tell how strange each picture is, float64 [N]."""
        return -_numbers(seen.logits, "logits").max(axis=1).astype(np.float64)

    def arrays(self) -> dict[str, np.ndarray]:
        """Give the state."""
        return {"kind": _text(self.name)}


@dataclass(frozen=True, eq=False)
class Mahalanobis:
    """Squared distance to the nearest class mean, in units of the spread that the classes share.

    The state takes 4 D (D + K + 1) bytes: 6.6 MB of 1,280 features and 5 classes.

    Attributes:
        centre: Mean of all features, float32 [D].
        whiten: What makes the shared covariance the identity, float32 [D, D].
        means: Class means after that, float32 [k, D]; only of classes that had pictures.

    Source:
        K. Lee et al. (2018), A Simple Unified Framework for Detecting Out-of-Distribution Samples, NeurIPS,
        arXiv:1807.03888, of the last features alone. O. Ledoit, M. Wolf (2004), J. Multivar. Anal. 88, 365-411 (shrinkage,
        so that it works with fewer pictures than features).
    """

    centre: np.ndarray
    whiten: np.ndarray
    means: np.ndarray
    name: ClassVar[str] = "mahalanobis"

    @classmethod
    def fit(cls, features: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> Mahalanobis:
        """Learn means and covariance from pictures of known classes; of more than 5,000 an even sample."""
        from scipy.linalg import cholesky, solve_triangular

        rows = _sample(labels, COVARIANCE_ROWS, seed)
        features, labels = _numbers(features[rows], "features").astype(np.float64), labels[rows]
        classes, which = np.unique(labels, return_inverse=True)
        means = np.stack([features[labels == one].mean(axis=0) for one in classes])
        spread = shrunk_covariance(features - means[which])
        whiten = solve_triangular(cholesky(spread, lower=True), np.eye(len(spread)), lower=True).T
        centre = features.mean(axis=0)
        return cls(*(part.astype(np.float32) for part in (centre, whiten, (means - centre) @ whiten)))

    def score(self, seen: Seen) -> np.ndarray:
        """Tell how strange each picture is, float64 [N]."""
        features = _features(seen, len(self.centre))
        found = np.empty(len(features))
        own = np.square(self.means).sum(axis=1)
        for begin in range(0, len(features), ROWS_AT_ONCE):
            moved = (features[begin : begin + ROWS_AT_ONCE].astype(np.float32) - self.centre) @ self.whiten
            squares = np.square(moved).sum(axis=1)[:, None] - 2.0 * (moved @ self.means.T) + own
            found[begin : begin + ROWS_AT_ONCE] = squares.min(axis=1)
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """Give the state."""
        return {"kind": _text(self.name), "centre": self.centre, "whiten": self.whiten, "means": self.means}


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Cosine distance to the k-th nearest of up to 2,000 training pictures.

    The state takes 2 D bytes for each of them: 5.1 MB of 2,000 pictures with 1,280 features.

    Attributes:
        bank: Features of length 1, float16 [n, D].
        nearest: Which neighbour's distance counts.

    Source:
        Y. Sun et al. (2022), Out-of-Distribution Detection with Deep Nearest Neighbors, ICML, arXiv:2204.06507; cosine
        instead of Euclidean distance, which gives the same order for features of length 1.
    """

    bank: np.ndarray
    nearest: int
    name: ClassVar[str] = "nearest neighbours"

    @classmethod
    def fit(cls, features: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> Neighbours:
        """Keep up to 2,000 pictures of known classes, as evenly over the classes as they come."""
        rows = _sample(labels, BANK_ROWS, seed)
        bank = _unit(_numbers(features[rows], "features")).astype(np.float16)
        return cls(bank, max(1, min(NEAREST, len(rows) // 20)))

    def score(self, seen: Seen) -> np.ndarray:
        """Tell how strange each picture is, float64 [N], 0 to 2."""
        features, bank = _features(seen, self.bank.shape[1]), self.bank.astype(np.float32)
        found = np.empty(len(features))
        place = len(bank) - self.nearest
        for begin in range(0, len(features), ROWS_AT_ONCE):
            likeness = _unit(features[begin : begin + ROWS_AT_ONCE]) @ bank.T
            found[begin : begin + ROWS_AT_ONCE] = 1.0 - np.partition(likeness, place, axis=1)[:, place]
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """Give the state."""
        return {"kind": _text(self.name), "bank": self.bank, "nearest": np.array([self.nearest])}


@dataclass(frozen=True, eq=False)
class Choice:
    """The detector that tells strange pictures best, and from which score on a picture counts as strange.

    Attributes:
        detector: The chosen one.
        threshold: Strange is what scores above this.
        share: Share of pictures of the known classes that is accepted, on average over draws of the held ones.
        auroc: For each detector, for each set of outliers: how often an outlier scores above a held picture.
        notes: What a reader must know.
    """

    detector: Detector
    threshold: float
    share: float
    auroc: Mapping[str, Mapping[str, Estimate]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class UnknownScores:
    """What the detectors do on pictures that had no part in choosing.

    Attributes:
        auroc: As in `Choice`.
        chosen: Name of the chosen detector.
        threshold: Strange is what scores above this.
        false_alarms: Share of the pictures of known classes that is called strange.
        detected: For each set of outliers, the share that is called strange.
    """

    auroc: Mapping[str, Mapping[str, Estimate]]
    chosen: str
    threshold: float
    false_alarms: Estimate
    detected: Mapping[str, Estimate]


def fit_detectors(features: np.ndarray | None, labels: np.ndarray, *, seed: int = 0) -> tuple[Detector, ...]:
    """Fit every detector on training pictures; without features only those that need no fitting.

    Args:
        features: What the last layer reads of them, [N, D].
        labels: [N]; rows with -1 are left out.
        seed: Of the samples that are kept.
    """
    fitted: tuple[Detector, ...] = (Energy(), MaxLogit())
    if features is None or not (labels >= 0).any():
        return fitted
    parts = [part.fit(features, labels, seed=seed) for part in (Mahalanobis, Neighbours)]
    return (*fitted, *parts)


def choose_detector(
    detectors: Sequence[Detector], held: Seen, outliers: Mapping[str, Seen], *, share: float = 0.99
) -> Choice:
    """Choose the detector with the best mean AUROC over the sets of outliers, and its threshold.

    The threshold is the ceil((n + 1) share)-th smallest of n held scores: of new pictures of the known classes at least
    that share is accepted, on average. It knows nothing of outliers. Too few held pictures for the share
    (99 % needs 99) take the largest held score, which accepts n / (n + 1).

    Args:
        detectors: Tried in this order; of equals the first is taken, and so it is without outliers.
        held: Pictures of the known classes; neither the network nor the detectors were fitted on them.
        outliers: Name of each set, and its pictures.
        share: Within 0..1.

    Raises:
        SettingsError: The share is out of range.
        SourceError: No held picture, or a score that is no number.

    Source:
        S. Bates et al. (2023), Testing for outliers with conformal p-values, Ann. Stat. 51, 149-178 (the threshold).
    """
    if not 0.0 < share < 1.0:
        raise SettingsError("the share of pictures to accept should be between 0 and 1.", got=f"{share:g}")
    if not len(held.logits):
        raise SourceError("a threshold for strange pictures needs pictures of the known classes.", got="none")
    auroc = _aurocs(detectors, held, outliers)
    mean = [np.mean([one.value for one in auroc[detector.name].values() if one.n] or [0.0]) for detector in detectors]
    chosen = detectors[int(np.argmax(mean))]
    scores, n = np.sort(chosen.score(held)), len(held.logits)
    k = int(np.ceil((n + 1) * share - 1e-9))
    if k <= n:
        return Choice(chosen, float(scores[k - 1]), share, auroc)
    note = f"{n} held pictures are too few to accept {share:.3%}: the threshold accepts {n / (n + 1):.3%}."
    return Choice(chosen, float(scores[-1]), n / (n + 1), auroc, (note,))


def measure_unknown(
    detectors: Sequence[Detector], choice: Choice, test: Seen, outliers: Mapping[str, Seen]
) -> UnknownScores:
    """Measure every detector's AUROC, and what the chosen one calls strange, on pictures that did not choose it."""
    return UnknownScores(
        auroc=_aurocs(detectors, test, outliers),
        chosen=choice.detector.name,
        threshold=choice.threshold,
        false_alarms=_share_above(choice, test),
        detected={name: _share_above(choice, seen) for name, seen in outliers.items()},
    )


def shrunk_covariance(gaps: np.ndarray) -> np.ndarray:
    """Estimate the covariance of vectors around 0, [N, D], drawn towards a multiple of the identity: [D, D].

    Source:
        Ledoit, Wolf (2004), as for `Mahalanobis`.
    """
    N, D = gaps.shape
    covariance = gaps.T @ gaps / N
    mean = float(np.trace(covariance)) / D
    square = float(np.square(covariance).sum())
    noise = (float(np.square(np.square(gaps).sum(axis=1)).sum()) / N - square) / N
    off = square - D * mean**2
    weight = min(1.0, max(0.0, noise / off)) if off > 0 else 0.0
    covariance *= 1.0 - weight
    # A feature that never varies would leave nothing to divide by.
    covariance[np.diag_indices(D)] += weight * mean + max(1e-6 * mean, 1e-12)
    return covariance


def read_detector(arrays: Mapping[str, np.ndarray]) -> Detector:
    """Make a detector of the arrays that it gave.

    Raises:
        ModelError: No detector that this version knows.
    """
    try:
        kind = bytes(np.asarray(arrays["kind"], dtype=np.uint8)).decode()
        if kind == Mahalanobis.name:
            return Mahalanobis(arrays["centre"], arrays["whiten"], arrays["means"])
        if kind == Neighbours.name:
            return Neighbours(arrays["bank"], int(arrays["nearest"][0]))
    except (KeyError, IndexError, ValueError) as error:
        raise ModelError("the model should hold its detector of strange pictures, whole.", got=str(error)) from None
    simple: dict[str, Detector] = {Energy.name: Energy(), MaxLogit.name: MaxLogit()}
    if kind not in simple:
        raise ModelError("the detector of strange pictures is of no known kind.", got=repr(kind))
    return simple[kind]


def detector_auroc(inside: np.ndarray, outside: np.ndarray) -> Estimate:
    """Estimate how often an outlier scores above a known picture; equal scores count half.

    The interval is DeLong's, on the logit scale so that it stays within 0..1. A perfect separation has no spread, nor have
    scores that are all equal: there it is Wilson's for the smaller of the two sets.

    Source:
        E. R. DeLong et al. (1988), Biometrics 44, 837-845; X. Sun, W. Xu (2014), IEEE Signal Process. Lett. 21,
        1389-1393 (by ranks).
    """
    from scipy.stats import rankdata

    n, m = len(inside), len(outside)
    if not n or not m:
        return Estimate(0.5, 0.0, 1.0, 0, "no pictures")
    ranks = rankdata(np.concatenate([outside, inside]))
    above = (ranks[:m] - rankdata(outside)) / n
    below = 1.0 - (ranks[m:] - rankdata(inside)) / m
    value = float(above.mean())
    least = wilson(min(n, m), min(n, m)).low
    if value in (0.0, 1.0) or min(n, m) < 2:
        certain = (least, 1.0) if value == 1 else (0.0, 1.0 - least) if value == 0 else (0.0, 1.0)
        return Estimate(value, *certain, n + m, "wilson of the smaller set")
    deviation = float((above.var(ddof=1) / m + below.var(ddof=1) / n) ** 0.5)
    if not deviation:
        return Estimate(value, *wilson_ends(value, min(n, m)), n + m, "wilson of the smaller set")
    middle, half = np.log(value / (1 - value)), Z_95 * deviation / (value * (1 - value))
    low, high = (float(1 / (1 + np.exp(-one))) for one in (middle - half, middle + half))
    return Estimate(value, min(low, value), max(high, value), n + m, "DeLong")


def _aurocs(
    detectors: Sequence[Detector], inside: Seen, outliers: Mapping[str, Seen]
) -> dict[str, dict[str, Estimate]]:
    found = {}
    for detector in detectors:
        known = detector.score(inside)
        found[detector.name] = {name: detector_auroc(known, detector.score(seen)) for name, seen in outliers.items()}
    return found


def _share_above(choice: Choice, seen: Seen) -> Estimate:
    return wilson(int((choice.detector.score(seen) > choice.threshold).sum()), len(seen.logits))


def _sample(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Choose up to `most` labelled rows at random, ascending; small classes keep all of theirs."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.flatnonzero(labels >= 0))
    order = np.argsort(labels[rows], kind="stable")
    _, starts, counts = np.unique(labels[rows][order], return_index=True, return_counts=True)
    turn = np.empty(len(rows), dtype=np.int64)
    turn[order] = np.arange(len(rows)) - np.repeat(starts, counts)
    return np.sort(rows[np.argsort(turn, kind="stable")[:most]])


def _unit(features: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(features.astype(np.float32), axis=1, keepdims=True)
    return features.astype(np.float32) / np.maximum(length, 1e-12)


def _features(seen: Seen, D: int) -> np.ndarray:
    if seen.features is None or seen.features.shape[1] != D:
        got = "none" if seen.features is None else str(seen.features.shape[1])
        raise SourceError(f"this detector of strange pictures needs {D} features of each.", got=got)
    return _numbers(seen.features, "features")


def _numbers(values: np.ndarray, what: str) -> np.ndarray:
    values = np.asarray(values)
    if np.isfinite(values).all():
        return values
    bad = int((~np.isfinite(values)).any(axis=1).sum())
    raise SourceError(f"{what} should be finite numbers.", got=f"NaN or infinity in {bad} of {len(values)} rows")


def _text(name: str) -> np.ndarray:
    return np.frombuffer(name.encode(), dtype=np.uint8).copy()
