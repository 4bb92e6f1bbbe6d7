"""A table that names pictures and their labels: CSV, TSV or Parquet."""

from __future__ import annotations

import bisect
import csv
import io
import os
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from linnaeus.data.classes import class_findings, order_classes
from linnaeus.data.filenames import SPLIT_WORDS, split_of
from linnaeus.errors import SourceError
from linnaeus.records import Dataset, Example, Finding, Place, split_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

TABLE_EXTENSIONS = (".csv", ".tsv", ".parquet", ".pq")

COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "image", "image_path", "filepath"),
    "label": ("label", "class", "category", "target"),
    "split": ("split",),
    "group": ("group",),
}
"""What each column may be called, in any case; the first name that the table has is taken."""

_DELIMITERS = {".tsv": "\t", ".csv": ",;\t"}


@dataclass(frozen=True, slots=True)
class _Row:
    """One row; `number` counts as a spreadsheet does, the header being row 1. `trouble`: why it cannot be used."""

    number: int
    path: str = ""
    label: str = ""
    split: str = ""
    group: str = ""
    extra: tuple[tuple[str, str], ...] = ()
    trouble: str = ""


def list_manifest(path: Path, *, name: str, source: str) -> Dataset:
    """List the pictures that a table names.

    Columns: path (or file, filename, file_name, image, image_path, filepath) and label (or class, category, target),
    optionally split and group; all others are kept as `Example.extra`. CSV is UTF-8, with commas, semicolons or tabs.
    Paths are relative to the table's folder, or absolute. Several labels of one picture are joined by "|". An example's
    id is its path as written; classes are ordered as in `order_classes`.

    Raises:
        SourceError: The table cannot be read, lacks a column, names no picture that exists, or has an odd split word.
    """
    rows = list(_read_parquet(path, source) if path.suffix.lower() in (".parquet", ".pq") else _read_text(path, source))
    usable, findings = _sort_rows(rows, os.path.dirname(os.path.abspath(path)))
    _check_splits((row for row, _ in usable), source)
    examples = sorted(
        (
            Example(row.path, Place(place), row.label, split_of(row.split) or "", row.group.strip(), row.extra)
            for row, place in usable
        ),
        key=lambda example: example.id,
    )
    if not examples:
        raise SourceError(
            f"{source} should name pictures that exist, relative to its own folder.",
            got=f"{len(rows)} rows; " + (findings[0].evidence if findings else "no picture in any of them"),
            fix="check the column of paths, or move the table beside the pictures.",
        )
    counts = Counter(part for example in examples for part in split_label(example.label))
    classes = order_classes(part for row in rows for part in split_label(row.label))
    return Dataset(
        name=name,
        source=source,
        examples=tuple(examples),
        classes=classes,
        findings=(*findings, *class_findings({label: counts[label] for label in classes})),
        multilabel=any("|" in example.label for example in examples),
    )


def is_manifest(path: Path) -> bool:
    """Tell whether a file is a table with columns for path and label."""
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            import pyarrow.parquet as pq

            return find_columns(pq.read_schema(path).names) is not None
        return path.suffix.lower() in _DELIMITERS and _sniff(_decode(path, str(path)), path) is not None
    except (SourceError, OSError, ValueError):
        return False


def _sort_rows(rows: Sequence[_Row], folder: str) -> tuple[list[tuple[_Row, str]], list[Finding]]:
    """Separate rows that can be used, with their files, from those that cannot, with the reason."""
    aside: list[tuple[str, _Row, str]] = []
    same_file = defaultdict[str, list[_Row]](list)
    for row in rows:
        place = _locate(row.path, folder)
        if row.trouble:
            aside.append(("bad row", row, row.trouble))
        elif not os.path.isfile(place):
            aside.append(("missing", row, "the file does not exist"))
        elif not split_label(row.label):
            aside.append(("no label", row, "the label is empty"))
        else:
            same_file[place].append(row)
    usable = []
    for place, group in same_file.items():
        first, *later = group
        if len({frozenset(split_label(row.label)) for row in group}) > 1:
            evidence = "the same file as " + ", ".join(f"{row.label!r} in row {row.number}" for row in group)
            aside += [("conflict", row, evidence) for row in group]
        else:
            usable.append((first, place))
            aside += [("repeated row", row, _repeats(row, first)) for row in later]
    return usable, _set_aside(aside, taken={row.path for row, _ in usable})


