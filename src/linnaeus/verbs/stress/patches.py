"""Adversarial patches: one square that, stuck anywhere on any picture, spoils the answer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from linnaeus.learn.adversarial import cross_entropy
from linnaeus.metrics import wilson
from linnaeus.talk import Talk
from linnaeus.verbs.stress.sample import Sample
from linnaeus.verbs.stress.target import Target

AREAS = (0.02, 0.05, 0.1)
"""Shares of the picture that the square covers."""
STEPS, BATCH, LENGTH = 40, 16, 16.0
"""Steps of the optimisation, pictures in each, and the first step's length in bytes; it falls linearly."""


def patches(target: Target, sample: Sample, right: np.ndarray, seed: int, talk: Talk) -> list[dict[str, Any]]:
    """Learn a patch of each size on one half of the pictures, and stick it on the other half.

    Beside it stands what a square of noise of that size does at the same places: the difference is the attack, the rest
    is that something is hidden.

    Args:
        target: The network.
        sample: The pictures.
        right: Whether the unchanged picture is answered rightly, bool [n].
        seed: Of halves and positions.
        talk: Where progress goes.

    Returns:
        A row per size; none where there are fewer than two pictures that are answered rightly.

    Source:
        Brown et al. (2017), arXiv:1712.09665; here without a target class, without turns, and by signed steps.
    """
    shuffled = np.random.default_rng((seed, 1)).permutation(np.flatnonzero(right))
    learn, judge = shuffled[: len(shuffled) // 2], np.sort(shuffled[len(shuffled) // 2 :])
    if not len(learn):
        return []
    found = []
    for number, area in enumerate(AREAS):
        talk.progress("patches", number, len(AREAS))
        side = max(1, round(sample.size_px * area**0.5))
        patch = learned(target, sample, learn, side, (seed, 2, number))
        noise = _noise(patch.shape, (seed, 3, number)).to(patch.device)
        standing, control = (_standing(target, sample, judge, one, seed) for one in (patch, noise))
        found.append(
            {
                "name": "patch",
                "norm": "area",
                "radius": (side / sample.size_px) ** 2,
                "side_px": side,
                "accuracy": asdict(wilson(int(standing.sum()), len(judge))),
                "noise_accuracy": asdict(wilson(int(control.sum()), len(judge))),
                "steps": STEPS,
            }
        )
    talk.progress("patches", len(AREAS), len(AREAS))
    return found


def learned(target: Target, sample: Sample, places: np.ndarray, side: int, seed: tuple[int, ...]) -> Tensor:
    """Learn a patch, float bytes [side, side, C], that makes the loss large at random positions on some pictures."""
    random = np.random.default_rng(seed)
    patch = _noise((side, side, sample.pictures(slice(1)).shape[3]), seed).to(target.engine.device)
    for step in range(STEPS):
        some = np.sort(random.choice(places, min(BATCH, len(places)), replace=False))
        spots = random.integers(0, sample.size_px - side + 1, (len(some), 2))
        corners = dict(zip(some.tolist(), spots, strict=True))

        def work(
            among: np.ndarray,
            pictures: Tensor,
            labels: Tensor,
            patch: Tensor = patch,
            corners: dict[int, np.ndarray] = corners,
        ) -> Tensor:
            return _gradient(target, pictures, labels, patch, [corners[int(place)] for place in among])

        gradient = torch.stack(list(target.over(work, target.batches(sample, some)))).sum(0)
        patch = (patch + LENGTH * (1 - step / STEPS) * gradient.sign()).clamp(0, 255)
    return patch


def stick(pictures: Tensor, patch: Tensor, corners: list[np.ndarray]) -> Tensor:
    """Put a patch on each picture at its upper left corner (row, column)."""
    room, side = pictures.shape[1] - patch.shape[0], patch.shape[0]
    layers = []
    for top, left in corners:
        around = (0, 0, int(left), room - int(left), int(top), room - int(top))
        layers.append(functional.pad(patch, around))
    spots = torch.arange(pictures.shape[1], device=pictures.device)
    top, left = torch.from_numpy(np.stack(corners)).to(pictures.device).T[:, :, None]
    inside = ((spots >= top) & (spots < top + side))[:, :, None] & ((spots >= left) & (spots < left + side))[:, None]
    return torch.where(inside[..., None], torch.stack(layers), pictures)


def _gradient(target: Target, pictures: Tensor, labels: Tensor, patch: Tensor, corners: list[np.ndarray]) -> Tensor:
    variable = patch.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        logits = target.network(stick(pictures, variable, corners)).float()
        return torch.autograd.grad(cross_entropy(logits, labels).sum(), variable)[0]


def _standing(target: Target, sample: Sample, places: np.ndarray, patch: Tensor, seed: int) -> np.ndarray:
    """Tell which pictures are still answered rightly with the patch somewhere on them, bool [len(places)]."""
    room = sample.size_px - patch.shape[0] + 1

    def work(some: np.ndarray, pictures: Tensor, labels: Tensor) -> np.ndarray:
        corners = [np.random.default_rng((seed, 4, sample.numbers[place])).integers(0, room, 2) for place in some]
        with torch.no_grad():
            return target.decide(target.network(stick(pictures, patch, corners))) == labels.cpu().numpy()

    return np.concatenate(list(target.over(work, target.batches(sample, places))))


def _noise(shape: tuple[int, ...], seed: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32))
