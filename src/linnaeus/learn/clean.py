"""What `--clean auto` does: leave out of the training, or count less, what is labelled wrongly beyond doubt.

Only training pictures are ever touched, and only their weight: labels, validation and test stay as the user gave them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from linnaeus.errors import SettingsError
from linnaeus.learn.crossfit import cross_fit, folds_of_keys, judgeable
from linnaeus.metrics.labels import Noise, fit_noise, judge_labels, noise_free_temperature, overall_noise, softmax
from linnaeus.records import Estimate

How = Literal["drop", "weigh"]
DRAWS = 10
NUMBERS_AT_MOST = 50_000
"""Probabilities looked at in each draw of noise-free labels: more would not change the count by much."""
CLASS_SHARE = 0.5
"""A class loses at most so much of its pictures."""


@dataclass(frozen=True)
class Cleaning:
    """What was decided about training pictures.

    Attributes:
        weights: 0 leaves a picture out, 1 keeps it as it is; float64 [N].
        reasons: Row -> why its weight is not 1.
        by_chance: So many labels would be called likely wrong, at most, if none were.
        noise: Share of wrong labels; None where labels could not be checked.
    """

    weights: np.ndarray
    reasons: dict[int, str]
    by_chance: int = 0
    noise: Estimate | None = None

    @property
    def kept(self) -> np.ndarray:
        """Rows that stay in the training, ascending int64."""
        return np.flatnonzero(self.weights > 0)

    def words(self) -> str:
        """Say it in a sentence."""
        if self.noise is None:
            return "labels could not be checked: too few pictures, or fewer than two classes"
        what = "left out" if not (self.weights[list(self.reasons)] > 0).any() else "counted less"
        told = f"{len(self.reasons):,} of {len(self.weights):,} training pictures {what}: likely wrong labels"
        return f"{told} (wrong in all: {self.noise.percent()})" if self.reasons else "no label is wrong beyond doubt"


def clean(
    features: np.ndarray, labels: np.ndarray, keys: Sequence[str], *, how: How = "drop", seed: int = 0
) -> Cleaning:
    """Check labels by their features and decide what to leave out.

    Args:
        features: Of the training pictures, [N, D]: see `linnaeus.learn.embeddings.embed`.
        labels: Class numbers, int64 [N].
        keys: The same for copies of one picture and for pictures of one group, [N].
        how: "drop" leaves likely wrong labels out, "weigh" counts each by the probability that it is right.
        seed: Of the draws.
    """
    folds = folds_of_keys(keys)
    if len(np.unique(labels[judgeable(features, labels, folds)])) < 2:
        return Cleaning(np.ones(len(labels)), {})
    found = cross_fit(features, labels, folds)
    inside = _decide(found.noise, found.labels, np.log(found.noise.probabilities + 1e-12), how, seed)
    weights = np.ones(len(labels))
    weights[found.rows] = inside.weights
    reasons = {int(found.rows[row]): reason for row, reason in inside.reasons.items()}
    return Cleaning(weights, reasons, inside.by_chance, inside.noise)


def clean_weights(
    labels: np.ndarray, probabilities: np.ndarray, *, how: How = "drop", seed: int = 0
) -> tuple[np.ndarray, dict[int, str]]:
    """Decide by the out-of-fold probabilities of any model.

    Args:
        labels: Class numbers, int64 [N].
        probabilities: Of a model that did not learn from the picture or its copies, [N, K].
        how: As in `clean`.
        seed: Of the draws.

    Returns:
        Weight of each picture, float64 [N], and why it is not 1, by row.

    Raises:
        SettingsError: NaN, a negative probability, or a label that is no class.
    """
    if not (probabilities >= 0).all():
        raise SettingsError("probabilities should be numbers from 0 to 1.", got="NaN or a negative number")
    logits = np.log(probabilities.astype(np.float64) + 1e-12)
    decided = _decide(fit_noise(logits, labels), labels, logits, how, seed)
    return decided.weights, decided.reasons


def _decide(noise: Noise, labels: np.ndarray, logits: np.ndarray, how: How, seed: int) -> Cleaning:
    judged = judge_labels(noise, labels)
    by_chance = likely_by_chance(logits, labels, seed)
    suspects = np.flatnonzero(judged.likely)
    suspects = suspects[np.argsort(-judged.wrong[suspects], kind="stable")]
    counts = np.bincount(labels, minlength=noise.posterior.shape[1])
    left, weights, reasons = np.floor(counts * CLASS_SHARE), np.ones(len(labels)), {}
    for row in suspects[: max(0, len(suspects) - by_chance)].tolist():
        if left[labels[row]] >= 1:
            left[labels[row]] -= 1
            weights[row] = judged.quality[row] if how == "weigh" else 0.0
            reasons[row] = f"likely wrong label ({100 * judged.wrong[row]:.0f} %)"
    return Cleaning(weights, reasons, by_chance, overall_noise(judged.wrong))


def likely_by_chance(logits: np.ndarray, labels: np.ndarray, seed: int = 0) -> int:
    """Count what would be called likely wrong if no label were: the most of some draws.

    Labels are drawn from the model's own probabilities, calibrated as if all labels were right, so classes that
    overlap do so here too; then they are judged like the real ones.

    Args:
        logits: Out-of-fold outputs, [N, K].
        labels: [N].
        seed: Of the draws.

    Source:
        B. Efron, R. J. Tibshirani (1993), "An introduction to the bootstrap", chapter 16: a test by resampling from the
        null hypothesis.
    """
    K, draw = logits.shape[1], np.random.default_rng(seed)
    step = max(1, len(labels) // max(1000, NUMBERS_AT_MOST // K))
    some = logits[::step]
    chances = softmax(some, noise_free_temperature(logits, labels)).cumsum(axis=1)
    most = 0
    for _ in range(DRAWS):
        drawn = (chances < draw.random((len(some), 1), dtype=np.float32) * chances[:, -1:]).sum(axis=1).clip(0, K - 1)
        most = max(most, int(judge_labels(fit_noise(some, drawn), drawn).likely.sum()))
    return most * step
