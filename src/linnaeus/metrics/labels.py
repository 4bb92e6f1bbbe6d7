"""Wrong labels, overlapping classes and outliers, from out-of-fold outputs and distances: arrays in, arrays out.

The true class of a picture is not known, only the label that somebody gave. What a model says of a picture it did not
learn from, how sure the model may be (a temperature), and how often class j is given the label k (a matrix) are fitted
together to the labels that were given. Each picture then has a probability that its label is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linnaeus.errors import SettingsError
from linnaeus.metrics.intervals import wilson_ends
from linnaeus.records import Estimate

PSEUDO_PICTURES = 20.0
"""So many pictures' worth of each class say beforehand that mistakes go to all classes alike: it keeps small classes calm."""
START_NOISE = 0.1
ROUNDS, STEPS = 4, 8
TEMPERATURES = 1.5
"""One search for the temperature goes so far, in natural logarithms, to either side."""
NUMBERS_FOR_TEMPERATURE = 2_000_000
LIKELY = 0.5
"""A label is called likely wrong when it is more likely wrong than right."""
OUTLYING = 4.0
"""In robust standard deviations; nothing below is told, however light the tail is."""
BY_CHANCE = 0.003
"""About so large a share of usual pictures is told, or less, where their tail is as the middle of the set lets expect."""
TAIL = (0.5, 0.3, 0.18)
"""Shares of the pictures that lie above the three quantiles by which the tail is fitted: nearer to the end, real outliers
would hide themselves. With 7 % of strange pictures two thirds of them are still told, with 2 % nearly all."""
HEAVIEST = 0.5
"""Largest index of the tail: beyond, the variance would be infinite."""
TINY = 1e-30


@dataclass(frozen=True)
class Noise:
    """How labels came to be, as fitted to labels and out-of-fold outputs.

    Attributes:
        transition: How often true class j is labelled k, [K, K]; rows sum to 1.
        temperature: What the outputs were multiplied with.
        probabilities: Of the true class, by the picture alone, float32 [N, K].
        posterior: Of the true class, by picture and label, float32 [N, K].
        log_likelihood: Mean log probability of the labels that were given.
    """

    transition: np.ndarray
    temperature: float
    probabilities: np.ndarray
    posterior: np.ndarray
    log_likelihood: float


def fit_noise(logits: np.ndarray, labels: np.ndarray, start: Noise | None = None) -> Noise:
    """Fit temperature and transition matrix to labels, by maximum likelihood with a little prior.

    Args:
        logits: Out-of-fold outputs [N, K], or logarithms of probabilities.
        labels: As given, 0..K-1, [N].
        start: A fit to begin from.

    Raises:
        SettingsError: NaN among the outputs, or a label that is no class.

    Source:
        A. P. Dawid, A. M. Skene (1979), J. R. Stat. Soc. C 28, 20-28: a hidden true class and a matrix per annotator, by
        EM; here one annotator, with a classifier as the prior of each picture, and its temperature (C. Guo et al.
        2017, arXiv:1706.04599) fitted at the same time. Without the temperature the model is taken to be as unsure as
        the noise made it, and half of the errors are not found.
    """
    _check(logits, labels)
    K = logits.shape[1]
    transition = start.transition if start else _even(K, START_NOISE)
    temperature = start.temperature if start else 1.0
    some = _sample(len(labels), K)
    for _ in range(ROUNDS):
        temperature = _fit_temperature(logits[some], labels[some], transition, temperature)
        probabilities = softmax(logits, temperature)
        for _ in range(STEPS):
            posterior, _ = _posterior(probabilities, labels, transition)
            transition = _transition(posterior, labels)
    posterior, evidence = _posterior(probabilities, labels, transition)
    return Noise(transition, temperature, probabilities, posterior, float(np.log(evidence + TINY).mean()))


def softmax(logits: np.ndarray, factor: float = 1.0) -> np.ndarray:
    """Turn outputs [N, K], times a factor, into probabilities, float32."""
    scaled = np.asarray(logits, np.float32) * np.float32(factor)
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled


