"""Zip and tar archives, unpacked once into the cache, with nothing in them trusted."""

from __future__ import annotations

import errno
import json
import lzma
import os
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Self

from linnaeus.data.filenames import printable
from linnaeus.data.folders import Progress, build_once, file_key
from linnaeus.errors import SourceError
from linnaeus.records import Finding

ARCHIVE_EXTENSIONS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

_BROKEN = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, RuntimeError, ValueError)
_DAMAGED = (zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError)
"""Raised by one file of an archive, as well as an OSError without a number from bzip2."""
_OUR_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EMFILE}
_CHUNK = 1 << 20
_LONGEST_LINK = 4096
_UTF_8 = 0x800

VERSION = 3
"""Raise it when archives are unpacked otherwise: what lies in caches is unpacked anew."""


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
    """One thing in an archive.

    Attributes:
        name: As in the archive, with slashes.
        kind: "file", "folder", "link" (`open` gives its target, if inside), "repeated" (of the same name as an earlier
            one) or "other".
        open: Gives what can be read of it.
        alone: Whether others can be read if this one is damaged.
    """

    name: str
    kind: str
    open: Callable[[], IO[bytes] | None]
    alone: bool


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
    return cache_dir / "archives" / f"{file_key([path])}-{VERSION}"


def unpack(
    path: Path, cache_dir: Path, *, source: str, progress: Progress | None = None, limits: Limits | None = None
) -> tuple[Path, tuple[Finding, ...]]:
    """Unpack an archive into the cache, once, and return the folder with its contents.

    Names that lead out of the archive, devices and bombs are refused. A link to a file inside becomes a copy of that
    file; any other link, and a file of a zip that is damaged, has an impossible name or the name of an earlier one, is
    set aside. Of files with the same name in a tar the last one is taken, as tar itself does.

    Raises:
        SourceError: The archive is damaged so that the rest cannot be read, locked, unsafe or too large.
    """

    def build(folder: Path) -> None:
        unpacking = _Unpacking(source, path.stat().st_size, limits or Limits())
        try:
            _unpack_all(path, folder / "contents", unpacking, progress)
        except (*_BROKEN, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise
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
        entries = _zip_entries(file) if zipped else _tar_entries(file, unpacking.count)
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
        elif entry.kind == "repeated":
            evidence = "an earlier entry of the archive has the same name"
            unpacking.aside.append(("repeated name", f"{printable(entry.name)} (entry {unpacking.entries})", evidence))
        else:
            _write(entry, target, unpacking)
    except (OSError, *_DAMAGED) as error:
        number, reason = getattr(error, "errno", None), getattr(error, "strerror", None)
        if number in _OUR_TROUBLE:
            raise SourceError(
                f"{unpacking.source} should fit into {contents.parent.parent}.",
                got=reason or "",
                fix="make room, or point LINNAEUS_CACHE at a larger disk.",
            ) from None
        if number is None and not entry.alone:
            raise
        reason = reason or f"damaged in the archive: {str(error) or type(error).__name__}"
        unpacking.aside.append(("unreadable", printable(entry.name), reason))


def _write(entry: _Entry, target: Path, unpacking: _Unpacking) -> None:
    try:
        stream = entry.open()
    except (KeyError, RecursionError):
        stream = None
    if stream is None:
        evidence = "a link that is not followed: it names no file of the archive"
        unpacking.aside.append(("missing", printable(entry.name), evidence))
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with stream, target.open("wb") as copy:
        try:
            while chunk := stream.read(_CHUNK):
                unpacking.count(len(chunk))
                copy.write(chunk)
        except BaseException:
            # What was read of it must not be taken for all of it.
            copy.close()
            target.unlink()
            raise


class _Header(tarfile.TarInfo):
    """A header of a tar. One that is damaged is an error: `tarfile` takes it for the end, and all after it would be lost."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        # Both are there since Python 3.0; the type stubs name the public errors only.
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from None


def _tar_entries(file: IO[bytes], count: Callable[[int], None]) -> Iterator[_Entry]:
    with tarfile.open(fileobj=file, mode="r:*", tarinfo=_Header) as tar:
        for member in tar:
            kind = "other"
            if member.isreg():
                kind = "file"
            elif member.isdir():
                kind = "folder"
            elif member.islnk() or member.issym():
                kind = "link"
            yield _Entry(member.name, kind, partial(tar.extractfile, member), alone=False)
        # Damaged pixels look like others: the checksum after all of it tells, where it is compressed.
        while tar.fileobj and (rest := tar.fileobj.read(_CHUNK)):
            count(len(rest))


def _zip_entries(file: IO[bytes]) -> Iterator[_Entry]:
    with zipfile.ZipFile(file) as archive:
        named = [(_zip_name(info), info) for info in archive.infolist()]
        first = {posixpath.normpath(name): info for name, info in reversed(named)}
        for name, info in named:
            kind = "file"
            opened: Callable[[], IO[bytes] | None] = partial(archive.open, info)
            if name.endswith("/"):
                kind = "folder"
            elif first[posixpath.normpath(name)] is not info:
                kind = "repeated"
            elif _is_zip_link(info):
                kind, opened = "link", partial(_open_zip_link, archive, name, first)
            yield _Entry(name, kind, opened, alone=True)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Read a name as UTF-8 where it is that: many programs write it without the flag that says so."""
    name = info.filename
    if not info.flag_bits & _UTF_8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/") if info.create_system == 0 else name


def _is_zip_link(info: zipfile.ZipInfo) -> bool:
    return info.create_system != 0 and stat.S_ISLNK(info.external_attr >> 16)


def _open_zip_link(archive: zipfile.ZipFile, name: str, first: Mapping[str, zipfile.ZipInfo]) -> IO[bytes] | None:
    """Open the file to which a link leads, through other links too; None where it leads to none of the archive."""
    passed, place = set[str](), posixpath.normpath(name)
    while place in first and place not in passed and not first[place].is_dir():
        info = first[place]
        if not _is_zip_link(info):
            return archive.open(info)
        with archive.open(info) as link:
            target = os.fsdecode(link.read(_LONGEST_LINK))
        passed.add(place)
        place = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
    return None
