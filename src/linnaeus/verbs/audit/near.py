"""How near the nearest others of each picture are: copies and pictures of the same group are no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linnaeus.learn.components import blocks_of, finite_rows
from linnaeus.learn.neighbours import Index, main_directions, unit_vectors

NEIGHBOURS, SPARE = 10, 6
"""Nearest pictures that are looked at, and how many more are fetched because copies do not count."""
DIRECTIONS, EXACT_UP_TO = 512, 20_000
"""Of more pictures, neighbours are looked for by so many main directions of the features."""
PROBES = 8
"""Cells that are looked into: how far the neighbours are is asked here, not who they are."""


@dataclass(frozen=True)
class Near:
    """How near others are.

    Attributes:
        similarities: Cosines of the nearest others, the nearest first, float32 [N, NEIGHBOURS]; NaN for a picture without
            features, and for all where there are hardly any.
        turned: Main directions by which they were looked for, [D, d]; None for all.
    """

    similarities: np.ndarray
    turned: np.ndarray | None

    @property
    def rows(self) -> np.ndarray:
        """Pictures that were looked at."""
        return np.flatnonzero(~np.isnan(self.similarities[:, 0]))


def nearest_others(features: np.ndarray, keys: Sequence[str]) -> Near:
    """Find the nearest others of every picture.

    Args:
        features: [N, D], NaN for pictures that cannot be decoded.
        keys: The same for all pictures that copies or a group tie together, [N].
    """
    rows, similarities = np.flatnonzero(finite_rows(features)), np.full((len(features), NEIGHBOURS), np.nan, np.float32)
    if len(rows) <= NEIGHBOURS:
        return Near(similarities, None)
    turned = main_directions(features, rows, most=DIRECTIONS, exact_up_to=EXACT_UP_TO)
    vectors = unit_vectors(features, rows, turned)
    count, own = min(NEIGHBOURS + SPARE, len(rows) - 1), np.arange(len(rows))
    near = Index(vectors).search(vectors, count=count, own=own, probes=PROBES)
    number = _numbers(keys)[rows]
    others = (near.rows >= 0) & (number[near.rows] != number[:, None])
    # The nearest others first; where there are too few, the farthest that were found stand for them.
    order = np.argsort(~others, axis=1, kind="stable")[:, :NEIGHBOURS]
    similarities[rows] = np.take_along_axis(near.similarities, order, axis=1)
    return Near(similarities, turned)


def nearest_with_new(features: np.ndarray, keys: Sequence[str], known: Near) -> Near:
    """Find the nearest others of a few pictures, and let those be neighbours of the pictures that were looked at before.

    The few are compared with all, which costs as many products as there are new pictures for each one.

    Args:
        features: [N, D].
        keys: As for `nearest_others`.
        known: Of these pictures; NaN for those that are new.
    """
    rows, number, best = np.flatnonzero(finite_rows(features)), _numbers(keys), known.similarities.copy()
    new = rows[np.isnan(best[rows, 0])]
    if not len(new):
        return known
    asked = unit_vectors(features, new, known.turned)
    if known.turned is not None:
        asked = asked @ known.turned.T
    found = np.full((len(new), NEIGHBOURS), -np.inf, np.float32)
    for some in blocks_of(rows):
        similar = unit_vectors(features, some) @ asked.T
        similar[number[some][:, None] == number[new][None, :]] = -np.inf
        best[some] = _best(np.concatenate([best[some], similar], axis=1))
        found = _best(np.concatenate([found, similar.T], axis=1))
    least = np.where(np.isfinite(found), found, np.inf).min(axis=1, keepdims=True)
    # As above: the farthest stand for those that are not there; with nobody else in the set, nobody is near.
    best[new] = np.where(np.isfinite(found), found, np.where(np.isfinite(least), least, 0))
    return Near(best, known.turned)


def _best(similarities: np.ndarray) -> np.ndarray:
    """Keep the largest of each row, sorted down."""
    return -np.sort(np.partition(-similarities, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS], axis=1)


def _numbers(keys: Sequence[str]) -> np.ndarray:
    return np.unique(np.asarray(keys, dtype=str), return_inverse=True)[1].reshape(-1)
