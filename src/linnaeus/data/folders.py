"""The folders that Linnaeus writes for itself: where they are, and how they come to be whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

Progress = Callable[[str, int, int | None], None]
"""What is being done, how much of it is done, and the total where it is known."""

_STALE_S = 24 * 3600
_EDGE = 1 << 20


def default_cache_dir() -> Path:
    """Find the folder for downloads and unpacked data.

    $LINNAEUS_CACHE, else $XDG_CACHE_HOME/linnaeus, else ~/.cache/linnaeus.
    """
    if own := os.environ.get("LINNAEUS_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "linnaeus"
    return Path.home() / ".cache" / "linnaeus"


def build_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Make a folder that appears whole or not at all.

    `build` fills a temporary folder beside it, which is then renamed. Two processes at once both succeed, and the
    second one's work is thrown away; what a killed process leaves is removed a day later.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder.parent)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".unfinished", dir=folder.parent))
    try:
        build(unfinished)
        unfinished.chmod(0o755)
        _rename(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def file_key(paths: Iterable[Path]) -> str:
    """Name files by what they hold: name, size, time of change, and their first and last megabyte, hashed.

    The whole of a large archive is not read: the ends of zip, gzip, xz and Parquet files hold checksums of the rest,
    and the time of change covers plain tar.
    """
    key = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            key.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
            key.update(file.read(_EDGE))
            file.seek(max(0, status.st_size - _EDGE))
            key.update(file.read(_EDGE))
    return key.hexdigest()[:32]


def _rename(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _remove_stale(parent: Path) -> None:
    for path in parent.glob(".*.unfinished"):
        try:
            old = time.time() - path.stat().st_mtime > _STALE_S
        except OSError:
            continue
        if old:
            shutil.rmtree(path, ignore_errors=True)
