"""Collect what could give a class away without showing it: size, file type, name, camera, colour, border."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from io import BytesIO
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from linnaeus.data.cache import Scan
from linnaeus.data.decode import read_bytes
from linnaeus.data.exif import read_shots
from linnaeus.data.traits import Traits
from linnaeus.errors import PictureError
from linnaeus.machine import cores_here
from linnaeus.records import Dataset, Place

FILE = ("size", "aspect ratio", "file type", "file name", "folder", "camera", "time")
"""Families that come from the file: the class should not be told by any of them."""
PIXELS = ("colour", "border", "light")
"""Families that come from the picture: flowers do differ in colour."""
LIGHT = ("brightness", "contrast", "sharpness", "entropy", "colourfulness", "uniform_area")
VALUES = 40
"""Rarer words of a column count as one."""
GRID = 24
"""So many lines and rows of a picture tell its mean colour."""
DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])(?!\d)")

Column = np.ndarray
"""float64 [n], NaN where not known, or words [n]."""


@dataclass(frozen=True)
class Cues:
    """What could tell the class of some pictures; families whose columns are all constant are left out.

    Attributes:
        families: Family -> column -> values.
        named: Share of the pictures whose file name has the name of their own class in it.
    """

    families: Mapping[str, Mapping[str, Column]]
    named: float


def collect(dataset: Dataset, scan: Scan, traits: Traits) -> Cues:
    """Collect the cues of pictures that could be decoded; only the head of each file is read."""
    ids = [example.id for example in dataset.examples]
    places = [example.place for example in dataset.examples]
    shots = read_shots(places)
    numbers = traits.numbers
    colours, borders = _colours(scan)
    bare, named = _without_class(ids, dataset)
    families: dict[str, dict[str, Column]] = {
        "size": {name: numbers[name] for name in ("width", "height")},
        "aspect ratio": {"aspect_ratio": numbers["aspect_ratio"]},
        "file type": {
            "format": np.array(scan.formats, dtype=str),
            "mode": np.array(scan.modes, dtype=str),
            "extension": np.array([_base(id).suffix.lower() for id in ids], dtype=str),
            "compression": _compressions(places, scan.formats),
        },
        "file name": name_columns(bare),
        "folder": {}
        if _is_label(dataset, traits.texts["folder"])
        else {"folder": np.array(traits.texts["folder"], dtype=str)},
        "camera": {"camera": np.array([shot.camera for shot in shots], dtype=str)},
        "time": {
            "day": np.array([_day(shot.taken) for shot in shots]),
            "hour": np.array([shot.taken.hour + shot.taken.minute / 60 if shot.taken else np.nan for shot in shots]),
        },
        "colour": {name: colours[:, k] for k, name in enumerate(("red", "green", "blue", "spread"))},
        "border": {name: borders[:, k] for k, name in enumerate(("red", "green", "blue", "spread"))}
        | {"uniformity": numbers["border_uniformity"]},
        "light": {name: numbers[name] for name in LIGHT},
    }
    varied = {
        family: kept
        for family, columns in families.items()
        if (kept := {name: values for name, values in columns.items() if _varies(values)})
    }
    return Cues(varied, named)


def matrix(columns: Mapping[str, Column]) -> np.ndarray:
    """Lay columns side by side as numbers for a tree, float64 [n, m]: words become their rank among the usual words."""
    return np.stack([values if values.dtype.kind == "f" else _codes(values) for values in columns.values()], axis=1)


def name_columns(stems: Sequence[str]) -> dict[str, Column]:
    """Describe file names, without their extension: prefix, pattern, length, number, date."""
    dates = [DATE.search(stem) for stem in stems]
    numbers = [re.search(r"\d{1,15}", stem) for stem in stems]
    return {
        "prefix": np.array([re.split(r"[\d_\-. ()]", stem, maxsplit=1)[0][:16] for stem in stems], dtype=str),
        "pattern": np.array([_pattern(stem) for stem in stems], dtype=str),
        "length": np.array([float(len(stem)) for stem in stems]),
        "number": np.array([float(found[0]) if found else np.nan for found in numbers]),
        "date": np.array([_date(found) for found in dates]),
    }


def _compressions(places: Sequence[Place], formats: Sequence[str]) -> np.ndarray:
    """Read how strongly each JPEG is compressed (mean of its first quantisation table), [n]; NaN for all others."""
    jpegs = [
        row
        for row, (place, format) in enumerate(zip(places, formats, strict=True))
        if format == "JPEG" and not place.layout
    ]
    found = np.full(len(places), np.nan)
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, cores_here()), thread_name_prefix="head") as pool:
        # Filters are the process's own, so threads must not set them.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        found[jpegs] = list(pool.map(_compression, [places[row] for row in jpegs], chunksize=32))
    return found


def _compression(place: Place) -> float:
    """Read one JPEG's header; one that is damaged says nothing, since the scan has judged the file."""
    try:
        whole = place.offset == 0 and place.length < 0
        with Image.open(place.path if whole else BytesIO(read_bytes(place)), formats=("JPEG",)) as image:
            return float(np.mean(image.quantization[0]))  # type: ignore[attr-defined]
    except Exception:
        return float("nan")


