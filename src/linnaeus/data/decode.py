"""From the bytes of a picture to upright sRGB pixels, and to the size at which they are stored.

Training, evaluation and prediction all pass through `prepare` (or `picture_to_stored` for pictures in memory), so that
a picture looks the same to the network wherever it comes from. Nothing here ever writes, and nothing but PictureError
comes out for a damaged picture.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

# Importing the plug-ins registers them: Image.open must not do that later from several threads at once.
from PIL import AvifImagePlugin, Image, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401

from linnaeus.data.colour import flatten, profile_transform
from linnaeus.data.exif_header import header_exif
from linnaeus.data.filenames import printable
from linnaeus.data.interpolate import interpolate
from linnaeus.data.jpeg import decode_jpeg, plain_header
from linnaeus.data.verdict import PILLOW_FORMATS, verdict
from linnaeus.errors import PictureError
from linnaeus.records import Place, Preprocessing

Image.preinit()

MAX_PIXELS = 89_478_485
MAX_SIDE = 2**16 - 1
"""The limit of JPEG. A file of a few kilobytes can hold a row of millions of pixels, and resizing it costs gigabytes."""
MAX_BYTES = 2**30
"""No picture within the pixel limit has a larger file; a disk image named .jpg must not fill the memory."""
WHITE = (255, 255, 255)
ORIENTATION = 0x0112
LONGEST = 2
"""A stored picture is at most so many times longer than its short side: a panorama loses its ends, not the cache."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What the header says of a picture, before any pixel is decoded.

    Attributes:
        width: Pixels, after the EXIF turn.
        height: Pixels, after the EXIF turn.
        format: "JPEG", "PNG" ...; "RAW" for plain pixels.
        mode: Pillow's name: "RGB", "P", "I;16" ...
        orientation: EXIF, 1 to 8; 1 is upright.
    """

    width: int
    height: int
    format: str
    mode: str
    orientation: int = 1


def read_bytes(place: Place) -> bytes:
    """Read the bytes of one picture, and only read.

    Raises:
        PictureError: There is no such file, it cannot be read, or it is empty.
    """
    try:
        # A pipe or a device would block for ever: look before opening.
        status = os.stat(place.path)
        if not stat.S_ISREG(status.st_mode):
            raise PictureError("unreadable", "not a regular file")
        if place.length < 0 and status.st_size > MAX_BYTES:
            raise PictureError("too large", f"{status.st_size:,} bytes")
        with open(place.path, "rb", buffering=0) as file:
            if place.offset:
                file.seek(place.offset)
            data = file.read() if place.length < 0 else file.read(place.length)
    except FileNotFoundError:
        raise PictureError("missing", "no such file") from None
    except (OSError, ValueError) as error:
        raise PictureError("unreadable", getattr(error, "strerror", None) or str(error)) from None
    if len(data) < place.length:
        raise PictureError("truncated", f"{len(data)} of {place.length} bytes")
    if not data:
        raise PictureError("empty", "0 bytes")
    return data


def glance(data: bytes, layout: str = "") -> Glance:
    """Read the header of a picture.

    Raises:
        PictureError: It is no picture, or its header is damaged.
    """
    if layout:
        C, H, W = shape_of(layout)
        return Glance(W, H, "RAW", "L" if C == 1 else "RGB")
    plain = plain_header(data)
    if plain:
        W, H, mode = plain
        return Glance(W, H, "JPEG", mode)
    with verdict(data):
        image = _open(data)
        return _glance(image, lambda: header_exif(image))


def decode(
    data: bytes,
    layout: str = "",
    *,
    max_pixels: int = MAX_PIXELS,
    background: tuple[int, int, int] = WHITE,
    channels: int = 3,
    at_least_px: int | None = None,
) -> np.ndarray:
    """Decode a picture to upright sRGB pixels.

    The EXIF turn is applied, a colour profile is converted, transparency is composed on the background, 16 bits are
    reduced to their upper 8, and of several frames the first is taken.

    Args:
        data: The encoded picture, or plain pixels.
        layout: As in `Place`: "" for an encoded picture.
        max_pixels: A picture whose header says more, or a side above MAX_SIDE, is refused before decoding.
        background: Red, green, blue behind transparent pixels.
        channels: 3 for RGB, 1 for grey.
        at_least_px: A large JPEG may be decoded at 1/2, 1/4 or 1/8 of its size so long as its short side stays at
            least twice this: after resizing the difference is below one grey level in most pixels.

    Returns:
        uint8 [H, W, channels].

    Raises:
        PictureError: With the reason.
    """
    return _decode(data, layout, max_pixels, background, channels, at_least_px)[0]


def resize(picture: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Bring decoded pixels to the size in which they are stored; see `Preprocessing` for the three ways.

    With "crop" the whole short side is kept and the long side up to twice the short one, so that the place of the
    final crop can still be chosen.

    Args:
        picture: uint8 [H, W, C].
        preprocessing: What to follow.

    Returns:
        uint8 [h, w, C]; the same array where the size is right already.
    """
    size = preprocessing.size_px
    if preprocessing.resize == "squash":
        return interpolate(picture, size, size, preprocessing.interpolation)
    if preprocessing.resize == "pad":
        return _pad(picture, preprocessing)
    picture = _cut_ends(picture)
    H, W = picture.shape[:2]
    short = preprocessing.resize_px
    h, w = (short, int(short * W / H)) if H <= W else (int(short * H / W), short)
    return interpolate(picture, h, w, preprocessing.interpolation)


