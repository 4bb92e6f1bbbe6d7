"""Resize bytes with numpy alone, to the last bit as torch does: fetching torch takes longer than some hundred pictures."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

Weights = list[tuple[np.ndarray, np.ndarray]]
"""For each tap: which line each new line reads, and its whole-numbered weight, [wanted] and [wanted, 1]."""

LARGEST = 2**15
"""Weights are rounded to whole numbers below it."""


def resample(picture: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    """Bring uint8 [H, W, C] to [height, width, C], antialiased, "bilinear" or "bicubic".

    Source:
        Antialiased filters of Pillow (A. Murray and contributors, 2010 on, `Resample.c`) with the weights rounded to
        16 bits as in torch's `interpolate(antialias=True)` of bytes: rows first, bytes again between the two passes.
    """
    H, W, C = picture.shape
    if width != W:
        columns = np.ascontiguousarray(picture.transpose(1, 0, 2)).reshape(W, H * C)
        resized = _weighed(columns, width, interpolation).reshape(width, H, C)
        picture = np.ascontiguousarray(resized.transpose(1, 0, 2))
    if height != H:
        picture = _weighed(picture.reshape(H, width * C), height, interpolation).reshape(height, width, C)
    return picture


def _weighed(lines: np.ndarray, wanted: int, interpolation: str) -> np.ndarray:
    """Make lines [wanted, M] of lines [L, M]."""
    taps, bits = _taps(len(lines), wanted, interpolation)
    numbers = lines.astype(np.int32)
    # Half of the last place: what is cut off below is rounded.
    total = np.full((wanted, lines.shape[1]), 1 << (bits - 1), dtype=np.int32)
    for rows, weight in taps:
        part = numbers[rows]
        part *= weight
        total += part
    total >>= bits
    return np.clip(total, 0, 255, out=total).astype(np.uint8)


@functools.lru_cache(256)
def _taps(given: int, wanted: int, interpolation: str) -> tuple[Weights, int]:
    """Compute what each new line is made of, and the number of bits after the point of the weights."""
    reach, kernel = _KERNELS[interpolation]
    scale = given / wanted
    support, shrink = reach * max(scale, 1.0), min(1 / scale, 1.0)
    centre = scale * (np.arange(wanted) + 0.5)
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    most = int(np.ceil(support)) * 2 + 1
    count = np.minimum((centre + support + 0.5).astype(np.int64), given) - first
    tap = np.arange(most)
    weight = kernel((tap + first[:, None] - centre[:, None] + 0.5) * shrink)
    weight = np.where(tap < count[:, None], weight, 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    bits = _bits(float(weight.max()))
    scaled = weight * (1 << bits)
    whole = np.trunc(scaled + np.where(scaled < 0, -0.5, 0.5)).astype(np.int32)
    line = np.minimum(first[:, None] + tap, given - 1)
    used = np.flatnonzero(whole.any(axis=0))
    return [(np.ascontiguousarray(line[:, t]), np.ascontiguousarray(whole[:, t : t + 1])) for t in used], bits


def _bits(largest: float) -> int:
    """Choose as many bits after the point as keep the largest weight below LARGEST."""
    return next((bits for bits in range(22) if int(0.5 + largest * (1 << (bits + 1))) >= LARGEST), 22)


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    x = np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


_KERNELS: dict[str, tuple[float, Callable[[np.ndarray], np.ndarray]]] = {
    "bilinear": (1.0, _triangle),
    "bicubic": (2.0, _cubic),
}
