"""Classes of unequal size: what can be done about it, and whether it pays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from linnaeus.config import MEMORY_GB, TrainSettings
from linnaeus.data.batches import Sampling
from linnaeus.learn.head import STRENGTHS, Head, solve_head
from linnaeus.learn.objectives import Loss, inverse_frequency, prior_shift
from linnaeus.metrics.paired import Matched, compare_pairs
from linnaeus.records import Estimate, Predictions

Balance = Literal["none", "weights", "oversample", "undersample", "smote"]
"""What is done; "auto" has become one of these."""

UNEQUAL = 5.0
"""From this ratio of the largest to the smallest class on, something may have to be done."""
ABOUT_EQUAL = 1.5
"""Up to this ratio there is nothing to be gained, and nothing is tried."""
NEIGHBOURS = 5
"""Of SMOTE, as its authors chose."""
SMOTE_ROWS = 5_000
"""`auto` does not try SMOTE where it would have to make up more features than these: it should take seconds."""


@dataclass(frozen=True)
class Settled:
    """What is done about classes of unequal size, and why; "" where the user chose."""

    balance: Balance
    reason: str = ""


def certain(balance: str | None) -> Balance:
    """Do nothing as long as it is not settled what is done."""
    return cast(Balance, balance) if balance and balance != "auto" else "none"


def ratio(counts: np.ndarray) -> float:
    """Divide the largest class by the smallest, of those that have pictures; 1 of none."""
    used = counts[counts > 0]
    return float(used.max() / used.min()) if len(used) else 1.0


def loss_of(settings: TrainSettings, counts: np.ndarray, balance: Balance) -> Loss:
    """Make the loss of a training.

    Args:
        settings: Which loss.
        counts: Training pictures of each class, [K].
        balance: "weights" weighs the classes, and so does "smote" where there are pictures, which can't be made up;
            everything else changes what is seen, not the loss.
    """
    return Loss(
        label_smoothing=settings.label_smoothing or 0.0,
        class_weights=inverse_frequency(counts) if balance in ("weights", "smote") else None,
        gamma=settings.focal_gamma if settings.loss == "focal" else 0.0,
        shift=prior_shift(counts, settings.logit_tau) if settings.loss == "logit-adjusted" else None,
    )


def sampling_of(balance: Balance) -> Sampling:
    """Say which pictures make an epoch."""
    return balance if balance in ("oversample", "undersample") else "all"


def settle_without_head(settings: TrainSettings, counts: np.ndarray) -> Settled:
    """Settle what is done where nothing can be tried: no features are ready, or no head that was held out."""
    if settings.balance != "auto":
        return Settled(certain(settings.balance))
    if settings.loss == "logit-adjusted":
        return Settled("none", "the logit-adjusted loss makes up for the class sizes already")
    if ratio(counts) < UNEQUAL:
        return Settled("none", f"the largest class has {ratio(counts):.1f} times as many pictures as the smallest")
    return Settled("weights", f"the largest class has {ratio(counts):.0f} times as many pictures as the smallest")


def settle_head(
    features: Tensor,
    labels: Tensor,
    classes: int,
    folds: np.ndarray,
    settings: TrainSettings,
    seed: int,
    memory_gb: float = MEMORY_GB,
) -> tuple[Head, Settled]:
    """Solve a head, with what is asked for about unequal classes; "auto" tries it on held-out pictures.

    Args:
        features: float32 [N, D].
        labels: int64 [N].
        classes: K.
        folds: See `solve_head`.
        settings: Loss and balance.
        seed: Of the rows that are left out or made up.
        memory_gb: See `solve_head`.
    """
    solve = partial(solve_balanced, features, labels, classes, folds, settings, seed, memory_gb=memory_gb)
    if settings.balance != "auto":
        return solve(certain(settings.balance)), Settled(certain(settings.balance))
    plain, counts = solve("none"), np.bincount(labels.numpy(), minlength=classes)
    if settings.loss == "logit-adjusted":
        return plain, Settled("none", "the logit-adjusted loss makes up for the class sizes already")
    if ratio(counts) < ABOUT_EQUAL:
        return plain, Settled("none", "the classes are about equally large")
    if plain.held_out is None:
        settled = settle_without_head(settings, counts)
        return (plain if settled.balance == "none" else solve(settled.balance)), settled
    return _best(plain, solve, labels, classes, counts)


def solve_balanced(
    features: Tensor,
    labels: Tensor,
    classes: int,
    folds: np.ndarray,
    settings: TrainSettings,
    seed: int,
    balance: Balance,
    strengths: Sequence[float] = STRENGTHS,
    *,
    memory_gb: float = MEMORY_GB,
) -> Head:
    """Solve a head with one way of dealing with unequal classes.

    To a linear head, repeating a picture is weighing it: "oversample" is done as "weights".
    """
    counts = np.bincount(labels.numpy(), minlength=classes)
    # Smoothing is for networks that would learn their pictures by heart; the head has its penalty.
    smoothless = settings.model_copy(update={"label_smoothing": 0.0})
    weighted = loss_of(smoothless, counts, "none" if balance == "none" else "weights")
    solve = partial(solve_head, features, labels, classes, folds, strengths=strengths, memory_gb=memory_gb)
    if balance not in _RESAMPLE:
        return solve(weighted)
    # Held-out pictures are as unequal as ever: there each class is made to count alike by weights.
    loss, resample = replace(weighted, class_weights=None), partial(_RESAMPLE[balance], seed=seed)
    return solve(loss, resample=resample, judge=weighted)


def undersample(features: Tensor, labels: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
    """Keep as many rows of each class as the rarest has, drawn at random."""
    draw, known = np.random.default_rng((seed, 4)), labels.numpy()
    names, counts = np.unique(known, return_counts=True)
    kept = [draw.permutation(np.flatnonzero(known == name))[: counts.min()] for name in names]
    rows = torch.from_numpy(np.sort(np.concatenate(kept)))
    return features[rows], labels[rows]


def smote(features: Tensor, labels: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
    """Make up features of rare classes, between neighbours of the class, until all classes are equally large.

    A class of fewer than six rows has fewer neighbours to choose from; one of a single row is repeated.

    Source:
        Chawla et al. (2002), J. Artif. Intell. Res. 16, 321-357, by the package imbalanced-learn.
    """
    names, counts = np.unique(labels.numpy(), return_counts=True)
    made, named = [features], [labels]
    for name, count in zip(names[counts == 1], counts[counts == 1], strict=True):
        again = int(counts.max() - count)
        made.append(features[labels == name].expand(again, -1))
        named.append(torch.full((again,), int(name)))
    for rows, target in _by_neighbours(features.numpy(), labels.numpy(), seed):
        made.append(torch.from_numpy(rows).to(features.dtype))
        named.append(torch.from_numpy(target))
    return torch.cat(made), torch.cat(named)


_RESAMPLE: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {"undersample": undersample, "smote": smote}


def _by_neighbours(features: np.ndarray, labels: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows that are made up, with their labels, for classes that have equally many neighbours to use."""
    from imblearn.over_sampling import SMOTE

    names, counts = np.unique(labels, return_counts=True)
    neighbours = np.minimum(NEIGHBOURS, counts - 1)
    for k in np.unique(neighbours[neighbours > 0]).tolist():
        wanted = {int(name): int(counts.max()) for name in names[(neighbours == k) & (counts < counts.max())]}
        if wanted:
            maker = SMOTE(sampling_strategy=wanted, k_neighbors=k, random_state=seed)
            everything, named = maker.fit_resample(features, labels)
            yield everything[len(features) :], named[len(features) :]


