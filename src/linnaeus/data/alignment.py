"""Lay two pictures over each other, and say how well they agree: what proves or refutes that one is a copy of the other."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from linnaeus.data.fingerprints import COLOUR_SIDE, colour_of, grey_of

STEPS = 3, 3, 4, 4
"""Of Gauss-Newton: a first try, the rest of it, on fingerprints in full, on larger pictures."""
LARGEST_STEP = 0.08
DAMPING = 1e-3
BLUR = 2
"""Radius in pixels of the mean that is taken off before details are compared."""
TILES = 4
"""Details are compared in 4 x 4 tiles."""
LEAST_TILE = 0.1
"""A tile counts if it has this share of the average energy: noise in an empty sky agrees with nothing."""
AT_ONCE = 512
LEAST_ROUGH = (0.2, 0.35)
"""Pairs whose details agree less than this on a quarter of the pixels, after the first try and after the rest, are
given up: of 3,600 planted copies of photographs this lost 2, of candidates that are no copies it left a third."""


@dataclass(frozen=True)
class Agreement:
    """How well pairs of pictures agree where they lie over each other; all columns [n], warps [n, 4].

    Attributes:
        details: -1..1, see `_tiles`: copies have 0.8 to 1, unrelated pictures less than 0.6, mostly about 0; -1 where a
            rough look was enough.
        colours: Correlation of grey and colour differences together, -1..1.
        overlap: Share of the pixels that the other picture has too, of the picture in which it is smaller, 0..1.
        tiles: Number of tiles that show something and were compared.
        warps: Which part of the first is the second: row offset and stretch, column offset and stretch, as shares.
    """

    details: np.ndarray
    colours: np.ndarray
    overlap: np.ndarray
    tiles: np.ndarray
    warps: np.ndarray

    def take(self, rows: np.ndarray) -> Agreement:
        """Choose pairs by row number or mask."""
        return Agreement(*(getattr(self, one.name)[rows] for one in fields(self)))


def align(
    first: np.ndarray,
    second: np.ndarray,
    windows: np.ndarray,
    mirrored: np.ndarray,
    *,
    least_rough: tuple[float, float] = LEAST_ROUGH,
) -> Agreement:
    """Align pairs of pictures by shift and stretch of each axis, and compare them.

    Args:
        first: Fingerprints [n, BYTES].
        second: Fingerprints [n, BYTES].
        windows: Where to begin: top, bottom, left, right of the part of the first that may be the second, [n, 4].
        mirrored: Whether the first is to be mirrored, bool [n].
        least_rough: Pairs whose details agree less at half the size are given up, see LEAST_ROUGH.
    """
    blocks = (slice(begin, begin + AT_ONCE) for begin in range(0, max(1, len(first)), AT_ONCE))
    parts = [_align(first[some], second[some], windows[some], mirrored[some], least_rough) for some in blocks]
    return Agreement(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def look_closer(
    here: np.ndarray, there: np.ndarray, warps: np.ndarray, mirrored: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compare larger grey pictures, float32 [n, S, S], beginning from where `align` has ended.

    Returns:
        Details and tiles, as in Agreement.
    """
    here = here.copy()
    here[mirrored] = here[mirrored][:, :, ::-1]
    return _tiles(here, there, _refine(here, there, warps, STEPS[3]))


def _align(
    first: np.ndarray,
    second: np.ndarray,
    windows: np.ndarray,
    mirrored: np.ndarray,
    least_rough: tuple[float, float],
) -> tuple[np.ndarray, ...]:
    here, there = grey_of(first), grey_of(second)
    here[mirrored] = here[mirrored][:, :, ::-1]
    top, bottom, left, right = windows.T
    warps = np.stack([top, bottom - top, left, right - left], axis=1).astype(np.float32)
    rest = np.arange(len(first))
    rough = _halved(here), _halved(there)
    for steps, least in zip(STEPS[:2], least_rough, strict=True):
        pair = rough[0][rest], rough[1][rest]
        warps[rest] = _refine(*pair, warps[rest], steps)
        rest = rest[_details(*pair, warps[rest]) >= least]
    details, colours, overlap, tiles = np.zeros((4, len(first)), np.float32)
    details[:] = -1
    here, there, found = here[rest], there[rest], warps[rest]
    warps[rest] = found = _refine(here, there, found, STEPS[2])
    details[rest], tiles[rest] = _tiles(here, there, found)
    colours[rest] = _colours(first[rest], second[rest], found, mirrored[rest])
    overlap[rest] = _overlap(found)
    return details, colours, overlap, tiles, warps


