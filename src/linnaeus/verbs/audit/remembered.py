"""Keep the confirmed pairs of an unchanged set of pictures, so that looking a second time costs nothing."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from linnaeus.records import Preprocessing
from linnaeus.verbs.audit.pairs import Pairs, Rule

VERSION = 1
"""Raise it when other pairs would be found in the same pictures."""
RECORD = np.dtype([("first", "<i8"), ("second", "<i8"), ("maps", "<f8", (4,)), ("similarity", "<f4")])


def remembered(
    cache_dir: Path,
    hashes: Sequence[str],
    rows: np.ndarray,
    about: tuple[Preprocessing, Rule],
    find: Callable[[], Pairs],
) -> Pairs:
    """Look up the pairs among some pictures, or find and keep them.

    Args:
        cache_dir: The cache folder.
        hashes: Content hash of each picture.
        rows: The pictures that are searched, in the order of their hashes, no two with the same content.
        about: What else the pairs depend on.
        find: Called where nothing is known.
    """
    digest = hashlib.sha256(repr((VERSION, about)).encode())
    for row in rows.tolist():
        digest.update(hashes[row].encode())
    # Named as pixels are, so that what has not been used for long makes room for them.
    path = Path(cache_dir) / "copies" / f"{digest.hexdigest()[:32]}.shard"
    known = _load(path, len(rows))
    if known is not None:
        return Pairs(rows[known["first"]], rows[known["second"]], known["maps"], known["similarity"])
    pairs = find()
    place = np.full(len(hashes), -1, np.int64)
    place[rows] = np.arange(len(rows))
    records = np.empty(len(pairs), RECORD)
    records["first"], records["second"] = place[pairs.first], place[pairs.second]
    records["maps"], records["similarity"] = pairs.maps, pairs.similarity
    _save(path, records)
    return pairs


def _load(path: Path, count: int) -> np.ndarray | None:
    try:
        records: np.ndarray = np.load(path, allow_pickle=False)
        os.utime(path)
    except (OSError, ValueError, EOFError):
        return None
    if records.dtype != RECORD or (len(records) and max(records["first"].max(), records["second"].max()) >= count):
        return None
    return records


def _save(path: Path, records: np.ndarray) -> None:
    """Write under another name and rename. It only saves time: where it cannot be written, pairs are found again."""
    part = path.with_name(f"{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            np.save(file, records, allow_pickle=False)
        os.replace(part, path)
    except OSError:
        return
