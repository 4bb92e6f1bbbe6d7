"""The real pictures on which files are compared with the classifier that they were made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.data.decode import decode, middle, prepare, read_bytes
from linnaeus.errors import PictureError, RunError, SettingsError, SourceError
from linnaeus.machine import cores_here
from linnaeus.records import Dataset, Place, Preprocessing
from linnaeus.run import Run
from linnaeus.targets import Precision
from linnaeus.targets.proof import Shown

PARTS = ("test", "val", "train")
CALIBRATION_PICTURES = 300
"""Training pictures that show an 8-bit network what its layers read."""
HELD_PICTURES = 500
"""Validation pictures on which sensitive layers are looked for."""


def shown_of_run(
    run: Run,
    classes: Sequence[str],
    how: Preprocessing,
    count: int,
    *,
    any_size: bool = False,
    parts: Sequence[str] = PARTS,
) -> Shown:
    """Take pictures of a run: of the test part, and only where those are too few of the other parts.

    Args:
        run: Says where its pictures are.
        classes: The model's.
        how: The model's preprocessing.
        count: So many, evenly over the part.
        any_size: Take the whole pictures, not yet resized.
        parts: Where from, in this order.

    Raises:
        RunError: None of them can be read any more.
        SettingsError: None are wanted.
    """
    _refuse_none(count)
    split = run.split()
    rows: list[int] = []
    for part in parts:
        own = [row for row, one in enumerate(split["split"]) if one == part]
        missing = count - len(rows)
        rows += own if len(own) <= missing else [own[k * len(own) // missing] for k in range(missing)]
    shown = _read(
        [split["id"][row] for row in rows],
        [split["label"][row] for row in rows],
        [split["split"][row] == "test" for row in rows],
        [split["place"][row] for row in rows],
        [split["group"][row] for row in rows],
        classes,
        how,
        any_size,
    )
    if not rows:
        raise RunError(
            f"{run.folder} should have {' or '.join(parts)} pictures.",
            got="a split without any",
            fix="train with such a part: split.val and split.test are its shares.",
        )
    if not len(shown):
        raise RunError(
            f"{run.folder} should have pictures in {run.source()['source']}.",
            got="none that can be read",
            fix="put them back where they were; export and benchmark take others, too: --source PICTURES",
        )
    return shown


def training_pictures(run: Run, classes: Sequence[str], how: Preprocessing) -> np.ndarray:
    """Take the training pictures that show an 8-bit network what its layers read, uint8 [N, S, S, C]."""
    return np.asarray(shown_of_run(run, classes, how, CALIBRATION_PICTURES, parts=("train",)).pictures)


def precision_of(name: str, model: Path, classes: Sequence[str], how: Preprocessing) -> Precision:
    """Give a precision with the pictures of the run that it takes: those for 8 bits are calibrated.

    Raises:
        SettingsError: INT8 of a model folder, which has no training pictures.
    """
    if name not in ("int8", "weights"):
        return Precision(name)
    try:
        run = Run.open(model)
        seen = training_pictures(run, classes, how)
        held = shown_of_run(run, classes, how, HELD_PICTURES, parts=("val",)).pictures
    except RunError as error:
        if name == "weights":
            # They are only the better for it.
            return Precision(name)
        raise SettingsError(
            "int8 needs training and validation pictures.",
            got=f"{error.rule} {error.got}",
            fix=error.fix or "name the run.",
        ) from None
    return Precision(name, seen, held=np.asarray(held))


def shown_of_source(
    dataset: Dataset, classes: Sequence[str], how: Preprocessing, count: int, *, any_size: bool = False
) -> Shown:
    """Take pictures of a source, evenly; all count as test pictures.

    Raises:
        SourceError: None of them can be read.
        SettingsError: None are wanted.
    """
    _refuse_none(count)
    N = len(dataset)
    some = dataset.examples if count >= N else [dataset.examples[k * N // count] for k in range(count)]
    ids, labels, places = [one.id for one in some], [one.label for one in some], [one.place for one in some]
    groups = [one.group for one in some]
    shown = _read(ids, labels, [True] * len(some), places, groups, classes, how, any_size)
    if not len(shown):
        raise SourceError(f"{dataset.source} should have pictures.", got="none that can be read")
    return shown


def _refuse_none(count: int) -> None:
    if count < 1:
        raise SettingsError(
            "the number of pictures should be 1 or more.", got=str(count), fix="leave --pictures out, or raise it."
        )


def _read(
    ids: list[str],
    labels: list[str],
    tested: list[bool],
    places: list[Place],
    groups: list[str],
    classes: Sequence[str],
    how: Preprocessing,
    any_size: bool,
) -> Shown:
    number: Mapping[str, int] = {name: k for k, name in enumerate(classes)}

    def read(place: Place) -> Any:
        try:
            data = read_bytes(place)
            if any_size:
                return decode(data, place.layout, max_pixels=how.max_pixels, background=how.background)
            return middle(prepare(data, place.layout, how), how.size_px)
        except PictureError:
            return None

    with ThreadPoolExecutor(cores_here(), "shown") as pool:
        pictures = list(pool.map(read, places))
    rows = [row for row, one in enumerate(pictures) if one is not None]
    kept = [pictures[row] for row in rows]
    return Shown(
        ids=tuple(ids[row] for row in rows),
        labels=np.array([number.get(labels[row], -1) for row in rows], dtype=np.int64),
        tested=np.array([tested[row] for row in rows], dtype=bool),
        pictures=kept if any_size or not kept else np.stack(kept),
        groups=tuple(groups[row] for row in rows),
    )