def texture(stored: np.ndarray) -> np.ndarray:
    """Measure how much detail fingerprints [n, BYTES] have to compare: standard deviation in grey levels, [n]."""
    grey = grey_of(stored)
    # At the borders the local mean is lopsided: a mere gradient would look like detail there.
    (detail,) = _details_of(np.ones_like(grey), grey)
    return detail[:, BLUR:-BLUR, BLUR:-BLUR].std(axis=(1, 2))


def _refine(here: np.ndarray, there: np.ndarray, warps: np.ndarray, steps: int) -> np.ndarray:
    """Solve for shift and stretch that bring `here` onto `there`, with gain and offset of brightness as unknowns too.

    Args:
        here: [n, S, S].
        there: [n, S, S].
        warps: Row offset, row stretch, column offset, column stretch, as shares of the side, [n, 4].
        steps: Of Gauss-Newton.

    Source:
        B. D. Lucas and T. Kanade (1981), IJCAI, 674-679; the forward additive form in S. Baker and I. Matthews (2004),
        IJCV 56, 221-255, restricted to four parameters.
    """
    n, side = here.shape[:2]
    centres = (np.arange(side, dtype=np.float32) + 0.5) / side
    for _ in range(steps):
        warped, mask = _warped(here, warps)
        down = np.gradient(warped, axis=1) * (side / warps[:, 1, None, None])
        across = np.gradient(warped, axis=2) * (side / warps[:, 3, None, None])
        slopes = (down, down * centres[:, None], across, across * centres, warped, np.ones_like(warped))
        J = (np.stack(slopes, axis=1) * mask[:, None]).reshape(n, 6, side * side)
        H = J @ J.transpose(0, 2, 1)
        g = J @ (there * mask).reshape(n, side * side, 1)
        scale = np.sqrt(np.einsum("nii->ni", H)) + 1e-6
        H = H / scale[:, :, None] / scale[:, None, :] + DAMPING * np.eye(6, dtype=np.float32)
        solved = np.linalg.solve(H, g / scale[:, :, None])[:, :, 0] / scale
        # Where brightness would have to be turned round or to vanish, no move can help.
        gain = np.where(solved[:, 4] > 0.2, solved[:, 4], np.inf)
        warps = warps + np.clip(solved[:, :4] / gain[:, None], -LARGEST_STEP, LARGEST_STEP)
        warps[:, 1::2] = warps[:, 1::2].clip(0.5, 2)
    return warps


