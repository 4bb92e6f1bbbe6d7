"""What a picture is like apart from what it shows: size, light, sharpness, where it came from.

Measured on stored pixels, so every picture costs under a millisecond and none is decoded again. Slices ask whether the
model is worse on some of them; the audit asks which of them are odd.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.data.cache import Scan
from linnaeus.data.measured import Measured
from linnaeus.errors import PictureError
from linnaeus.machine import cores_here
from linnaeus.records import Dataset, Preprocessing

REFERENCE_PX = 256
"""Short side at which larger stored pictures are measured, so that sharpness does not depend on the stored size."""
COLOUR_PX = 64
"""Colour changes more slowly than light: a smaller picture tells it as well."""
TILES = 4
"""Sharpness is taken in 4 x 4 tiles: a sharp subject before a soft background is sharp."""
FLAT = 6
"""Grey levels within 3 x 3 pixels up to which a place is near-uniform: JPEG leaves a few on a plain wall."""
FRAME = 8
"""Grey levels from the border's median up to which a pixel of the border belongs to one plain frame."""
CHUNK = 64
VERSION = 1
"""Raise it when something is measured otherwise, so that old numbers are not mixed with new ones."""
MEASURED = (
    "brightness",
    "contrast",
    "sharpness",
    "entropy",
    "colourfulness",
    "uniform_area",
    "border_uniformity",
)


@dataclass(frozen=True)
class Traits:
    """What each picture is like; all columns are aligned with the examples.

    Attributes:
        ids: Of the examples, [N].
        numbers: Column name -> float64 [N]; NaN where it is not known. Beside width, height, megapixels and
            aspect_ratio (width / height) of the original, as measured on stored pixels:
            brightness (mean luma, 0..1), contrast (standard deviation of luma, 0..0.5), sharpness (variance of the
            Laplacian of luma in grey levels squared, mean of the sharpest quarter of the picture), entropy (of the
            histogram of luma, 0..8 bits), colourfulness (Hasler and Suesstrunk's M3; 0 is grey, above 80 is vivid),
            uniform_area (share of places without structure, 0..1), border_uniformity (share of the border that is one
            plain frame, 0..1); and those further columns of the source's table that hold numbers.
        texts: Column name -> words [N], "" where there are none: format, folder (without the class), group; and the
            table's other further columns.
        problems: Row number -> why a picture could not be measured.
    """

    ids: tuple[str, ...]
    numbers: Mapping[str, np.ndarray]
    texts: Mapping[str, tuple[str, ...]]
    problems: Mapping[int, PictureError]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | np.ndarray) -> Traits:
        """Choose examples by row number, in that order, as `Dataset.take` does."""
        chosen = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            ids=tuple(self.ids[row] for row in chosen),
            numbers={name: values[chosen] for name, values in self.numbers.items()},
            texts={name: tuple(values[row] for row in chosen) for name, values in self.texts.items()},
            problems={new: self.problems[row] for new, row in enumerate(chosen.tolist()) if row in self.problems},
        )

    def columns(self) -> dict[str, Any]:
        """Give all columns but the ids by name: what `find_slices` takes."""
        return {**self.numbers, **self.texts}

    def table(self) -> dict[str, Any]:
        """Lay them out as a table for `write_table`, the ids first."""
        return {"id": list(self.ids), **self.numbers, **{name: list(words) for name, words in self.texts.items()}}

    def document(self) -> dict[str, Any]:
        """Write as plain values for JSON; what is not known is null."""
        numbers = {
            name: [value if math.isfinite(value) else None for value in values.tolist()]
            for name, values in self.numbers.items()
        }
        return {"ids": list(self.ids), **numbers, **{name: list(words) for name, words in self.texts.items()}}


