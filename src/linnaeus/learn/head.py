"""A regularised linear head, solved on the features of a frozen network in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

STRENGTHS = tuple(10.0**power for power in (-4, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0))
"""Candidates for the L2 penalty per weight, strongest last."""


@dataclass(frozen=True)
class Head:
    """A linear classifier on features.

    Attributes:
        weight: [K, D].
        bias: [K].
        strength: L2 penalty that was chosen.
        scores: Cross-validated log loss of each strength that was tried.
    """

    weight: Tensor
    bias: Tensor
    strength: float
    scores: dict[float, float]


def solve_head(
    features: Tensor, labels: Tensor, classes: int, folds: np.ndarray, weights: Tensor | None = None
) -> Head:
    """Solve multinomial logistic regression on standardised features; the penalty is chosen by cross-validation.

    Args:
        features: float32 [N, D].
        labels: int64 [N].
        classes: K.
        folds: Fold number of each row, [N]; copies of a picture share a fold, or the choice would be too bold.
        weights: Class weights [K] or None.

    Returns:
        Weights for the features as they are: the standardisation is folded in.
    """
    mean, deviation = features.mean(0), features.std(0).clamp_min(1e-6)
    standard = (features - mean) / deviation
    scores = _cross_validate(standard, labels, classes, torch.from_numpy(folds), weights)
    strength = min(scores, key=lambda candidate: scores[candidate])
    weight, bias = _solve(standard, labels, classes, strength, weights)
    weight = weight / deviation
    return Head(weight, bias - weight @ mean, strength, scores)


def folds_of(hashes: Sequence[str], count: int = 3) -> np.ndarray:
    """Deal rows into folds by their content, so that byte-identical pictures stay together; int64 [N]."""
    return np.array([int(text[-8:], 16) % count for text in hashes], dtype=np.int64)


def _cross_validate(
    features: Tensor, labels: Tensor, classes: int, folds: Tensor, weights: Tensor | None
) -> dict[float, float]:
    """Return the mean held-out log loss by strength; stops where stronger penalties only get worse."""
    names = folds.unique().tolist()
    if len(names) < 2:
        return {STRENGTHS[4]: float("nan")}
    scores: dict[float, float] = {}
    starts: dict[int, Tensor | None] = dict.fromkeys(names)
    for strength in reversed(STRENGTHS):
        total = 0.0
        for name in names:
            inside = folds != name
            weight, bias = _solve(features[inside], labels[inside], classes, strength, weights, starts[name])
            starts[name] = torch.cat([weight, bias[:, None]], 1)
            logits = features[~inside] @ weight.T + bias
            total += functional.cross_entropy(logits, labels[~inside], weight=weights, reduction="sum").item()
        scores[strength] = total / len(labels)
        if scores[strength] > min(scores.values()) * 1.05:
            break
    return scores


def _solve(
    features: Tensor,
    labels: Tensor,
    classes: int,
    strength: float,
    weights: Tensor | None = None,
    start: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Minimise mean cross-entropy + strength / 2 * |weight|^2 by L-BFGS; the bias is free."""
    D = features.shape[1]
    both = torch.zeros(classes, D + 1) if start is None else start.clone()
    both.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [both], max_iter=200, history_size=10, tolerance_grad=1e-5, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = torch.addmm(both[:, D], features, both[:, :D].T)
        loss = functional.cross_entropy(logits, labels, weight=weights) + 0.5 * strength * both[:, :D].square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    solved = both.detach()
    return solved[:, :D].contiguous(), solved[:, D].contiguous()
