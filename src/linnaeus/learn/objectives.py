"""Objective functions: what a step makes small. Each takes the network and a batch and gives a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Batch:
    """Pictures of one step.

    Attributes:
        pictures: Normalised, [N, C, H, W].
        labels: Class numbers, int64 [N].
        seed: Two numbers from which the randomness of this batch is drawn (mixup).
    """

    pictures: Tensor
    labels: Tensor
    seed: tuple[int, ...] = (0,)


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


def supervised(
    *, label_smoothing: float = 0, class_weights: Tensor | None = None, mixup: float = 0, cutmix: float = 0
) -> Objective:
    """Make the cross-entropy objective on hard labels, with smoothing, class weights, mixup and cutmix.

    Args:
        label_smoothing: Mass spread over all classes.
        class_weights: [K] or None.
        mixup: Alpha; 0 is off.
        cutmix: Alpha; 0 is off. If both are on, each batch gets one of them.
    """

    def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, weight=class_weights, label_smoothing=label_smoothing)

    def weight(labels: Tensor) -> Tensor:
        return torch.tensor(float(len(labels))) if class_weights is None else class_weights[labels].sum()

    def plain(network: nn.Module, batch: Batch) -> Outcome:
        logits = network(batch.pictures).float()
        loss = cross_entropy(logits, batch.labels)
        return Outcome(loss, _right(logits, batch.labels), len(batch.labels), weight(batch.labels))

    def mixed(network: nn.Module, batch: Batch) -> Outcome:
        pictures, partner, share = mix(batch, mixup, cutmix)
        logits = network(pictures).float()
        loss = share * cross_entropy(logits, batch.labels) + (1 - share) * cross_entropy(logits, batch.labels[partner])
        return Outcome(loss, _right(logits, batch.labels), len(batch.labels), weight(batch.labels))

    return mixed if mixup or cutmix else plain


def mix(batch: Batch, mixup: float, cutmix: float) -> tuple[Tensor, Tensor, float]:
    """Mix every picture with a partner from the batch.

    Returns:
        Mixed pictures [N, C, H, W], the partners' rows [N], and the share of the first picture.

    Source:
        Zhang et al. (2018), arXiv:1710.09412; Yun et al. (2019), arXiv:1905.04899.
    """
    draw = np.random.default_rng(batch.seed)
    partner = torch.from_numpy(draw.permutation(len(batch.labels))).to(batch.labels.device)
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
    """Weigh classes so that each has the same total weight and the mean weight of a picture is 1; empty classes get 0."""
    counts = np.asarray(counts, dtype=np.float64)
    used = counts > 0
    weights = np.where(used, counts.sum() / (used.sum() * np.maximum(counts, 1)), 0)
    return torch.tensor(weights, dtype=torch.float32)


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.detach().argmax(1) == labels).sum()
