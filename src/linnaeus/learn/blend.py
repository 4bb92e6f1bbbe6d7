"""A linear discriminant added to a solved regression: the two err on different pictures, and their sum is linear as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from linnaeus.learn.discriminant import FoldSums, discriminant
from linnaeus.learn.infer import one_thread_each
from linnaeus.learn.objectives import Loss
from linnaeus.machine import cores_here

SHRINKAGES = (0.3, 0.6)
"""Candidates for the share of the covariance that is replaced by a multiple of the identity."""
LEAST, MOST = 0.1, 2.0
"""Of the regression something is always left, and of answers that are all right larger factors are always better."""


@dataclass(frozen=True)
class Blend:
    """What is added to a regression, and what becomes of both.

    Attributes:
        share: Factor on the regression's logits.
        weight: Of the discriminant, its factor included, [K, D].
        bias: [K].
        held_out: Logits of each row by both, from the other folds, [N, K].
    """

    share: float
    weight: Tensor
    bias: Tensor
    held_out: Tensor


def blend(sums: FoldSums, labels: Tensor, held_out: Tensor, loss: Loss) -> Blend:
    """Solve discriminants without each fold, and choose the factors that make the held-out loss of the sum least.

    Args:
        sums: Of float32 features [N, D] over two folds or more.
        labels: int64 [N].
        held_out: The regression's logits of each row, without its fold, [N, K].
        loss: Of held-out rows. Where it weighs classes, the discriminant's priors are made equal.
    """
    known = torch.nn.functional.one_hot(labels, held_out.shape[1]).float().numpy()
    counts = known.sum(0, dtype=np.float64)
    change, judging = change_of_prior(counts, loss), _known_elsewhere(labels.numpy(), sums.members, len(counts))
    found = []
    with one_thread_each(min(len(SHRINKAGES), cores_here())) as pool:
        solved = list(pool.map(lambda shrinkage: sums.out_of_fold(known, shrinkage), SHRINKAGES))
    for shrinkage, logits in zip(SHRINKAGES, solved, strict=True):
        other = torch.from_numpy(logits) + change
        cost, share, factor = _factors(held_out[judging], other[judging], labels[judging], loss)
        found.append((cost, shrinkage, share, factor, share * held_out + factor * other))
    _, shrinkage, share, factor, both = min(found, key=lambda one: one[0])
    class_sums = (known.T @ sums.features).astype(np.float64)
    weight, bias = discriminant(sums.all_squares, class_sums, counts, shrinkage)
    total = torch.from_numpy(bias.astype(np.float32)) + change
    return Blend(share, factor * torch.from_numpy(weight.astype(np.float32)), factor * total, both)


def _known_elsewhere(labels: np.ndarray, folds: Sequence[np.ndarray], classes: int) -> Tensor:
    """Find the rows of which the class has rows in other folds: on the others no head could be right."""
    counts = np.bincount(labels, minlength=classes)
    known = [rows[np.bincount(labels[rows], minlength=classes)[labels[rows]] < counts[labels[rows]]] for rows in folds]
    return torch.from_numpy(np.sort(np.concatenate(known)))


def change_of_prior(counts: np.ndarray, loss: Loss) -> Tensor:
    """Compute what to add to a discriminant's logits for a loss that does not want classes as likely as they are, [K].

    Args:
        counts: Pictures of each class, [K].
        loss: Class weights make the priors equal; a shift is added again by the loss.
    """
    change = torch.zeros(len(counts))
    if loss.class_weights is not None:
        # A class without pictures keeps its prior of next to nothing.
        change -= torch.from_numpy(np.log(np.where(counts > 0, counts, counts.sum()) / counts.sum())).float()
    return change if loss.shift is None else change - loss.shift


def _factors(one: Tensor, other: Tensor, labels: Tensor, loss: Loss) -> tuple[float, float, float]:
    """Find the least loss of a weighted sum of logits: the loss, and the factor on each; without rows it is the first."""
    if not len(labels):
        return 0.0, 1.0, 0.0
    from scipy.optimize import minimize

    def cost_and_slope(values: np.ndarray) -> tuple[float, np.ndarray]:
        factors = torch.from_numpy(values).float().requires_grad_()
        cost = loss.mean(factors[0] * one + factors[1] * other, labels)
        (slope,) = torch.autograd.grad(cost, factors)
        return cost.item(), slope.double().numpy()

    bounds = [(LEAST, MOST), (0.0, MOST)]
    found = minimize(cost_and_slope, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds)
    return float(found.fun), float(found.x[0]), float(found.x[1])
