"""Linear discriminants without one fold each, solved in closed form from sums over the others, and what they learned."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from linnaeus.learn.components import BLOCK, Components
from linnaeus.machine import cores_here


@dataclass(frozen=True)
class FoldSums:
    """Sums over each fold, from which the discriminant without the fold is solved whatever the labels are.

    Attributes:
        features: float32 [N, D].
        folds: Fold numbers that have rows, ascending, [F].
        members: Rows of each fold.
        squares: Sum of outer products over each fold, [F, D, D].
    """

    features: np.ndarray
    folds: np.ndarray
    members: tuple[np.ndarray, ...]
    squares: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, folds: np.ndarray) -> FoldSums:
        """Add up; folds without rows are left out."""
        present = np.unique(folds)
        members = tuple(np.flatnonzero(folds == fold) for fold in present)
        with ThreadPoolExecutor(min(len(present), cores_here()), "sums") as pool:
            squares = np.stack(list(pool.map(lambda rows: _squares(features[rows]), members)))
        return cls(features, present, members, squares)

    def discriminants(self, guess: np.ndarray, shrinkage: float) -> tuple[np.ndarray, np.ndarray]:
        """Solve the discriminant without each fold: weight float32 [F, K, D] and bias [F, K].

        Args:
            guess: Probability of each class for each picture, float32 [N, K].
            shrinkage: Share of the covariance that is replaced by a multiple of the identity.
        """
        solved = [discriminant(squares, sums, n, shrinkage) for squares, sums, n in self._others(guess)]
        weight, bias = (np.stack(some).astype(np.float32) for some in zip(*solved, strict=True))
        return weight, bias

    def out_of_fold(self, guess: np.ndarray, shrinkage: float) -> np.ndarray:
        """Compute logits of each picture by a discriminant from the other folds, float32 [N, K].

        Args:
            guess: As in `discriminants`.
            shrinkage: As in `discriminants`.
        """
        logits = np.empty_like(guess)
        for rows, weight, bias in zip(self.members, *self.discriminants(guess, shrinkage), strict=True):
            logits[rows] = self.features[rows] @ weight.T + bias
        return logits

    def centres(self, guess: np.ndarray, shrinkage: float) -> Centres:
        """Find where the classes lie without each fold.

        Args:
            guess: As in `discriminants`; a single column of ones for where all pictures lie.
            shrinkage: As in `discriminants`.
        """
        found = [moments(squares, sums, n, shrinkage) for squares, sums, n in self._others(guess)]
        return Centres(
            np.stack([means for means, _ in found]), np.stack([np.linalg.inv(within) for _, within in found])
        )

    def _others(self, guess: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Add up squares, sums and counts of all folds but each."""
        sums = np.stack([guess[rows].T @ self.features[rows] for rows in self.members]).astype(np.float64)
        counts = np.stack([guess[rows].sum(axis=0, dtype=np.float64) for rows in self.members])
        return [
            (self.squares_without(fold), sums.sum(axis=0) - sums[fold], counts.sum(axis=0) - counts[fold])
            for fold in range(len(self.members))
        ]

    @cached_property
    def all_squares(self) -> np.ndarray:
        """Sum of outer products over all folds, [D, D]."""
        total: np.ndarray = self.squares.sum(axis=0)
        return total

    def squares_without(self, fold: int) -> np.ndarray:
        """Add up outer products over all folds but the one at a place in `folds`, [D, D]."""
        others: np.ndarray = self.all_squares - self.squares[fold]
        return others


def _squares(features: np.ndarray) -> np.ndarray:
    # Both sides the same array: BLAS then computes one half of the symmetric product.
    return (features.T @ features).astype(np.float64)