def _warped(pictures: np.ndarray, warps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sample [n, S, S] linearly on the moved grid; also give a mask of what lies within, float32 [n, S, S]."""
    n, side = pictures.shape[:2]
    rows, row_share, row_in = _grid(warps[:, 0], warps[:, 1], side)
    columns, column_share, column_in = _grid(warps[:, 2], warps[:, 3], side)
    each = np.arange(n)[:, None]
    halfway = pictures[each, rows]
    halfway += (pictures[each, rows + 1] - halfway) * row_share[:, :, None]
    # Rows of the turned picture: picking whole rows is much faster than picking columns.
    turned = np.ascontiguousarray(halfway.transpose(0, 2, 1))
    sampled = turned[each, columns]
    sampled += (turned[each, columns + 1] - sampled) * column_share[:, :, None]
    mask = (row_in[:, :, None] & column_in[:, None, :]).astype(np.float32)
    return np.ascontiguousarray(sampled.transpose(0, 2, 1)), mask


def _grid(offset: np.ndarray, stretch: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    centres = (np.arange(side, dtype=np.float32) + 0.5) / side
    at = (offset[:, None] + stretch[:, None] * centres) * side - 0.5
    within = (at >= -0.25) & (at <= side - 0.75)
    at = at.clip(0, side - 1.001)
    first = at.astype(np.int64)
    return first, (at - first).astype(np.float32), within


def _halved(pictures: np.ndarray) -> np.ndarray:
    n, side = pictures.shape[:2]
    return pictures.reshape(n, side // 2, 2, side // 2, 2).mean(axis=(2, 4))


def _details(here: np.ndarray, there: np.ndarray, warps: np.ndarray) -> np.ndarray:
    """Correlate grey after a local mean is taken off, over the whole overlap."""
    warped, mask = _warped(here, warps)
    return _cosine(*_details_of(mask, warped, there))


def _tiles(here: np.ndarray, there: np.ndarray, warps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlate grey after a local mean is taken off, in each tile that shows something; average the worse half.

    Copies agree everywhere. A frame, a caption or a scale bar that unrelated pictures share agrees in some tiles only,
    and so does one round flower with another.
    """
    warped, mask = _warped(here, warps)
    one, other = _details_of(mask, warped, there)
    together, mine, yours, pixels = (_tile_sums(what) for what in (one * other, one * one, other * other, mask))
    energy = np.sqrt(mine * yours)
    level = energy / np.maximum(pixels, 1)
    full = (mask.shape[1] / TILES) ** 2
    counts = (pixels > full / 2) & (level >= LEAST_TILE * level.mean(axis=1, keepdims=True)) & (level > 0)
    agree = np.sort(np.where(counts, together / np.maximum(energy, 1e-6), np.inf), axis=1)
    worse = (counts.sum(axis=1) + 1) // 2
    chosen = np.arange(TILES**2) < worse[:, None]
    return agree.sum(axis=1, where=chosen) / np.maximum(worse, 1), counts.sum(axis=1)


def _tile_sums(values: np.ndarray) -> np.ndarray:
    n, side = values.shape[:2]
    return values.reshape(n, TILES, side // TILES, TILES, side // TILES).sum(axis=(2, 4)).reshape(n, TILES**2)


def _details_of(mask: np.ndarray, *pictures: np.ndarray) -> list[np.ndarray]:
    """Take the mean of the pixels within BLUR rows and columns off, of those that the mask has."""
    counts = np.maximum(_box(mask), 1e-3)
    return [(one - _box(one * mask) / counts) * mask for one in pictures]


def _colours(first: np.ndarray, second: np.ndarray, warps: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Correlate all three channels at once; colour differences have a true zero, and so keep their mean."""
    sides = []
    for stored, turned in ((first, mirrored), (second, np.zeros_like(mirrored))):
        channels = np.concatenate([_halved(grey_of(stored))[:, None], 2 * colour_of(stored)], axis=1)
        channels[turned] = channels[turned][..., ::-1]
        sides.append(channels)
    flat = sides[0].reshape(-1, COLOUR_SIDE, COLOUR_SIDE)
    warped, masks = _warped(flat, np.repeat(warps, 3, axis=0))
    warped, mask = warped.reshape(sides[0].shape), masks.reshape(sides[0].shape)
    pair = []
    for channels in (warped, sides[1]):
        channels = channels * mask
        count = np.maximum(mask[:, 0].sum(axis=(1, 2)), 1)
        channels[:, 0] -= (channels[:, 0].sum(axis=(1, 2)) / count)[:, None, None] * mask[:, 0]
        pair.append(channels)
    return _cosine(*pair)


def _overlap(warps: np.ndarray) -> np.ndarray:
    """Area that both have, as a share of the picture in which it is the smaller share."""
    shared = np.ones((2, len(warps)), np.float32)
    for offset, stretch in ((warps[:, 0], warps[:, 1]), (warps[:, 2], warps[:, 3])):
        length = (np.minimum(offset + stretch, 1) - np.maximum(offset, 0)).clip(0)
        shared *= np.stack([length, length / stretch])
    return shared.min(axis=0)


def _cosine(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Correlate [n, ...] with [n, ...], all but the first axis together."""
    axes = tuple(range(1, here.ndim))
    lengths = np.sqrt((here * here).sum(axis=axes) * (there * there).sum(axis=axes))
    return (here * there).sum(axis=axes) / np.maximum(lengths, 1e-6)


def _box(pictures: np.ndarray) -> np.ndarray:
    """Add up what lies within BLUR rows and columns of each pixel, [n, S, S]."""
    side = pictures.shape[1]
    wide = np.pad(pictures, ((0, 0), (BLUR, BLUR), (BLUR, BLUR)))
    # Shifted and added: half the time of cumulative sums, and they would round more.
    rows = wide[:, :side].copy()
    for step in range(1, 2 * BLUR + 1):
        rows += wide[:, step : step + side]
    both = rows[:, :, :side].copy()
    for step in range(1, 2 * BLUR + 1):
        both += rows[:, :, step : step + side]
    return both
