"""The table of corrections as a diary: lines are only ever added, and a line that was acknowledged is on the disk.

Every decision is one line at the end, and taking one back is a line too. A line is written in one piece, under a lock,
and flushed to the disk before anybody is told, so that several processes may write at once and a kill loses nothing
that was acknowledged.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path

from linnaeus.errors import SourceError

try:
    import fcntl
except ImportError:  # Windows has no such lock; appending is in one piece there too.
    fcntl = None  # type: ignore[assignment]

DECISIONS = ("keep", "relabel", "not-a-class", "exclude")
"""What can be decided of a picture."""
ACTIONS = (*DECISIONS, "undo", "add-class")
"""What a line can say: a decision, that the last one is taken back, or that `new_label` is a class from now on."""


@dataclass(frozen=True, slots=True)
class Correction:
    """One line of the table.

    Attributes:
        id: Of the example when it was decided.
        hash: SHA-256 of its content, as in `Scan.hashes`; "" where there were no bytes to read.
        action: One of `ACTIONS`.
        label: What the source said then.
        new_label: The right label, for "relabel"; the name, for "add-class".
        time: When, in UTC; the decisions of one moment were one step, and are undone as one.
        by: Who.
    """

    id: str
    hash: str
    action: str
    label: str = ""
    new_label: str = ""
    time: str = ""
    by: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What it is about: later lines of the same key take its place."""
        return self.id, self.hash


COLUMNS = tuple(one.name for one in fields(Correction))
HEADER = (",".join(COLUMNS) + "\n").encode()


@dataclass
class Standing:
    """Follow the lines one by one: for each picture a pile of decisions, the last on top."""

    piles: dict[tuple[str, str], list[Correction]] = field(default_factory=dict)
    new_classes: dict[str, None] = field(default_factory=dict)

    def follow(self, line: Correction) -> None:
        """Take one line in."""
        if line.action == "add-class":
            self.new_classes[line.new_label] = None
        elif line.action == "undo":
            pile = self.piles.get(line.key, [])
            if pile:
                pile.pop()
        else:
            # A new last word goes to the end of the order.
            self.piles[line.key] = [*self.piles.pop(line.key, []), line]

    def top(self, key: tuple[str, str]) -> Correction | None:
        """Return what stands of a picture."""
        pile = self.piles.get(key)
        return pile[-1] if pile else None


def parse(data: bytes, path: Path, *, header: bool = True) -> tuple[list[Correction], list[str]]:
    """Take the lines of a table apart.

    Args:
        data: The file, or a piece of it that begins and ends with whole lines.
        path: For messages.
        header: Whether the first line names the columns.

    Returns:
        The lines that hold, and words for those that do not: a line that a power cut left unfinished, an unknown
        action.

    Raises:
        SourceError: The first line does not name the columns.
    """
    if header and HEADER.startswith(data):
        return [], []
    # A torn character at the end must not keep all other lines from being read.
    text = data.decode("utf-8-sig", "surrogateescape")
    rows = csv.reader(io.StringIO(text, newline=""))
    lines: list[Correction] = []
    problems: list[str] = []
    try:
        if header and text and tuple(next(rows)) != COLUMNS:
            raise SourceError(
                f"{path} should be a table of corrections with the columns {','.join(COLUMNS)}.",
                got=text.splitlines()[0][:80],
                fix="move it away, or name another file.",
            )
        for cells in rows:
            if cells and (trouble := _trouble(cells)):
                problems.append(f"{path}, line {rows.line_num}: {trouble}")
            elif cells:
                lines.append(Correction(*cells))
    except csv.Error as error:
        problems.append(f"{path}, line {rows.line_num}: {error}")
    return lines, problems


def written(lines: Iterable[Correction]) -> bytes:
    """Write lines as they stand in the table: CSV, each ended by a newline."""
    return b"".join(_row(astuple(line)) for line in lines)


def _row(cells: Sequence[str]) -> bytes:
    file = io.StringIO(newline="")
    # The writer puts cells with any character of its line end into quotes; a lone carriage return needs them too.
    csv.writer(file, lineterminator="\r\n").writerow(cells)
    return file.getvalue().removesuffix("\r\n").encode("utf-8", "surrogateescape") + b"\n"


def content_hash(data: bytes, layout: str = "") -> str:
    """Hash the content of a picture as `scan` does: SHA-256, with the shape of plain pixels before them."""
    return hashlib.sha256((f"{layout}\0".encode() if layout else b"") + data).hexdigest()


