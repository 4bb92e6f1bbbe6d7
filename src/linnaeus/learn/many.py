"""A head for very many classes: a linear discriminant in closed form, whose cost is that of reading the features."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from linnaeus.learn.blend import change_of_prior
from linnaeus.learn.discriminant import discriminant
from linnaeus.learn.objectives import Loss

Resample = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Makes other features [M, D] and labels [M] of features [N, D] and labels [N]."""
SHRINKAGES = (0.003, 0.01, 0.03, 0.1, 0.3, 0.6)
"""Candidates for the share of the covariance that is replaced by a multiple of the identity."""
TEMPERATURES = tuple(2.0**power for power in np.arange(-3, 4.5, 0.5).tolist())
JUDGED_NUMBERS = 2**24
"""So many held-out logits at most judge a candidate: more would change the choice as little as they would fit into memory."""
ROWS = 8192


def discriminant_head(
    features: Tensor,
    labels: Tensor,
    classes: int,
    folds: np.ndarray,
    loss: Loss,
    resample: Resample | None = None,
) -> tuple[Tensor, Tensor, float, dict[float, float]]:
    """Solve a discriminant; shrinkage and temperature are chosen on the rows of one fold by a head from the others.

    Multinomial logistic regression takes hundreds of passes over N x D x K numbers; this takes sums over the features, one
    system of D equations for each candidate, and the held-out logits of some rows: no array is N x K. Where classes
    count alike (class weights), their priors are made equal.

    Args:
        features: float32 [N, D].
        labels: int64 [N].
        classes: K.
        folds: Fold number of each row, [N].
        loss: Judges; its class weights and shift are followed.
        resample: Changes which rows are learned from in the end; shrinkage and temperature are those of the rows as they are.

    Returns:
        Weight [K, D], bias [K], the shrinkage, and the held-out loss of each that was tried.
    """
    names = np.unique(folds)
    outside = torch.from_numpy(folds == names[0]) if len(names) > 1 else torch.zeros(len(labels), dtype=torch.bool)
    inner, outer = (torch.nonzero(some)[:, 0] for some in (~outside, outside))
    squares_in, sums_in, counts_in = _sums(features, labels, classes, inner)
    judged = _spread(outer, max(1, JUDGED_NUMBERS // classes))
    scores: dict[float, float] = {}
    best = SHRINKAGES[len(SHRINKAGES) // 2], 1.0
    for shrinkage in SHRINKAGES if len(judged) else ():
        weight, bias = _solved(squares_in, sums_in, counts_in, shrinkage, loss)
        logits = torch.cat([features[some] @ weight.T + bias for some in judged.split(ROWS)])
        costs = {at: loss.mean(logits / at, labels[judged]).item() for at in TEMPERATURES}
        temperature = min(costs, key=lambda at: costs[at])
        scores[shrinkage] = costs[temperature]
        if scores[shrinkage] == min(scores.values()):
            best = shrinkage, temperature
    if resample is not None:
        made, named = resample(features, labels)
        squares_in, sums_in, counts_in = _sums(made, named, classes, torch.arange(len(named)))
    elif len(outer):
        rest = _sums(features, labels, classes, outer)
        squares_in, sums_in, counts_in = squares_in + rest[0], sums_in + rest[1], counts_in + rest[2]
    weight, bias = _solved(squares_in, sums_in, counts_in, best[0], loss)
    return weight / best[1], bias / best[1], best[0], scores


def _sums(features: Tensor, labels: Tensor, classes: int, chosen: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Add up outer products [D, D], features of each class [K, D] and pictures of each class [K] of some rows."""
    D = features.shape[1]
    squares, sums = torch.zeros(D, D, dtype=torch.float64), torch.zeros(classes, D, dtype=torch.float64)
    for some in chosen.split(ROWS):
        exact = features[some].double()
        squares += exact.T @ exact
        sums.index_add_(0, labels[some], exact)
    return squares.numpy(), sums.numpy(), np.bincount(labels[chosen].numpy(), minlength=classes).astype(np.float64)


def _solved(
    squares: np.ndarray, sums: np.ndarray, counts: np.ndarray, shrinkage: float, loss: Loss
) -> tuple[Tensor, Tensor]:
    weight, bias = discriminant(squares, sums, counts, shrinkage)
    solved = torch.from_numpy(bias.astype(np.float32)) + change_of_prior(counts, loss)
    return torch.from_numpy(weight.astype(np.float32)), solved


def _spread(rows: Tensor, most: int) -> Tensor:
    """Choose at most so many, evenly."""
    return rows if len(rows) <= most else rows[torch.linspace(0, len(rows) - 1, most).long()]
