"""Find pairs of pictures of which one may be an altered copy of the other, and confirm them by their pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import numpy as np

from linnaeus.data.alignment import Agreement, align, look_closer, texture
from linnaeus.data.fingerprints import WINDOWS, Fingerprints, describe, grey, mirror_signs, perceptual_hashes
from linnaeus.data.pixels import Pixels
from linnaeus.errors import PictureError
from linnaeus.learn.neighbours import Index, similar_hashes
from linnaeus.machine import cores_here

BLOCK = 4096
ALIGNED_AT_ONCE = 256
MOST_BITS = 8
"""Copies in another size, compression or brightness differ in 0 to 3 of 63 bits, unrelated pictures in 31, seldom < 12."""
LEAST_SIMILAR = 0.7
"""Of photographs cropped by 5 to 15 % of each side one in 1,000 is below."""
LEAST_EMBEDDED = 0.9
EACH, KEPT = 3, 4
"""Neighbours of each picture per window, and candidates kept of each."""
LEAST_TEXTURE = 1.0
"""Grey levels: plain pictures show nothing by which a copy could be told from another plain picture."""
SMALLEST_SIDE = 16
"""Shorter pictures, such as 8 x 8 digits, have too few pixels: what is alike there need not be a copy."""
CLOSER_SIDE = 64
LEAST_SIDE = 48
"""Pictures with a shorter side have no more to show than their fingerprint."""
SURE = 0.9
"""Fingerprints whose details agree so well need no closer look."""
MARGIN = 0.15
"""A closer look is worth it for details that agree by so much too little: it mostly finds less, seldom more."""
NULL_PAIRS, NULL_SIGMAS = 400, 5.0
_TASKS = tuple((window, mirrored) for window in range(len(WINDOWS)) for mirrored in (False, True))


@dataclass(frozen=True)
class Pairs:
    """Pairs of pictures; all columns [n], maps [n, 4].

    Attributes:
        first: Row of a picture, a part of which may be the second.
        second: Row of the other.
        maps: Where the second lies in the first: offset and stretch of rows, offset and stretch of columns, as shares of
            the side; the last is negative where one is the mirror image of the other.
        similarity: How alike they look to the search; how well details agree once confirmed.
    """

    first: np.ndarray
    second: np.ndarray
    maps: np.ndarray
    similarity: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: np.ndarray) -> Pairs:
        """Choose pairs by number or mask."""
        return Pairs(*(getattr(self, one.name)[rows] for one in fields(self)))

    @classmethod
    def join(cls, parts: Sequence[Pairs]) -> Pairs:
        """Put several together."""
        if not parts:
            nothing = np.empty(0, np.int64)
            return cls(nothing, nothing, np.empty((0, 4)), nothing.astype(np.float32))
        return cls(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(cls)))


@dataclass(frozen=True)
class Rule:
    """From when on a pair counts as copies.

    Attributes:
        details: Least agreement of details at the size of fingerprints.
        closer: The same at CLOSER_SIDE, where pictures have that much to show.
        few_tiles: Below so many tiles that show something ...
        details_few: ... details must agree this well: a horizon agrees with many a horizon.
        alike: From this similarity of low frequencies on, which strangers among 60,000 never reached ...
        details_alike: ... details need not agree better: strong compression ruins those of small pictures.
        colours: Least agreement of colours.
        overlap: Least share of each that the other has too.
    """

    details: float = 0.8
    closer: float = 0.62
    few_tiles: int = 6
    details_few: float = 0.9
    alike: float = 0.98
    details_alike: float = 0.5
    colours: float = 0.6
    overlap: float = 0.6

    def holds(
        self, found: Agreement, similarity: np.ndarray, *, closer: bool = False, slack: float = 0.0
    ) -> np.ndarray:
        """Judge pairs; `slack` lowers what details and overlap must reach."""
        wanted = np.where(found.tiles < self.few_tiles, self.details_few, self.closer if closer else self.details)
        if not closer:
            wanted = np.where((similarity >= self.alike) & (found.tiles > 0), self.details_alike, wanted)
        here = found.overlap >= self.overlap - slack
        return (found.details >= wanted - slack) & (found.colours >= self.colours) & here


def is_plain(stored: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Tell which pictures have too little detail or too few pixels to be compared, bool [n].

    Args:
        stored: Fingerprints [n, BYTES].
        sides: Shorter side of each, [n].
    """
    return (texture(stored) < LEAST_TEXTURE) | (sides < SMALLEST_SIDE)