def middle(stored: np.ndarray, size_px: int) -> np.ndarray:
    """Take the middle square: what evaluation and prediction see. A view, [..., size_px, size_px, C]."""
    H, W = stored.shape[-3:-1]
    # The rounding of torchvision's center_crop, so that an exported timm model sees the same pixels.
    top, left = round((H - size_px) / 2), round((W - size_px) / 2)
    assert min(top, left) >= 0, "the stored picture is at least size_px high and wide"
    return stored[..., top : top + size_px, left : left + size_px, :]


def prepare(data: bytes, layout: str, preprocessing: Preprocessing) -> np.ndarray:
    """Decode and resize: bytes to stored pixels, uint8 [h, w, C].

    Raises:
        PictureError: With the reason.
    """
    return prepare_and_glance(data, layout, preprocessing)[0]


def prepare_and_glance(data: bytes, layout: str, preprocessing: Preprocessing) -> tuple[np.ndarray, Glance]:
    """Do what `prepare` and `glance` do, reading the header once."""
    nearest = preprocessing.interpolation == "nearest"
    picture, seen = _decode(
        data,
        layout,
        preprocessing.max_pixels,
        preprocessing.background,
        preprocessing.channels,
        # Nearest picks single pixels of the full picture; a reduced scale would average them first.
        None if nearest else preprocessing.resize_px,
    )
    return resize(picture, preprocessing), seen


def picture_to_stored(
    picture: np.ndarray | Image.Image | bytes | str | Path, preprocessing: Preprocessing
) -> np.ndarray:
    """Bring any picture to stored pixels, as `prepare` does for its file.

    Equal to the file's to the last bit, except that of JPEGs above 0.7 megapixels `prepare` may decode less.

    Args:
        picture: A path; encoded bytes; a Pillow image; or an array [H, W] or [H, W, 1, 3 or 4] of uint8, uint16,
            or floats in 0..1. A fourth channel is opacity.
        preprocessing: What to follow.

    Raises:
        PictureError: With the reason, and the path if it is one.
    """
    if isinstance(picture, str | Path):
        try:
            return prepare(read_bytes(Place(str(picture))), "", preprocessing)
        except PictureError as error:
            raise error.of(printable(str(picture))) from None
    if isinstance(picture, bytes):
        return prepare(picture, "", preprocessing)
    if isinstance(picture, np.ndarray):
        picture = _image_of(picture)
    if not isinstance(picture, Image.Image):
        raise PictureError("not a picture", f"a {type(picture).__name__}; give a path, bytes, an array or an image")
    _refuse_too_large(picture.width, picture.height, preprocessing.max_pixels)
    with verdict():
        pixels = _pixels(picture, preprocessing.background, preprocessing.channels)
    return resize(pixels, preprocessing)


def shape_of(layout: str) -> tuple[int, int, int]:
    """Read "3x32x32" as channels, height, width."""
    C, H, W = (int(number) for number in layout.split("x"))
    assert C in (1, 3), layout
    assert min(H, W) > 0, layout
    return C, H, W


def stored_size(width: int, height: int, preprocessing: Preprocessing) -> tuple[int, int] | None:
    """Say the stored height and width of a picture that needs no resizing, else None."""
    if preprocessing.resize != "crop":
        size = preprocessing.size_px
        return (size, size) if (height, width) == (size, size) else None
    fits = min(width, height) == preprocessing.resize_px and max(width, height) <= LONGEST * min(width, height)
    return (height, width) if fits else None


def _decode(
    data: bytes, layout: str, max_pixels: int, background: tuple[int, int, int], channels: int, at_least_px: int | None
) -> tuple[np.ndarray, Glance]:
    if layout:
        return _channels(_raw(data, layout), channels), glance(data, layout)
    plain = plain_header(data)
    if plain:
        W, H, mode = plain
        _refuse_too_large(W, H, max_pixels)
        pixels = decode_jpeg(data, W, H, mode, at_least_px)
        if pixels is not None:
            return _channels(pixels, channels), Glance(W, H, "JPEG", mode)
    with verdict(data):
        image = _open(data)
        # Of a PNG without EXIF in its header, Pillow decodes all pixels to see whether it comes after them.
        _refuse_too_large(image.width, image.height, max_pixels)
        seen = _glance(image, image.getexif)
        pixels = _decode_jpeg(data, image, channels, at_least_px)
        if pixels is not None:
            return _turn(pixels, seen.orientation), seen
        return _pixels(image, background, channels), seen


