"""Zip and tar archives, unpacked once into the cache, with nothing in them trusted."""

from __future__ import annotations

import errno
import json
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from linnaeus.data.filenames import printable
from linnaeus.data.folders import Progress, build_once, file_key
from linnaeus.errors import SourceError
from linnaeus.records import Finding

ARCHIVE_EXTENSIONS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

_BROKEN = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, RuntimeError, ValueError)
_OUR_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EMFILE}
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Where an archive stops being data and becomes a bomb."""

    total_bytes: int = 500 * 10**9
    """Most bytes that all files may have together."""
    ratio: float = 200
    """Most bytes unpacked for each byte of the archive, once `ratio_from` bytes are unpacked."""
    ratio_from: int = 10**9
    entries: int = 20_000_000
    """Most files."""


@dataclass(frozen=True)
class _Entry:
    """One thing in an archive; `kind` is "file", "folder", "link" (`open` gives its target, if inside) or "other"."""

    name: str
    kind: str
    open: Callable[[], IO[bytes] | None]


@dataclass
class _Unpacking:
    """The course of one unpacking; guards the limits."""

    source: str
    archive_bytes: int
    limits: Limits
    done: int = 0
    entries: int = 0
    aside: list[tuple[str, str, str]] = field(default_factory=list)

    def count(self, size: int) -> None:
        self.done += size
        got = ""
        if self.done > self.limits.total_bytes:
            got = f"more than {self.limits.total_bytes:,} bytes"
        elif self.done > max(self.limits.ratio_from, self.limits.ratio * self.archive_bytes):
            got = f"{self.archive_bytes:,} bytes that unpack to more than {self.limits.ratio:g} times as many"
        elif self.entries > self.limits.entries:
            got = f"more than {self.limits.entries:,} files"
        if got:
            raise SourceError(
                f"{self.source} should be an archive of pictures, not a bomb.",
                got=got,
                fix="unpack it yourself and pass the folder, if you trust it.",
            )


def archive_stem(path: Path) -> str | None:
    """Take the ending off an archive's name; None if the name is not that of an archive."""
    lower = path.name.lower()
    for ending in sorted(ARCHIVE_EXTENSIONS, key=len, reverse=True):
        if lower.endswith(ending):
            return path.name[: -len(ending)] or path.name
    return None


def unpacked_folder(path: Path, cache_dir: Path) -> Path:
    """Name the folder in the cache that this archive's contents have, or would have."""
    return cache_dir / "archives" / file_key([path])


def unpack(
    path: Path, cache_dir: Path, *, source: str, progress: Progress | None = None, limits: Limits | None = None
) -> tuple[Path, tuple[Finding, ...]]:
    """Unpack an archive into the cache, once, and return the folder with its contents.

    Names that lead out of the archive, devices and bombs are refused. A link to a file inside becomes a copy of that
    file; any other link, and a file that is damaged or has an impossible name, is set aside.

    Raises:
        SourceError: The archive is damaged, locked, unsafe or too large.
    """

    def build(folder: Path) -> None:
        unpacking = _Unpacking(source, path.stat().st_size, limits or Limits())
        try:
            _unpack_all(path, folder / "contents", unpacking, progress)
        except _BROKEN as error:
            raise SourceError(
                f"{source} should be a whole zip or tar archive.",
                got=str(error) or type(error).__name__,
                fix="download or copy it again.",
            ) from None
        (folder / "set_aside.json").write_text(json.dumps(unpacking.aside), encoding="utf-8")

    folder = build_once(unpacked_folder(path, cache_dir), build)
    aside = json.loads((folder / "set_aside.json").read_text(encoding="utf-8"))
    return folder / "contents", tuple(Finding(kind, (id,), evidence, "set aside") for kind, id, evidence in aside)


def _unpack_all(path: Path, contents: Path, unpacking: _Unpacking, progress: Progress | None) -> None:
    contents.mkdir()
    with path.open("rb") as file:
        # A tar whose last file is a zip ends as a zip does.
        zipped = zipfile.is_zipfile(path) and not tarfile.is_tarfile(path)
        entries = _zip_entries(file) if zipped else _tar_entries(file)
        for entry in entries:
            unpacking.entries += 1
            unpacking.count(0)
            _unpack_one(entry, contents, unpacking)
            if progress:
                progress(f"unpacking {path.name}", min(file.tell(), unpacking.archive_bytes), unpacking.archive_bytes)


def _unpack_one(entry: _Entry, contents: Path, unpacking: _Unpacking) -> None:
    parts = [part for part in entry.name.split("/") if part not in ("", ".")]
    if entry.kind == "other" or ".." in parts or entry.name.startswith("/") or (os.name == "nt" and ":" in entry.name):
        raise SourceError(
            f"{unpacking.source} should hold only files and folders of its own.",
            got=f"{printable(entry.name)!r}, {'a device' if entry.kind == 'other' else 'a name that leads out of it'}",
            fix="do not use this archive, or unpack it yourself and pass the folder.",
        )
    target = contents.joinpath(*parts)
    try:
        if entry.kind == "folder":
            target.mkdir(parents=True, exist_ok=True)
        else:
            _write(entry, target, unpacking)
    except OSError as error:
        if error.errno in _OUR_TROUBLE:
            raise SourceError(
                f"{unpacking.source} should fit into {contents.parent.parent}.",
                got=error.strerror or "",
                fix="make room, or point LINNAEUS_CACHE at a larger disk.",
            ) from None
        unpacking.aside.append(("unreadable", printable(entry.name), error.strerror or str(error)))


def _write(entry: _Entry, target: Path, unpacking: _Unpacking) -> None:
    try:
        stream = entry.open()
    except (KeyError, RecursionError):
        stream = None
    if stream is None:
        unpacking.aside.append(("missing", printable(entry.name), "a link to something that is not in the archive"))
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with stream, target.open("wb") as copy:
        while chunk := stream.read(_CHUNK):
            unpacking.count(len(chunk))
            copy.write(chunk)


def _tar_entries(file: IO[bytes]) -> Iterator[_Entry]:
    with tarfile.open(fileobj=file, mode="r:*") as tar:
        for member in tar:
            kind = "other"
            if member.isreg():
                kind = "file"
            elif member.isdir():
                kind = "folder"
            elif member.islnk() or member.issym():
                kind = "link"
            yield _Entry(member.name, kind, partial(tar.extractfile, member))


def _zip_entries(file: IO[bytes]) -> Iterator[_Entry]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            from_windows = info.create_system == 0
            name = info.filename.replace("\\", "/") if from_windows else info.filename
            kind = "folder" if name.endswith("/") else "file"
            if not from_windows and stat.S_ISLNK(info.external_attr >> 16):
                kind = "link"
            yield _Entry(name, kind, partial(archive.open, info) if kind != "link" else lambda: None)
