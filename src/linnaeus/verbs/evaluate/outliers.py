"""Pictures of no class, made from pictures of the classes: what a detector of strange pictures is chosen by.

Nobody hands in examples of what a model will meet by mistake, so they are made: from plainly strange (noise, one
colour) to strange in one respect only (inverted, shuffled, two pictures in one).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from linnaeus.data.digits import read_digits

DIGITS = frozenset("0123456789")
PATCHES = 4
"""Patches along each side of a shuffled picture."""


def outliers(pictures: np.ndarray, classes: Sequence[str] = (), *, seed: int = 0) -> dict[str, np.ndarray]:
    """Make as many pictures of each kind as there are given.

    Args:
        pictures: Of the classes, uint8 [n, S, S, C].
        classes: Their names: where digits are among them, digits are nothing strange.
        seed: Of everything random.

    Returns:
        Kind -> uint8 [n, S, S, C].
    """
    rng = np.random.default_rng(seed)
    kinds = {name: make for name, make in KINDS.items() if name != "digits" or not set(classes) >= DIGITS}
    return {name: make(pictures, rng) for name, make in kinds.items()}


def _noise(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, pictures.shape, dtype=np.uint8)


def _blank(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    n, _, _, C = pictures.shape
    return np.broadcast_to(rng.integers(0, 256, (n, 1, 1, C), dtype=np.uint8), pictures.shape)


def _inverted(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 255 - pictures


def _shuffled(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put the patches of each picture in another order."""
    S = pictures.shape[1]
    side = S // PATCHES
    found = pictures.copy()
    corners = [(side * row, side * column) for row in range(PATCHES) for column in range(PATCHES)]
    for k in range(len(pictures)):
        for (top, left), place in zip(corners, rng.permutation(len(corners)), strict=True):
            y, x = corners[place]
            found[k, top : top + side, left : left + side] = pictures[k, y : y + side, x : x + side]
    return found


def _two_in_one(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lay each picture half transparent over another one, upside down."""
    other = np.roll(pictures, 1, axis=0)[:, ::-1]
    return ((pictures.astype(np.uint16) + other) // 2).astype(np.uint8)


def _digits(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Take handwritten digits, which come with scikit-learn."""
    import cv2

    n, S, _, C = pictures.shape
    small = (read_digits()[0] * (255 / 16)).astype(np.uint8)
    chosen = small[rng.permutation(len(small))[:n] if n <= len(small) else rng.integers(0, len(small), n)]
    large = np.stack([cv2.resize(one, (S, S), interpolation=cv2.INTER_CUBIC) for one in chosen])
    return np.repeat(large[..., None], C, axis=3)


KINDS: Mapping[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "noise": _noise,
    "blank": _blank,
    "inverted": _inverted,
    "shuffled": _shuffled,
    "two in one": _two_in_one,
    "digits": _digits,
}
