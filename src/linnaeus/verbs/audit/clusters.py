"""Group pairs of copies into clusters, each around one picture that all others are copies of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from linnaeus.verbs.audit.pairs import Pairs, compose, invert

TRIES = 2
"""How often a picture is checked against a representative, each time by way of another pair."""


@dataclass(frozen=True)
class Cluster:
    """Copies of one picture.

    Attributes:
        representative: The row that stands for all.
        members: The other rows, ascending.
        details: How well each member agrees with the representative, 1 for the same pixels.
        mirrored: Whether each member is its mirror image.
    """

    representative: int
    members: tuple[int, ...]
    details: tuple[float, ...]
    mirrored: tuple[bool, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """The representative, then the members."""
        return (self.representative, *self.members)


def cluster(pairs: Pairs, order: np.ndarray, check: Callable[[Pairs], Pairs]) -> list[Cluster]:
    """Make clusters in which every member is a copy of the representative, so that chains cannot join strangers.

    Of what hangs together by pairs, the picture that comes first in `order` is the representative. Who is no pair with
    it is checked against it, beginning from where the pairs between say that it should lie; those who fail form
    clusters of their own, around the first of them.

    Args:
        pairs: Confirmed pairs.
        order: Rank of each row as representative, the smallest first, no two equal.
        check: Keep those of some pairs that hold.
    """
    found: list[Cluster] = []
    while len(pairs):
        rows = np.unique([pairs.first, pairs.second])
        local = replace(pairs, first=np.searchsorted(rows, pairs.first), second=np.searchsorted(rows, pairs.second))
        head = _heads(_components(len(rows), local), order[rows])
        details, maps = _grow(rows, local, head, check)
        inside = details > 0
        found += _collect(rows, head, details, maps)
        # The rest goes on among themselves; who is left without a pair is no cluster.
        pairs = pairs.take(~inside[local.first] & ~inside[local.second])
    return sorted(found, key=lambda one: one.representative)


def _grow(
    rows: np.ndarray, pairs: Pairs, head: np.ndarray, check: Callable[[Pairs], Pairs]
) -> tuple[np.ndarray, np.ndarray]:
    """Let every cluster grow from its representative, one pair at a time.

    Returns:
        How well each row agrees with its representative, 0 for not at all, [n]; where it lies in it, [n, 4].
    """
    both = Pairs.join([pairs, replace(pairs, first=pairs.second, second=pairs.first, maps=invert(pairs.maps))])
    details = np.where(head == np.arange(len(rows)), 1.0, 0.0)
    maps = np.tile([0.0, 1.0, 0.0, 1.0], (len(rows), 1))
    tries = np.zeros(len(rows), np.int64)
    while True:
        ways = both.take((details[both.first] > 0) & (details[both.second] == 0) & (tries[both.second] < TRIES))
        if not len(ways):
            return details, maps
        # The best pair into the cluster decides where each newcomer should lie.
        best = np.lexsort((-ways.similarity, ways.second))
        step = ways.take(best[np.diff(ways.second[best], prepend=-1) != 0])
        tries[step.second] += 1
        direct = step.first == head[step.second]
        through = step.take(~direct)
        guess = replace(
            through, first=rows[head[through.second]], second=rows[through.second],
            maps=compose(maps[through.first], through.maps), similarity=np.zeros(len(through), np.float32),
        )  # fmt: skip
        held = check(guess) if len(guess) else guess
        held = replace(held, second=np.searchsorted(rows, held.second))
        for some in (step.take(direct), held):
            details[some.second], maps[some.second] = some.similarity, some.maps


def _components(count: int, pairs: Pairs) -> np.ndarray:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), np.int8), (pairs.first, pairs.second)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _heads(part: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Give for each row the member of its component that ranks first."""
    by_rank = np.lexsort((rank, part))
    return by_rank[np.searchsorted(part[by_rank], np.arange(part.max() + 1))][part]


def _collect(rows: np.ndarray, head: np.ndarray, details: np.ndarray, maps: np.ndarray) -> Iterator[Cluster]:
    members = np.flatnonzero((details > 0) & (head != np.arange(len(rows))))
    members = members[np.lexsort((rows[members], head[members]))]
    if not len(members):
        return
    for some in np.split(members, np.flatnonzero(np.diff(head[members])) + 1):
        yield Cluster(
            int(rows[head[some[0]]]),
            tuple(rows[some].tolist()),
            tuple(details[some].tolist()),
            tuple((maps[some, 3] < 0).tolist()),
        )
