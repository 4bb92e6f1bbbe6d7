"""The EXIF block of a picture as its header has it; no pixel is decoded."""

from __future__ import annotations

import os
from typing import IO

from PIL import Image

PNG_CHUNKS = 100_000
"""No picture within the limit of bytes has so many: a made-up file must not be walked for ever."""


def header_exif(image: Image.Image) -> Image.Exif:
    """Read EXIF of a picture that was opened, and is not going to be decoded: its file is read to another place."""
    if image.format != "PNG":
        return image.getexif()
    # Opened pictures have their file, which the type of a picture in general does not tell.
    if "exif" not in image.info and (behind := _png_exif(image.fp)):  # type: ignore[attr-defined]
        image.info["exif"] = behind
    # PNG's own would decode all pixels to see whether EXIF comes after them.
    return Image.Image.getexif(image)


def _png_exif(file: IO[bytes]) -> bytes:
    """Walk the chunks of a PNG to the one with EXIF; b"" if there is none."""
    file.seek(8)
    for _ in range(PNG_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            break
        length = int.from_bytes(head[:4], "big")
        if head[4:] == b"eXIf":
            return b"Exif\0\0" + file.read(length)
        file.seek(length + 4, os.SEEK_CUR)
    return b""