def _repeats(row: _Row, first: _Row) -> str:
    differs = [name for name in ("split", "group") if getattr(row, name) != getattr(first, name)]
    differs += [name for (name, value), (_, other) in zip(row.extra, first.extra, strict=True) if value != other]
    return f"the same file and label as row {first.number}" + (
        f", with another {' and '.join(differs)}" if differs else ""
    )


def _set_aside(aside: Iterable[tuple[str, _Row, str]], taken: set[str]) -> list[Finding]:
    """Make a finding of each row; its id is the path as written, with the row number where that is taken."""
    findings = []
    for kind, row, evidence in sorted(aside, key=lambda item: item[1].number):
        id = f"{row.path} (row {row.number})" if row.path in taken else row.path
        taken.add(id)
        findings.append(Finding(kind, (id,), f"row {row.number}: {evidence}", "set aside"))
    return findings


def _locate(written: str, folder: str) -> str:
    place = os.path.normpath(os.path.join(folder, written))
    if "\\" in written and os.sep != "\\" and not os.path.exists(place):
        return os.path.normpath(os.path.join(folder, written.replace("\\", "/")))
    return place


def _check_splits(rows: Iterable[_Row], source: str) -> None:
    for row in rows:
        if row.split.strip() and split_of(row.split) is None:
            raise SourceError(
                f"{source}, row {row.number}: split should be one of {', '.join(SPLIT_WORDS)}, or empty.",
                got=repr(row.split),
                fix="correct the word, or leave the cell empty to let Linnaeus split.",
            )


def _read_text(path: Path, source: str) -> Iterator[_Row]:
    text = _decode(path, source)
    delimiter = _sniff(text, path)
    if delimiter is None:
        raise _lacks_columns(source, text.partition("\n")[0].strip()[:200])
    rows = _rows_of_cells(text, delimiter, source)
    header = next(rows)
    columns = find_columns(header)
    assert columns is not None
    further = _name_further(header, columns)
    for number, cells in enumerate(rows, start=2):
        if cells:
            yield _row_of_cells(number, cells, columns, further, len(header))


def _rows_of_cells(text: str, delimiter: str, source: str) -> Iterator[list[str]]:
    """Read rows, and refuse a table that ends inside quotes: all lines after the quote would be one cell.

    The reader's own strictness would refuse `"Golden" retriever` as well.
    """
    # After all lines an empty one: it becomes a row without cells, unless it still stands in quotes.
    lines = [*io.StringIO(text, newline=""), ""]
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    begins, last, cells = 0, 0, list[str]()
    try:
        for cells in reader:
            yield cells
            last, begins = begins, reader.line_num
    except csv.Error as error:
        raise SourceError(f"{source} should be a table.", got=f"{error} in line {begins + 1}") from None
    if cells:
        raise SourceError(
            f"{source} should close every quote.",
            got=f"a quote in line {last + _opened_in(lines[last:], delimiter, len(cells))} that is never closed",
            fix='close it; a quote that is part of a value is written twice, "".',
        )


def _opened_in(lines: list[str], delimiter: str, cells: int) -> int:
    """Say in which line of a row, from 1, the last of its cells begins."""

    def cells_in(count: int) -> int:
        return len(next(csv.reader(lines[:count], delimiter=delimiter, skipinitialspace=True)))

    return 1 + bisect.bisect_left(range(1, len(lines)), cells, key=cells_in)


def _row_of_cells(number: int, cells: list[str], columns: dict[str, int], further: dict[str, int], width: int) -> _Row:
    if len(cells) <= max(columns["path"], columns["label"]):
        return _Row(number, ",".join(cells), trouble=f"{len(cells)} cells where the header has {width}")
    values = {name: cells[column] if column < len(cells) else "" for name, column in columns.items()}
    extra = tuple((name, cells[column].strip() if column < len(cells) else "") for name, column in further.items())
    trouble, shifted = "" if values["path"] else "the path is empty", ""
    if any("\n" in values[name].strip() for name in ("path", "label")):
        shifted = "the path or label runs over several lines; look for a quote that is not closed"
    if any(cells[width:]):
        shifted = f"{len(cells)} cells where the header has {width}; quote what holds a delimiter"
    if shifted:
        # What stands in the column of labels is none, and names no class.
        values["label"] = ""
    return _Row(number, **values, extra=extra, trouble=shifted or trouble)


