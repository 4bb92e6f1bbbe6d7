"""Weather: snow, frost and fog, all drawn from random numbers."""

from __future__ import annotations

import math

import numpy as np

from linnaeus.verbs.stress.blur import magnified, trail

Snow = tuple[float, float, float, float, float, float, float]

FROST_MEAN, FROST_DEVIATION = (0.42, 0.78), (0.07, 0.17)
"""About the range of mean and deviation of the photographs of frost that ImageNet-C draws from, in 0..1."""
FROST_TINT = (0.85, 1.04, 1.11)
"""Red, green and blue of these photographs, relative to their mean."""


def snow(picture: np.ndarray, how: Snow, scale: float, random: np.random.Generator) -> np.ndarray:
    """Let it snow: wash the picture out, and add flakes that fall in two opposite directions.

    Args:
        picture: float32 [H, W, 3].
        how: Mean and deviation of the flakes' noise, their magnification, the threshold above which there is a flake,
            radius and deviation of their trails in pixels, and the share of the picture that is not washed out.
        scale: On lengths.
        random: Everything is drawn from it.
    """
    mean, deviation, magnification, threshold, radius, sigma, clear = how
    flakes = random.normal(mean, deviation, picture.shape[:2]).astype(np.float32)
    # A flake is as large a part of the picture at every size.
    flakes = magnified(flakes, magnification * scale)
    flakes = np.where(flakes < threshold, 0, flakes).clip(0, 1)
    flakes = trail(flakes, radius * scale, sigma * scale, random.uniform(-135, -45))[..., None]
    grey = picture @ np.array([0.299, 0.587, 0.114], np.float32)
    washed = np.maximum(picture, 1.5 * grey[..., None] + 0.5)
    return clear * picture + (1 - clear) * washed + flakes + flakes[::-1, ::-1]


def frost(picture: np.ndarray, how: tuple[float, float], scale: float, random: np.random.Generator) -> np.ndarray:
    """Lay ice over the picture: the share of the picture, and the share of the ice.

    ImageNet-C takes photographs of frost. Here the ice is drawn: rough ground, and bright needles where two random
    landscapes are equally high. Its brightness, contrast and tint are drawn from the range of those photographs.
    """
    height, width = picture.shape[:2]
    first, second, ground = (plasma(max(height, width), 1.35, random)[:height, :width] for _ in range(3))
    ice = ground + 0.8 * np.exp(-((first - second) ** 2) / 0.002)
    ice = (ice - ice.mean()) / max(float(ice.std()), 1e-6)
    shade = random.uniform(*FROST_MEAN) + random.uniform(*FROST_DEVIATION) * ice
    colour = np.clip(shade[..., None] * np.array(FROST_TINT), 0, 1).astype(np.float32)
    return how[0] * picture + how[1] * colour


def fog(picture: np.ndarray, how: tuple[float, float], scale: float, random: np.random.Generator) -> np.ndarray:
    """Let clouds of fog drift over the picture: their density, and how fast details fade."""
    density, decay = how
    height, width = picture.shape[:2]
    clouds = plasma(max(height, width), decay**2, random)[:height, :width, None].astype(np.float32)
    brightest = float(picture.max())
    return (picture + density * clouds) * (brightest / (brightest + density))


def plasma(side: int, decay: float, random: np.random.Generator) -> np.ndarray:
    """Draw a random landscape, heights 0..1, that meets itself at opposite borders.

    Args:
        side: At least so many points each way; the landscape has the next power of two.
        decay: By how much each halving of the distance makes the randomness smaller.
        random: Everything is drawn from it.

    Source:
        Fournier, Fussell, Carpenter (1982), Commun. ACM 25, 371-384: midpoint displacement, here by diamonds and squares.
    """
    size = 2 ** max(1, math.ceil(math.log2(max(side, 2))))
    heights, step, wobble = np.zeros((size, size)), size, 1.0
    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        shape = corners.shape
        pairs = corners + np.roll(corners, -1, axis=0)
        centres = (pairs + np.roll(pairs, -1, axis=1)) / 4 + random.uniform(-wobble, wobble, shape)
        heights[half::step, half::step] = centres
        for axis, place in ((1, np.s_[::step, half::step]), (0, np.s_[half::step, ::step])):
            around = corners + np.roll(corners, -1, axis) + centres + np.roll(centres, 1, 1 - axis)
            heights[place] = around / 4 + random.uniform(-wobble, wobble, shape)
        step, wobble = half, wobble / decay
    heights -= heights.min()
    return heights / max(float(heights.max()), 1e-12)
