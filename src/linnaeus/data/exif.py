"""When and with which camera a picture was taken, as its file's EXIF says; read from the header, no pixel is decoded."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import BinaryIO

from PIL import Image

from linnaeus.data.decode import MAX_BYTES, read_bytes
from linnaeus.data.exif_header import header_exif
from linnaeus.data.verdict import PILLOW_FORMATS
from linnaeus.machine import cores_here
from linnaeus.records import Place

MAKE, MODEL, EXIF = 0x010F, 0x0110, 0x8769
TAKEN, DIGITISED, SERIAL = 0x9003, 0x9004, 0xA431
CHUNK = 64
"""Pictures per task."""
WORKERS_AT_MOST = 32


@dataclass(frozen=True, slots=True)
class Shot:
    """What EXIF says of one picture.

    Attributes:
        camera: Maker, model, and the body's serial number where it is there; "" if not known.
        taken: When the shutter opened, as the camera's clock said; None if not known. The time of a later edit is not
            taken for it.
    """

    camera: str = ""
    taken: datetime | None = None


def read_shots(
    places: Sequence[Place], *, workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> list[Shot]:
    """Read EXIF of many pictures in threads; what cannot be read has none.

    Args:
        places: Where the pictures are.
        workers: Threads; by default one per processor, up to 32.
        progress: Called with (done, all) now and then.
    """
    workers = workers or min(WORKERS_AT_MOST, cores_here())
    chunks = [places[first : first + CHUNK] for first in range(0, len(places), CHUNK)]
    found: list[Shot] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(workers, thread_name_prefix="exif") as pool:
        # Pillow warns of odd EXIF blocks; filters are the process's own, so threads must not set them.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for shots in pool.map(lambda some: [read_shot(place) for place in some], chunks):
            found += shots
            if progress is not None:
                progress(len(found), len(places))
    return found


def read_shot(place: Place) -> Shot:
    """Read EXIF of one picture: JPEG, PNG, WebP, TIFF or AVIF; a damaged block counts as none."""
    if place.layout:
        return Shot()
    try:
        if place.offset or place.length >= 0:
            return _shot(BytesIO(read_bytes(place)))
        status = os.stat(place.path)
        # A pipe or a device would block for ever, and WebP is read as a whole.
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            return Shot()
        with open(place.path, "rb") as file:
            return _shot(file)
    except Exception:
        # Pillow raises nearly anything for a damaged header: such a picture tells nothing, and the audit says why.
        return Shot()


def _shot(file: BinaryIO) -> Shot:
    exif = header_exif(Image.open(file, formats=PILLOW_FORMATS))
    inner = exif.get_ifd(EXIF)
    named = [_text(value) for value in (exif.get(MAKE), exif.get(MODEL), inner.get(SERIAL))]
    make, model, serial = named
    # Many models name their maker again: "Canon", "Canon EOS R5".
    camera = model if make and model.lower().startswith(make.lower()) else f"{make} {model}".strip()
    taken = _time(inner.get(TAKEN)) or _time(inner.get(DIGITISED))
    return Shot(f"{camera} {serial}".strip() if camera else "", taken)


def _text(value: object) -> str:
    return " ".join(str(value).replace("\0", " ").split()) if isinstance(value, str) else ""


def _time(value: object) -> datetime | None:
    """Read "2024:06:01 14:30:00"; cameras without a clock write zeros or blanks."""
    try:
        return datetime.strptime(_text(value)[:19].replace("-", ":"), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
