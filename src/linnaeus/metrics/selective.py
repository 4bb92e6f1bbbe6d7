"""Selective classification: answer where the network is sure, and promise how often such answers are wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linnaeus.errors import SettingsError, SourceError
from linnaeus.metrics.intervals import Z_95, resample_weights, wilson
from linnaeus.records import Estimate, Predictions

STEP = 1.05
"""Each test of the sequence looks at so many times as many pictures as the one before."""
START_ERRORS = 5
"""The first test has room for up to so many errors, if the pictures are enough for that."""
RESAMPLED_AT_MOST = 10_000_000
FEWEST_RESAMPLES, MOST_RESAMPLES = 200, 2000


@dataclass(frozen=True)
class CurvePoint:
    """What answering only from one confidence on means.

    Attributes:
        coverage: Share of pictures that are answered, 0..1.
        risk: Share of the answers that are wrong.
        low: Lower end of the risk's 95 % interval (Wilson, for this point alone).
        high: Upper end.
        threshold: Answered is what has at least this confidence.
    """

    coverage: float
    risk: float
    low: float
    high: float
    threshold: float


@dataclass(frozen=True)
class Promise:
    """A threshold of confidence with a promise for the answers above it, or the reason why there is none.

    Attributes:
        max_error: Promised: of the answered pictures, at most this share is answered wrongly in the long run.
        confidence_level: How sure the promise is; the chance is that of drawing the held pictures.
        threshold: Answered is what has at least this confidence; None if nothing can be promised.
        accepted: How many of the held pictures are answered.
        errors: How many of these are wrong.
        n: Number of held pictures.
        why: What the promise rests on, or what it lacks, for a person.
    """

    max_error: float
    confidence_level: float
    threshold: float | None
    accepted: int
    errors: int
    n: int
    why: str

    @property
    def possible(self) -> bool:
        """Tell whether there is a threshold."""
        return self.threshold is not None


def promise(held: Predictions, max_error: float, *, confidence_level: float = 0.95, candidates: int = 1) -> Promise:
    """Find the lowest confidence above which at most a promised share of answers is wrong, for sure enough.

    The pictures are taken from the most confident on. Of the m most confident ones the number of errors is binomial, so
    an exact test can tell whether their error is below the promise. Tests are made for a growing sequence of m that
    depends on n alone; each hands its level on to the next if it passes, so that all together err as rarely as one
    does. The threshold is that of the last test that passed. With probability `confidence_level` over the draw of the
    held pictures, the error among answered pictures is at most `max_error`.

    What it assumes: new pictures come from where the held ones come from (exchangeable, independent of each other);
    neither training nor calibration saw the held ones; and pictures of lower confidence are not wrong less often. If
    the best of several networks (or epochs of one) was chosen by its results on the held pictures, all of them count as
    `candidates`. It speaks of answered pictures as a whole, not of each class.

    Args:
        held: Rows with label -1 are left out.
        max_error: Above 0 and below 1.
        confidence_level: Above 0 and below 1.
        candidates: Number of networks that the held pictures chose among, 1 or more; the level is shared out between
            them (Bonferroni).

    Raises:
        SettingsError: A number is out of range.
        SourceError: A confidence is NaN.

    Source:
        Y. Geifman, R. El-Yaniv (2017), Selective Classification for Deep Neural Networks, NeurIPS, arXiv:1705.08500
        (selection with guaranteed risk); A. Angelopoulos et al. (2021), Learn then Test, arXiv:2110.01052 (a sequence of
        tests); B. L. Wiens (2003), Pharm. Stat. 2, 211-215 (several starts); C. Clopper, E. Pearson (1934), Biometrika
        26, 404-413. The sequence is ours.
    """
    _check(max_error, confidence_level, candidates)
    confidence, wrong = _from_sure_to_unsure(held)
    n, delta = len(wrong), (1.0 - confidence_level) / candidates
    plan = _plan(confidence, n, max_error, delta)
    errors = np.cumsum(wrong)[plan.ends - 1].astype(int)
    count = _last_passed(plan, errors, max_error)
    if not count:
        why = _why_not(n, plan, errors, max_error, delta)
        return Promise(max_error, confidence_level, None, 0, 0, n, why)
    m, found = int(plan.ends[count - 1]), int(errors[count - 1])
    # The border is the first refused picture's confidence, and not the last answered one's: given that border, the
    # answered pictures are independent draws from all above it.
    threshold = float(np.nextafter(confidence[m], 2.0)) if m < n else 0.0
    which = f"all {n} held pictures" if m == n else f"the {m} most confident of {n} held pictures"
    answers = "wrong answer" if found == 1 else "wrong answers"
    chose = f", and chose among {candidates} networks" if candidates > 1 else ""
    return Promise(max_error, confidence_level, threshold, m, found, n, f"{which} had {found} {answers}{chose}.")


def measure_promise(threshold: float, test: Predictions) -> tuple[Estimate, Estimate]:
    """Measure on labelled pictures which share is answered, and which share of the answers is wrong."""
    confidence, wrong = _from_sure_to_unsure(test)
    answered = confidence >= threshold
    return wilson(int(answered.sum()), len(wrong)), wilson(int(wrong[answered].sum()), int(answered.sum()))


def risk_coverage(test: Predictions, points: int = 200) -> tuple[CurvePoint, ...]:
    """Follow the share of wrong answers as more and more pictures are answered, at most `points` steps.

    Source:
        R. El-Yaniv, Y. Wiener (2010), J. Mach. Learn. Res. 11, 1605-1641.
    """
    confidence, wrong = _from_sure_to_unsure(test)
    n = len(wrong)
    if not n:
        return ()
    ends = np.append(np.flatnonzero(np.diff(confidence)), n - 1) + 1
    errors = np.cumsum(wrong)[ends - 1]
    chosen = np.unique(np.linspace(0, len(ends) - 1, min(points, len(ends))).round().astype(int))
    found = []
    for m, e in zip(ends[chosen].tolist(), errors[chosen].tolist(), strict=True):
        risk = wilson(e, m)
        found.append(CurvePoint(m / n, risk.value, risk.low, risk.high, float(confidence[m - 1])))
    return tuple(found)


def aurc(test: Predictions, *, seed: int = 0) -> Estimate:
    """Average the share of wrong answers over all coverages: the area under the risk-coverage curve, 0 is best.

    Of equally confident pictures the average over every order is taken. The interval is a bootstrap, stratified by class,
    and spans the percentile and the log-normal interval: in nine simulations of 150 trials the first alone held the truth
    in 87 to 99 %, both together in 91 to 99 %. Answers that are all right, or all wrong, have the error's own interval.

    Raises:
        SourceError: No row has a label.

    Source:
        Y. Geifman, G. Uziel, R. El-Yaniv (2019), Bias-Reduced Uncertainty Estimation, ICLR, arXiv:1805.08206.
    """
    known = test.known()
    confidence, wrong = _from_sure_to_unsure(known)
    n = len(wrong)
    if not n:
        raise SourceError(
            "the risk-coverage curve needs pictures whose class is known.",
            got="no known label",
            fix="give labelled pictures.",
        )
    labels = known.labels[_order(known)]
    starts, value = _starts(confidence), _area(confidence, wrong)
    if wrong.all() or not wrong.any():
        share = wilson(int(wrong.sum()), n)
        return Estimate(value, share.low, share.high, n, "wilson of the error")
    resamples = int(np.clip(RESAMPLED_AT_MOST // n, FEWEST_RESAMPLES, MOST_RESAMPLES))
    weights = resample_weights(np.arange(n), labels, seed, resamples)
    areas = np.concatenate([_areas(one, wrong, starts) for one in weights])
    low, high = np.quantile(areas, (0.025, 0.975))
    factor = float(np.exp(Z_95 * areas.std() / value))
    method = f"percentile and log-normal bootstrap, {resamples:,} resamples"
    return Estimate(value, float(min(low, value / factor)), float(min(1.0, max(high, value * factor))), n, method)


def excess_aurc(test: Predictions) -> float:
    """Take off the area that the best possible order of the same answers has: what the confidence itself loses.

    Source:
        Geifman et al. (2019), as for `aurc`; the best area is computed exactly instead of in the limit.
    """
    confidence, wrong = _from_sure_to_unsure(test)
    n = len(wrong)
    if not n:
        return 0.0
    best = np.cumsum(np.sort(wrong)) / np.arange(1, n + 1)
    return _area(confidence, wrong) - float(best.mean())


def _order(known: Predictions) -> np.ndarray:
    return np.argsort(-known.confidence, kind="stable")


def _from_sure_to_unsure(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Confidence [n], falling, and whether the answer is wrong, float64 [n], of the labelled pictures."""
    known = predictions.known()
    if np.isnan(known.probabilities).any():
        bad = int(np.isnan(known.probabilities).any(axis=1).sum())
        raise SourceError("probabilities should be numbers.", got=f"NaN in {bad} rows")
    order = _order(known)
    return known.confidence[order], (known.predicted != known.labels)[order].astype(np.float64)