@dataclass(frozen=True)
class Centres:
    """Where classes lie, as seen without each fold.

    Attributes:
        means: Of each class, [F, K, D].
        inverses: Of the shrunk covariance within classes, [F, D, D].
    """

    means: np.ndarray
    inverses: np.ndarray

    def nearest(self, features: np.ndarray, place: int) -> np.ndarray:
        """Compute the squared Mahalanobis distance to the nearest class mean of one of the folds, [n]; block by block."""
        means, inverse = (one[place].astype(np.float64) for one in (self.means, self.inverses))
        solved, nearest = inverse @ means.T, np.empty(len(features))
        for begin in range(0, len(features), BLOCK):
            pictures = features[begin : begin + BLOCK].astype(np.float64)
            own = ((pictures @ inverse) * pictures).sum(axis=1)
            between = -2 * pictures @ solved + (means * solved.T).sum(axis=1)
            nearest[begin : begin + BLOCK] = own + between.min(axis=1)
        return nearest


@dataclass(frozen=True)
class Heads:
    """What was learned without each fold: it judges pictures of that fold, also those that come later.

    Attributes:
        components: How features are brought to what was learned from.
        folds: Fold numbers, ascending, [F].
        weight: Of each discriminant, float32 [F, K, d].
        bias: float32 [F, K].
        classes: Where each class lies.
        everything: Where all pictures lie: centres with a single mean.
    """

    components: Components
    folds: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    classes: Centres
    everything: Centres

    def judge(self, features: np.ndarray, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give logits float32 [n, K] and strangeness [n] of pictures by what was learned without their folds.

        Strangeness is the Mahalanobis distance to the nearest class less that to all: the directions in which a single
        picture differs from all others are not learned.

        Args:
            features: As they came from the network, [n, D].
            folds: Fold number of each, [n]; of a fold that had no pictures, any head may judge.

        Source:
            J. Ren et al. (2021), "A simple fix to Mahalanobis distance for improving near-OOD detection",
            arXiv:2106.09022.
        """
        kept = self.components.apply(features)
        return self.logits(kept, folds), self.strangeness(kept, folds)

    def logits(self, kept: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """Compute logits from components [n, d], float32 [n, K]."""
        logits = np.empty((len(kept), self.bias.shape[1]), np.float32)
        for place, rows in self._places(folds):
            logits[rows] = kept[rows] @ self.weight[place].T + self.bias[place]
        return logits

    def strangeness(self, kept: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """Compute from components [n, d] how unlike every class a picture is, [n]."""
        strange = np.empty(len(kept))
        for place, rows in self._places(folds):
            strange[rows] = self.classes.nearest(kept[rows], place) - self.everything.nearest(kept[rows], place)
        return strange

    def _places(self, folds: np.ndarray) -> list[tuple[int, np.ndarray]]:
        place = np.searchsorted(self.folds, folds).clip(0, len(self.folds) - 1)
        return [(number, np.flatnonzero(place == number)) for number in range(len(self.folds))]


def moments(
    squares: np.ndarray, sums: np.ndarray, counts: np.ndarray, shrinkage: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the mean of each class [K, D] and the shrunk covariance within classes [D, D] from sums."""
    D = len(squares)
    means = sums / np.maximum(counts, 1e-6)[:, None]
    within = (squares - means.T @ sums) / max(counts.sum(), 1e-6)
    size = max(float(np.trace(within)) / D, 1e-9)
    return means, (1 - shrinkage) * within + shrinkage * size * np.eye(D)


def discriminant(
    squares: np.ndarray, sums: np.ndarray, counts: np.ndarray, shrinkage: float
) -> tuple[np.ndarray, np.ndarray]:
    """Solve a linear discriminant with shrunk covariance from sums.

    Args:
        squares: Sum of outer products, [D, D].
        sums: Sum of features of each class, [K, D].
        counts: Pictures of each class, [K]; a class without any gets next to no prior.
        shrinkage: 0..1.

    Returns:
        Weight [K, D] and bias [K].
    """
    means, within = moments(squares, sums, counts, shrinkage)
    weight = np.linalg.solve(within, means.T).T
    return weight, -0.5 * (weight * means).sum(axis=1) + np.log(np.maximum(counts, 1e-3) / counts.sum())