def candidates(prints: Fingerprints, rows: np.ndarray, embeddings: np.ndarray | None = None) -> Pairs:
    """Search for pairs that may be copies; the cost grows as n log n.

    Two or three sources: a perceptual hash finds copies in another size, compression or brightness; the nearest
    neighbours of six windows of each picture find what was cropped; both also look for the mirror image. Embeddings of
    a network add what it finds similar.

    Args:
        prints: Fingerprints of all pictures.
        rows: Which of them to search; no two with the same fingerprint.
        embeddings: float [N, D], one for each picture, or None.
    """
    described = _described(prints, rows, 0)
    parts = list(_by_hash(described))
    index = Index(described)
    with ThreadPoolExecutor(cores_here(), thread_name_prefix="copies") as pool:
        parts += pool.map(lambda task: _by_window(index, prints, rows, *task), _TASKS)
    found = _best(Pairs.join(parts), len(rows))
    found = replace(found, first=rows[found.first], second=rows[found.second])
    if embeddings is not None:
        first, second = _by_embedding(embeddings[rows])
        extra = best_start(prints, rows[first], rows[second])
        found = _best(Pairs.join([found, extra]), len(prints), keep=KEPT + EACH)
    return found


def candidates_of_some(prints: Fingerprints, rows: np.ndarray, new: np.ndarray) -> Pairs:
    """Search for pairs of which one at least is new; the cost is that of the new ones, and of describing the others.

    Args:
        prints: Fingerprints of all pictures.
        rows: Which of them to search; no two with the same fingerprint.
        new: Which of `rows` were not searched before, bool [n].
    """
    if not new.any():
        return Pairs.join([])
    fresh = np.flatnonzero(new)
    described = _described(prints, rows, 0)
    parts = [one.take(new[one.first] | new[one.second]) for one in _by_hash(described)]
    everyone, newcomers = Index(described), Index(described[fresh])
    for window, mirrored in _TASKS:
        parts.append(_by_window(everyone, prints, rows, window, mirrored, asking=fresh))
        # The other way round: what is new may be a part, or the mirror image, of what was there.
        parts.append(_by_window(newcomers, prints, rows, window, mirrored, members=fresh))
    found = _best(Pairs.join(parts), len(rows))
    return replace(found, first=rows[found.first], second=rows[found.second])


def confirm(
    prints: Fingerprints, pixels: Pixels, sides: np.ndarray, pairs: Pairs, rule: Rule, *, slack: float = 0.0
) -> Pairs:
    """Keep the pairs whose pixels agree once they lie over each other; `similarity` becomes how well.

    Args:
        prints: Fingerprints of all pictures.
        pixels: Stored pictures, for a closer look at those that need it.
        sides: Shorter side of each picture, of the original or as stored, whichever is less, [N].
        pairs: Candidates.
        rule: What counts as agreement.
        slack: Lowers what details must reach.
    """
    chunks = [slice(begin, begin + ALIGNED_AT_ONCE) for begin in range(0, len(pairs), ALIGNED_AT_ONCE)]
    with ThreadPoolExecutor(cores_here(), thread_name_prefix="copies") as pool:
        done = pool.map(lambda some: _confirm(prints, pixels, sides, pairs.take(some), rule, slack), chunks)
        return Pairs.join(list(done))


