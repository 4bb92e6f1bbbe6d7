"""The 15 corruptions of ImageNet-C at 5 strengths: one picture in, one picture out, drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnaeus.verbs.stress import blur, noise, weather

STRENGTHS = 5
SMALL_PX = 64
"""Up to this side the values of CIFAR-10-C hold, above it those of ImageNet-C."""

Change = Callable[[np.ndarray, Any, float, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Corruption:
    """One kind of damage.

    Attributes:
        name: As people call it.
        group: "noise", "blur", "weather" or "digital".
        change: Takes the picture as float32 in 0..1 [H, W, 3], a strength's value, the scale on lengths, and randomness.
        large: Values of the five strengths of ImageNet-C; lengths are in pixels of a picture of 224.
        small: The same of CIFAR-10-C; lengths are in pixels of a picture of 32.
    """

    name: str
    group: str
    change: Change
    large: tuple[Any, ...]
    small: tuple[Any, ...]


CORRUPTIONS = (
    Corruption("gaussian noise", "noise", noise.gaussian_noise,
               (0.08, 0.12, 0.18, 0.26, 0.38), (0.04, 0.06, 0.08, 0.09, 0.10)),
    Corruption("shot noise", "noise", noise.shot_noise,
               (60, 25, 12, 5, 3), (500, 250, 100, 75, 50)),
    Corruption("impulse noise", "noise", noise.impulse_noise,
               (0.03, 0.06, 0.09, 0.17, 0.27), (0.01, 0.02, 0.03, 0.05, 0.07)),
    Corruption("defocus blur", "blur", blur.defocus_blur,
               ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
               ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    Corruption("glass blur", "blur", blur.glass_blur,
               ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
               ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))),
    Corruption("motion blur", "blur", blur.motion_blur,
               ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
               ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    Corruption("zoom blur", "blur", blur.zoom_blur,
               ((11, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03)),
               ((6, 0.01), (11, 0.01), (16, 0.01), (21, 0.01), (26, 0.01))),
    Corruption("snow", "weather", weather.snow,
               ((0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
                (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)),
               ((0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
                (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8))),
    Corruption("frost", "weather", weather.frost,
               ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
               ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))),
    Corruption("fog", "weather", weather.fog,
               ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
               ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    Corruption("brightness", "weather", noise.brightness,
               (0.1, 0.2, 0.3, 0.4, 0.5), (0.05, 0.1, 0.15, 0.2, 0.3)),
    Corruption("contrast", "digital", noise.contrast,
               (0.4, 0.3, 0.2, 0.1, 0.05), (0.75, 0.5, 0.4, 0.3, 0.15)),
    Corruption("elastic", "digital", blur.elastic,
               ((488, 170.8, 24.4), (488, 19.52, 48.8), (12.2, 2.44, 4.88), (17.08, 2.44, 4.88), (29.28, 2.44, 4.88)),
               ((0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96))),
    Corruption("pixelate", "digital", noise.pixelate,
               (0.6, 0.5, 0.4, 0.3, 0.25), (0.95, 0.9, 0.85, 0.75, 0.65)),
    Corruption("jpeg", "digital", noise.jpeg,
               (25, 18, 15, 10, 7), (80, 65, 58, 50, 40)),
)  # fmt: skip
"""In the order of the paper."""
KINDS = {one.name: one for one in CORRUPTIONS}


def corrupt(picture: np.ndarray, kind: str, strength: int, seed: tuple[int, ...]) -> np.ndarray:
    """Damage one picture; the same arguments give the same bytes.

    Values are those of the published code at the two sizes for which it was made. For other sizes lengths grow with the
    shorter side: up to 64 px from CIFAR-10-C's 32, above from ImageNet-C's 224. Pictures under 32 px are treated
    like 32, since a blur of less than a pixel is none. Bytes are rounded, where the published code cuts off.

    Args:
        picture: uint8 [H, W, 3], or [H, W, 1] for grey.
        kind: A key of `KINDS`.
        strength: 1 to 5.
        seed: Numbers from which randomness is drawn, beside kind and strength.

    Returns:
        uint8, of the same shape.

    Source:
        Hendrycks and Dietterich (2019), arXiv:1903.12261, and their published code for ImageNet-C and CIFAR-10-C.
    """
    assert 1 <= strength <= STRENGTHS, strength
    one = KINDS[kind]
    side = min(picture.shape[:2])
    values, scale = (one.small, max(1.0, side / 32)) if side <= SMALL_PX else (one.large, side / 224)
    random = np.random.default_rng((*seed, CORRUPTIONS.index(one), strength))
    colour = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    damaged = one.change(colour.astype(np.float32) / 255, values[strength - 1], scale, random)
    if picture.shape[2] == 1:
        damaged = damaged @ np.array([[0.299], [0.587], [0.114]], np.float32)
    return np.rint(np.clip(damaged, 0, 1) * 255).astype(np.uint8)
