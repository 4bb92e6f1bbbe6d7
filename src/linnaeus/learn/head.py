"""A regularised linear head, solved on the features of a frozen network in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from linnaeus.learn.objectives import CROSS_ENTROPY, Loss

STRENGTHS = tuple(10.0**power for power in (-4, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0))
"""Candidates for the L2 penalty per weight, strongest last."""


Resample = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Makes other features [M, D] and labels [M] of features [N, D] and labels [N]."""


@dataclass(frozen=True)
class Head:
    """A linear classifier on features.

    Attributes:
        weight: [K, D].
        bias: [K].
        strength: L2 penalty that was chosen.
        scores: Cross-validated loss of each strength that was tried.
        held_out: Logits of each row by heads that did not see it, at that strength, [N, K]; None if there was but one fold.
    """

    weight: Tensor
    bias: Tensor
    strength: float
    scores: dict[float, float]
    held_out: Tensor | None = None


def solve_head(
    features: Tensor,
    labels: Tensor,
    classes: int,
    folds: np.ndarray,
    loss: Loss = CROSS_ENTROPY,
    *,
    resample: Resample | None = None,
    judge: Loss | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> Head:
    """Solve multinomial logistic regression on standardised features; the penalty is chosen by cross-validation.

    Args:
        features: float32 [N, D].
        labels: int64 [N].
        classes: K.
        folds: Fold number of each row, [N]; copies of a picture share a fold, or the choice would be too bold.
        loss: What is made small.
        resample: Changes which rows are learned from; those that judge stay as they are.
        judge: Loss of held-out rows; by default the same.
        strengths: Candidates, strongest last.

    Returns:
        Weights for the features as they are: the standardisation is folded in.
    """
    mean, deviation = features.mean(0), features.std(0).clamp_min(1e-6)
    standard = (features - mean) / deviation
    judge = judge or loss
    scores, held_out = _cross_validate(
        standard, labels, classes, torch.from_numpy(folds), loss, resample, judge, strengths
    )
    strength = min(scores, key=lambda candidate: scores[candidate])
    if resample is not None:
        standard, labels = resample(standard, labels)
    weight, bias = _solve(standard, labels, classes, strength, loss)
    weight = weight / deviation
    return Head(weight, bias - weight @ mean, strength, scores, held_out)


def folds_of(hashes: Sequence[str], count: int = 3) -> np.ndarray:
    """Deal rows into folds by their content, so that byte-identical pictures stay together; int64 [N]."""
    return np.array([int(text[-8:], 16) % count for text in hashes], dtype=np.int64)


def _cross_validate(
    features: Tensor,
    labels: Tensor,
    classes: int,
    folds: Tensor,
    loss: Loss,
    resample: Resample | None,
    judge: Loss,
    strengths: Sequence[float],
) -> tuple[dict[float, float], Tensor | None]:
    """Return the mean held-out loss by strength, and the held-out logits of the best; stops where it only gets worse."""
    names = folds.unique().tolist()
    if len(names) < 2:
        return {strengths[len(strengths) // 2]: float("nan")}, None
    scores: dict[float, float] = {}
    best: Tensor | None = None
    starts: dict[int, Tensor | None] = dict.fromkeys(names)
    drawn = {name: resample(features[folds != name], labels[folds != name]) for name in names} if resample else {}
    for strength in reversed(strengths):
        total, held_out = 0.0, torch.empty(len(labels), classes)
        for name in names:
            inside = folds != name
            known = drawn[name] if drawn else (features[inside], labels[inside])
            weight, bias = _solve(*known, classes, strength, loss, starts[name])
            starts[name] = torch.cat([weight, bias[:, None]], 1)
            held_out[~inside] = features[~inside] @ weight.T + bias
            total += judge.total(held_out[~inside], labels[~inside]).item()
        scores[strength] = total / len(labels)
        if scores[strength] == min(scores.values()):
            best = held_out
        if scores[strength] > min(scores.values()) * 1.05:
            break
    return scores, best


def _solve(
    features: Tensor,
    labels: Tensor,
    classes: int,
    strength: float,
    loss: Loss = CROSS_ENTROPY,
    start: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Minimise mean loss + strength / 2 * |weight|^2 by L-BFGS; the bias is free."""
    D = features.shape[1]
    both = torch.zeros(classes, D + 1) if start is None else start.clone()
    both.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [both], max_iter=200, history_size=10, tolerance_grad=1e-5, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = torch.addmm(both[:, D], features, both[:, :D].T)
        cost = loss.mean(logits, labels) + 0.5 * strength * both[:, :D].square().sum()
        cost.backward()
        return cost

    optimizer.step(closure)
    solved = both.detach()
    return solved[:, :D].contiguous(), solved[:, D].contiguous()
