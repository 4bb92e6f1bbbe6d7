"""The pictures of the page: upright, small enough, and kept for a while."""

from __future__ import annotations

import io
from collections import OrderedDict
from threading import BoundedSemaphore, Lock

import numpy as np

from linnaeus.data.decode import decode, read_bytes
from linnaeus.machine import cores_here
from linnaeus.records import Place

THUMBNAIL_PX = 320
FULL_PX = 2560
"""Longest side of a picture that is looked at closely."""
TINY_PX = 96
"""Smaller pictures are sent without loss, so that every pixel can be seen as a square."""
KEPT_BYTES = 128 * 2**20


class Pictures:
    """Decode on demand, a few at a time, and remember the last ones.

    Args:
        kept_bytes: Most that the encoded pictures in memory may take.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept: OrderedDict[tuple[Place, bool], tuple[str, bytes]] = OrderedDict()
        self._bytes, self._limit = 0, kept_bytes
        self._lock = Lock()
        # A picture of 89 megapixels takes 270 MB for a moment: a browser's six requests at once must not multiply that.
        self._turns = BoundedSemaphore(min(4, cores_here()))

    def get(self, place: Place, *, full: bool = False) -> tuple[str, bytes]:
        """Return a picture's media type and bytes.

        Args:
            place: Where it is.
            full: Large, to be looked at closely; else a thumbnail.

        Raises:
            PictureError: It cannot be shown.
        """
        key = (place, full)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._turns:
            made = shrink(place, FULL_PX if full else THUMBNAIL_PX)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._bytes += len(made[1])
            while self._bytes > self._limit and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1][1])
        return made


def shrink(place: Place, longest_px: int) -> tuple[str, bytes]:
    """Decode a picture and encode it for a page, its longest side at most so many pixels.

    Raises:
        PictureError: It cannot be decoded.
    """
    from PIL import Image

    # The scaled decoding of JPEGs keeps the short side at twice what is asked for; thumbnails are far below.
    pixels = decode(read_bytes(place), place.layout, at_least_px=longest_px)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if max(image.size) > longest_px:
        image.thumbnail((longest_px, longest_px), Image.Resampling.BICUBIC, reducing_gap=2.0)
    file = io.BytesIO()
    if max(image.size) <= TINY_PX:
        image.save(file, "PNG")
        return "image/png", file.getvalue()
    image.save(file, "JPEG", quality=90 if longest_px > THUMBNAIL_PX else 82)
    return "image/jpeg", file.getvalue()
