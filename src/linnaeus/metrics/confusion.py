"""The confusion matrix for reading: by row, by column, in an order that shows clusters, and its worst pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linnaeus.metrics.intervals import wilson
from linnaeus.records import Estimate

OPTIMAL_UP_TO = 500
"""Turning the tree so that neighbours are alike costs K^3: a second for so many classes."""


def by_row(confusion: np.ndarray) -> np.ndarray:
    """Divide each row by its sum: of the pictures of a class, the share given each name; rows of nothing stay 0."""
    return confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)


def by_column(confusion: np.ndarray) -> np.ndarray:
    """Divide each column by its sum: of the pictures given a name, the share of each true class."""
    return confusion / np.maximum(confusion.sum(axis=0, keepdims=True), 1)


def clustered_order(confusion: np.ndarray) -> np.ndarray:
    """Put classes that are taken for each other side by side, int64 [K], for matrices of many classes.

    Classes are joined by how often one is taken for the other, in either direction, as shares of their pictures; groups
    that never meet stay in the order of their first class, and so do classes that nothing is confused with.

    Args:
        confusion: Counts [K, K]; row true, column predicted.

    Source:
        R. R. Sokal, C. D. Michener (1958), Univ. Kansas Sci. Bull. 38, 1409-1438 (average linkage). Z. Bar-Joseph,
        D. K. Gifford, T. S. Jaakkola (2001), Bioinformatics 17, S22-S29 (optimal order of the leaves).
    """
    from scipy.sparse.csgraph import connected_components

    share = by_row(confusion)
    alike = (share + share.T) / 2
    np.fill_diagonal(alike, 0)
    _, group = connected_components(alike > 0, directed=False)
    _, first = np.unique(group, return_index=True)
    return np.concatenate([_along(np.flatnonzero(group == group[k]), alike) for k in np.sort(first)])


def _along(members: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Order the classes of one group along the leaves of their tree, beginning at the end with the lower number."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(members) < 3:
        return members
    distance = 1 - alike[np.ix_(members, members)]
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance), "average", optimal_ordering=len(members) <= OPTIMAL_UP_TO)
    found = members[leaves_list(tree)]
    return found if found[0] < found[-1] else found[::-1]


@dataclass(frozen=True)
class ConfusedPair:
    """Pictures of one class that were taken for another.

    Attributes:
        true: Class of the pictures.
        predicted: What they were taken for.
        count: How many.
        share: Of the pictures of the true class, with its interval.
    """

    true: str
    predicted: str
    count: int
    share: Estimate


def worst_pairs(confusion: np.ndarray, classes: Sequence[str], most: int = 20) -> tuple[ConfusedPair, ...]:
    """List what is most often taken for what: most pictures first, then the greater share of the class."""
    support = confusion.sum(axis=1)
    true, predicted = np.nonzero(confusion * ~np.eye(len(confusion), dtype=bool))
    counts = confusion[true, predicted]
    order = np.lexsort((predicted, true, -counts / support[true], -counts))[:most]
    return tuple(
        ConfusedPair(classes[t], classes[p], int(confusion[t, p]), wilson(int(confusion[t, p]), int(support[t])))
        for t, p in zip(true[order], predicted[order], strict=True)
    )
