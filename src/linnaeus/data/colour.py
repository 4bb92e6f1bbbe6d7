"""Every mode and colour space that a picture can come in, brought to plain sRGB bytes."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from linnaeus.errors import PictureError

SPACES = {"RGB": "RGB ", "RGBA": "RGB ", "L": "GRAY", "CMYK": "CMYK"}
UNSEEN = 2
"""A profile that changes no colour by more than so many levels counts as sRGB."""


def flatten(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Bring a loaded image of any mode to "L" or "RGB" in sRGB, without transparency.

    Raises:
        PictureError: "odd mode" where the values have no defined meaning as a picture.
    """
    profile = image.info.get("icc_profile")
    image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode == "P":
        image = image.convert("RGB")
    if profile:
        transform = profile_transform(profile, image.mode)
        if transform is not None:
            image = ImageCms.applyTransform(image, transform) or image
    if image.mode == "RGBA":
        canvas = Image.new("RGBA", image.size, (*background, 255))
        return Image.alpha_composite(canvas, image).convert("RGB")
    if image.mode in ("RGB", "L"):
        return image
    try:
        return image.convert("RGB")
    except ValueError:
        raise PictureError("odd mode", image.mode) from None


@lru_cache(maxsize=32)
def profile_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the way from a colour profile to sRGB.

    Returns:
        None where nothing is to be done: the profile is sRGB itself, is broken, or is for other colours than `mode`.
    """
    if mode not in SPACES:
        return None
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space != SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGBA" if mode == "RGBA" else "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return transform if mode == "CMYK" or _changes_colours(transform, mode) else None
    except Exception:
        return None


def _changes_colours(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Try a grid of colours: profile descriptions are not to be trusted."""
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    if mode == "L":
        grid = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, -1, 1), 3, axis=-1)
    given = Image.fromarray(grid).convert(mode)
    seen = np.asarray((ImageCms.applyTransform(given, transform) or given).convert("RGB"))
    return bool(np.abs(seen.astype(np.int16) - grid).max() > UNSEEN)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Reduce deep modes: the upper byte of 16 bits (what Pillow does to deep RGB), floats of 0..1 times 255.

    The colour that a PNG names as transparent is reduced too: of deep RGB it is compared by its upper bytes.
    """
    key = image.info.get("transparency")
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "F":
        values = np.asarray(image)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise PictureError("odd mode", "floats outside of 0..1 have no defined brightness")
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    if image.mode == "I" and image.format == "TIFF":
        raise PictureError("odd mode", "whole numbers with a sign or of 32 bits have no defined brightness")
    if image.mode == "I" or image.mode.startswith("I;"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise PictureError("odd mode", "whole numbers outside of 0..65535 have no defined brightness")
        grey = Image.fromarray((values >> 8).astype(np.uint8))
        return Image.merge("LA", (grey, Image.fromarray((values != key) * np.uint8(255)))) if key is not None else grey
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in key)
    return image