def noise_free_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Fit the temperature as if every label were right."""
    some = _sample(len(labels), logits.shape[1])
    never = np.eye(logits.shape[1])
    first = _fit_temperature(logits[some], labels[some], never, 1.0)
    return _fit_temperature(logits[some], labels[some], never, first)


@dataclass(frozen=True)
class Judged:
    """What is thought of each label; pictures that could not be judged have 0, their own label and False.

    Attributes:
        wrong: Probability that the label is wrong, [N].
        suggested: The most likely class of those with a likely wrong label, else the label, int64 [N].
        likely: Whether the label is more likely wrong than right, bool [N].
    """

    wrong: np.ndarray
    suggested: np.ndarray
    likely: np.ndarray

    @property
    def quality(self) -> np.ndarray:
        """Probability that the label is right, [N]."""
        return 1 - self.wrong


def judge_labels(noise: Noise, labels: np.ndarray) -> Judged:
    """Judge every label.

    Args:
        noise: As fitted to these labels.
        labels: [N].
    """
    rows = np.arange(len(labels))
    wrong = 1 - noise.posterior[rows, labels].astype(np.float64)
    others = noise.posterior.copy()
    others[rows, labels] = -1
    likely = wrong > LIKELY
    return Judged(wrong.clip(0, 1), np.where(likely, others.argmax(axis=1), labels), likely)


def class_noise(wrong: np.ndarray, labels: np.ndarray, classes: int) -> list[Estimate]:
    """Estimate for each label the share of its pictures that are labelled wrongly.

    The interval is Wilson's with the expected number of wrong labels as successes: it covers the chance of the sample,
    and not that the model may be mistaken about a whole kind of picture.
    """
    return [_share(wrong[labels == k]) for k in range(classes)]


def overall_noise(wrong: np.ndarray) -> Estimate:
    """Estimate the share of wrong labels of all pictures."""
    return _share(wrong)


@dataclass(frozen=True)
class Overlap:
    """Two classes that are hard to tell apart.

    Attributes:
        first: Class number.
        second: Class number, the larger.
        confused: Share of the pictures of both that the model takes for the other one.
        mislabelled: Share of the pictures of both that carry the other one's label, as expected.
    """

    first: int
    second: int
    confused: Estimate
    mislabelled: Estimate


def overlapping(noise: Noise, labels: np.ndarray, *, most: int = 10) -> list[Overlap]:
    """List the pairs of classes that are most confused, the worst first.

    Args:
        noise: As fitted to these labels.
        labels: [N].
        most: How many pairs at most.
    """
    K = noise.probabilities.shape[1]
    counts = np.bincount(labels, minlength=K)
    taken = np.zeros((K, K))
    np.add.at(taken, (labels, noise.probabilities.argmax(axis=1)), 1)
    moved = _by_label(noise.posterior, labels)
    both, n = taken + taken.T, counts[:, None] + counts[None, :]
    first, second = np.triu_indices(K, 1)
    share = both[first, second] / np.maximum(n[first, second], 1)
    found = []
    for pair in np.argsort(-share, kind="stable")[:most]:
        j, k = int(first[pair]), int(second[pair])
        if share[pair] > 0:
            expected = float(moved[j, k] + moved[k, j])
            found.append(Overlap(j, k, _of(both[j, k], int(n[j, k])), _of(expected, int(n[j, k]))))
    return found


@dataclass(frozen=True)
class Outliers:
    """Pictures that are like no others.

    Attributes:
        score: How many robust standard deviations a picture is farther from its neighbours than is usual, [N].
        strange: Whether that is so far that it is told, bool [N].
        threshold: The score from which on it is.
        by_chance: About so many usual pictures are told, as far as the middle of the set lets expect.
    """

    score: np.ndarray
    strange: np.ndarray
    threshold: float = OUTLYING
    by_chance: float = 0.0


def outliers(*measures: np.ndarray, share: float = BY_CHANCE) -> Outliers:
    """Find pictures that are like no others, by one or more measures of strangeness.

    Each measure is expressed in robust standard deviations from its median; the score is their mean. How far the tail of
    usual pictures reaches differs much between sets, so it is fitted to the upper middle of the scores, and extended to
    where `share` of them is expected to lie above; but the threshold is OUTLYING at least.

    Args:
        measures: Each [N], larger is stranger.
        share: Of usual pictures that may be told.

    Source:
        Median absolute deviation: F. R. Hampel (1974), J. Am. Stat. Assoc. 69, 383-393. Generalised Pareto tail from three
        quantiles: J. Pickands (1975), Ann. Stat. 3, 119-131; here with shares of the middle, and an index of 0 to 0.5.
    """
    score = np.mean([_robust(np.asarray(measure, np.float64)) for measure in measures], axis=0)
    threshold = max(OUTLYING, _end_of_tail(score, share)) if len(score) else OUTLYING
    return Outliers(score, score > threshold, threshold, share * len(score))


def _end_of_tail(score: np.ndarray, share: float) -> float:
    """Extend the upper tail to where so small a share is expected above."""
    low, middle, high = np.quantile(score, [1 - part for part in TAIL]).tolist()
    if not low < middle < high:
        return high
    index = min(max(np.log((high - middle) / (middle - low)) / np.log(TAIL[0] / TAIL[1]), 0.0), HEAVIEST)

    def reach(ratio: float) -> float:
        return float(np.log(ratio) if index < 1e-6 else (ratio**index - 1) / index)

    return float(low + (high - low) * reach(TAIL[0] / share) / reach(TAIL[0] / TAIL[2]))


def far_from_neighbours(similarities: np.ndarray) -> np.ndarray:
    """Measure strangeness by the nearest others: the logarithm of the mean cosine distance, [N].

    Args:
        similarities: Cosines of the nearest other pictures, [N, k]; not centred, which cost 9 points of AUROC.

    Source:
        Y. Sun et al. (2022), "Out-of-distribution detection with deep nearest neighbors", arXiv:2204.06507.
    """
    return np.log(np.maximum(1 - similarities.astype(np.float64).mean(axis=1), 1e-6))


def _robust(values: np.ndarray) -> np.ndarray:
    if not len(values):
        return values
    middle = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - middle))
    return (values - middle) / spread if spread > 0 else np.zeros(len(values))


def _check(logits: np.ndarray, labels: np.ndarray) -> None:
    if len(logits) != len(labels) or not np.isfinite(logits).all():
        raise SettingsError(
            "out-of-fold outputs should be finite numbers, one row per label.",
            got=f"{len(logits)} rows for {len(labels)} labels" if len(logits) != len(labels) else "NaN or infinity",
        )
    K = logits.shape[1]
    if K < 2 or not len(labels) or labels.min() < 0 or labels.max() >= K:
        raise SettingsError(
            "labels should be class numbers from 0 to K - 1, of two classes or more.",
            got=f"{len(labels)} labels, {K} classes",
            fix="leave out pictures without a label.",
        )


def _sample(n: int, K: int) -> slice:
    """Take every so-many-th row: the temperature is one number and does not need all of a large set."""
    return slice(None, None, max(1, n // max(2000, NUMBERS_FOR_TEMPERATURE // K)))


def _even(K: int, noise: float) -> np.ndarray:
    matrix = np.full((K, K), noise / (K - 1))
    np.fill_diagonal(matrix, 1 - noise)
    return matrix


def _posterior(probabilities: np.ndarray, labels: np.ndarray, transition: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the true class by Bayes' rule [N, K], and the probability of each label that was given [N]."""
    joint = probabilities * transition.T.astype(np.float32)[labels]
    evidence = joint.sum(axis=1)
    return joint / np.maximum(evidence, TINY)[:, None], evidence


