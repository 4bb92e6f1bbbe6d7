"""Random changes of training pictures: one description, two executors.

`draw` decides; every geometric change (flip, turn, shift, zoom, crop) is composed into one affine map per picture and
all colour changes into one matrix. `on_bytes` carries it out per picture on uint8 with OpenCV, which is fastest on a CPU;
`gathered.on_batch` does a whole batch at once with PyTorch, which is fastest on a GPU. Both interpolate once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnaeus.config import AugmentSettings

LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Changes:
    """What happens to N pictures.

    Attributes:
        maps: Affine maps from output to input coordinates, float64 [N, 2, 3]; a pixel's centre is at +0.5.
        colors: Colour matrices for bytes, float32 [N, 3, 4], or None.
        boxes: Rectangles to erase: top, left, bottom, right in output pixels, int64 [N, 4]; empty ones do nothing.
        size_px: Height and width of the output.
        fill: "edge", "reflect" or "black": what stands outside of the picture.
    """

    maps: np.ndarray
    colors: np.ndarray | None
    boxes: np.ndarray | None
    size_px: int
    fill: str


def draw(
    settings: AugmentSettings,
    sizes: np.ndarray,
    size_px: int,
    random: np.random.Generator,
    rows: np.ndarray,
    epoch: int,
) -> Changes:
    """Draw the changes of a batch.

    Args:
        settings: What may happen and how strongly.
        sizes: Height and width of each stored picture, [N, 2].
        size_px: Height and width of the output.
        random: Everything is drawn from it.
        rows: Row numbers of the pictures, [N]: alternating flip depends on them.
        epoch: Number of the epoch: likewise.
    """
    N = len(sizes)
    height, width = sizes[:, 0].astype(float), sizes[:, 1].astype(float)
    if settings.crop_area:
        box_height, box_width, top, left = _crop_boxes(settings, height, width, random)
    else:
        box_height = box_width = np.full(N, float(size_px))
        top, left = np.floor((height - size_px) / 2), np.floor((width - size_px) / 2)
    zoom = random.uniform(*settings.zoom, N) if settings.zoom != (1.0, 1.0) else np.ones(N)
    angle = (
        np.deg2rad(random.uniform(-settings.rotate_deg, settings.rotate_deg, N)) if settings.rotate_deg else np.zeros(N)
    )
    mirror_x = np.where(_flips(settings, random, rows, epoch), -1.0, 1.0)
    mirror_y = np.where(random.random(N) < 0.5, -1.0, 1.0) if settings.flip_vertical else np.ones(N)
    shift_y = _shifts(settings.shift, size_px, settings, random, N)
    shift_x = _shifts(settings.shift if settings.shift_x is None else settings.shift_x, size_px, settings, random, N)

    scale_x, scale_y = box_width / size_px / zoom, box_height / size_px / zoom
    cos, sin = np.cos(angle), np.sin(angle)
    maps = np.empty((N, 2, 3))
    maps[:, 0, 0], maps[:, 0, 1] = scale_x * cos * mirror_x, -scale_x * sin * mirror_y
    maps[:, 1, 0], maps[:, 1, 1] = scale_y * sin * mirror_x, scale_y * cos * mirror_y
    centre = np.stack([left + box_width / 2 + shift_x * scale_x, top + box_height / 2 + shift_y * scale_y], axis=1)
    maps[:, :, 2] = centre - maps[:, :, :2].sum(axis=2) * size_px / 2
    return Changes(
        maps=maps,
        colors=_color_matrices(settings.color, random, N) if settings.color else None,
        boxes=_erase_boxes(settings.erase, size_px, random, N) if settings.erase else None,
        size_px=size_px,
        fill=settings.fill or "reflect",
    )


def on_bytes(pictures: Sequence[np.ndarray], changes: Changes) -> np.ndarray:
    """Carry out changes picture by picture on bytes.

    Args:
        pictures: N arrays uint8 [h, w, C].
        changes: For these N pictures.

    Returns:
        uint8 [N, size_px, size_px, C].
    """
    import cv2

    border = {"edge": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT, "black": cv2.BORDER_CONSTANT}[changes.fill]
    S = changes.size_px
    out = np.empty((len(pictures), S, S, pictures[0].shape[2]), dtype=np.uint8)
    plain = moves_whole_pixels(changes.maps)
    # OpenCV counts from a pixel's centre, we from its corner: shift both ends by half a pixel.
    maps = _between_centres(changes.maps)
    for row, picture in enumerate(pictures):
        flags = (cv2.INTER_NEAREST if plain[row] else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(picture, maps[row], (S, S), flags=flags, borderMode=border)
        if changes.colors is not None:
            warped = cv2.transform(warped, for_channels(changes.colors[row : row + 1], picture.shape[2])[0])
        out[row] = warped.reshape(S, S, -1)
    if changes.boxes is not None:
        for picture, (top, left, bottom, right) in zip(out, changes.boxes, strict=True):
            picture[top:bottom, left:right] = picture.mean(axis=(0, 1)).astype(np.uint8)
    return out


def for_channels(colors: Any, channels: int) -> Any:
    """Take what colours are multiplied by, [N, 3, 4], to grey pictures, [N, 1, 2]: grey is a colour of three equal parts.

    Args:
        colors: An array or a tensor.
        channels: 3 or 1.
    """
    if channels == 3:
        return colors
    grey = colors[:, :1, 2:] * 1
    grey[:, :, 0] = colors[:, :1, :3].sum(-1)
    return grey


def _flips(settings: AugmentSettings, random: np.random.Generator, rows: np.ndarray, epoch: int) -> np.ndarray:
    if settings.flip == "random":
        return random.random(len(rows)) < 0.5
    if settings.flip == "alternating":
        # Knuth's multiplicative hash decides which half begins mirrored; each picture then changes every epoch.
        first = (rows.astype(np.uint64) * np.uint64(2654435761)) >> np.uint64(16)
        return (first + np.uint64(epoch)) % np.uint64(2) == 0
    return np.zeros(len(rows), dtype=bool)


def _shifts(
    share: float | None, size_px: int, settings: AugmentSettings, random: np.random.Generator, N: int
) -> np.ndarray:
    if not share:
        return np.zeros(N)
    reach = share * size_px
    if settings.rotate_deg or settings.zoom != (1.0, 1.0) or settings.crop_area:
        return random.uniform(-reach, reach, N)
    # Without another interpolation a shift by whole pixels keeps every byte as it is.
    return random.integers(-round(reach), round(reach), N, endpoint=True).astype(float)


def _crop_boxes(
    settings: AugmentSettings, height: np.ndarray, width: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw boxes of random area and shape inside the pictures (Szegedy et al. 2015); too long ones are cut to fit."""
    assert settings.crop_area
    area = random.uniform(*settings.crop_area, len(height)) * height * width
    least, most = np.log(settings.crop_ratio)
    ratio = np.exp(random.uniform(least, most, len(height)))
    box_width, box_height = np.minimum(np.sqrt(area * ratio), width), np.minimum(np.sqrt(area / ratio), height)
    top, left = random.random(len(height)) * (height - box_height), random.random(len(height)) * (width - box_width)
    return box_height, box_width, top, left