def _decode(path: Path, source: str) -> str:
    data = path.read_bytes()
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(
            f"{source} should be UTF-8 text.", got=f"an odd byte in line {line}", fix="save it as UTF-8 (CSV UTF-8)."
        ) from None


def _sniff(text: str, path: Path) -> str | None:
    """Find the delimiter with which the first line has the columns that are needed."""
    for delimiter in _DELIMITERS[path.suffix.lower()]:
        header = next(csv.reader(io.StringIO(text[:65536], newline=""), delimiter=delimiter, skipinitialspace=True), [])
        if find_columns(header) is not None:
            return delimiter
    return None


def find_columns(header: Sequence[str]) -> dict[str, int] | None:
    """Map path, label, split and group to column numbers; None if there is no path or no label."""
    names = [name.strip().lower() for name in header]
    found = {}
    for column, aliases in COLUMNS.items():
        present = [names.index(alias) for alias in aliases if alias in names]
        if present:
            found[column] = present[0]
    return found if "path" in found and "label" in found else None


def _name_further(header: Sequence[str], columns: dict[str, int]) -> dict[str, int]:
    """Map every other column to its number; one without a name, or with a name that is taken, is named by its place."""
    found: dict[str, int] = {}
    for number, written in enumerate(header):
        if number not in columns.values():
            name = written.strip() or "column"
            found[f"{name} {number + 1}" if name in found or not written.strip() else name] = number
    return found


def _read_parquet(path: Path, source: str) -> Iterator[_Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        header = table.schema_arrow.names
        columns = find_columns(header)
        if columns is None:
            raise _lacks_columns(source, ", ".join(header)[:200])
        for name, n in columns.items():
            if not is_plain(kind := table.schema_arrow.field(n).type):
                raise SourceError(
                    f"{source} should have a plain value in each cell of column {name}.",
                    got=str(kind),
                    fix="join several labels by |." if name == "label" else "write text.",
                )
        # Pictures themselves and lists stay where they are: only plain values can be told in a line.
        plain = {n for n, one in enumerate(table.schema_arrow) if is_plain(one.type)} | set(columns.values())
        further = {name: n for name, n in _name_further(header, columns).items() if n in plain}
        # Columns are chosen by name: where a name stands twice, all are read, in the order of the file.
        read = sorted(plain) if len(set(header)) == len(header) else range(len(header))
        number = 1
        for batch in table.iter_batches(columns=[header[n] for n in read] if len(read) < len(header) else None):
            place = {n: words_of(batch.column(at)) for at, n in enumerate(read) if n in plain}
            for row in range(batch.num_rows):
                number += 1
                texts = {name: place[n][row] for name, n in columns.items()}
                extra = tuple((name, place[n][row].strip()) for name, n in further.items())
                yield _Row(number, **texts, extra=extra, trouble="" if texts["path"] else "the path is empty")
    except pa.ArrowException as error:
        raise SourceError(f"{source} should be a Parquet file.", got=str(error)) from None


def is_plain(kind: pa.DataType) -> bool:
    """Tell whether a column holds values that can be told in a line."""
    import pyarrow.types as types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    words = types.is_string(kind) or types.is_large_string(kind)
    # A column of which every cell is empty is of the type "null".
    return words or types.is_primitive(kind) or types.is_decimal(kind) or types.is_null(kind)


def words_of(column: pa.Array) -> list[str]:
    """Write each cell of a plain column as text; what is missing, and NaN, is ""."""
    import pyarrow as pa
    import pyarrow.types as types

    kind = column.type
    if types.is_timestamp(kind) and kind.unit == "ns":
        # Python knows no nanoseconds.
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    elif types.is_duration(kind) and kind.unit == "ns":
        column = column.cast(pa.duration("us"), safe=False)
    elif types.is_time64(kind) and kind.unit == "ns":
        column = column.cast(pa.time64("us"), safe=False)
    return ["" if cell is None or cell != cell else str(cell) for cell in column.to_pylist()]


def _lacks_columns(source: str, header: str) -> SourceError:
    return SourceError(
        f"{source} should have columns path and label in its first line.",
        got=header or "an empty file",
        fix=f"rename them: path may be {', '.join(COLUMNS['path'])}; label may be {', '.join(COLUMNS['label'])}.",
    )
