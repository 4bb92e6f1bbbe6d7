"""Noise, light and loss: the corruptions that change each pixel by itself or re-encode the picture."""

from __future__ import annotations

import io

import numpy as np


def gaussian_noise(picture: np.ndarray, deviation: float, scale: float, random: np.random.Generator) -> np.ndarray:
    """Add noise of one standard deviation, as of a camera's electronics in low light."""
    return picture + deviation * random.standard_normal(picture.shape, dtype=np.float32)


def shot_noise(picture: np.ndarray, photons: float, scale: float, random: np.random.Generator) -> np.ndarray:
    """Count photons: white is so many of them on average."""
    return (random.poisson(picture * photons) / photons).astype(np.float32)


def impulse_noise(picture: np.ndarray, share: float, scale: float, random: np.random.Generator) -> np.ndarray:
    """Set a share of all values to black or white: salt and pepper, each channel by itself."""
    struck = random.random(picture.shape, dtype=np.float32) < share
    return np.where(struck, random.random(picture.shape) < 0.5, picture).astype(np.float32)


def brightness(picture: np.ndarray, more: float, scale: float, random: np.random.Generator) -> np.ndarray:
    """Raise the value of HSV; hue and saturation stay."""
    value = picture.max(axis=2, keepdims=True)
    raised = np.minimum(value + more, 1)
    # Black has no hue: it becomes grey.
    return np.where(value > 0, picture * (raised / np.maximum(value, 1e-6)), raised).astype(np.float32)


def contrast(picture: np.ndarray, share: float, scale: float, random: np.random.Generator) -> np.ndarray:
    """Bring every value nearer to the mean of its channel."""
    mean = picture.mean(axis=(0, 1), keepdims=True)
    return mean + share * (picture - mean)


def pixelate(picture: np.ndarray, share: float, scale: float, random: np.random.Generator) -> np.ndarray:
    """Shrink both sides to a share by averaging, and enlarge them again without."""
    from PIL import Image

    height, width = picture.shape[:2]
    image = Image.fromarray(_bytes(picture))
    small = image.resize((max(1, int(width * share)), max(1, int(height * share))), Image.Resampling.BOX)
    return _shares(small.resize((width, height), Image.Resampling.BOX))


def jpeg(picture: np.ndarray, quality: int, scale: float, random: np.random.Generator) -> np.ndarray:
    """Write the picture as JPEG of a low quality, and read it back."""
    return _shares(through_jpeg(_bytes(picture), quality))


def through_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """Write a picture, uint8 [H, W, 3], as JPEG and read it back."""
    from PIL import Image

    written = io.BytesIO()
    Image.fromarray(picture).save(written, "JPEG", quality=quality)
    return np.asarray(Image.open(written).convert("RGB"))


def _bytes(picture: np.ndarray) -> np.ndarray:
    return np.rint(picture * 255).astype(np.uint8)


def _shares(picture: object) -> np.ndarray:
    return np.asarray(picture, dtype=np.float32) / 255
