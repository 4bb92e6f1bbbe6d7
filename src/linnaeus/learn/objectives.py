"""Objective functions: what a step makes small. Each takes the network and a batch and gives a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Batch:
    """Pictures of one step.

    Attributes:
        pictures: Normalised, [N, C, H, W].
        labels: Class numbers, int64 [N]; -1 of a picture without a label, which only a teacher can speak of.
        seed: Two numbers from which the randomness of this batch is drawn (mixup).
        taught: A teacher's logits for these pictures, [N, K], where they are known beforehand.
    """

    pictures: Tensor
    labels: Tensor
    seed: tuple[int, ...] = (0,)
    taught: Tensor | None = None


@dataclass(frozen=True)
class Outcome:
    """What an objective found.

    Attributes:
        loss: To be made small; a mean over the batch.
        right: Number of pictures classified rightly.
        n: Pictures.
        weight: What the loss is a mean over: n, or the sum of the class weights.
    """

    loss: Tensor
    right: Tensor
    n: int
    weight: Tensor


Objective = Callable[[nn.Module, Batch], Outcome]


@dataclass(frozen=True)
class Loss:
    """How far logits are from labels: cross-entropy, and what is made of it where classes are of unequal size.

    Attributes:
        label_smoothing: Mass spread over all classes.
        class_weights: [K] or None.
        gamma: Focal loss: each picture counts (1 - probability of its class) ** gamma; 0 is off.
        shift: Added to the logits before they are judged, [K] or None; see `prior_shift`.

    Source:
        Focal: Lin et al. (2017), arXiv:1708.02002. Shift: Menon et al. (2021), arXiv:2007.07314.
    """

    label_smoothing: float = 0
    class_weights: Tensor | None = None
    gamma: float = 0
    shift: Tensor | None = None

    def mean(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the mean over pictures, weighted by class."""
        if self.gamma:
            return self._focal(logits, labels).sum() / self.weight(labels)
        return self._cross_entropy(logits, labels, "mean")

    def total(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the sum over pictures."""
        if self.gamma:
            return self._focal(logits, labels).sum()
        return self._cross_entropy(logits, labels, "sum")

    def weight(self, labels: Tensor) -> Tensor:
        """Add up the weights of pictures."""
        return (
            labels.new_full((), len(labels), dtype=torch.float32)
            if self.class_weights is None
            else self.class_weights[labels].sum()
        )

    def to(self, device: torch.device) -> Loss:
        """Move what it knows of the classes to a device."""
        weights, shift = self.class_weights, self.shift
        return replace(
            self,
            class_weights=None if weights is None else weights.to(device),
            shift=None if shift is None else shift.to(device),
        )

    def _focal(self, logits: Tensor, labels: Tensor) -> Tensor:
        probabilities = (logits if self.shift is None else logits + self.shift).softmax(1)
        missed = 1 - probabilities.gather(1, labels[:, None])[:, 0]
        # At 0 a power below 1 has no finite slope.
        return missed.clamp_min(1e-6) ** self.gamma * self._cross_entropy(logits, labels, "none")

    def _cross_entropy(self, logits: Tensor, labels: Tensor, reduction: str) -> Tensor:
        return functional.cross_entropy(
            logits if self.shift is None else logits + self.shift,
            labels,
            weight=self.class_weights,
            label_smoothing=self.label_smoothing,
            reduction=reduction,
        )


CROSS_ENTROPY = Loss()


def supervised(loss: Loss = CROSS_ENTROPY, *, mixup: float = 0, cutmix: float = 0) -> Objective:
    """Make the objective on hard labels, with mixup and cutmix.

    Args:
        loss: What is made small for each picture.
        mixup: Alpha; 0 is off.
        cutmix: Alpha; 0 is off. If both are on, each batch gets one of them.
    """

    def plain(network: nn.Module, batch: Batch) -> Outcome:
        logits = network(batch.pictures).float()
        found = loss.mean(logits, batch.labels)
        return Outcome(found, _right(logits, batch.labels), len(batch.labels), loss.weight(batch.labels))

    def mixed(network: nn.Module, batch: Batch) -> Outcome:
        pictures, partner, share = mix(batch, mixup, cutmix)
        logits = network(pictures).float()
        found = share * loss.mean(logits, batch.labels) + (1 - share) * loss.mean(logits, batch.labels[partner])
        return Outcome(found, _right(logits, batch.labels), len(batch.labels), loss.weight(batch.labels))

    return mixed if mixup or cutmix else plain


def mix(batch: Batch, mixup: float, cutmix: float) -> tuple[Tensor, Tensor, float]:
    """Mix every picture with a partner from the batch.

    Returns:
        Mixed pictures [N, C, H, W], the partners' rows [N], and the share of the first picture.

    Source:
        Zhang et al. (2018), arXiv:1710.09412; Yun et al. (2019), arXiv:1905.04899.
    """
    draw = np.random.default_rng(batch.seed)
    partner = torch.from_numpy(draw.permutation(len(batch.labels))).to(batch.labels.device, non_blocking=True)
    if cutmix and (not mixup or draw.random() < 0.5):
        height, width = batch.pictures.shape[-2:]
        side = np.sqrt(1 - draw.beta(cutmix, cutmix))
        y, x = draw.integers(height), draw.integers(width)
        half_height, half_width = round(height * side / 2), round(width * side / 2)
        top, bottom = max(0, y - half_height), min(height, y + half_height)
        left, right = max(0, x - half_width), min(width, x + half_width)
        pictures = batch.pictures.clone()
        pictures[:, :, top:bottom, left:right] = batch.pictures[partner, :, top:bottom, left:right]
        return pictures, partner, 1 - (bottom - top) * (right - left) / (height * width)
    share = float(draw.beta(mixup, mixup))
    return batch.pictures.lerp(batch.pictures[partner], 1 - share), partner, share


def inverse_frequency(counts: np.ndarray) -> Tensor:
    """Weigh classes so that each has the same total weight and the mean weight of a picture is 1; empty classes get 0.

    Source:
        King and Zeng (2001), Polit. Anal. 9, 137-163. The effective number of pictures (Cui et al. 2019,
        arXiv:1901.05555) is the same up to 5 % for classes below 100 pictures at its usual beta of 0.999, and one more
        number to choose.
    """
    counts = np.asarray(counts, dtype=np.float64)
    used = counts > 0
    weights = np.where(used, counts.sum() / (used.sum() * np.maximum(counts, 1)), 0)
    return torch.tensor(weights, dtype=torch.float32)


def prior_shift(counts: np.ndarray, tau: float = 1.0) -> Tensor:
    """Compute tau times the log share of each class: trained with it, the logits themselves favour no class.

    A class without pictures is treated as the largest, so that it stays improbable.

    Source:
        Menon et al. (2021), arXiv:2007.07314: the logit-adjusted loss.
    """
    counts = np.asarray(counts, dtype=np.float64)
    shares = np.where(counts > 0, counts, counts.max()) / counts.sum()
    return torch.tensor(tau * np.log(shares), dtype=torch.float32)


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.detach().argmax(1) == labels).sum()
