"""Folders that an export may replace: its own, which hold its mark, and no others."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

from linnaeus.errors import SettingsError


def refuse_foreign(place: Path, mark: str) -> None:
    """Check that nothing of somebody else's lies where a folder is to be written.

    Args:
        place: May be there or not.
        mark: Name of the file that tells our folders from others: JSON that names a target.

    Raises:
        SettingsError: Something else has this name already.
    """
    if _names_a_target(place / mark):
        return
    if place.is_symlink() or (place.exists() and not (place.is_dir() and _is_empty(place))):
        raise SettingsError(
            f"{place} should be free, or a folder that linnaeus export wrote.",
            got=f"a folder without its {mark}" if place.is_dir() else "a file or a link",
            fix="move it away, or choose another folder: --out FOLDER",
        )


def put(made: Path, place: Path, aside: Path | None = None) -> None:
    """Give a finished folder its name; a folder that has this name is deleted last, and put back if anything fails.

    Args:
        made: On the same disk.
        place: Free, or ours to replace.
        aside: Free; where the folder that is replaced lies meanwhile. By default a hidden one beside it.

    Raises:
        OSError: It cannot be renamed; what was there is there again.
    """
    old = aside or place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.old")
    try:
        if place.exists():
            place.rename(old)
        made.rename(place)
    except BaseException:
        if old.exists() and not place.exists():
            old.rename(place)
        raise
    finally:
        if place.exists():
            _delete(old)


def _names_a_target(mark: Path) -> bool:
    try:
        return "target" in json.loads(mark.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _is_empty(folder: Path) -> bool:
    return next(folder.iterdir(), None) is None


def _delete(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)
