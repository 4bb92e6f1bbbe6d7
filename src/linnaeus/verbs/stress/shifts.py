"""Small changes that no person would mind: a shift, a turn, another size, another JPEG quality."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from linnaeus.verbs.stress.noise import through_jpeg


@dataclass(frozen=True)
class Shift:
    """One kind of small change.

    Attributes:
        name: As people call it.
        unit: Of the strengths.
        strengths: From weak to strong.
        change: Takes the picture, a strength and randomness (for the direction).
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    change: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def translated(picture: np.ndarray, percent: float, random: np.random.Generator) -> np.ndarray:
    """Move by whole pixels, at least one, along a side or a diagonal; the border is mirrored."""
    import cv2

    size = max(picture.shape[:2])
    distance = max(1, round(size * percent / 100))
    down, right = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))[random.integers(8)]
    move = np.array([[1, 0, distance * right], [0, 1, distance * down]], dtype=np.float64)
    return _warped(picture, move, cv2.INTER_NEAREST)


def rotated(picture: np.ndarray, degrees: float, random: np.random.Generator) -> np.ndarray:
    """Turn about the middle, to the left or to the right; the border is mirrored."""
    import cv2

    turn = degrees if random.random() < 0.5 else -degrees
    return _warped(picture, _about_middle(picture, turn, 1.0), cv2.INTER_LINEAR)


def zoomed(picture: np.ndarray, factor: float, random: np.random.Generator) -> np.ndarray:
    """Magnify about the middle, or bring further away and mirror the border."""
    import cv2

    return _warped(picture, _about_middle(picture, 0.0, factor), cv2.INTER_LINEAR)


def rescaled(picture: np.ndarray, percent: float, random: np.random.Generator) -> np.ndarray:
    """Shrink to a share of the side, antialiased, and enlarge again: what a thumbnail service does."""
    import cv2

    height, width = picture.shape[:2]
    small = max(1, round(width * percent / 100)), max(1, round(height * percent / 100))
    shrunk = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR).reshape(picture.shape)


def recompressed(picture: np.ndarray, quality: float, random: np.random.Generator) -> np.ndarray:
    """Write as JPEG and read back."""
    grey = picture.shape[2] == 1
    read = through_jpeg(np.repeat(picture, 3, axis=2) if grey else picture, int(quality))
    return read[..., :1] if grey else read


SHIFTS = (
    Shift("translation", "percent of the side", (1, 2, 4, 8), translated),
    Shift("rotation", "degrees", (2, 5, 10, 20), rotated),
    Shift("zoom", "factor", (1.05, 0.95, 1.2, 0.8), zoomed),
    Shift("rescaling", "percent of the side", (90, 75, 50, 25), rescaled),
    Shift("jpeg quality", "quality", (95, 85, 70, 50), recompressed),
)


def shift(picture: np.ndarray, kind: Shift, strength: float, seed: tuple[int, ...]) -> np.ndarray:
    """Change one picture a little; the same arguments give the same bytes.

    Args:
        picture: uint8 [H, W, 3] or [H, W, 1].
        kind: One of `SHIFTS`.
        strength: In the kind's unit.
        seed: Numbers from which the direction is drawn; it is the same at all strengths.

    Returns:
        uint8, of the same shape.

    Source:
        The question is that of Azulay and Weiss (2019), arXiv:1805.12177: how often does the answer change?
    """
    return kind.change(picture, strength, np.random.default_rng((*seed, SHIFTS.index(kind))))


def _about_middle(picture: np.ndarray, degrees: float, factor: float) -> np.ndarray:
    import cv2

    height, width = picture.shape[:2]
    return cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, factor)


def _warped(picture: np.ndarray, view: np.ndarray, how: int) -> np.ndarray:
    import cv2

    height, width = picture.shape[:2]
    warped = cv2.warpAffine(picture, view, (width, height), flags=how, borderMode=cv2.BORDER_REFLECT_101)
    return warped.reshape(picture.shape)
