"""Randomised smoothing: a radius within which no change at all, known or not, turns the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linnaeus.learn.infer import infer_tensors
from linnaeus.metrics import wilson
from linnaeus.talk import Talk
from linnaeus.verbs.stress.sample import Sample
from linnaeus.verbs.stress.target import Target

CHOOSE, SAMPLES = 32, 400
"""Noisy copies by which the class is chosen, and others by which its probability is bounded."""
ALPHA = 0.001
"""Chance that a certificate is wrong, as in the paper."""
MOST_PICTURES = 64


@dataclass(frozen=True)
class Certificate:
    """What is known of one picture.

    Attributes:
        answer: Class number of the smoothed classifier; -1 where it abstains.
        radius: L2, in units of 0..1: no change within it turns the answer, with confidence 1 - alpha. 0 if it abstains.
    """

    answer: int
    radius: float


def certificate(first: np.ndarray, counts: np.ndarray, sigma: float, alpha: float = ALPHA) -> Certificate:
    """Certify one picture from the votes of its noisy copies.

    Args:
        first: Votes by class of the copies that choose the class, [K].
        counts: Votes of other, independent copies, [K].
        sigma: Standard deviation of the noise, in units of 0..1.
        alpha: Chance that the certificate is wrong.

    Source:
        Cohen, Rosenfeld, Kolter (2019), arXiv:1902.02918, procedure CERTIFY: radius = sigma * quantile of the normal
        distribution at the lower bound of the class's probability, where that is above one half.
    """
    from scipy.stats import norm

    answer = int(first.argmax())
    bound = lower_bound(int(counts[answer]), int(counts.sum()), alpha)
    return Certificate(answer, sigma * float(norm.ppf(bound))) if bound > 0.5 else Certificate(-1, 0.0)


def lower_bound(hits: int, n: int, alpha: float) -> float:
    """Bound a probability from below, holding with 1 - alpha whatever it is.

    Source:
        Clopper and Pearson (1934), Biometrika 26, 404-413, one-sided.
    """
    from scipy.stats import beta

    return float(beta.ppf(alpha, hits, n - hits + 1)) if hits else 0.0


def certified(target: Target, sample: Sample, sigma: float, seed: int, talk: Talk) -> list[dict[str, Any]]:
    """Measure the certified accuracy of the smoothed classifier at growing radii.

    A picture counts at a radius if the smoothed classifier's answer is right and certified at least so far. Radius 0 is
    the smoothed classifier's own accuracy, abstention counting as wrong.

    Args:
        target: The network.
        sample: The pictures; each takes CHOOSE + SAMPLES looks.
        sigma: Standard deviation of the noise, in units of 0..1.
        seed: Of the noise.
        talk: Where progress goes.
    """
    found = []
    for place in range(len(sample)):
        talk.progress("certificates", place, len(sample))
        votes = _votes(target, sample, place, sigma, seed)
        found.append(certificate(*votes, sigma))
    talk.progress("certificates", len(sample), len(sample))
    reach = np.array(
        [one.radius if one.answer == label else -1 for one, label in zip(found, sample.labels, strict=True)]
    )
    abstained = sum(one.answer < 0 for one in found)
    return [
        {
            "radius": radius,
            "radius_255": 255 * radius,
            "accuracy": asdict(wilson(int((reach >= radius).sum() if radius else (reach > 0).sum()), len(reach))),
            "sigma": sigma,
            "abstained": asdict(wilson(abstained, len(reach))),
            "samples": SAMPLES,
            "alpha": ALPHA,
        }
        for radius in (sigma * step for step in (0.0, 0.25, 0.5, 0.75, 1.0, 1.5))
    ]


def _votes(target: Target, sample: Sample, place: int, sigma: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Count the answers for noisy copies of a picture: those that choose, and those that bound; each [K]."""
    picture = sample.pictures(np.array([place])).astype(np.float32)
    random = np.random.default_rng((seed, sample.numbers[place], 5))

    def copies() -> Iterator[Tensor]:
        for begin in range(0, CHOOSE + SAMPLES, target.at_once):
            count = min(target.at_once, CHOOSE + SAMPLES - begin)
            noise = random.standard_normal((count, *picture.shape[1:]), dtype=np.float32)
            # Not cut off at 0 and 255: the certificate is about noise that is normal.
            yield torch.from_numpy(picture + np.float32(255 * sigma) * noise)

    answers = np.concatenate([target.decide(part) for part in infer_tensors(target.network, copies(), target.engine)])
    first, rest = (np.bincount(some, minlength=target.classes) for some in np.split(answers, [CHOOSE]))
    return first, rest