def _day(taken: datetime | None) -> float:
    return float(taken.toordinal()) if taken else np.nan


def _date(found: re.Match[str] | None) -> float:
    try:
        return float(date(*map(int, found.groups())).toordinal()) if found else np.nan
    except ValueError:
        return np.nan


def _base(id: str) -> PurePosixPath:
    """Name the file itself; of many pictures in one file it is the same for all."""
    return PurePosixPath(id.replace("\\", "/").partition("#")[0])


def _without_class(ids: Sequence[str], dataset: Dataset) -> tuple[list[str], float]:
    """Take the names of classes out of file names: there they are the label, written a second time."""
    stems = [_base(id).stem.lower() for id in ids]
    names = sorted({name.lower() for name in dataset.classes if name}, key=len, reverse=True)
    if not names:
        return stems, 0.0
    edge = r"[a-z]" if any(name.isalpha() for name in names) else r"[a-z\d]"
    any_name = re.compile(rf"(?<!{edge})(?:{'|'.join(map(re.escape, names))})(?!{edge})")
    own = [
        bool(example.label) and example.label.lower() in any_name.findall(stem)
        for example, stem in zip(dataset.examples, stems, strict=True)
    ]
    return [any_name.sub("", stem) for stem in stems], float(np.mean(own))


def _is_label(dataset: Dataset, folders: Sequence[str]) -> bool:
    """Tell whether folders are the classes by other names, as where a table says "cat" of what lies in cats/."""
    examples = dataset.examples
    if any(example.label in example.id.replace("\\", "/").split("/")[:-1] for example in examples):
        return False
    pairs = Counter(zip(folders, (example.label for example in examples), strict=True))
    return len(pairs) == len({folder for folder, _ in pairs}) == len({label for _, label in pairs})


def _pattern(stem: str) -> str:
    """Keep separators and plain words; whatever has a digit in it is "#"."""
    parts = re.split(r"([_\-. ()]+)", stem)
    return "".join("#" if any(letter.isdigit() for letter in part) else part[:16] for part in parts)[:60]


def _colours(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """Measure mean colour and spread of each picture, and of its border, in grey levels; [n, 4] each."""
    whole, border = (np.full((len(scan), 4), np.nan) for _ in range(2))
    for row in range(len(scan)):
        try:
            picture = scan.pixels[row]
        except PictureError:
            continue
        H, W = picture.shape[:2]
        down, right = max(1, H // GRID), max(1, W // GRID)
        edges = (picture[0, ::right], picture[-1, ::right], picture[::down, 0], picture[::down, -1])
        for out, pixels in (
            (whole, picture[::down, ::right].reshape(-1, picture.shape[2])),
            (border, np.concatenate(edges)),
        ):
            out[row, :3] = pixels.mean(axis=0)
            out[row, 3] = pixels.std(axis=0).mean()
    return whole, border


def _varies(values: Column) -> bool:
    if values.dtype.kind == "f":
        known = values[np.isfinite(values)]
        return len(known) > 0 and (len(known) < len(values) or bool((known != known[0]).any()))
    return len(values) > 0 and bool((values != values[0]).any())


def _codes(words: Column) -> np.ndarray:
    """Number the most frequent words in their order; all others are -1."""
    usual = sorted(word for word, _ in Counter(words.tolist()).most_common(VALUES))
    number = {word: float(code) for code, word in enumerate(usual)}
    return np.array([number.get(word, -1.0) for word in words.tolist()])