class Diary:
    """One table, followed and added to by this process, while others may do the same; `refresh` reads it first.

    Attributes:
        path: The table; it comes to be with the first line.
        standing: What stands as of the last `refresh` or `append`.
        problems: Lines that could not be understood.
        generation: Raised when another file has taken the place of the one that was followed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.generation = 0
        self._forget()

    def _forget(self) -> None:
        self.generation += 1
        self.standing = Standing()
        self.problems: list[str] = []
        self._read_to = 0
        self._file_id: tuple[int, int] | None = None

    def refresh(self) -> list[Correction]:
        """Read what was added since, by whomever; return the new lines.

        Raises:
            SourceError: It cannot be read, or is no table of corrections.
        """
        try:
            with self.path.open("rb") as file, _locked(file.fileno(), shared=True):
                return self._read_on(file.fileno())
        except FileNotFoundError:
            if self._file_id is not None:
                self._forget()
            return []
        except OSError as error:
            raise SourceError(
                f"{self.path} should be a table of corrections.",
                got=error.strerror or str(error),
                fix="check its permissions, or name another file.",
            ) from None

    def append(self, lines: Sequence[Correction]) -> list[Correction]:
        """Add lines, all or none; on return they are on the disk. Returns all that is new, that of others included.

        Raises:
            OSError: They could not be written; the table is as it was.
        """
        with self._open_locked() as file:
            new = self._read_on(file)
            begin = os.lseek(file, 0, os.SEEK_END)
            data = self._mended_end(file, begin) + written(lines)
            try:
                _write_all(file, data)
                os.fsync(file)
            except OSError:
                os.ftruncate(file, begin)
                raise
            return new + self._read_on(file)

    @contextlib.contextmanager
    def _open_locked(self) -> Iterator[int]:
        while True:
            existed = self.path.exists()
            file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
            try:
                with _locked(file):
                    # An editor may have put another file in its place while this one waited.
                    if not _stands_at(file, self.path):
                        continue
                    yield file
                    if not existed:
                        _sync_folder(self.path.parent)
                    return
            finally:
                os.close(file)

    def _read_on(self, file: int) -> list[Correction]:
        """Read from where the last reading ended to the last whole line; from the start if it is another file."""
        status = os.fstat(file)
        file_id = (status.st_dev, status.st_ino)
        if file_id != self._file_id or status.st_size < self._read_to:
            if self._file_id is not None:
                self._forget()
            self._file_id = file_id
        data = _read_from(file, self._read_to, status.st_size)
        whole = data[: _whole_to(data)]
        if not self._read_to and not whole and not HEADER.startswith(data):
            whole = data
        lines, problems = parse(whole, self.path, header=not self._read_to)
        for line in lines:
            self.standing.follow(line)
        self.problems += problems
        self._read_to += len(whole)
        return lines

    def _mended_end(self, file: int, size: int) -> bytes:
        """Say what must come before the next line: the header, or the end of a line that a power cut tore."""
        torn = _read_from(file, self._read_to, size)
        if not self._read_to:
            return HEADER[len(torn) :]
        if not torn:
            return b""
        return b'"\n' if torn.count(b'"') % 2 else b"\n"


def _read_from(file: int, begin: int, end: int) -> bytes:
    pieces = []
    os.lseek(file, begin, os.SEEK_SET)
    while begin < end and (piece := os.read(file, end - begin)):
        pieces.append(piece)
        begin += len(piece)
    return b"".join(pieces)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _whole_to(data: bytes) -> int:
    """Find the end of the last whole line: a newline that stands in no quotes."""
    end = data.rfind(b"\n") + 1
    while end and data.count(b'"', 0, end) % 2:
        end = data.rfind(b"\n", 0, end - 1) + 1
    return end


def _stands_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _locked(file: int, *, shared: bool = False) -> Iterator[None]:
    if fcntl is not None:
        # Some network drives have no locks; there, one write to a file opened for appending must do.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    # Closing the file releases it.
    yield


def _sync_folder(folder: Path) -> None:
    """Bring the name of a new file to the disk; not every system lets a folder be opened for that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _trouble(cells: Sequence[str]) -> str:
    if len(cells) != len(COLUMNS):
        return f"{len(cells)} of {len(COLUMNS)} cells; it was cut off, or edited"
    action, new_label = cells[2], cells[4]
    if action not in ACTIONS:
        return f"{action!r} is none of {', '.join(ACTIONS)}"
    if action in ("relabel", "add-class") and not new_label:
        return f"{action} without a new label"
    return ""