def _color_matrices(strength: float, random: np.random.Generator, N: int) -> np.ndarray:
    """Compose brightness, contrast (about mid-grey) and saturation, each by a factor in 1 +- strength, into one matrix."""
    brightness, contrast, saturation = random.uniform(1 - strength, 1 + strength, (3, N, 1, 1))
    grey = np.broadcast_to(LUMA, (3, 3))
    mixing = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * grey)
    offset = np.broadcast_to(127.5 * (1 - contrast), (N, 3, 1))
    return np.concatenate([mixing, offset], axis=2).astype(np.float32)


def _erase_boxes(probability: float, size_px: int, random: np.random.Generator, N: int) -> np.ndarray:
    """Draw rectangles of 2 to 33 % of the area and ratio 0.3 to 3.3 (Zhong et al. 2017); others are empty."""
    area = random.uniform(0.02, 0.33, N) * size_px**2
    ratio = np.exp(random.uniform(np.log(0.3), np.log(3.3), N))
    height = np.minimum(np.sqrt(area * ratio), size_px).astype(np.int64)
    width = np.minimum(np.sqrt(area / ratio), size_px).astype(np.int64)
    top = (random.random(N) * (size_px - height + 1)).astype(np.int64)
    left = (random.random(N) * (size_px - width + 1)).astype(np.int64)
    boxes = np.stack([top, left, top + height, left + width], axis=1)
    return np.where(random.random(N)[:, None] < probability, boxes, 0)


def moves_whole_pixels(maps: np.ndarray) -> np.ndarray:
    """Tell which maps only mirror and move by whole pixels: for them the nearest pixel is the exact answer."""
    linear, offset = maps[:, :, :2], _between_centres(maps)[:, :, 2]
    straight = np.isclose(np.abs(linear), np.eye(2), atol=1e-9).all(axis=(1, 2))
    return straight & np.isclose(offset, np.round(offset), atol=1e-6).all(axis=1)


def _between_centres(maps: np.ndarray) -> np.ndarray:
    """Let maps lead from pixel centres to pixel centres, both counted from 0."""
    maps = maps.copy()
    maps[:, :, 2] += maps[:, :, :2].sum(axis=2) / 2 - 0.5
    return maps