def _by_label(posterior: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count, as expected, true class j under label k: [K, K]."""
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    counts = np.zeros((posterior.shape[1],) * 2)
    counts[:, present] = np.add.reduceat(posterior[order], starts, axis=0).T
    return counts


def _transition(posterior: np.ndarray, labels: np.ndarray) -> np.ndarray:
    counts = _by_label(posterior, labels)
    noise = min(max(1 - np.trace(counts) / len(labels), 1e-4), 0.9)
    counts += PSEUDO_PICTURES * _even(len(counts), noise)
    return counts / counts.sum(axis=1, keepdims=True)


def _fit_temperature(logits: np.ndarray, labels: np.ndarray, transition: np.ndarray, near: float) -> float:
    from scipy.optimize import minimize_scalar

    def surprise(logarithm: float) -> float:
        _, evidence = _posterior(softmax(logits, np.exp(logarithm)), labels, transition)
        return -float(np.log(evidence.astype(np.float64) + TINY).mean())

    middle = np.log(near)
    ends = (middle - TEMPERATURES, middle + TEMPERATURES)
    return float(np.exp(minimize_scalar(surprise, bounds=ends, method="bounded", options={"maxiter": 25}).x))


def _share(wrong: np.ndarray) -> Estimate:
    return _of(float(np.sum(wrong)), len(wrong))


def _of(expected: float, n: int) -> Estimate:
    if not n:
        return Estimate(0.0, 0.0, 1.0, 0, "no pictures")
    share = min(1.0, expected / n)
    low, high = wilson_ends(share, n)
    return Estimate(share, low, high, n, "wilson on the expected number")


def worst_first(judged: Judged, rows: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
    """Sort rows by the probability that the label is wrong, the likeliest first; all that are likely, by default."""
    rows = np.flatnonzero(judged.likely) if rows is None else np.asarray(rows)
    return rows[np.argsort(-judged.wrong[rows], kind="stable")]


def confident_learning(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Tell which labels confident learning calls wrong, bool [N]: a second opinion beside `judge_labels`.

    A picture counts as of the class whose probability reaches that class's usual one (the mean over the pictures labelled
    so); of several the most probable. It is called wrong where that is not its label.

    Args:
        probabilities: Out of fold, [N, K].
        labels: [N], 0 or more.

    Source:
        C. Northcutt, L. Jiang, I. Chuang (2021), Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 70,
        1373-1411: the off-diagonal of the confident joint.
    """
    K = probabilities.shape[1]
    usual = [probabilities[labels == k, k].mean() if (labels == k).any() else np.inf for k in range(K)]
    reaches = probabilities >= np.array(usual) - 1e-6
    best = np.where(reaches, probabilities, -1.0).argmax(axis=1)
    return reaches.any(axis=1) & (best != labels)