def rule_for(prints: Fingerprints, rows: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> Rule:
    """Ask the data how well unrelated pictures agree, and ask more of copies where that is much.

    Flowers agree by chance to 0.0 +- 0.1, digits or X-rays much better: they all show the same thing in the same place.
    Pairs of one class are drawn, laid over each other as candidates are, and the rule is set five standard deviations
    (of Fisher's z, by its median and upper quantile) above the usual, but never below what photographs need.

    Args:
        prints: Fingerprints of all pictures.
        rows: Which of them to draw from.
        labels: Class number of each of `rows`.
        seed: For the draw.
    """
    if len(rows) < 3:
        return Rule()
    draw = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    first = draw.integers(len(rows), size=NULL_PAIRS)
    # The partner stands somewhere else in the same class.
    starts, ends = (np.searchsorted(labels[order], labels[order][first], side) for side in ("left", "right"))
    second = starts + (first - starts + 1 + draw.integers(np.maximum(ends - starts - 1, 1))) % (ends - starts)
    here, there = rows[order[first[first != second]]], rows[order[second[first != second]]]
    if len(here) < 2:
        return Rule()
    whole = np.tile(np.array(WINDOWS[0]), (len(here), 1))
    found = align(prints.bytes(here), prints.bytes(there), whole, np.zeros(len(here), bool), least_rough=(-2.0, -2.0))
    z = np.arctanh(found.details.clip(-0.999, 0.999))
    middle, upper = np.quantile(z, [0.5, 0.84])
    bar = float(np.tanh(middle + NULL_SIGMAS * (upper - middle)))
    return Rule(
        details=min(0.97, max(Rule.details, bar)),
        closer=min(0.97, max(Rule.closer, bar)),
        details_few=min(0.98, max(Rule.details_few, bar)),
        # Where strangers agree well, low frequencies alone say nothing.
        alike=Rule.alike if bar < Rule.details else 2.0,
    )


def best_start(prints: Fingerprints, first: np.ndarray, second: np.ndarray) -> Pairs:
    """Choose for given pairs which is the part of which, where to begin, and whether to mirror."""
    here, there = prints.bytes(first), prints.bytes(second)
    wholes = describe(here), describe(there)
    tries = []
    for window in range(len(WINDOWS)):
        for swapped, part, whole in ((False, here, wholes[1]), (True, there, wholes[0])):
            described = describe(part, WINDOWS[window])
            for mirrored in (False, True):
                turned = described * mirror_signs() if mirrored else described
                tries.append(((turned * whole).sum(axis=1), swapped, _map_of(window, mirrored)))
    similarities, swaps, maps = (np.array(column) for column in zip(*tries, strict=True))
    best = similarities.argmax(axis=0)
    swapped = swaps[best]
    first, second = np.where(swapped, second, first), np.where(swapped, first, second)
    return Pairs(first, second, maps[best], similarities.max(axis=0))


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Map by `inner`, then by `outer`: where a part of a part lies in the whole, [n, 4]."""
    offsets = outer[:, ::2] + outer[:, 1::2] * inner[:, ::2]
    return np.stack([offsets, outer[:, 1::2] * inner[:, 1::2]], axis=2).reshape(len(outer), 4)


def invert(maps: np.ndarray) -> np.ndarray:
    """Turn "where the second lies in the first" into "where the first lies in the second", [n, 4]."""
    return np.stack([-maps[:, ::2] / maps[:, 1::2], 1 / maps[:, 1::2]], axis=2).reshape(len(maps), 4)


def _confirm(prints: Fingerprints, pixels: Pixels, sides: np.ndarray, pairs: Pairs, rule: Rule, slack: float) -> Pairs:
    mirrored, similar = pairs.maps[:, 3] < 0, pairs.similarity
    # Aligning mirrors the first and goes on from there.
    left = np.where(mirrored, 1 - pairs.maps[:, 2], pairs.maps[:, 2])
    top, height, width = pairs.maps[:, 0], pairs.maps[:, 1], np.abs(pairs.maps[:, 3])
    windows = np.stack([top, top + height, left, left + width], axis=1)
    found = align(prints.bytes(pairs.first), prints.bytes(pairs.second), windows, mirrored)
    small = np.minimum(sides[pairs.first], sides[pairs.second]) < LEAST_SIDE
    sure = small | (found.details >= max(SURE, rule.details)) | (similar >= rule.alike)
    good = rule.holds(found, similar, slack=slack) & sure
    # A rough agreement may turn out to be one; what disagrees does not.
    unsure = np.flatnonzero(~small & ~good & (found.details >= rule.closer - MARGIN - slack))
    details = found.details.copy()
    if len(unsure):
        details[unsure], tiles = _closer(pixels, pairs.take(unsure), found.warps[unsure])
        seen = replace(found.take(unsure), details=details[unsure], tiles=tiles)
        good[unsure] = rule.holds(seen, similar[unsure], closer=True, slack=slack)
    maps = found.warps.astype(np.float64)
    maps[mirrored, 2], maps[mirrored, 3] = 1 - maps[mirrored, 2], -maps[mirrored, 3]
    return replace(pairs, maps=maps, similarity=details).take(good)


def _closer(pixels: Pixels, pairs: Pairs, warps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compare at twice the size; a picture that can no longer be read agrees with nothing."""
    rows = np.unique([pairs.first, pairs.second])
    large = dict[int, np.ndarray]()
    for row in rows.tolist():
        try:
            large[row] = grey([pixels[row]], CLOSER_SIDE)[0]
        except PictureError:
            large[row] = np.zeros((CLOSER_SIDE, CLOSER_SIDE), np.float32)
    here, there = (np.stack([large[row] for row in side.tolist()]) for side in (pairs.first, pairs.second))
    return look_closer(here, there, warps, pairs.maps[:, 3] < 0)


def _described(prints: Fingerprints, rows: np.ndarray, window: int) -> np.ndarray:
    parts = [describe(prints.bytes(some), WINDOWS[window]) for some in _blocks(rows)]
    return np.concatenate(parts) if parts else np.empty((0, len(mirror_signs())), np.float32)


def _by_hash(described: np.ndarray) -> Iterator[Pairs]:
    straight = perceptual_hashes(described)
    turned = perceptual_hashes(described * mirror_signs())
    for mirrored, pairs in (
        (False, similar_hashes(straight, most_bits=MOST_BITS)),
        (True, similar_hashes(turned, straight, most_bits=MOST_BITS)),
    ):
        first, second = pairs[pairs[:, 0] != pairs[:, 1]].T
        bits = np.bitwise_count((turned if mirrored else straight)[first] ^ straight[second])
        yield _with_map(first, second, _map_of(0, mirrored), 1 - bits / 64)


def _by_window(
    index: Index,
    prints: Fingerprints,
    rows: np.ndarray,
    window: int,
    mirrored: bool,
    *,
    asking: np.ndarray | None = None,
    members: np.ndarray | None = None,
) -> Pairs:
    """Find what looks like a window of pictures; by default of all among all, by number within `rows`.

    Args:
        index: Whole pictures.
        prints: Fingerprints of all pictures.
        rows: Which of them are searched.
        window: Number of a window.
        mirrored: Look for its mirror image.
        asking: Numbers of the pictures whose windows are looked for.
        members: Numbers of the pictures in the index.
    """
    asking = np.arange(len(rows)) if asking is None else asking
    members = np.arange(len(rows)) if members is None else members
    queries = _described(prints, rows[asking], window)
    if mirrored:
        queries *= mirror_signs()
    place = np.full(len(rows), -1, np.int64)
    place[members] = np.arange(len(members))
    found = index.search(queries, count=EACH, least=LEAST_SIMILAR, own=place[asking])
    who, column = np.nonzero(found.rows >= 0)
    second, similarity = members[found.rows[who, column]], found.similarities[who, column]
    return _with_map(asking[who], second, _map_of(window, mirrored), similarity)


def _by_embedding(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.maximum(lengths, 1e-12)
    found = Index(unit).search(unit, count=EACH, least=LEAST_EMBEDDED, own=np.arange(len(unit)))
    first, column = np.nonzero(found.rows >= 0)
    return first, found.rows[first, column]


def _with_map(first: np.ndarray, second: np.ndarray, one: tuple[float, ...], similarity: np.ndarray) -> Pairs:
    return Pairs(first, second, np.tile(np.array(one), (len(first), 1)), similarity.astype(np.float32))


def _map_of(window: int, mirrored: bool) -> tuple[float, ...]:
    """Where a picture lies that looks like a window of the mirrored picture or of the picture itself."""
    top, bottom, left, right = WINDOWS[window]
    return (top, bottom - top, 1 - left, left - right) if mirrored else (top, bottom - top, left, right - left)


def _best(pairs: Pairs, count: int, keep: int = KEPT) -> Pairs:
    """Keep each pair once, at its best, and the best `keep` of each picture."""
    low, high = np.minimum(pairs.first, pairs.second), np.maximum(pairs.first, pairs.second)
    order = np.lexsort((-pairs.similarity, low * count + high))
    key = (low * count + high)[order]
    pairs = pairs.take(order[np.diff(key, prepend=-1) != 0])
    order = np.lexsort((-pairs.similarity, pairs.first))
    pairs = pairs.take(order)
    rank = np.arange(len(pairs)) - np.searchsorted(pairs.first, pairs.first)
    return pairs.take(rank < keep)


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[begin : begin + BLOCK] for begin in range(0, len(rows), BLOCK))
