"""Remember which unchanged file had which content, so that a second run need not read it again."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from pathlib import Path

import numpy as np

from linnaeus.records import Place

RECORD = np.dtype([("key", "V16"), ("digest", "V32")])
TOO_FRESH_NS = 2_000_000_000
"""A file changed so shortly before may change again within one tick of its clock, unseen (git knows this too)."""


class Seen:
    """File status -> SHA-256 of the content, for one source; a small file beside the cache, replaced as a whole.

    The status is path, range, size, time of change and inode time: the last is set by the kernel on every write, so
    that a file with a faked time is read again.
    """

    def __init__(self, cache_dir: Path, source: str) -> None:
        name = hashlib.sha256(os.path.abspath(source).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self._path = cache_dir / "seen" / f"{name}.npy"
        self._started_ns = time.time_ns()
        self._digests = self._load()
        self._now: dict[bytes, bytes] = {}

    def _load(self) -> dict[bytes, bytes]:
        try:
            records = np.load(self._path, allow_pickle=False)
            return dict(zip(_pieces(records["key"], 16), _pieces(records["digest"], 32), strict=True))
        except (OSError, ValueError, EOFError, IndexError):
            return {}

    def key(self, place: Place) -> bytes:
        """Condense the state of a file; empty where it cannot be relied upon."""
        try:
            status = os.stat(place.path)
        except (OSError, ValueError):
            return b""
        changed_ns = max(status.st_mtime_ns, status.st_ctime_ns)
        if changed_ns > self._started_ns - TOO_FRESH_NS:
            return b""
        state = f"{place!r}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"
        return hashlib.blake2b(state.encode("utf-8", "surrogateescape"), digest_size=16).digest()

    def digest(self, key: bytes) -> bytes:
        """Look up the content of an unchanged file; empty if it is not known."""
        return self._digests.get(key, b"")

    def note(self, key: bytes, digest: bytes) -> None:
        """Remember a content for the next run."""
        if key:
            self._now[key] = digest

    def save(self) -> None:
        """Write what this run saw. It only saves time: where it cannot be written, the next run reads the files."""
        if not self._now or self._now == self._digests:
            return
        records = np.array(list(self._now.items()), RECORD)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_suffix(f".{uuid.uuid4().hex}.part")
            with open(part, "wb") as file:
                np.save(file, records, allow_pickle=False)
            os.replace(part, self._path)
        except OSError:
            return


def _pieces(column: np.ndarray, size: int) -> list[bytes]:
    joined = column.tobytes()
    return [joined[start : start + size] for start in range(0, len(joined), size)]
