"""Files of stored pixels: written once, published whole, read through a memory map.

A shard is one file: pixels, then an index of what they are of, then a trailer that says where the index begins. It is
written under another name and renamed when complete. So there is no state in which index and pixels disagree, no lock,
no server: two processes that fill the cache at once write two shards, a kill leaves a file that nobody reads, and
deleting a shard is deleting one file. (A database was the alternative; it needs locks that network drives lack, and
would still have to be kept in step with the pixels.)
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np

from linnaeus.errors import SettingsError
from linnaeus.machine import allow_more_files

ENTRY = np.dtype(
    [
        ("hash", "V32"),
        ("shard", "<i4"),
        ("offset", "<i8"),
        ("height", "<i4"),
        ("width", "<i4"),
        ("source_height", "<i4"),
        ("source_width", "<i4"),
        ("format", "<u1"),
        ("turned", "<u1"),
        ("mode", "S8"),
    ]
)
"""One stored picture: SHA-256 of its source, where its pixels are, their size, and what the source was, with Pillow's
name of its mode."""

TRAILER = np.dtype([("index", "<i8"), ("magic", "S8")])
MAGIC = b"LINNAEU1"
FULL_BYTES = 2**30
FULL_AFTER_S = 30.0
"""A kill loses at most so much work."""
SMALL_BYTES = 2**16
"""Pictures below this are gathered before they are written; larger ones go to the system without a copy."""
ABANDONED_AFTER_S = 86_400.0


class Shard:
    """One published file.

    Attributes:
        path: Where it is.
        index: ENTRY [n].
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TRAILER.itemsize))
            trailer = np.frombuffer(file.read(), TRAILER)
            if len(trailer) != 1 or trailer["magic"][0] != MAGIC:
                raise ValueError(f"{path} is no shard")
            self._length = int(trailer["index"][0])
            file.seek(self._length)
            self.index: np.ndarray = np.load(file, allow_pickle=False)
        if self.index.dtype != ENTRY:
            raise ValueError(f"{path} has another index")
        self.bytes = size
        self._pixels: np.ndarray | None = None

    @property
    def pixels(self) -> np.ndarray:
        """All pixels one after the other, uint8, mapped on first use."""
        if self._pixels is None:
            # As a plain array: slicing np.memmap itself costs ten times as much.
            self._pixels = np.memmap(self.path, np.uint8, "r", shape=(self._length,)).view(np.ndarray)
        return self._pixels

    def take_up(self) -> bool:
        """Map the pixels and mark the shard as just used; False where another process has evicted it meanwhile.

        Raises:
            SettingsError: More files would be open than the system allows.
        """
        mark_used(self.path)
        try:
            return len(self.pixels) > 0
        except OSError as error:
            if error.errno != errno.EMFILE:
                return False
        # Each mapped file counts as an open one, of which a process may have few at first.
        if not allow_more_files():
            raise SettingsError(
                f"the cache folder {self.path.parent} should have no more files than a process may have open.",
                got=os.strerror(errno.EMFILE),
                fix="raise the limit (ulimit -n), or delete the folder: its pictures are decoded again.",
            )
        return self.take_up()


def mark_used(path: Path) -> None:
    """Mark a file of the cache as just used, so that others are evicted first; one that may only be read stays as it is.

    A cache may be shared by a group, whose files belong to several users, or lie on a disk that cannot be written.
    """
    with suppress(OSError):
        os.utime(path)


_in_use: WeakValueDictionary[str, Shard] = WeakValueDictionary()


def open_shards(folder: Path) -> list[Shard]:
    """Open every shard of a folder; one that is damaged is passed over, its pictures are decoded again."""
    shards = []
    for path in sorted(folder.glob("*.shard")):
        shard = _in_use.get(str(path))
        if shard is None:
            try:
                shard = Shard(path)
            except (OSError, ValueError, EOFError):
                continue
            _in_use[str(path)] = shard
        shards.append(shard)
    return shards


class ShardWriter:
    """Append pictures to a file that becomes a shard when closed."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._path = folder / f"{uuid.uuid4().hex}.part"
            self._file = open(self._path, "wb", buffering=SMALL_BYTES)  # noqa: SIM115
        except OSError as error:
            raise _not_writable(folder, error) from None
        self._entries: list[tuple[object, ...]] = []
        self._started = time.monotonic()
        self.bytes = 0

    def append(self, entry: tuple[object, ...], pixels: np.ndarray) -> None:
        """Add one picture; the entry is in the order of ENTRY, its offset is `bytes` before the call.

        The mode may be left out: what is made from pictures has none.
        """
        try:
            self._file.write(np.ascontiguousarray(pixels).data)
        except OSError as error:
            self.discard()
            raise _not_writable(self._path.parent, error) from None
        self.bytes += pixels.nbytes
        self._entries.append(entry if len(entry) == len(ENTRY.names or ()) else (*entry, b""))

    @property
    def full(self) -> bool:
        """Tell whether it is time to publish."""
        return self.bytes >= FULL_BYTES or time.monotonic() - self._started >= FULL_AFTER_S

    def close(self) -> Shard:
        """Write the index and publish the file under its final name."""
        final = self._path.with_suffix(".shard")
        try:
            # Ctrl-C may have come between the writing of a picture and its counting.
            self._file.seek(self.bytes)
            self._file.truncate()
            np.save(self._file, np.array(self._entries, ENTRY), allow_pickle=False)
            self._file.write(np.array([(self.bytes, MAGIC)], TRAILER).tobytes())
            self._file.close()
            os.replace(self._path, final)
        except OSError as error:
            self.discard()
            raise _not_writable(final.parent, error) from None
        shard = Shard(final)
        _in_use[str(final)] = shard
        return shard

    def discard(self) -> None:
        """Drop the file."""
        with suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)


def evict(cache_dir: Path, limit_bytes: float) -> None:
    """Delete the longest unused shards until the rest fits; never one that this process has open."""
    found = []
    for path in cache_dir.glob("*/*"):
        try:
            status = path.stat()
        except OSError:
            continue
        if path.suffix == ".part" and time.time() - status.st_mtime > ABANDONED_AFTER_S:
            # Another user's, in a cache that is shared, is his to delete.
            with suppress(OSError):
                path.unlink()
        elif path.suffix == ".shard":
            found.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit_bytes:
            break
        if str(path) in _in_use:
            continue
        try:
            path.unlink()
            total -= size
        except OSError:  # another process deleted it, or Windows has it open
            continue


def _not_writable(folder: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"the cache folder {folder} should be writable and have room for decoded pictures.",
        got=error.strerror or str(error),
        fix="free some space, choose another cache folder, or lower data.cache_gb.",
    )
