"""Blur and bending: the corruptions that move or mix neighbouring pixels."""

from __future__ import annotations

import math

import numpy as np


def defocus_blur(
    picture: np.ndarray, how: tuple[float, float], scale: float, random: np.random.Generator
) -> np.ndarray:
    """Spread every pixel over a disk: radius, and the softness of its edge, in pixels."""
    import cv2

    radius, edge = (length * scale for length in how)
    reach = max(8, math.ceil(radius) + 2)
    grid = np.arange(-reach, reach + 1)
    disk = (grid[:, None] ** 2 + grid**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk / disk.sum(), (3, 3) if radius <= 8 else (5, 5), edge)
    return cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_REFLECT_101)


def glass_blur(
    picture: np.ndarray, how: tuple[float, int, int], scale: float, random: np.random.Generator
) -> np.ndarray:
    """Look through frosted glass: blur, replace pixels by neighbours, blur; how is deviation, reach and rounds."""
    sigma, reach, rounds = how[0] * scale, max(1, round(how[1] * scale)), how[2]
    height, width = picture.shape[:2]
    blurred = gaussian(picture, sigma)
    rows, columns = np.arange(height - reach, reach, -1), np.arange(width - reach, reach, -1)
    here = (rows[:, None] * width + columns).ravel()
    origin = list(range(height * width))
    for _ in range(rounds):
        dy, dx = random.integers(-reach, reach, (2, len(here)))
        # One after the other, as a pixel may hand on what it has just been given.
        for pixel, neighbour in zip(here.tolist(), (here + dy * width + dx).tolist(), strict=True):
            origin[pixel] = origin[neighbour]
    moved = blurred.reshape(height * width, -1)[origin].reshape(picture.shape)
    return gaussian(moved, sigma)


def motion_blur(picture: np.ndarray, how: tuple[float, float], scale: float, random: np.random.Generator) -> np.ndarray:
    """Move the camera while the shutter is open: radius and deviation of the trail, in pixels."""
    return trail(picture, how[0] * scale, how[1] * scale, random.uniform(-45, 45))


def trail(picture: np.ndarray, radius: float, sigma: float, angle_deg: float) -> np.ndarray:
    """Smear a picture one-sidedly along a line with falling weights.

    Args:
        picture: float32 [H, W] or [H, W, C].
        radius: The trail is 2 * radius + 1 pixels long.
        sigma: Deviation of the Gauss curve whose right half the weights follow, in pixels.
        angle_deg: Of the line.
    """
    import cv2

    # Beyond the picture's far side there is nothing but the border, which the last tap stands for.
    length = min(2 * round(radius) + 1, 2 * max(picture.shape[:2]))
    weights = np.exp(-(np.arange(length) ** 2) / (2 * sigma**2))
    angle = math.radians(angle_deg)
    kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
    y, x = (length + np.arange(length) * part for part in (math.sin(angle), math.cos(angle)))
    np.add.at(kernel, (np.rint(y).astype(int), np.rint(x).astype(int)), weights / weights.sum())
    return cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_REPLICATE)


def zoom_blur(picture: np.ndarray, how: tuple[int, float], scale: float, random: np.random.Generator) -> np.ndarray:
    """Zoom while the shutter is open: the mean of so many views, each magnified by one step more."""
    views, step = how
    seen = picture + sum(magnified(picture, 1 + step * number) for number in range(views))
    return seen / (views + 1)


def magnified(picture: np.ndarray, factor: float) -> np.ndarray:
    """Magnify about the middle; the size stays."""
    import cv2

    height, width = picture.shape[:2]
    view = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0, factor)
    return cv2.warpAffine(picture, view, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def elastic(
    picture: np.ndarray, how: tuple[float, float, float], scale: float, random: np.random.Generator
) -> np.ndarray:
    """Bend the picture: a random affine map, then a smooth random field of shifts.

    Args:
        picture: float32 [H, W, C].
        how: Strength of the field, deviation of the Gauss curve that smooths it, and how far the affine map moves its
            three points; all in pixels.
        scale: On lengths.
        random: Everything is drawn from it.
    """
    import cv2

    height, width = picture.shape[:2]
    strength, smoothness, reach = (length * scale for length in how)
    centre, arm = np.array([height, width], np.float32) // 2, min(height, width) // 3
    corners = np.stack([centre + arm, centre + np.array([arm, -arm]), centre - arm]).astype(np.float32)
    moved = corners + random.uniform(-reach, reach, corners.shape).astype(np.float32)
    if arm:
        view = cv2.getAffineTransform(corners, moved)
        picture = cv2.warpAffine(picture, view, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    if not strength:
        return picture
    dx, dy = (strength * smooth(random.uniform(-1, 1, (height, width)), smoothness) for _ in range(2))
    y, x = np.mgrid[:height, :width]
    places = (x + dx).astype(np.float32), (y + dy).astype(np.float32)
    return cv2.remap(picture, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def gaussian(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Blur by a Gauss curve that reaches four deviations, with the border's pixels going on outside."""
    import cv2

    width = 2 * int(4 * sigma + 0.5) + 1
    return cv2.GaussianBlur(picture, (width, width), sigma, borderType=cv2.BORDER_REPLICATE) if width > 1 else picture


def smooth(field: np.ndarray, sigma: float) -> np.ndarray:
    """Blur a field [H, W] by a Gauss curve of any width, mirrored at the borders, in the cosine transform's domain."""
    from scipy.fft import dctn, idctn

    falls = [np.exp(-((math.pi * sigma * np.arange(side) / side) ** 2) / 2) for side in field.shape]
    return idctn(dctn(field) * np.outer(*falls))
