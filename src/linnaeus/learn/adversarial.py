"""Worst changes of pictures within a small ball, by the network's own gradient; and training on such pictures.

Pictures are bytes here: float32 in 0..255, [N, H, W, C], the network's first layer being `FromBytes`. So a radius of 8
is the 8/255 of the literature, whatever the normalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from linnaeus.learn.objectives import Batch, Objective, Outcome
from linnaeus.nn.input import FromBytes

Loss = Callable[[Tensor, Tensor], Tensor]
"""Takes logits [N, K] and labels [N]; gives one number per picture, [N], that an attack makes large."""


@dataclass(frozen=True)
class Ball:
    """The changes that are allowed.

    Attributes:
        norm: "Linf": no byte changes by more than the radius. "L2": the root of the sum of all squared changes of a
            picture is at most the radius.
        radius: In bytes, 0..255.
    """

    norm: Literal["Linf", "L2"]
    radius: float

    def move(self, gradient: Tensor, length: float) -> Tensor:
        """Take the steepest step of a length in this norm, for each picture."""
        if self.norm == "Linf":
            return length * gradient.sign()
        return length * gradient / _lengths(gradient).clamp_min(1e-12)

    def hold(self, change: Tensor) -> Tensor:
        """Bring changes back into the ball."""
        if self.norm == "Linf":
            return change.clamp(-self.radius, self.radius)
        return change * (self.radius / _lengths(change).clamp_min(1e-12)).clamp_max(1)

    def draw(self, shape: Sequence[int], random: np.random.Generator) -> Tensor:
        """Draw one change from inside the ball: uniform in each byte, or of uniform length in a random direction."""
        if self.norm == "Linf":
            return torch.from_numpy(random.uniform(-self.radius, self.radius, shape).astype(np.float32))
        direction = random.standard_normal(shape).astype(np.float32)
        return torch.from_numpy(direction * np.float32(self.radius * random.random() / np.linalg.norm(direction)))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the loss that training makes small."""
    return functional.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the best wrong logit minus the right one; unlike the cross-entropy its gradient never fades.

    Source:
        Carlini and Wagner (2017), arXiv:1608.04644.
    """
    right = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], float("-inf"))
    return others.max(1).values - right


def climb(
    network: nn.Module,
    pictures: Tensor,
    changed: Tensor,
    labels: Tensor,
    ball: Ball,
    length: float,
    loss: Loss = cross_entropy,
) -> tuple[Tensor, Tensor]:
    """Take one projected gradient step up the loss.

    The network is used in the mode that it is in, and its parameters get no gradient.

    Args:
        network: Takes bytes.
        pictures: float32 0..255, [N, H, W, C].
        changed: The pictures as changed so far, inside the ball; at first the pictures, or a random point.
        labels: int64 [N].
        ball: The changes allowed.
        length: Of the step, in the ball's norm, in bytes.
        loss: What is made large.

    Returns:
        The next point, and the network's logits at the point before.

    Source:
        Madry et al. (2018), arXiv:1706.06083. One step from the pictures, as long as the radius, is FGSM: Goodfellow
        et al. (2015), arXiv:1412.6572.
    """
    point = changed.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = network(point).float()
        (gradient,) = torch.autograd.grad(loss(logits, labels).sum(), point)
    moved = changed + ball.move(gradient, length)
    return (pictures + ball.hold(moved - pictures)).clamp(0, 255), logits.detach()


def adversarial(inner: Objective, from_bytes: FromBytes, *, radius: float, steps: int = 3) -> Objective:
    """Make the objective of adversarial training: every picture is first changed for the worst.

    One step starts at a random point and goes 1.25 radii ("fast"); several go 2.5 radii in all. With one step training may
    end in a network that only this step cannot fool ("catastrophic overfitting"): so it went on CIFAR-10 here. The attack sees the
    network in training mode, as the loss does; what it does to the layers' statistics is undone.

    Args:
        inner: What is then made small, such as `supervised(...)`.
        from_bytes: The normalisation that the batches went through.
        radius: Largest change of each byte; 8 is usual for CIFAR-10.
        steps: Steps of the attack; each costs as much as a step of plain training.

    Source:
        Madry et al. (2018), arXiv:1706.06083 (several steps); Wong, Rice, Kolter (2020), arXiv:2001.03994 (one).
    """
    ball, length = Ball("Linf", radius), radius * (1.25 if steps == 1 else 2.5 / steps)

    def worst(network: nn.Module, batch: Batch) -> Outcome:
        pictures = to_bytes(batch.pictures.float(), from_bytes)
        start = ball.draw(pictures.shape, np.random.default_rng((*batch.seed, 8))).to(pictures.device)
        changed, whole = (pictures + start).clamp(0, 255), nn.Sequential(from_bytes, network)
        with _same_buffers(network):
            for _ in range(steps):
                changed, _ = climb(whole, pictures, changed, batch.labels, ball, length)
        return inner(network, replace(batch, pictures=from_bytes(changed).to(batch.pictures.dtype)))

    return worst


def to_bytes(pictures: Tensor, from_bytes: FromBytes) -> Tensor:
    """Undo the normalisation: [N, C, H, W] to float bytes [N, H, W, C]."""
    assert isinstance(from_bytes.scale, Tensor)
    assert isinstance(from_bytes.shift, Tensor)
    return ((pictures.permute(0, 2, 3, 1) - from_bytes.shift) / from_bytes.scale).clamp(0, 255)


@contextmanager
def _same_buffers(network: nn.Module) -> Iterator[None]:
    """Leave the layers' statistics as they were."""
    before = [buffer.clone() for buffer in network.buffers()]
    yield
    with torch.no_grad():
        for buffer, value in zip(network.buffers(), before, strict=True):
            buffer.copy_(value)


def _lengths(change: Tensor) -> Tensor:
    return change.flatten(1).norm(dim=1).view(-1, *[1] * (change.dim() - 1))
