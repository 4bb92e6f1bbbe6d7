"""Resize bytes with numpy alone, to the last bit as torch does: fetching torch takes longer than some thousand pictures."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

LARGEST = 2**15
"""Weights are rounded to whole numbers below it."""
TOGETHER = 16
"""So many new lines are one product: most lines that they read are read by several of them."""
PIECE = 2**18
"""So many multiplications are done at once: they stay in the cache, and are too few for BLAS to wake threads of its own."""
EXACT = 2**24
"""Whole numbers up to it are exact in float32."""
MIDDLE = 128
"""Is taken off the bytes: sums of half the size are exact."""


@dataclass(frozen=True)
class Product:
    """Some new lines, as a product of weights and the lines that they read.

    Attributes:
        new: Which lines are made.
        read: Which lines they read.
        weights: [read, new], whole numbers divided by a power of two: no sum is rounded, in whichever order it is done.
    """

    new: slice
    read: slice
    weights: np.ndarray


def resample(picture: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    """Bring uint8 [H, W, C] to [height, width, C], antialiased, "bilinear" or "bicubic".

    Source:
        Antialiased filters of Pillow (A. Murray and contributors, 2010 on, `Resample.c`) with the weights rounded to
        16 bits as in torch's `interpolate(antialias=True)` of bytes: rows first, whole numbers again between the two passes.
    """
    H, W, C = picture.shape
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1)).astype(np.float32)
    planes -= MIDDLE
    if width != W:
        planes = _narrowed(planes.reshape(C * H, W), width, interpolation).reshape(C, H, width)
    if height != H:
        planes = _lowered(planes, height, interpolation)
    planes += MIDDLE
    resized = np.empty((height, width, C), np.uint8)
    for channel, plane in enumerate(planes):
        resized[:, :, channel] = plane
    return resized


def _narrowed(rows: np.ndarray, width: int, interpolation: str) -> np.ndarray:
    """Make [N, width] of [N, W]."""
    products, shift = _products(rows.shape[1], width, interpolation)
    rows = rows.astype(shift.dtype, copy=False)
    made = np.empty((len(rows), width), rows.dtype)
    for product in products:
        for piece in _pieces(len(rows), product):
            np.matmul(rows[piece, product.read], product.weights, out=made[piece, product.new])
    return _whole(made, shift)


def _lowered(planes: np.ndarray, height: int, interpolation: str) -> np.ndarray:
    """Make [C, height, W] of [C, H, W]."""
    C, H, W = planes.shape
    products, shift = _products(H, height, interpolation)
    planes = planes.astype(shift.dtype, copy=False)
    made = np.empty((C, height, W), planes.dtype)
    for product in products:
        for piece in _pieces(W, product):
            np.matmul(product.weights.T, planes[:, product.read, piece], out=made[:, product.new, piece])
    return _whole(made, shift[:, None])


def _pieces(length: int, product: Product) -> Iterator[slice]:
    step = max(1, PIECE // product.weights.size)
    return (slice(at, at + step) for at in range(0, length, step))


def _whole(made: np.ndarray, shift: np.ndarray) -> np.ndarray:
    made += shift
    np.floor(made, out=made)
    return np.clip(made, -MIDDLE, 255 - MIDDLE, out=made)


@functools.lru_cache(128)
def _products(given: int, wanted: int, interpolation: str) -> tuple[list[Product], np.ndarray]:
    """Compute what new lines are made of, in float32 where that is exact, and else in float64.

    Returns:
        The products; and what is then added to each line, [wanted]: half of the last place, so that cutting off is
        rounding, and what the middle lost where the weights do not add up to one.
    """
    first, whole, bits = _weights(given, wanted, interpolation)
    most = MIDDLE * int(np.abs(whole).sum(axis=1).max()) + (1 << bits)
    weights = (whole / (1 << bits)).astype(np.float32 if most < EXACT else np.float64)
    tap, products = np.arange(weights.shape[1]), []
    for at in range(0, wanted, TOGETHER):
        new = slice(at, min(wanted, at + TOGETHER))
        lines = np.minimum(first[new, None] + tap, given - 1)
        read = slice(int(lines[0, 0]), int(lines[-1, -1]) + 1)
        dense = np.zeros((read.stop - read.start, len(lines)), weights.dtype)
        np.add.at(dense, (lines - read.start, np.arange(len(lines))[:, None]), weights[new])
        products.append(Product(new, read, dense))
    return products, MIDDLE * (weights.sum(axis=1) - 1) + 0.5


def _weights(given: int, wanted: int, interpolation: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Compute the first line that each new line reads, its whole weights [wanted, taps], and their bits after the point."""
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
    return first, np.trunc(scaled + np.where(scaled < 0, -0.5, 0.5)).astype(np.int64), bits


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
