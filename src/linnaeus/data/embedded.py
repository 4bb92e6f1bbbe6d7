"""Parquet files with the pictures' bytes inside, as the Hugging Face Hub keeps them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnaeus.data.classes import class_findings, order_classes
from linnaeus.data.filenames import is_hidden, split_of
from linnaeus.data.folders import Progress, build_once, file_key
from linnaeus.errors import SourceError
from linnaeus.records import Dataset, Example, Finding, Place

if TYPE_CHECKING:
    import pyarrow as pa

LABELS = ("label", "labels", "class", "category", "target", "fine_label")
"""What the column of labels may be called, in any case; the first that is there is taken."""

_BATCH_ROWS = 256


@dataclass(frozen=True)
class _Columns:
    """Where a file keeps its pictures and labels; `classes` is empty where labels are words or bare numbers."""

    picture: str
    label: str
    classes: tuple[str, ...]


def find_embedded(path: Path) -> list[Path]:
    """Find the Parquet files with picture bytes: the file itself, or those in a folder or in its folder "data"."""
    if path.is_file():
        return [path] if path.suffix.lower() in (".parquet", ".pq") and _picture_column(path) else []
    for folder in (path, path / "data"):
        found = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
        found = [file for file in found if not is_hidden(file.name)]
        if found and _picture_column(found[0]):
            return found
    return []


def list_embedded(
    files: Sequence[Path], cache_dir: Path, *, name: str, source: str, progress: Progress | None = None
) -> Dataset:
    """List pictures whose bytes lie in Parquet files; they are copied out once, so that they can be read in any order.

    The split is that of the file's name ("train-00000-of-00001.parquet"), the classes and their order those of the
    `ClassLabel` that the file describes; without one, classes are ordered as in `order_classes`.

    Raises:
        SourceError: A file is no Parquet, holds no pictures or labels, or they name different classes.
    """
    import pyarrow as pa

    columns = [_columns(file, source) for file in files]
    if len({column.classes for column in columns}) > 1:
        raise SourceError(f"{source} should name the same classes in each of its files.", got="different class names")

    def build(folder: Path) -> None:
        try:
            _copy_out(files, columns, folder, progress)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{source} cannot be unpacked.", got=str(error), fix="download it again.") from None

    folder = build_once(cache_dir / "parquet" / file_key(files), build)
    examples, findings = _read_index(folder)
    if not examples:
        raise SourceError(f"{source} should hold pictures with labels.", got="0 of them")
    counts = Counter(example.label for example in examples)
    classes = columns[0].classes or order_classes(counts)
    findings += class_findings({label: counts[label] for label in classes})
    return Dataset(name, source, tuple(examples), classes, tuple(findings))


def _copy_out(files: Sequence[Path], columns: Sequence[_Columns], folder: Path, progress: Progress | None) -> None:
    """Write all picture bytes into one file, and beside it a line for each row: id, offset, length, label, split."""
    done, offset = 0, 0
    with (folder / "bytes.bin").open("wb") as pictures, (folder / "index.jsonl").open("w", encoding="utf-8") as index:
        for file, column in zip(files, columns, strict=True):
            split = split_of(re.split(r"[-_.]", file.name, maxsplit=1)[0]) or ""
            for row, (data, label) in enumerate(_rows(file, column)):
                length = -1 if data is None else pictures.write(data)
                index.write(json.dumps([f"{file.name}#{row}", offset, length, label, split]) + "\n")
                offset += max(0, length)
                done += 1
                if progress and done % _BATCH_ROWS == 0:
                    progress(f"unpacking {file.name}", done, None)


def _read_index(folder: Path) -> tuple[list[Example], list[Finding]]:
    place = str((folder / "bytes.bin").absolute())
    examples, findings = [], []
    with (folder / "index.jsonl").open(encoding="utf-8") as index:
        for line in index:
            id, offset, length, label, split = json.loads(line)
            if length < 0:
                findings.append(Finding("missing", (id,), "the row has no bytes of a picture", "set aside"))
            elif not label:
                findings.append(Finding("no label", (id,), "the label is empty or no class", "set aside"))
            else:
                examples.append(Example(id, Place(place, offset, length), label, split))
    return examples, findings


def _rows(file: Path, column: _Columns) -> Iterator[tuple[bytes | None, str]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=[column.picture, column.label]):
            for picture, label in zip(batch.column(column.picture), batch.column(column.label), strict=True):
                data = picture.as_py()
                yield data.get("bytes") if isinstance(data, dict) else data, _label_text(label.as_py(), column.classes)


def _label_text(label: Any, classes: tuple[str, ...]) -> str:
    if label is None:
        return ""
    if classes and isinstance(label, int):
        return classes[label] if 0 <= label < len(classes) else ""
    return str(label)


def _picture_column(path: Path) -> str | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return None
    return next((field.name for field in schema if _holds_bytes(field.type)), None)


def _holds_bytes(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        return any(part.name == "bytes" and _holds_bytes(part.type) for part in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _columns(file: Path, source: str) -> _Columns:
    """Find the columns of one file by type and name."""
    import pyarrow.parquet as pq
    import pyarrow.types as types

    picture = _picture_column(file)
    if picture is None:
        raise SourceError(f"{source}: {file.name} should be Parquet with a column of picture bytes.", got="none")
    schema: pa.Schema = pq.read_schema(file)
    described = _class_labels(schema)
    by_name = {name.lower(): name for name in reversed(schema.names) if name != picture}
    label = next((by_name[name] for name in LABELS if name in by_name), None)
    if label is None and len(described) == 1:
        label = next(iter(described))
    if label is None or types.is_nested(schema.field(label).type):
        raise SourceError(
            f"{source}: {file.name} should have one label for each picture.",
            got=f"columns {', '.join(schema.names)}" if label is None else f"several labels in column {label}",
            fix=f"name the column {', '.join(LABELS)}.",
        )
    return _Columns(picture, label, described.get(label, ()))


def _class_labels(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Read the class names that a file of the Hub describes, by column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: tuple(kind["names"]) for name, kind in features.items() if "names" in kind}
    except (KeyError, TypeError, ValueError):
        return {}
