"""Parquet files with the pictures' bytes inside, as the Hugging Face Hub keeps them."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnaeus.data.classes import class_findings, order_classes
from linnaeus.data.filenames import SPLIT_WORDS, is_hidden, split_of
from linnaeus.data.folders import Progress, build_once, file_key
from linnaeus.data.manifest import find_columns, is_plain, words_of
from linnaeus.data.verdict import format_of
from linnaeus.errors import SourceError
from linnaeus.records import Dataset, Example, Finding, Place

if TYPE_CHECKING:
    import pyarrow as pa

LABELS = ("label", "labels", "class", "category", "target", "fine_label")
"""What the column of labels may be called, in any case; the first that is there is taken."""

VERSION = 2
"""Raise it when rows are copied out otherwise: what lies in caches is copied anew."""

_BATCH_ROWS = 256
_SAMPLE = 16


@dataclass(frozen=True)
class _Columns:
    """Where a file keeps its pictures, their labels, and what else it says of them, "" where it does not.

    `classes` is empty where labels are words or bare numbers.
    """

    picture: str
    label: str
    classes: tuple[str, ...]
    split: str = ""
    group: str = ""
    further: tuple[str, ...] = ()


def find_embedded(path: Path) -> list[Path]:
    """Find the Parquet files with picture bytes: the file itself, or those in a folder.

    They may lie in its folder "data" instead, or in folders named by the sides of a split, as in "train/0000.parquet" (or
    "partial-train", of which the Hub has converted a part); these may be in a folder of their own, such as "default", if it
    is the only one.
    """
    if path.is_file():
        return [path] if path.suffix.lower() in (".parquet", ".pq") and _picture_column(path) else []
    for folders in _places(path):
        found = sorted(file for folder in folders for file in folder.glob("*.parquet") if not is_hidden(file.name))
        if found and _picture_column(found[0]):
            return found
    return []


def _places(path: Path) -> Iterator[list[Path]]:
    """Yield the folders in which the files of a folder may lie, until they are found."""
    yield [path]
    yield [path / "data"]
    folders = _folders(path)
    yield [folder for folder in folders if _side_of(folder.name)]
    if len(folders) == 1:
        yield [folder for folder in _folders(folders[0]) if _side_of(folder.name)]


def _folders(path: Path) -> list[Path]:
    return [inner for inner in path.iterdir() if not is_hidden(inner.name) and inner.is_dir()]


def _side_of(folder: str) -> str | None:
    return split_of(folder.removeprefix("partial-"))


def list_embedded(
    files: Sequence[Path], cache_dir: Path, *, name: str, source: str, progress: Progress | None = None
) -> Dataset:
    """List pictures whose bytes lie in Parquet files; they are copied out once, so that they can be read in any order.

    Columns split and group are followed, all other plain ones are kept as `Example.extra`. Without a split in the row it is
    that of the file's folder, where there are several, or name ("train-00000-of-00001.parquet", of several files also
    "flowers-train.parquet"). The classes and their order are those of the `ClassLabel` that the file describes; without
    one, they are ordered as in `order_classes`.

    Raises:
        SourceError: A file is no Parquet, holds no pictures or labels, or they name different classes.
    """
    import pyarrow as pa

    columns = [_columns(file, f"{source}: {name}") for file, name in zip(files, _ids(files), strict=True)]
    if len({column.classes for column in columns}) > 1:
        raise SourceError(f"{source} should name the same classes in each of its files.", got="different class names")

    def build(folder: Path) -> None:
        try:
            _copy_out(files, columns, folder, source, progress)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{source} cannot be unpacked.", got=str(error), fix="download it again.") from None

    shared = [name for name in columns[0].further if all(name in one.further for one in columns)]
    columns = [replace(one, further=tuple(shared)) for one in columns]
    folder = build_once(cache_dir / "parquet" / f"{file_key(files)}{_places_key(files)}-{VERSION}", build)
    examples, findings = _read_index(folder)
    if not examples:
        raise SourceError(f"{source} should hold pictures with labels.", got="0 of them")
    counts = Counter(example.label for example in examples)
    classes = columns[0].classes or order_classes(counts)
    findings += class_findings({label: counts[label] for label in classes})
    return Dataset(name, source, tuple(examples), classes, tuple(findings))


def _copy_out(
    files: Sequence[Path], columns: Sequence[_Columns], folder: Path, source: str, progress: Progress | None
) -> None:
    """Write all picture bytes into one file, and beside it a line for each row: id, offset, length, and what is said of it."""
    done, offset = 0, 0
    with (folder / "bytes.bin").open("wb") as pictures, (folder / "index.jsonl").open("w", encoding="utf-8") as index:
        for file, name, column in zip(files, _ids(files), columns, strict=True):
            split_of_file = _split_of_file(name, len(files))
            for row, (data, label, split, group, extra) in enumerate(_rows(file, column)):
                if split.strip() and split_of(split) is None:
                    raise SourceError(
                        f"{source}, {name}: split should be one of {', '.join(SPLIT_WORDS)}, or empty.",
                        got=f"{split!r} in row {row}",
                        fix="correct the word, or leave the cell empty to let Linnaeus split.",
                    )
                length = -1 if data is None else pictures.write(data)
                told = [label, split_of(split) or split_of_file, group.strip(), extra]
                index.write(json.dumps([f"{name}#{row}", offset, length, *told]) + "\n")
                offset += max(0, length)
                done += 1
                if progress and done % _BATCH_ROWS == 0:
                    progress(f"unpacking {name}", done, None)


def _ids(files: Sequence[Path]) -> list[str]:
    """Name files by their way from the folder that holds all of them."""
    above = os.path.commonpath([file.parent for file in files])
    return [file.relative_to(above).as_posix() for file in files]


def _places_key(files: Sequence[Path]) -> str:
    """Name the folders of files that lie in several: they say the split, and `file_key` looks at files only."""
    names = _ids(files)
    return sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:8] if "/" in names[0] else ""


def _split_of_file(name: str, files: int) -> str:
    """Read the part from a file's folder, or the first word of its name; of several files any word, if no other says another."""
    folder, _, file = name.rpartition("/")
    words = re.split(r"[-_.]", file)[:-1]
    found = {_side_of(word) for word in ([folder] if folder else words if files > 1 else words[:1])} - {None}
    return found.pop() or "" if len(found) == 1 else ""


