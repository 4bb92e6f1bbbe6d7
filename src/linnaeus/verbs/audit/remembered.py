"""Keep what was found in a set of pictures, so that looking a second time costs nothing, and ten new ones cost ten."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from linnaeus.data.shards import mark_used
from linnaeus.records import Preprocessing
from linnaeus.verbs.audit.pairs import Pairs, Rule

VERSION = 3
"""Raise it when other pairs would be found in the same pictures."""
RECORD = np.dtype([("first", "<i8"), ("second", "<i8"), ("maps", "<f8", (4,)), ("similarity", "<f4")])
MOST_NEW = 0.1
"""With a larger share of new pictures the search starts afresh."""
NEARLY = 0.03
"""What is asked of details may differ so much between two samples of one set."""
LOOKED_AT = 4
"""Earlier sets that are looked at, the latest first."""

T = TypeVar("T")
Found = tuple[np.ndarray, np.ndarray, Rule]
"""Pictures that were searched, records of their pairs, and what was asked of copies."""


class Search(Protocol):
    """Finds pairs, once it is settled what is asked of copies."""

    def all(self, rule: Rule) -> Pairs:
        """Find all pairs."""

    def of_some(self, rule: Rule, new: np.ndarray) -> Pairs:
        """Find the pairs of some pictures, given as a mask over the searched ones, with all."""


def remembered(
    cache_dir: Path,
    hashes: Sequence[str],
    rows: np.ndarray,
    about: Preprocessing,
    rule: Rule,
    search: Search,
) -> tuple[Pairs, Rule]:
    """Look up the pairs among some pictures, or find and keep them; and tell what was asked of them.

    Where all but a few of the pictures were searched before, only those few are searched, and as much is asked as then:
    what one would ask now differs a little with every picture.

    Args:
        cache_dir: The cache folder.
        hashes: Content hash of each picture.
        rows: The pictures that are searched, in the order of their hashes, no two with the same content.
        about: What else the pairs depend on.
        rule: What is asked of these pictures; where much else was asked before, all are searched.
        search: Called where the pairs are not known.
    """
    # Named as pixels are, so that what has not been used for long makes room for them.
    folder = Path(cache_dir) / "copies"
    kind = hashlib.sha256(repr((VERSION, about)).encode()).hexdigest()[:16]
    own = np.array([bytes.fromhex(hashes[row]) for row in rows.tolist()], "V32")
    path = folder / f"{kind}-{hashlib.sha256(own.tobytes()).hexdigest()[:32]}.shard"
    known = _load(path)
    if known is not None and known[0].tobytes() == own.tobytes() and _nearly(known[2], rule):
        return _pairs(known[1], rows), known[2]
    earlier = _nearest(folder, kind, own)
    if earlier is not None and _nearly(earlier[2], rule):
        searched, old, rule = earlier
        pairs = Pairs.join([_pairs(old, rows), search.of_some(rule, ~searched)])
    else:
        pairs = search.all(rule)
    place = np.full(len(hashes), -1, np.int64)
    place[rows] = np.arange(len(rows))
    records = np.empty(len(pairs), RECORD)
    records["first"], records["second"] = place[pairs.first], place[pairs.second]
    records["maps"], records["similarity"] = pairs.maps, pairs.similarity
    asked = np.frombuffer(json.dumps(asdict(rule)).encode(), np.uint8)
    save(path, lambda file: np.savez(file, pictures=own, pairs=records, rule=asked))
    return pairs, rule


def remembered_result(cache_dir: Path, about: Iterable[object], kind: type[T], find: Callable[[], T]) -> T:
    """Look up what was found for just these pictures, or find and keep it.

    Args:
        cache_dir: The cache folder.
        about: All that the result depends on; each is written out by `repr`.
        kind: A dataclass of plain values and of dataclasses.
        find: Called where nothing is known.
    """
    digest = hashlib.sha256()
    for one in about:
        digest.update(repr(one).encode("utf-8", "surrogateescape") + b"\0")
    path = Path(cache_dir) / "audits" / f"{digest.hexdigest()[:32]}.shard"
    how = TypeAdapter(kind)
    try:
        known = how.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        found = find()
    else:
        mark_used(path)
        return known
    written = how.dump_json(found)
    save(path, lambda file: file.write(written))
    return found


def _nearly(before: Rule, now: Rule) -> bool:
    return abs(before.details - now.details) <= NEARLY


def _nearest(folder: Path, kind: str, own: np.ndarray) -> Found | None:
    """Find an earlier set that has nearly all of the pictures.

    Returns:
        Which of the pictures were in it, bool [n]; the pairs of which both are still there, by their number here; and what
        was asked of them.
    """
    for path in latest(folder, kind):
        known = _load(path)
        if known is None:
            continue
        pictures, pairs, rule = known
        _, here, there = np.intersect1d(own, pictures, return_indices=True)
        if len(here) < (1 - MOST_NEW) * len(own):
            continue
        searched = np.zeros(len(own), bool)
        searched[here] = True
        number = np.full(len(pictures), -1, np.int64)
        number[there] = here
        pairs["first"], pairs["second"] = number[pairs["first"]], number[pairs["second"]]
        return searched, pairs[(pairs["first"] >= 0) & (pairs["second"] >= 0)], rule
    return None


def latest(folder: Path, kind: str) -> list[Path]:
    """List the sets that were searched in the same way, the latest used first."""
    found = []
    for path in folder.glob(f"{kind}-*.shard"):
        try:
            found.append((path.stat().st_mtime_ns, path))
        except OSError:
            continue
    return [path for _, path in sorted(found, reverse=True)[:LOOKED_AT]]


def _pairs(records: np.ndarray, rows: np.ndarray) -> Pairs:
    return Pairs(rows[records["first"]], rows[records["second"]], records["maps"], records["similarity"])


def _load(path: Path) -> Found | None:
    """Read what was searched, and what was found; None where there is no such file, or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            pictures, pairs, rule = file["pictures"], file["pairs"], Rule(**json.loads(file["rule"].tobytes()))
    except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    mark_used(path)
    if pictures.dtype != np.dtype("V32") or pairs.dtype != RECORD:
        return None
    within = not len(pairs) or max(pairs["first"].max(), pairs["second"].max()) < len(pictures)
    return (pictures, pairs, rule) if within else None


def save(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write under another name and rename. It only saves time: where it cannot be written, all is found again."""
    part = path.with_name(f"{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            write(file)
        os.replace(part, path)
    except OSError:
        return
