"""Say in one word what is wrong with a file that would not decode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Literal

from PIL import Image, UnidentifiedImageError

from linnaeus.errors import PictureError

SIGNATURES: tuple[tuple[str, int, tuple[bytes, ...]], ...] = (
    ("JPEG", 0, (b"\xff\xd8\xff",)),
    ("PNG", 0, (b"\x89PNG\r\n\x1a\n",)),
    ("GIF", 0, (b"GIF87a", b"GIF89a")),
    ("WEBP", 8, (b"WEBP",)),
    ("AVIF", 4, (b"ftypavif", b"ftypavis")),
    ("BMP", 0, (b"BM",)),
    ("TIFF", 0, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    ("PPM", 0, (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf")),
)
PILLOW_FORMATS = tuple(name for name, _, _ in SIGNATURES)
"""All that is ever decoded: Pillow knows forty more, some of which start other programs."""

EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "AVIF": (".avif", ".avifs"),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
}
"""The usual endings of each format, lower case."""

STRANGERS: tuple[tuple[str, int, bytes], ...] = (
    ("HEIC", 4, b"ftyphei"),
    ("HEIC", 4, b"ftypmif1"),
    ("JPEG 2000", 4, b"jP  "),
    ("JPEG XL", 0, b"\xff\x0a"),
    ("PDF", 0, b"%PDF"),
    ("PostScript", 0, b"%!PS"),
    ("Photoshop", 0, b"8BPS"),
    ("zip", 0, b"PK\x03\x04"),
    ("HTML", 0, b"<!DOCTYPE"),
    ("HTML", 0, b"<html"),
    ("SVG", 0, b"<svg"),
    ("XML", 0, b"<?xml"),
)


def format_of(data: bytes) -> str:
    """Name the format by its first bytes; "" for none that is read here."""
    for name, offset, signatures in SIGNATURES:
        if data[offset : offset + 16].startswith(signatures):
            return name
    return ""


@contextmanager
def verdict(data: bytes = b"") -> Iterator[None]:
    """Turn whatever a decoder raises into a PictureError with the right reason."""
    try:
        yield
        # Pillow forgives a PNG its missing end.
        if data.startswith(b"\x89PNG") and ends_early(data, "PNG"):
            raise PictureError("truncated", "PNG: no end marker")
    except PictureError:
        raise
    except Image.DecompressionBombError:
        raise PictureError("too large", "its header names more pixels than any picture has") from None
    except Exception as error:
        raise _judge(data, error) from None


def _judge(data: bytes, error: Exception) -> PictureError:
    name = format_of(data)
    if data and not name:
        return PictureError("not a picture", _stranger(data))
    said = "damaged header" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__
    short = "truncat" in said.lower() or isinstance(error, EOFError) or ends_early(data, name)
    return PictureError("truncated" if short else "unreadable", f"{name}: {said}" if name else said)


def _stranger(data: bytes) -> str:
    for name, offset, signature in STRANGERS:
        if data[offset:].startswith(signature):
            return f"it is {name}, which is not read; {', '.join(PILLOW_FORMATS)} are"
    return f"it begins with {data[:8]!r}"


def ends_early(data: bytes, name: str) -> bool:
    """Say whether a file stops before the place where its format ends."""
    if name == "JPEG":
        return data.rfind(b"\xff\xd9") <= data.rfind(b"\xff\xda")
    if name == "PNG":
        return data.rfind(b"IEND") < 0
    if name == "GIF":
        return not data.endswith(b";")
    if name == "WEBP":
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    if name == "BMP":
        return len(data) < int.from_bytes(data[2:6], "little")
    if name == "AVIF":
        return _boxes_end(data) > len(data)
    return name == "TIFF" and _tiff_ends_early(data)


def _tiff_ends_early(data: bytes) -> bool:
    """Compare where the strips or tiles should lie with where the file ends."""
    order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
    directory = int.from_bytes(data[4:8], order)
    entries = int.from_bytes(data[directory : directory + 2], order)
    if len(data) < directory + 2 + 12 * entries + 4:
        return True
    try:
        tags = Image.open(BytesIO(data), formats=("TIFF",)).tag_v2  # type: ignore[attr-defined]
        starts, lengths = tags.get(273) or tags.get(324) or (), tags.get(279) or tags.get(325) or ()
        return any(start + length > len(data) for start, length in zip(starts, lengths, strict=False))
    except Exception:
        return False


def _boxes_end(data: bytes) -> int:
    """Add up the top-level boxes of an ISO media file."""
    end = 0
    while end + 8 <= len(data):
        size = int.from_bytes(data[end : end + 4], "big")
        if size == 1:
            size = int.from_bytes(data[end + 8 : end + 16], "big")
        if size < 8:
            break
        end += size
    return end if end else len(data)