def _open(data: bytes) -> Image.Image:
    if not data:
        raise PictureError("empty", "0 bytes")
    return Image.open(BytesIO(data), formats=PILLOW_FORMATS)


def _glance(image: Image.Image, exif: Callable[[], Image.Exif]) -> Glance:
    turn = _orientation(exif)
    W, H = image.size
    # Pillow turns the size of a TIFF already when it opens one.
    if turn >= 5 and image.format != "TIFF":
        W, H = H, W
    return Glance(W, H, "JPEG" if image.format == "MPO" else image.format or "", image.mode, turn)


def _orientation(exif: Callable[[], Image.Exif]) -> int:
    """Read the EXIF turn; a damaged EXIF block counts as none."""
    try:
        turn = exif().get(ORIENTATION, 1)
    except Exception:
        return 1
    return turn if turn in range(1, 9) else 1


def _refuse_too_large(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise PictureError("too large", f"{width} x {height} pixels; data.max_pixels is {max_pixels}")
    if max(width, height) > MAX_SIDE:
        raise PictureError("too large", f"{width} x {height} pixels; a side has at most {MAX_SIDE}")


def _decode_jpeg(data: bytes, image: Image.Image, channels: int, at_least_px: int | None) -> np.ndarray | None:
    """Decode the usual JPEGs fast; None for everything that needs Pillow, doubtful files included."""
    if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L"):
        return None
    profile = image.info.get("icc_profile")
    if profile and profile_transform(profile, image.mode) is not None:
        return None
    pixels = decode_jpeg(data, image.width, image.height, image.mode, at_least_px)
    return None if pixels is None else _channels(pixels, channels)


def _pixels(image: Image.Image, background: tuple[int, int, int], channels: int) -> np.ndarray:
    image.load()
    # Read after load: Pillow has turned a TIFF by then, and says so.
    turn = _orientation(image.getexif)
    return _turn(_channels(np.asarray(flatten(image, background)), channels), turn)


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the EXIF orientation."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    up_down = orientation in (3, 4, 7, 8)
    left_right = orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(pixels[:: -1 if up_down else 1, :: -1 if left_right else 1])


def _channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Bring [..., H, W], [..., H, W, 1] or [..., H, W, 3] to the wanted number of channels."""
    if pixels.shape[-1] not in (1, 3) or pixels.ndim < 3:
        pixels = pixels[..., None]
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    # Pillow's ITU-R 601 luma is exact in integers and runs without the lock of the interpreter.
    flat = np.ascontiguousarray(pixels).reshape(-1, pixels.shape[-2], 3)
    return np.asarray(Image.fromarray(flat).convert("L")).reshape(*pixels.shape[:-1], 1)


def _raw(data: bytes, layout: str) -> np.ndarray:
    C, H, W = shape_of(layout)
    if len(data) != C * H * W:
        reason = "truncated" if len(data) < C * H * W else "unreadable"
        raise PictureError(reason, f"{len(data)} bytes; {layout} pixels take {C * H * W}")
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(C, H, W).transpose(1, 2, 0))


def raw_block(rows: np.ndarray, layout: str, channels: int) -> np.ndarray:
    """Bring the plain pixels of many pictures, uint8 [N, bytes], to [N, H, W, channels] at once."""
    C, H, W = shape_of(layout)
    return _channels(np.ascontiguousarray(rows.reshape(-1, C, H, W).transpose(0, 2, 3, 1)), channels)


def _image_of(array: np.ndarray) -> Image.Image:
    """Wrap an array given by a caller, after checking that it can be a picture."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if 0 in array.shape or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise PictureError("odd mode", f"array of shape {array.shape}; a picture is [H, W] or [H, W, 1, 3 or 4]")
    if array.dtype == np.bool_:
        array = array * np.uint8(255)
    elif array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise PictureError("odd mode", "floats outside of 0..1; divide by 255, or give uint8")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise PictureError("odd mode", f"array of {array.dtype}; give uint8, uint16, or floats in 0..1")
    return Image.fromarray(np.ascontiguousarray(array))


def _cut_ends(picture: np.ndarray) -> np.ndarray:
    H, W = picture.shape[:2]
    h, w = min(H, LONGEST * W), min(W, LONGEST * H)
    top, left = (H - h) // 2, (W - w) // 2
    return picture[top : top + h, left : left + w]


def _pad(picture: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    H, W, C = picture.shape
    size = preprocessing.size_px
    h, w = max(1, round(size * H / max(H, W))), max(1, round(size * W / max(H, W)))
    canvas = np.empty((size, size, C), np.uint8)
    canvas[:] = _channels(np.array(preprocessing.background, np.uint8).reshape(1, 1, 3), C)
    top, left = (size - h) // 2, (size - w) // 2
    canvas[top : top + h, left : left + w] = interpolate(picture, h, w, preprocessing.interpolation)
    return canvas
