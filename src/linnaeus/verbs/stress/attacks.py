"""Attacks that know the network: how many right answers survive the worst change within a radius."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from linnaeus.errors import SettingsError
from linnaeus.learn.adversarial import Ball, Loss, climb, cross_entropy, margin
from linnaeus.metrics import wilson
from linnaeus.talk import Talk
from linnaeus.verbs.stress.autoattack import auto_survivors
from linnaeus.verbs.stress.corruptions import SMALL_PX
from linnaeus.verbs.stress.sample import Sample
from linnaeus.verbs.stress.target import Target

NAMES = ("fgsm", "pgd", "autoattack")
LINF_RADII = (1.0, 2.0, 4.0, 8.0)
"""In bytes; 8 is usual for CIFAR-10, 4 for ImageNet."""
L2_RADII = {"small": (0.25, 0.5, 1.0), "large": (0.5, 1.5, 3.0)}
"""In units of 0..1; 0.5 is usual for CIFAR-10, 3 for ImageNet."""
PGD_STEPS, FIRST_STEP = 40, 2.0
"""Steps of one start, and the length of the first in radii; the length falls linearly to nothing. Equal steps of 2.5 radii
in all left 23 of 48 digits standing within 8/255, falling ones 14, as many as AutoAttack."""
RESTARTS: tuple[Loss, ...] = (cross_entropy, margin)
"""What each start of PGD climbs: the margin's gradient does not fade where the network is very sure."""


@dataclass(frozen=True)
class Attack:
    """One attack at one radius.

    Attributes:
        name: "FGSM", "PGD" or "AutoAttack".
        ball: The changes allowed.
        steps: Gradient steps of one start; 0 where the attack decides by itself.
    """

    name: str
    ball: Ball
    steps: int

    def document(self, standing: np.ndarray) -> dict[str, Any]:
        """Write the result as plain values.

        Args:
            standing: Whether the answer is still right, bool [n].
        """
        return {
            "name": self.name,
            "norm": self.ball.norm,
            "radius": self.ball.radius / 255,
            "radius_255": self.ball.radius,
            "accuracy": asdict(wilson(int(standing.sum()), len(standing))),
            "steps": self.steps,
            "restarts": len(RESTARTS) if self.name == "PGD" else 1,
        }


def planned(names: tuple[str, ...], size_px: int) -> list[list[Attack]]:
    """List the attacks by name and norm, each list with growing radius.

    Raises:
        SettingsError: An attack is not known.
    """
    if strange := [name for name in names if name not in NAMES]:
        raise SettingsError(f"attack {strange[0]!r} does not exist.", fix=f"take {', '.join(NAMES)} or patch.")
    small = size_px <= SMALL_PX
    l2 = tuple(255 * radius for radius in L2_RADII["small" if small else "large"])
    radii: tuple[tuple[Literal["Linf", "L2"], tuple[float, ...]], ...] = (("Linf", LINF_RADII), ("L2", l2))
    series = []
    if "fgsm" in names:
        series.append([Attack("FGSM", Ball("Linf", radius), 1) for radius in LINF_RADII])
    if "pgd" in names:
        series += [[Attack("PGD", Ball(norm, radius), PGD_STEPS) for radius in some] for norm, some in radii]
    if "autoattack" in names:
        series.append([Attack("AutoAttack", Ball("Linf", 8.0 if small else 4.0), 0)])
    return series


def attack(
    target: Target, sample: Sample, right: np.ndarray, names: tuple[str, ...], seed: int, talk: Talk
) -> list[dict[str, Any]]:
    """Attack a sample in all ways that were asked for.

    What PGD broke within a radius stays broken within a larger one, as the ball holds the smaller; AutoAttack likewise
    goes on where PGD in the same norm ended. So no attack is tried on a picture that is lost already.

    Args:
        target: The network.
        sample: The pictures.
        right: Whether the unchanged picture is answered rightly, bool [n].
        names: Some of `NAMES`.
        seed: Of random starts.
        talk: Where progress goes.
    """
    found: list[dict[str, Any]] = []
    broken: dict[float, np.ndarray] = {}
    series = planned(names, sample.size_px)
    total, done = sum(map(len, series)), 0
    for attacks in series:
        standing = right.copy()
        for one in attacks:
            talk.progress("attacks", done, total)
            if one.name == "FGSM":
                standing = right & survivors(target, sample, np.flatnonzero(right), one, seed)
            elif one.name == "PGD":
                standing = standing & survivors(target, sample, np.flatnonzero(standing), one, seed)
                if one.ball.norm == "Linf":
                    broken[one.ball.radius] = standing
            else:
                standing = broken.get(one.ball.radius, right)
                standing = standing & auto_survivors(target, sample, np.flatnonzero(standing), one.ball.radius, seed)
            found.append(one.document(standing))
            done += 1
    talk.progress("attacks", total, total)
    return found


def survivors(target: Target, sample: Sample, places: np.ndarray, how: Attack, seed: int) -> np.ndarray:
    """Tell which pictures of the sample are still answered rightly after FGSM or PGD; others than `places` are not tried.

    A picture is lost as soon as one point on the way, all of which lie in the ball, is answered wrongly. Points are not
    rounded to whole bytes, as in the literature.

    Returns:
        bool [n]; False outside of `places`.
    """
    standing = np.zeros(len(sample), dtype=bool)

    def work(some: np.ndarray, pictures: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
        if how.name == "FGSM":
            lost = _climbed(target, pictures, pictures, labels, how, 1.0, cross_entropy)
            return some, ~lost
        lost = np.zeros(len(some), dtype=bool)
        for number, loss in enumerate(RESTARTS):
            left = np.flatnonzero(~lost)
            if not len(left):
                break
            seeds = [(seed, sample.numbers[place], number) for place in some[left]]
            start = torch.stack([how.ball.draw(pictures.shape[1:], np.random.default_rng(one)) for one in seeds])
            here, truth = pictures[left], labels[left]
            begin = (here + start.to(here.device)).clamp(0, 255)
            lost[left] = _climbed(target, here, begin, truth, how, FIRST_STEP, loss)
        return some, ~lost

    for some, left in target.over(work, target.batches(sample, places)):
        standing[some] = left
    return standing


def _climbed(
    target: Target, pictures: Tensor, begin: Tensor, labels: Tensor, how: Attack, first: float, loss: Loss
) -> np.ndarray:
    """Climb by falling steps, the first so many radii long; tell which pictures were answered wrongly anywhere, bool [n]."""
    truth, changed = labels.cpu().numpy(), begin
    lost = np.zeros(len(truth), dtype=bool)
    for step in range(how.steps):
        length = first * how.ball.radius * (1 - step / how.steps)
        changed, logits = climb(target.network, pictures, changed, labels, how.ball, length, loss)
        lost |= target.decide(logits) != truth
        if lost.all():
            return lost
    with torch.no_grad():
        return lost | (target.decide(target.network(changed)) != truth)