def measure(
    dataset: Dataset,
    scan: Scan,
    preprocessing: Preprocessing,
    *,
    cache_dir: Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Traits:
    """Measure every picture in threads; a picture that cannot be read has NaN and a problem.

    Args:
        dataset: What was scanned.
        scan: Of the same examples.
        preprocessing: As scanned: what "pad" has added is not measured.
        cache_dir: The cache folder that the scan used: what is measured is kept there by content; None keeps nothing.
        workers: Threads; by default one per processor.
        progress: Called with (done, all) now and then.

    Source:
        Sharpness: J. L. Pech-Pacheco et al. (2000), ICPR 3, 314-317; here by tiles. Colourfulness: D. Hasler,
        S. Suesstrunk (2003), Proc. SPIE 5007. Contrast: E. Peli (1990), J. Opt. Soc. Am. A 7, 2032-2040.
    """
    assert len(dataset) == len(scan), "one look for each example"
    measured = np.full((len(scan), len(MEASURED)), np.nan)
    problems = dict(scan.problems)
    workers = workers or cores_here()
    keeper = Measured(cache_dir, _about(preprocessing), len(MEASURED)) if cache_dir is not None else None
    missing = np.flatnonzero(~keeper.fill(scan.hashes, measured)) if keeper else np.arange(len(scan))
    new: dict[str, np.ndarray] = {}
    chunks = (missing[first : first + CHUNK].tolist() for first in range(0, len(missing), CHUNK))
    done = 0
    with ThreadPoolExecutor(workers, thread_name_prefix="traits") as pool:
        for rows, found in _in_order(pool, lambda rows: _measure_rows(scan, rows, preprocessing), chunks, workers + 2):
            for row, one in zip(rows, found, strict=True):
                if isinstance(one, PictureError):
                    problems[row] = one
                else:
                    measured[row] = one
                    new[scan.hashes[row]] = measured[row]
            done += len(rows)
            if progress is not None:
                progress(done, len(missing))
    if keeper:
        keeper.keep(new)
    numbers = _sizes(scan) | {name: measured[:, column] for column, name in enumerate(MEASURED)}
    texts = {
        "format": scan.formats,
        "folder": tuple(_folder(example.id, example.label) for example in dataset.examples),
        "group": tuple(example.group for example in dataset.examples),
    }
    _add_further(dataset, numbers, texts)
    return Traits(tuple(example.id for example in dataset.examples), numbers, texts, problems)


def measure_picture(picture: np.ndarray) -> tuple[float, ...]:
    """Measure one picture, uint8 [H, W, 1 or 3]: the values of MEASURED in their order."""
    import cv2

    picture = _at_most(picture, REFERENCE_PX)
    luma = picture[:, :, 0] if picture.shape[2] == 1 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    mean, deviation = cv2.meanStdDev(luma)
    return (
        float(mean[0, 0]) / 255,
        float(deviation[0, 0]) / 255,
        _sharpness(luma),
        _entropy(luma),
        _colourfulness(picture),
        _uniform_area(luma),
        _border_uniformity(luma),
    )


def _about(preprocessing: Preprocessing) -> tuple[object, ...]:
    """List what changes stored pixels, and so what is measured; of "pad" the size, too."""
    how = preprocessing
    padded = how.size_px if how.resize == "pad" else 0
    return (VERSION, how.resize, how.resize_px, how.interpolation, how.background, how.channels, padded)


def _measure_rows(scan: Scan, rows: Sequence[int], preprocessing: Preprocessing) -> list[Any]:
    found: list[Any] = []
    for row in rows:
        try:
            width, height = int(scan.widths[row]), int(scan.heights[row])
            found.append(measure_picture(_without_padding(scan.pixels[row], width, height, preprocessing)))
        except PictureError as error:
            found.append(error)
    return found


def _without_padding(stored: np.ndarray, width: int, height: int, preprocessing: Preprocessing) -> np.ndarray:
    """Cut off what "pad" has added on two sides."""
    if preprocessing.resize != "pad":
        return stored
    size = preprocessing.size_px
    h, w = (max(1, round(size * side / max(width, height))) for side in (height, width))
    top, left = (size - h) // 2, (size - w) // 2
    return stored[top : top + h, left : left + w]


def _at_most(picture: np.ndarray, short_px: int) -> np.ndarray:
    """Bring the short side down to `short_px` by averaging; a smaller picture stays as it is."""
    import cv2

    H, W = picture.shape[:2]
    # A part of a picture is not contiguous, which OpenCV wants.
    picture = np.ascontiguousarray(picture)
    if min(H, W) <= short_px:
        return picture
    scale = short_px / min(H, W)
    smaller = cv2.resize(picture, (round(W * scale), round(H * scale)), interpolation=cv2.INTER_AREA)
    return smaller.reshape(*smaller.shape[:2], picture.shape[2])


def _sharpness(luma: np.ndarray) -> float:
    """Take the mean square of the Laplacian, whose mean is 0, in the sharpest quarter of the tiles."""
    import cv2

    edges = cv2.Laplacian(luma, cv2.CV_16S)
    ends_y, ends_x = (np.linspace(0, side, min(TILES, side) + 1).astype(int).tolist() for side in edges.shape)
    squares = [
        cv2.norm(tile := edges[top:bottom, left:right], cv2.NORM_L2SQR) / tile.size
        for top, bottom in pairwise(ends_y)
        for left, right in pairwise(ends_x)
    ]
    sharpest = sorted(squares)[-max(1, len(squares) // 4) :]
    return float(sum(sharpest) / len(sharpest))


def _entropy(luma: np.ndarray) -> float:
    import cv2

    counts = cv2.calcHist([luma], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    shares = counts[counts > 0] / luma.size
    return float(max(0.0, -(shares * np.log2(shares)).sum()))


def _colourfulness(picture: np.ndarray) -> float:
    import cv2

    if picture.shape[2] == 1:
        return 0.0
    picture = _at_most(picture, COLOUR_PX)
    red, green, blue = (channel.astype(np.int16) for channel in cv2.split(picture))
    # Twice yellow-blue, so that whole numbers suffice.
    red_green, yellow_blue = red - green, red + green - 2 * blue
    (mean_rg, spread_rg), (mean_yb, spread_yb) = (
        (float(one[0, 0]) for one in cv2.meanStdDev(axis)) for axis in (red_green, yellow_blue)
    )
    return math.hypot(spread_rg, spread_yb / 2) + 0.3 * math.hypot(mean_rg, mean_yb / 2)


def _uniform_area(luma: np.ndarray) -> float:
    import cv2

    around = np.ones((3, 3), np.uint8)
    spread = cv2.subtract(cv2.dilate(luma, around), cv2.erode(luma, around))
    return cv2.countNonZero(cv2.inRange(spread, 0, FLAT)) / luma.size


def _border_uniformity(luma: np.ndarray) -> float:
    H, W = luma.shape
    wide = max(1, min(H, W) // 32)
    border = np.concatenate(
        [luma[:wide].ravel(), luma[-wide:].ravel(), luma[:, :wide].ravel(), luma[:, -wide:].ravel()]
    )
    levels = np.bincount(border, minlength=256)
    median = int(np.searchsorted(levels.cumsum(), len(border) / 2))
    return float(levels[max(0, median - FRAME) : median + FRAME + 1].sum() / len(border))


def _sizes(scan: Scan) -> dict[str, np.ndarray]:
    known = (scan.widths > 0) & (scan.heights > 0)
    width, height = (np.where(known, sides, np.nan).astype(np.float64) for sides in (scan.widths, scan.heights))
    return {"width": width, "height": height, "megapixels": width * height / 1e6, "aspect_ratio": width / height}


def _folder(id: str, label: str) -> str:
    """Name the folder, or the file that holds many pictures, without the parts that only repeat the class."""
    path = id.replace("\\", "/")
    above, slash, name = path.rpartition("/")
    parts = above.split("/") if slash else []
    if "#" in name:
        parts.append(name.partition("#")[0])
    return "/".join(part for part in parts if part and part not in (".", label))


def _add_further(dataset: Dataset, numbers: dict[str, np.ndarray], texts: dict[str, tuple[str, ...]]) -> None:
    """Add the further columns of the source's table: as numbers where all that stands there is one."""
    rows = [dict(example.extra) for example in dataset.examples]
    for name in dict.fromkeys(name for row in rows for name in row):
        own = f"{name} (table)" if name in numbers or name in texts or name == "id" else name
        words = tuple(row.get(name, "") for row in rows)
        values = _numbers(words)
        if values is None:
            texts[own] = words
        else:
            numbers[own] = values


def _numbers(words: Sequence[str]) -> np.ndarray | None:
    """Read words as numbers, empty ones as NaN; None where one is no number, or none is given."""
    try:
        values = np.array([float(word) if word else np.nan for word in words])
    except ValueError:
        return None
    given = np.array([bool(word) for word in words])
    # A word like "nan" or "inf" is one that somebody wrote, not a number that was measured.
    return values if given.any() and np.isfinite(values[given]).all() else None


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[list[int]], list[Any]], chunks: Iterator[list[int]], ahead: int
) -> Iterator[tuple[list[int], list[Any]]]:
    """Work on several chunks at once and give them back in their order; no more than `ahead` wait."""
    waiting: deque[tuple[list[int], Future[list[Any]]]] = deque()
    for chunk in chunks:
        waiting.append((chunk, pool.submit(work, chunk)))
        if len(waiting) > ahead:
            rows, future = waiting.popleft()
            yield rows, future.result()
    while waiting:
        rows, future = waiting.popleft()
        yield rows, future.result()
