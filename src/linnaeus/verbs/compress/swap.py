"""A folder of results that is filled aside and swapped in at the end, so that the old ones stay until then."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from linnaeus.atomic import unfinished_in, write_json
from linnaeus.errors import SettingsError
from linnaeus.targets.own_folder import put

MARKER = "compressed.json"
"""Lies in every folder that was filled here, and names what it was filled with: nothing else is ever removed."""
FRONT = "front.svg"
"""Drawing of the front, which is added at the end."""


@contextmanager
def swapped_in(folder: Path) -> Iterator[Path]:
    """Give a new folder beside `folder` to be filled; if that succeeds, it takes the place of `folder`.

    Args:
        folder: Missing, empty, or filled here before; else it is refused before anything is done.

    Raises:
        SettingsError: It holds something else, or cannot be replaced.
    """
    # A link stays a link: what it leads to is replaced.
    place = folder.resolve()
    fresh, old = (place.with_name(f"{place.name}.{state}") for state in ("unfinished", "old"))
    _check(folder, place)
    for leftover in (fresh, old):
        _check(leftover, leftover)
    if old.exists() and not place.exists():
        # Killed between the two renames.
        old.rename(place)
    _remove(fresh)
    fresh.mkdir(parents=True)
    try:
        _mark(fresh)
        yield fresh
        _mark(fresh)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    _swap(folder, place, fresh, old)


def _swap(folder: Path, place: Path, fresh: Path, old: Path) -> None:
    try:
        _remove(old)
        put(fresh, place, old)
    except OSError as error:
        raise SettingsError(
            f"{folder} should be a folder that can be replaced.",
            got=error.strerror or str(error),
            fix=f"the results lie in {fresh}: move them where you want them.",
        ) from None


def _check(folder: Path, place: Path) -> None:
    """Refuse a folder that must not be replaced."""
    got = _why_not(place)
    if got:
        raise SettingsError(
            f"{folder} should be a new folder, an empty one, or one that compress has made: it is replaced.",
            got=got,
            fix="name another one with --out, or move away what is there.",
        )


def _why_not(place: Path) -> str:
    if not place.exists():
        return ""
    if not place.is_dir():
        return "a file"
    if place == Path.cwd():
        return "the current folder"
    if os.path.ismount(place):
        return "a folder where a disk is mounted"
    names = {path.name for path in place.iterdir()} - {path.name for path in unfinished_in(place)}
    if not names:
        return ""
    holds = _holds(place)
    if holds is None:
        return f"{min(names)} in it" + (f", and {len(names) - 1:,} more" if len(names) > 1 else "")
    strange = names - holds if holds else set()
    return f"{min(strange)} in it, which compress did not write" if strange else ""


def _holds(place: Path) -> set[str] | None:
    """Read what the marker names; nothing where filling never ended, None where there is no marker."""
    try:
        marker = json.loads((place / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    holds = marker.get("holds") if isinstance(marker, dict) else None
    return {*holds, MARKER, FRONT} if holds else (set() if holds == [] else None)


def _mark(fresh: Path) -> None:
    holds = sorted(path.name for path in fresh.iterdir() if path.name != MARKER)
    write_json(fresh / MARKER, {"made_by": "linnaeus compress", "holds": holds})


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