def _best(
    plain: Head, solve: Callable[..., Head], labels: Tensor, classes: int, counts: np.ndarray
) -> tuple[Head, Settled]:
    """Try what may help; take the best that helps beyond chance, else nothing."""
    heads: dict[Balance, Head] = {"weights": solve("weights")}
    if (counts.max() - counts[counts > 0]).sum() <= SMOTE_ROWS:
        # What weighs classes alike needs about the same penalty.
        heads["smote"] = solve("smote", strengths=_near(heads["weights"].strength))
    gains = {balance: _gains(plain, head, labels, classes) for balance, head in heads.items()}
    helps = [
        balance
        for balance, gain in gains.items()
        if max(one.low for one in gain) > 0 and min(one.value for one in gain) >= 0
    ]
    if not helps:
        return plain, Settled("none", f"{' and '.join(heads)}, tried on held-out pictures, do not help beyond chance")
    best = max(helps, key=lambda balance: sum(one.value for one in gains[balance]))
    recall, f1 = (one.percent() for one in gains[best])
    return heads[best], Settled(best, f"on held-out pictures the balanced accuracy gains {recall}, the macro F1 {f1}")


def _near(strength: float) -> tuple[float, ...]:
    place = STRENGTHS.index(strength)
    return STRENGTHS[max(0, place - 1) : place + 2]


def _gains(plain: Head, other: Head, labels: Tensor, classes: int) -> tuple[Estimate, Estimate]:
    """Compare the held-out answers of two heads: how much balanced accuracy and macro F1 the other has more."""
    names, ids = tuple(map(str, range(classes))), tuple(map(str, range(len(labels))))
    both = []
    for head in (plain, other):
        assert head.held_out is not None
        both.append(Predictions(head.held_out.double().softmax(1).numpy(), labels.numpy(), ids, names))
    (pair,) = compare_pairs(Matched(tuple(both), ((), ()), (), ()))
    return pair.differences["balanced_accuracy"], pair.differences["macro_f1"]
