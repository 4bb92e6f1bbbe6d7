"""CIFAR-10 and CIFAR-100 in their official binary layout, read in place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linnaeus.data.classes import class_findings
from linnaeus.data.filenames import is_hidden
from linnaeus.errors import SourceError
from linnaeus.records import Dataset, Example, Finding, Place

PICTURE_BYTES = 3 * 32 * 32


@dataclass(frozen=True)
class Layout:
    """One official layout: a record is `label_bytes` class numbers, the last one fine, then 3,072 pixels."""

    title: str
    label_bytes: int
    names_file: str
    files: tuple[tuple[str, str, int], ...]
    """File name, split, and number of pictures."""
    pickles: frozenset[str]
    """Names of the same data in the layout for Python."""


CIFAR10 = Layout(
    title="CIFAR-10",
    label_bytes=1,
    names_file="batches.meta.txt",
    files=(*((f"data_batch_{n}.bin", "train", 10_000) for n in range(1, 6)), ("test_batch.bin", "test", 10_000)),
    pickles=frozenset({"data_batch_1", "test_batch", "batches.meta"}),
)
CIFAR100 = Layout(
    title="CIFAR-100",
    label_bytes=2,
    names_file="fine_label_names.txt",
    files=(("train.bin", "train", 50_000), ("test.bin", "test", 10_000)),
    pickles=frozenset({"train", "test", "meta"}),
)


def find_binary(folder: Path) -> tuple[Path, Layout] | None:
    """Find a CIFAR layout in a folder, or in its only sub-folder.

    Raises:
        SourceError: It is the version for Python, whose pickles would run code.
    """
    for place in (folder, *_only_folder(folder)):
        files = _file_names(place)
        for layout in (CIFAR10, CIFAR100):
            if layout.names_file in files and any(name in files for name, _, _ in layout.files):
                return place, layout
            if layout.pickles <= files:
                raise SourceError(
                    f"{place} should be {layout.title} in its binary version.",
                    got="the version for Python, whose pickle files can run any code when opened",
                    fix="take the archive whose name ends in -binary.tar.gz from www.cs.toronto.edu/~kriz.",
                )
    return None


def list_binary(folder: Path, layout: Layout, *, name: str, source: str) -> Dataset:
    """List the pictures of a CIFAR folder, with the official split and order of the classes.

    Raises:
        SourceError: A file is cut off in the middle of a picture, or no file is there.
    """
    classes = tuple((folder / layout.names_file).read_text(encoding="utf-8").split())
    examples: list[Example] = []
    findings: list[Finding] = []
    counts = np.zeros(256, dtype=np.int64)
    for file, split, official in layout.files:
        path = folder / file
        if not path.is_file():
            findings.append(Finding("missing", (file,), f"{layout.title} has a file {file}; it is not here"))
            continue
        labels = _read_labels(path, layout, source)
        if len(labels) != official:
            findings.append(Finding("truncated", (file,), f"{file} holds {len(labels):,} of {official:,} pictures"))
        counts += np.bincount(labels, minlength=256)
        found, odd = _examples(path, labels, classes, layout, split)
        examples += found
        findings += odd
    if not examples:
        raise SourceError(f"{source} should hold pictures of {layout.title}.", got="0 pictures")
    findings += class_findings({label: int(counts[number]) for number, label in enumerate(classes)})
    return Dataset(name, source, tuple(examples), classes, tuple(findings))


def _examples(
    path: Path, labels: np.ndarray, classes: tuple[str, ...], layout: Layout, split: str
) -> tuple[list[Example], list[Finding]]:
    file, place = path.name, os.path.abspath(path)
    size, skip = layout.label_bytes + PICTURE_BYTES, layout.label_bytes
    examples, findings = [], []
    for row, label in enumerate(labels.tolist()):
        if label < len(classes):
            where = Place(place, row * size + skip, PICTURE_BYTES, "3x32x32")
            examples.append(Example(f"{file}#{row}", where, classes[label], split))
        else:
            evidence = f"class number {label}, where {layout.names_file} names {len(classes)}"
            findings.append(Finding("no label", (f"{file}#{row}",), evidence, "set aside"))
    return examples, findings


def _read_labels(path: Path, layout: Layout, source: str) -> np.ndarray:
    """Read the class number of every record; only the pages that hold one are touched."""
    record, size = layout.label_bytes + PICTURE_BYTES, path.stat().st_size
    if size % record:
        raise SourceError(
            f"{source}: {path.name} should be a multiple of {record:,} bytes long.",
            got=f"{size:,} bytes: the last picture is cut off after {size % record:,}",
            fix="download or unpack it again.",
        )
    if not size:
        return np.zeros(0, dtype=np.uint8)
    records = np.memmap(path, dtype=np.uint8, mode="r", shape=(size // record, record))
    return np.array(records[:, layout.label_bytes - 1])


def _file_names(folder: Path) -> set[str]:
    """Name the files of a folder."""
    names = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file():
                names.add(entry.name)
    return names


def _only_folder(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        inner = [Path(entry.path) for entry in entries if not is_hidden(entry.name) and entry.is_dir()]
    return inner if len(inner) == 1 else []