def _read_index(folder: Path) -> tuple[list[Example], list[Finding]]:
    place = str((folder / "bytes.bin").absolute())
    examples, findings = [], []
    with (folder / "index.jsonl").open(encoding="utf-8") as index:
        for line in index:
            id, offset, length, label, split, group, extra = json.loads(line)
            if length < 0:
                findings.append(Finding("missing", (id,), "the row has no bytes of a picture", "set aside"))
            elif not label:
                findings.append(Finding("no label", (id,), "the label is empty or no class", "set aside"))
            else:
                further = tuple((name, word) for name, word in extra)
                examples.append(Example(id, Place(place, offset, length), label, split, group, further))
    return examples, findings


def _rows(file: Path, column: _Columns) -> Iterator[tuple[bytes | None, str, str, str, list[tuple[str, str]]]]:
    """Yield bytes, label, split, group, and what else is said of each row."""
    import pyarrow.parquet as pq

    names = [column.picture, column.label, *filter(None, (column.split, column.group)), *column.further]
    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=names):
            words = {name: words_of(batch.column(name)) for name in names[2:]} | {"": [""] * batch.num_rows}
            for row, (picture, label) in enumerate(
                zip(batch.column(column.picture), batch.column(column.label), strict=True)
            ):
                data = picture.as_py()
                told = [(name, words[name][row].strip()) for name in column.further]
                yield (
                    data.get("bytes") if isinstance(data, dict) else data,
                    _label_text(label.as_py(), column.classes),
                    words[column.split][row],
                    words[column.group][row],
                    told,
                )


def _label_text(label: Any, classes: tuple[str, ...]) -> str:
    if label is None:
        return ""
    if classes and isinstance(label, int):
        return classes[label] if 0 <= label < len(classes) else ""
    return str(label)


def _picture_column(path: Path) -> str | None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import pyarrow.types as types

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return None
    pictures = [field.name for field in schema if _holds_bytes(field.type)]
    inside = [name for name in pictures if types.is_struct(schema.field(name).type)]
    named = find_columns(schema.names)
    if not inside and pictures and named is not None and is_plain(schema.field(named["path"]).type):
        return _beside_paths(path, schema.names[named["path"]], pictures)
    return next(iter([*inside, *pictures]), None)


def _beside_paths(path: Path, named: str, columns: Sequence[str]) -> str | None:
    """Tell pictures, in rows that name files too, from hashes, and from thumbnails of files that are there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as table:
            rows = next(table.iter_batches(batch_size=_SAMPLE, columns=[named, *columns]), None)
    except pa.ArrowException:
        return None
    if rows is None or any(os.path.isfile(path.parent / text) for text in words_of(rows.column(named)) if text):
        return None
    held = {name: next((one for one in rows.column(name).to_pylist() if one), b"") for name in columns}
    return next((name for name in columns if format_of(held[name])), None)


def _holds_bytes(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        return any(part.name == "bytes" and _holds_bytes(part.type) for part in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _columns(file: Path, source: str) -> _Columns:
    """Find the columns of one file by type and name; `source` names it in errors."""
    import pyarrow.parquet as pq
    import pyarrow.types as types

    picture = _picture_column(file)
    if picture is None:
        raise SourceError(f"{source} should be Parquet with a column of picture bytes.", got="none")
    schema: pa.Schema = pq.read_schema(file)
    described = _class_labels(schema)
    by_name = {name.lower(): name for name in reversed(schema.names) if name != picture}
    label = next((by_name[name] for name in LABELS if name in by_name), None)
    if label is None and len(described) == 1:
        label = next(iter(described))
    if label is None or types.is_nested(schema.field(label).type):
        raise SourceError(
            f"{source} should have one label for each picture.",
            got=f"columns {', '.join(schema.names)}" if label is None else f"several labels in column {label}",
            fix=f"name the column {', '.join(LABELS)}.",
        )
    taken = {picture, label}
    plain = [field.name for field in schema if field.name not in taken and is_plain(field.type)]
    known = {kind: by_name[kind] for kind in ("split", "group") if by_name.get(kind) in plain}
    once = [name for name in plain if name not in known.values() and schema.names.count(name) == 1]
    return _Columns(picture, label, described.get(label, ()), **known, further=tuple(once))


def _class_labels(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Read the class names that a file of the Hub describes, by column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: tuple(kind["names"]) for name, kind in features.items() if "names" in kind}
    except (KeyError, TypeError, ValueError):
        return {}