def _starts(confidence: np.ndarray) -> np.ndarray:
    """Find where another confidence begins."""
    return np.append(0, np.flatnonzero(np.diff(confidence)) + 1)


def _area(confidence: np.ndarray, wrong: np.ndarray) -> float:
    return float(_areas(np.ones((1, len(wrong))), wrong, _starts(confidence))[0])


def _areas(weights_RN: np.ndarray, wrong: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Compute the area for each resample, [R]; pictures from one start to the next are equally confident.

    An error at place j of n adds (1/j + ... + 1/n) / n, and errors within a group are spread evenly over its places.
    The sum of that over places 1..m is F(m) = m (H(n) - H(m) + 1), with harmonic numbers H, for weights as for counts.
    """
    from scipy.special import digamma

    n = weights_RN.shape[1]
    size = np.add.reduceat(weights_RN, starts, axis=1)
    errors = np.add.reduceat(weights_RN * wrong, starts, axis=1)
    matters = np.flatnonzero(errors.any(axis=0))
    last = np.cumsum(size, axis=1, dtype=np.float64)[:, matters]
    first = last - size[:, matters]
    total = weights_RN.sum(axis=1, keepdims=True, dtype=np.float64)

    def summed(m: np.ndarray) -> np.ndarray:
        return m * (digamma(total + 1) - digamma(m + 1) + 1)

    rate = np.divide(errors[:, matters], size[:, matters], out=np.zeros_like(last), where=size[:, matters] > 0)
    return (rate * (summed(last) - summed(np.maximum(first, 0.0)))).sum(axis=1) / n


@dataclass(frozen=True)
class _Plan:
    """The tests to be made: after how many pictures, and the error probability that each has of its own."""

    ends: np.ndarray
    level: np.ndarray


def _plan(confidence: np.ndarray, n: int, max_error: float, delta: float) -> _Plan:
    """Plan the tests from n alone; equally confident pictures are never parted.

    A test with room for no error at all would be ended by one unlucky picture, so the first test takes the most
    pictures, up to half of all, whose room is a whole number up to five. Part of the level is kept for new starts at
    half of all, where that is far from the first, and at all, since a network may be wrong among the few where it is
    most confident.
    """
    starts, shares = _starts_and_shares(n, max_error, delta)
    if not len(starts):
        return _Plan(np.zeros(0, dtype=np.int64), np.zeros(0))
    steps = int(np.log(n / starts[0]) / np.log(STEP)) + 2
    growing = np.minimum(np.ceil(starts[0] * STEP ** np.arange(steps)), n).astype(np.int64)
    planned = np.unique([*growing, *starts, n])
    # Up to the last picture that is as confident as the planned one.
    ends, which = np.unique(np.searchsorted(-confidence, -confidence[planned - 1], side="right"), return_inverse=True)
    level = np.zeros(len(ends))
    np.add.at(level, which[np.searchsorted(planned, starts)], delta * np.array(shares))
    return _Plan(ends, level)


def _starts_and_shares(n: int, max_error: float, delta: float) -> tuple[list[int], list[float]]:
    """Choose where the sequence starts, and which share of the level each start has."""
    for shares in ([0.5, 0.25, 0.25], [0.75, 0.25]):
        rooms = _fewest(np.arange(START_ERRORS + 1), max_error, delta * shares[0])
        first = int(max(rooms[rooms <= n / 2], default=n + 1))
        starts = [first, n // 2, n] if len(shares) == 3 else [first, n]
        if starts[1] >= 2 * first:
            return starts, shares
    least = int(_fewest(np.array([0]), max_error, delta)[0])
    return ([least], [1.0]) if least <= n else ([], [])


def _last_passed(plan: _Plan, errors: np.ndarray, max_error: float) -> int:
    """Make the tests in turn and count up to the last that passed; a test that passes hands its level on."""
    # Not from scipy.stats: importing that takes longer than predicting some pictures.
    from scipy.special import bdtr

    p, level, last = bdtr(errors.astype(np.float64), plan.ends, max_error), 0.0, 0
    for at, own in enumerate(plan.level):
        level += own
        if level and p[at] <= level:
            last = at + 1
        else:
            level = 0.0
    return last


def _fewest(errors: np.ndarray, max_error: float, delta: float) -> np.ndarray:
    """Count the pictures of which `errors` may be wrong: fewer would be no surprise, of probability `delta`."""
    from scipy.special import nbdtr, nbdtrik

    right = np.ceil(nbdtrik(1.0 - delta, errors + 1, max_error))
    fewer = np.maximum(right - 1, 0)
    # The inverse is found to some digits only: just below a whole number it may be one too many.
    right = np.where(nbdtr(fewer.astype(np.int64), errors + 1, max_error) >= 1.0 - delta, fewer, right)
    return (errors + 1 + right).astype(np.int64)


def _why_not(n: int, plan: _Plan, errors: np.ndarray, max_error: float, delta: float) -> str:
    if not len(plan.ends):
        least = int(_fewest(np.array([0]), max_error, delta)[0])
        return f"{least} held pictures are needed, even if none of them is answered wrongly; there are {n}."
    # The most promising test: where the share of wrong answers was the smallest.
    best = int((errors / plan.ends).argmin())
    m, e = int(plan.ends[best]), int(errors[best])
    seen = f"of the {m} most confident of {n} held pictures {e} {'is' if e == 1 else 'are'} answered wrongly"
    if e / m >= max_error:
        return f"{seen}: more pictures would not help, the network has to become better."
    more = 1.1
    while _fewest(np.array([np.ceil(e * more)]), max_error, delta / 2)[0] > m * more:
        more *= 1.1
    return f"{seen}; if that share stays, about {int(np.ceil(n * more))} held pictures are needed."


def _check(max_error: float, confidence_level: float, candidates: int) -> None:
    if not 0.0 < max_error < 1.0:
        raise SettingsError("the promised error should be between 0 and 1, as 1% or 0.01.", got=f"{max_error:g}")
    if not 0.0 < confidence_level < 1.0:
        raise SettingsError("the confidence level should be between 0 and 1.", got=f"{confidence_level:g}")
    if candidates < 1:
        raise SettingsError("the number of networks to choose from should be 1 or more.", got=str(candidates))
