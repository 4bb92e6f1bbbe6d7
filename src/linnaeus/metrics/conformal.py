"""Conformal prediction: sets of classes that hold the true one as often as was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from linnaeus.errors import SettingsError, SourceError
from linnaeus.metrics.intervals import NUMBERS_AT_ONCE, Z_95, wilson
from linnaeus.records import Estimate, Predictions

METHODS = ("LAC", "APS", "RAPS")
PENALTY = 0.1
"""What RAPS adds for each class beyond the free ones: fixed beforehand, since tuning it on the held pictures would
break the guarantee."""
FREE_RANKS = 2


@dataclass(frozen=True)
class PredictionSets:
    """A rule that gives each picture a set of classes: those whose strangeness is at most a threshold.

    Of a new picture that comes from where the held pictures come from, the set holds the true class with probability
    1 - alpha or more, on average over pictures and over draws of the held ones; whatever the network is, and however
    bad its probabilities are. This needs exchangeability: it would be the same if held and new pictures were shuffled.
    A new camera, season or patient group breaks it. And the held pictures must not have taken part in training or
    calibration.

    Attributes:
        method: "LAC", "APS" or "RAPS".
        alpha: Share of pictures whose set may miss the true class, within 0..1.
        thresholds: One for each class, float64 [K]; infinite where the class is always in the set.
        class_conditional: The promise holds for each class by itself, not only on average.
        notes: What a reader must know: classes with too few held pictures.
    """

    method: str
    alpha: float
    thresholds: np.ndarray
    class_conditional: bool = False
    notes: tuple[str, ...] = ()

    def sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Choose the classes of each picture, bool [N, K]; the most probable one is always among them.

        Columns beyond the classes that the rule knows are of classes that the model does not: they are never chosen.
        """
        N, K = len(probabilities), len(self.thresholds)
        chosen, step = np.zeros(probabilities.shape, dtype=bool), max(1, NUMBERS_AT_ONCE // max(1, K))
        for rows in (slice(first, first + step) for first in range(0, N, step)):
            strange = strangeness(probabilities[rows, :K], self.method)
            chosen[rows, :K] = strange <= self.thresholds
            # Only LAC can leave a set empty: where the network is right more often than asked for. Coverage can only grow.
            chosen[rows][np.arange(len(strange)), strange.argmin(axis=1)] = True
        return chosen


@dataclass(frozen=True)
class SetScores:
    """What the sets did on labelled pictures.

    Attributes:
        coverage: Share of sets that hold the true class.
        size: Mean number of classes in a set.
        singletons: Share of sets of exactly one class.
        classwise: Coverage of the pictures of each class.
    """

    coverage: Estimate
    size: Estimate
    singletons: Estimate
    classwise: Mapping[str, Estimate]


def fit_sets(
    held: Predictions, alpha: float, method: str = "LAC", *, class_conditional: bool = False
) -> PredictionSets:
    """Find the thresholds from labelled pictures that neither training nor calibration saw (split conformal).

    The threshold is the k-th smallest strangeness of the true class among n held pictures, k = ceil((n + 1)(1 - alpha)).
    Where k is more than n there are too few pictures, and the class is always in the set.

    Args:
        held: Rows with label -1 are left out.
        alpha: Above 0 and below 1.
        method: LAC: 1 - p, the smallest sets on average. APS: the probability of all more probable classes; larger sets
            for harder pictures. RAPS: APS with a penalty of 0.1 for each class beyond the second, against long tails.
        class_conditional: One threshold for each class, from its own pictures (Mondrian): rare classes are covered too.

    Raises:
        SettingsError: Another method, or alpha out of range.
        SourceError: A probability is NaN.

    Source:
        V. Vovk, A. Gammerman, G. Shafer (2005), Algorithmic Learning in a Random World (split and Mondrian). M. Sadinle,
        J. Lei, L. Wasserman (2019), J. Am. Stat. Assoc. 114, 223-234 (LAC). Y. Romano, M. Sesia, E. Candes (2020),
        NeurIPS, arXiv:2006.02544 (APS). A. Angelopoulos et al. (2021), ICLR, arXiv:2009.14193 (RAPS). APS and RAPS here
        draw nothing at random: the class that reaches the threshold is always taken, and the threshold is that of this
        very rule. So a picture always gets the same set, it is never empty, and coverage still holds.
    """
    _check(method, alpha)
    labels = held.labels
    own = np.flatnonzero(labels >= 0)
    strange = np.take_along_axis(strangeness(held.probabilities[own], method), labels[own][:, None], axis=1)[:, 0]
    K = len(held.classes)
    if not class_conditional:
        threshold = conformal_quantile(strange, alpha)
        note = f"{len(own)} held pictures are too few: {_need(alpha)} are needed. Each set holds every class."
        notes = (note,) if np.isinf(threshold) else ()
        return PredictionSets(method, alpha, np.full(K, threshold), False, notes)
    thresholds = np.array([conformal_quantile(strange[labels[own] == k], alpha) for k in range(K)])
    return PredictionSets(method, alpha, thresholds, True, _class_notes(held, thresholds, alpha))


def measure_sets(rule: PredictionSets, test: Predictions) -> SetScores:
    """Measure coverage and size on labelled pictures that had no part in the thresholds.

    Raises:
        SourceError: No row has a label.
    """
    known = test.known()
    N = len(known)
    if not N:
        raise SourceError(
            "sets are measured on pictures whose class is known.", got="no known label", fix="give labelled pictures."
        )
    sets = rule.sets(known.probabilities)
    hit = np.take_along_axis(sets, known.labels[:, None], axis=1)[:, 0]
    support = np.bincount(known.labels, minlength=len(test.classes))
    hits = np.bincount(known.labels, weights=hit, minlength=len(test.classes))
    size = sets.sum(axis=1)
    return SetScores(
        coverage=wilson(int(hit.sum()), N),
        size=_mean_size(size, sets.shape[1]),
        singletons=wilson(int((size == 1).sum()), N),
        classwise={name: wilson(int(hits[k]), int(support[k])) for k, name in enumerate(test.classes)},
    )


def strangeness(probabilities: np.ndarray, method: str) -> np.ndarray:
    """Tell how strange each class would be for each picture, float64 [N, K]; 0 is the least.

    Raises:
        SourceError: A probability is NaN.
    """
    p_NK = np.asarray(probabilities, dtype=np.float64)
    if np.isnan(p_NK).any():
        raise SourceError("probabilities should be numbers.", got=f"NaN in {np.isnan(p_NK).any(axis=1).sum()} rows")
    if method == "LAC":
        return 1.0 - p_NK
    order = np.argsort(-p_NK, axis=1, kind="stable")
    ranked = np.take_along_axis(p_NK, order, axis=1)
    above = np.zeros_like(ranked)
    np.cumsum(ranked[:, :-1], axis=1, out=above[:, 1:])
    if method == "RAPS":
        above += PENALTY * np.maximum(np.arange(1, p_NK.shape[1] + 1) - FREE_RANKS, 0)
    strange = np.empty_like(above)
    np.put_along_axis(strange, order, above, axis=1)
    return strange


def conformal_quantile(strange: np.ndarray, alpha: float) -> float:
    """Give the ceil((n + 1)(1 - alpha))-th smallest of n values; infinity where n is too small for that."""
    n = len(strange)
    # (n + 1)(1 - alpha) may be a whole number that floating point puts a little above itself.
    k = int(np.ceil((n + 1) * (1.0 - alpha) - 1e-9))
    return float(np.partition(strange, k - 1)[k - 1]) if 1 <= k <= n else (-np.inf if k < 1 else np.inf)


def _check(method: str, alpha: float) -> None:
    if method not in METHODS:
        raise SettingsError(f"the method of prediction sets should be one of {', '.join(METHODS)}.", got=repr(method))
    if not 0.0 < alpha < 1.0:
        raise SettingsError("the share of sets that may miss should be between 0 and 1.", got=f"{alpha:g}")


def _need(alpha: float) -> int:
    """Tell how many pictures a finite threshold takes at least."""
    return int(np.ceil((1.0 - alpha) / alpha - 1e-9))


def _class_notes(held: Predictions, thresholds: np.ndarray, alpha: float) -> tuple[str, ...]:
    few = [name for name, threshold in zip(held.classes, thresholds, strict=True) if np.isinf(threshold)]
    if not few:
        return ()
    shown = ", ".join(few[:10]) + (f" and {len(few) - 10} more" if len(few) > 10 else "")
    return (f"In every set, since fewer than {_need(alpha)} held pictures show them: {shown}.",)


def _mean_size(size: np.ndarray, K: int) -> Estimate:
    """Estimate the mean by Student's t; sets that are all alike say of the others only that they are rare (Wilson)."""
    from scipy.stats import t

    n, value = len(size), float(size.mean())
    if n == 1:
        return Estimate(value, 0.0, float(K), n, "one picture")
    half = float(t.ppf(0.975, n - 1)) * float(size.std(ddof=1)) / n**0.5
    half = max(half, wilson(0, n, z=Z_95).high)
    return Estimate(value, max(0.0, value - half), min(float(K), value + half), n, "student t")
