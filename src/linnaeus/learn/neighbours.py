"""Find the nearest of many: vectors by cosine, 64-bit hashes by differing bits. Never all pairs of a large set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CELL = 256
"""Vectors per cell: cost per query is about (probes + a little for finding the cells) times so many products."""
EXACT_UP_TO = 8192
"""So few vectors are compared with each other directly: cells would save little."""
SAMPLED_PER_CELL = 32
ROUNDS = 5
PROBES = 2.0
"""Cells to look into for each doubling of their number: of changed copies among made-up vectors, 16 cells of 390 found
97 %, 8 found 93 %."""
QUERIES_AT_ONCE, FEW_QUERIES = 2048, 256
VISITORS = 128
"""Queries that look into a cell at once: so many products are a matter of arithmetic, not of calling for it."""
BAND_BITS, BANDS = 16, 4
REACH = 8
"""Followers within a bucket that each hash is compared with: a bucket of equals costs n, not n squared."""


@dataclass(frozen=True)
class Neighbours:
    """The nearest of each query.

    Attributes:
        rows: Row numbers of vectors, the nearest first, int64 [Q, count]; -1 where there are no more.
        similarities: Cosines, float32 [Q, count]; `least` or lower where there are no more.
    """

    rows: np.ndarray
    similarities: np.ndarray


class Index:
    """Vectors of unit length in cells of neighbours, so that a query looks into a few cells only.

    Up to EXACT_UP_TO vectors the search is exact. Above, it finds those whose cell is among the `probes` nearest, and
    time grows as n log n, memory as n: cells have about CELL vectors however many there are, and the cells themselves are
    found by an index of their centres.

    Args:
        vectors: [N, D], unit length; kept as float32.
        seed: For the sample that cells are found on.

    Source:
        H. Jégou, M. Douze, C. Schmid (2011), "Product quantization for nearest neighbor search", IEEE TPAMI 33,
        117-128: the inverted file; without the quantization.
    """

    def __init__(self, vectors: np.ndarray, *, seed: int = 0) -> None:
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self.count, self.dimensions = vectors.shape
        self._probes = max(1, round(PROBES * np.log2(max(2, self.count / CELL))))
        self._centres: Index | None = None
        if self.count <= EXACT_UP_TO:
            self._rows = np.arange(self.count)
            self._vectors = vectors
            self._starts = np.unique([*range(0, self.count, 2048), self.count])
            return
        centres = _centres(vectors, self.count // CELL, seed)
        self._centres = Index(centres, seed=seed)
        # Where cells are found by an index themselves, four probes of it make sure of the nearest one.
        home = np.concatenate(
            [self._centres.search(block, count=1, probes=4).rows[:, 0] for block in _blocks(vectors, QUERIES_AT_ONCE)]
        )
        self._rows = np.argsort(home, kind="stable")
        self._vectors = vectors[self._rows]
        self._starts = np.searchsorted(home[self._rows], np.arange(len(centres) + 1))

    def search(
        self,
        queries: np.ndarray,
        *,
        count: int,
        least: float = -1.0,
        own: np.ndarray | None = None,
        probes: int | None = None,
    ) -> Neighbours:
        """Find the `count` nearest vectors of each query.

        Args:
            queries: [Q, D], unit length.
            count: How many.
            least: Only vectors whose cosine is above this.
            own: Row number of the vector that is the query itself and is not to be found, int [Q]; -1 for none.
            probes: Cells to look into; by default PROBES times the logarithm of their number.
        """
        probes = probes or self._probes
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        rows = np.full((len(queries), count), -1, np.int64)
        similarities = np.full((len(queries), count), least, np.float32)
        own = np.full(len(queries), -1) if own is None else np.asarray(own)
        size = self.at_once(probes)
        for begin in range(0, len(queries), size):
            some = slice(begin, begin + size)
            self._search_some(queries[some], own[some], rows[some], similarities[some], probes)
        return Neighbours(rows, similarities)

    def at_once(self, probes: int | None = None) -> int:
        """Say how many queries to hand over at once, so that a cell that is visited is visited by many of them."""
        if self._centres is None:
            return FEW_QUERIES
        cells = len(self._starts) - 1
        return max(QUERIES_AT_ONCE, VISITORS * cells // (probes or self._probes))

    def _search_some(
        self, queries: np.ndarray, own: np.ndarray, rows: np.ndarray, similarities: np.ndarray, probes: int
    ) -> None:
        for cell, visitors in self._visits(queries, probes):
            begin, end = self._starts[cell], self._starts[cell + 1]
            # A cell that holds many equals is visited in pieces, and in part: cost must not be the square of it.
            end = min(end, begin + 16 * CELL)
            if begin == end:
                continue
            members = self._rows[begin:end]
            for asking in _blocks(visitors, QUERIES_AT_ONCE):
                found = queries[asking] @ self._vectors[begin:end].T
                found[members[None, :] == own[asking][:, None]] = -2
                _keep_best(found, members, asking, rows, similarities)

    def _visits(self, queries: np.ndarray, probes: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each cell with the queries that look into it."""
        everyone = np.arange(len(queries))
        if self._centres is None:
            yield from ((cell, everyone) for cell in range(len(self._starts) - 1))
            return
        cells = self._centres.search(queries, count=probes, probes=4).rows
        asking = np.repeat(everyone, probes)[cells.ravel() >= 0]
        cells = cells.ravel()[cells.ravel() >= 0]
        order = np.argsort(cells, kind="stable")
        for some in np.split(order, np.flatnonzero(np.diff(cells[order])) + 1):
            if len(some):
                yield int(cells[some[0]]), asking[some]


