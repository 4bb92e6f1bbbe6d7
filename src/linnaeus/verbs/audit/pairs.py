"""Pairs of pictures of which one may be an altered copy of the other, confirmed by laying one over the other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import numpy as np

from linnaeus.data.alignment import Agreement, align, look_closer, texture
from linnaeus.data.fingerprints import WINDOWS, Fingerprints, grey
from linnaeus.data.pixels import Pixels
from linnaeus.errors import PictureError
from linnaeus.machine import cores_here

ALIGNED_AT_ONCE = 256
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
