"""Decode plain JPEGs fast: the header without Pillow, the pixels by libjpeg-turbo at the smallest scale that suffices."""

from __future__ import annotations

import numpy as np
import simplejpeg

SCALED_DECODING_FROM = 700_000
"""Pixels above which decoding a JPEG at a reduced scale pays (PARTS: 0.7 megapixels)."""
ORDINARY_PIXELS = 89_478_485
START_OF_SCAN, JFIF, COMMENT = 0xDA, 0xE0, 0xFE
FRAMES = (0xC0, 0xC1, 0xC2)
"""Baseline, extended and progressive, all of them Huffman-coded."""
TABLES = (0xC4, 0xDB, 0xDD)
"""Huffman codes, quantisation, restart interval."""
MODES = {1: "L", 3: "RGB"}


def plain_header(data: bytes) -> tuple[int, int, str] | None:
    """Read width, height and mode ("RGB" or "L") of a JPEG that says nothing else of itself.

    None for everything that takes more than this to understand: EXIF, colour profiles, Adobe's markers, several
    pictures in one file, and all that is damaged. Pillow reads those; it takes as long as a tenth of the decoding of a
    small picture.
    """
    if data[:3] != b"\xff\xd8\xff":
        return None
    at, frame = 2, None
    end = len(data) - 12
    while at < end and data[at] == 0xFF:
        marker, length = data[at + 1], (data[at + 2] << 8) | data[at + 3]
        if marker == START_OF_SCAN:
            return frame
        if marker in FRAMES:
            height, width = (data[at + 5] << 8) | data[at + 6], (data[at + 7] << 8) | data[at + 8]
            mode = MODES.get(data[at + 9])
            if frame or data[at + 4] != 8 or mode is None or not 0 < width * height <= ORDINARY_PIXELS:
                return None
            frame = width, height, mode
        elif marker not in TABLES and marker not in (JFIF, COMMENT):
            return None
        at += 2 + length
    return None


def decode_jpeg(data: bytes, width: int, height: int, mode: str, at_least_px: int | None) -> np.ndarray | None:
    """Decode to uint8 [H, W, 3 or 1]; None where the decoder doubts the file.

    Args:
        data: The file.
        width: As its header says.
        height: Likewise.
        mode: "RGB" or "L".
        at_least_px: A large picture may be decoded at 1/2, 1/4 or 1/8 of its size so long as its short side stays at
            least twice this.
    """
    scale = jpeg_scale(width, height, at_least_px)
    H, W = (-(-height // scale), -(-width // scale)) if scale > 1 else (0, 0)
    colours = "GRAY" if mode == "L" else "RGB"
    try:
        pixels: np.ndarray = simplejpeg.decode_jpeg(data, colours, min_height=H, min_width=W, min_factor=scale)
    except ValueError:
        return None
    return pixels


def jpeg_scale(width: int, height: int, at_least_px: int | None) -> int:
    """Choose 1, 2, 4 or 8: only powers of two are fast in libjpeg-turbo."""
    if at_least_px is None or width * height < SCALED_DECODING_FROM:
        return 1
    return next((scale for scale in (8, 4, 2) if min(width, height) // scale >= 2 * at_least_px), 1)