def _keep_best(
    found: np.ndarray, members: np.ndarray, asking: np.ndarray, rows: np.ndarray, similarities: np.ndarray
) -> None:
    """Put what is better than the worst kept into the kept lists, which stay sorted."""
    for _ in range(rows.shape[1]):
        best = found.argmax(axis=1)
        value = found[np.arange(len(found)), best]
        better = value > similarities[asking, -1]
        if not better.any():
            return
        found, asking, best, value = found[better], asking[better], best[better], value[better]
        similarities[asking, -1], rows[asking, -1] = value, members[best]
        order = np.argsort(-similarities[asking], axis=1, kind="stable")
        similarities[asking] = np.take_along_axis(similarities[asking], order, axis=1)
        rows[asking] = np.take_along_axis(rows[asking], order, axis=1)
        found[np.arange(len(found)), best] = -2


def _centres(vectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Find the centres of cells by k-means on the sphere, on a sample."""
    draw = np.random.default_rng(seed)
    sample = vectors[np.sort(draw.choice(len(vectors), min(len(vectors), SAMPLED_PER_CELL * count), replace=False))]
    centres = sample[np.sort(draw.choice(len(sample), count, replace=False))].copy()
    for _ in range(ROUNDS):
        index = Index(centres, seed=seed)
        home = np.concatenate(
            [index.search(block, count=1, probes=2).rows[:, 0] for block in _blocks(sample, QUERIES_AT_ONCE)]
        )
        order = np.argsort(home, kind="stable")
        present, starts = np.unique(home[order], return_index=True)
        sums = np.add.reduceat(sample[order], starts, axis=0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres[present] = sums / np.maximum(lengths, 1e-12)
        # A centre that nobody is near to goes where it is of use: to some vector.
        empty = np.setdiff1d(np.arange(count), present)
        centres[empty] = sample[draw.choice(len(sample), len(empty), replace=False)]
    return centres


def main_directions(features: np.ndarray, rows: np.ndarray, *, most: int, exact_up_to: int) -> np.ndarray | None:
    """Find the main directions of a large set of features, float32 [D, d]; None where the set is small enough to keep all.

    Cosines stay nearly as they were: the directions are those of the vectors themselves, not of what differs between them.

    Args:
        features: [N, D].
        rows: Which of them.
        most: Directions that are kept of a large set.
        exact_up_to: So many rows keep all.
    """
    if len(rows) <= exact_up_to or features.shape[1] <= most:
        return None
    sample = unit_vectors(features, rows[:: max(1, len(rows) // exact_up_to)])
    turned: np.ndarray = np.linalg.eigh((sample.T @ sample).astype(np.float64))[1][:, ::-1][:, :most]
    return turned.astype(np.float32)


def unit_vectors(features: np.ndarray, rows: np.ndarray, turned: np.ndarray | None = None) -> np.ndarray:
    """Bring features to unit length, float32 [n, d], block by block.

    Args:
        features: [N, D].
        rows: Which of them.
        turned: Directions that are kept, [D, d]; None for all.
    """
    kept = np.empty((len(rows), features.shape[1] if turned is None else turned.shape[1]), np.float32)
    for begin in range(0, len(rows), QUERIES_AT_ONCE):
        block = np.asarray(features[rows[begin : begin + QUERIES_AT_ONCE]], np.float32)
        block = block / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-9)
        kept[begin : begin + len(block)] = block if turned is None else block @ turned
    return kept


def _blocks(vectors: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (vectors[begin : begin + size] for begin in range(0, len(vectors), size))


def similar_hashes(hashes: np.ndarray, others: np.ndarray | None = None, *, most_bits: int) -> np.ndarray:
    """Find pairs of hashes that differ in few bits, each once: int64 [n, 2].

    A pair is found if one of four bands of 16 bits is equal, which is sure up to 3 differing bits and likely for a few
    more; and if fewer than REACH others of the same band stand between the two, so that equals cost n and not n squared.

    Args:
        hashes: uint64 [N].
        others: uint64 [M]; None for pairs within `hashes`.
        most_bits: Most bits that may differ.

    Returns:
        Row in `hashes` and row in `others`; without others two rows in `hashes`, the smaller first.

    Source:
        M. Norouzi, A. Punjani, D. Fleet (2012), "Fast search in Hamming space with multi-index hashing", CVPR.
    """
    pairs = [np.empty((0, 2), np.int64)]
    first = len(hashes)
    joined = hashes if others is None else np.concatenate([hashes, others])
    for band in range(BANDS):
        keys = (joined >> np.uint64(band * BAND_BITS)) & np.uint64(2**BAND_BITS - 1)
        # Within a bucket by the whole hash, so that the nearest mostly stand side by side.
        order = np.lexsort((joined, keys))
        for step in range(1, REACH + 1):
            low, high = np.sort([order[:-step], order[step:]], axis=0)
            same = keys[low] == keys[high]
            if others is not None:
                same &= (low < first) & (high >= first)
            low, high = low[same], high[same]
            close = np.bitwise_count(joined[low] ^ joined[high]) <= most_bits
            pairs.append(np.stack([low[close], high[close] - (first if others is not None else 0)], axis=1))
    return np.unique(np.concatenate(pairs), axis=0)
