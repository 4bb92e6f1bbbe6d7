"""The data sets of the catalog: found, or fetched, and listed."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from linnaeus.data.archive import unpack, unpacked_folder
from linnaeus.data.binary import find_binary, list_binary
from linnaeus.data.classes import class_findings
from linnaeus.data.digits import read_digits
from linnaeus.data.download import fetch, file_digest
from linnaeus.data.folders import Progress, build_once
from linnaeus.data.tree import list_folder
from linnaeus.errors import DownloadError, SourceError
from linnaeus.records import Dataset, Example, Finding, Place

if TYPE_CHECKING:
    from linnaeus.data.catalog import Download, Entry

_DIGIT_BYTES = 8 * 8


def open_builtin(entry: Entry, *, data_dir: Path | None, cache_dir: Path, progress: Progress | None = None) -> Dataset:
    """List a data set of the catalog, fetching it first if need be.

    Args:
        entry: One of the catalog.
        data_dir: A folder with its archives, or with what they unpack to; then nothing is downloaded.
        cache_dir: Where downloads and unpacked archives are kept.
        progress: Told while something takes time.

    Raises:
        DownloadError: It cannot be fetched, or an archive has another checksum.
        SourceError: `data_dir` does not hold it.
    """
    if entry.layout == "digits":
        return _list_digits(entry, cache_dir)
    if data_dir is None:
        archives = [_download(entry, file, cache_dir, progress) for file in entry.files]
    else:
        archives = [data_dir / file.name for file in entry.files]
        if folder := _unpacked(entry, data_dir):
            return _list_files(entry, [folder] * len(entry.files))
        if not all(archive.is_file() for archive in archives):
            names = " and ".join(file.name for file in entry.files)
            raise SourceError(
                f"--data-dir {data_dir} should hold {names}, or the folder {entry.folder} with what is in it.",
                got="neither" if data_dir.is_dir() else "no such folder",
                fix=f"put {names} there, from {' and '.join(file.url for file in entry.files)}.",
            )
    pairs = zip(entry.files, archives, strict=True)
    return _list_files(entry, [_unpack(file, archive, cache_dir, progress) for file, archive in pairs])


def _download(entry: Entry, file: Download, cache_dir: Path, progress: Progress | None) -> Path:
    folder = cache_dir / "downloads"
    try:
        return fetch(file.url, folder / file.name, digest=file.digest, size=file.size, progress=progress)
    except DownloadError as error:
        raise DownloadError(
            error.rule,
            got=error.got,
            fix=f"put {file.name} ({file.size / 1e6:,.0f} MB) from {file.url} into {folder}, "
            f"or pass --data-dir with a folder that holds it, or its unpacked {entry.folder}.",
        ) from None


def _unpack(file: Download, archive: Path, cache_dir: Path, progress: Progress | None) -> Path:
    """Unpack an archive, after its checksum was right."""
    if not unpacked_folder(archive, cache_dir).is_dir():
        got = file_digest(archive, file.digest)
        if got != file.digest:
            raise DownloadError(
                f"{archive} should have the checksum {file.digest}.",
                got=got,
                fix=f"remove it, and fetch {file.url} again.",
            )
    return unpack(archive, cache_dir, source=str(archive), progress=progress)[0]


def _unpacked(entry: Entry, data_dir: Path) -> Path | None:
    """Find the unpacked data set: in a folder named as in its archive or as in the catalog, or right in `data_dir`."""
    for folder in (data_dir / entry.folder, data_dir / entry.name, data_dir):
        if not folder.is_dir():
            continue
        inner = {name.lower() for name in os.listdir(folder)}
        expected = {
            "cifar": {"test_batch.bin", "test.bin"},
            "folder": {name.lower() for name in entry.classes} | ({"train"} if entry.class_folders else set()),
            "pets": {"annotations"},
        }[entry.layout]
        if inner & expected:
            return folder
    return None


def _list_files(entry: Entry, folders: list[Path]) -> Dataset:
    if entry.layout == "pets":
        return _list_pets(entry, *folders)
    (folder,) = folders
    if entry.layout == "cifar":
        found = find_binary(folder)
        if found is None or len(found[1].files) != (6 if entry.name == "cifar10" else 2):
            raise SourceError(f"{folder} should hold {entry.title} in its binary version.", got="other files")
        return list_binary(*found, name=entry.name, source=entry.name)
    own = folder / entry.folder
    dataset = list_folder(own if own.is_dir() else folder, name=entry.name, source=entry.name)
    return _rename_classes(dataset, entry)


def _rename_classes(dataset: Dataset, entry: Entry) -> Dataset:
    """Call the classes what the catalog calls them, where their folders have codes for names."""
    names = entry.class_folders
    if not names:
        return dataset
    return replace(
        dataset,
        classes=tuple(names.get(label, label) for label in dataset.classes),
        examples=tuple(replace(example, label=names.get(example.label, example.label)) for example in dataset.examples),
    )


def _list_pets(entry: Entry, pictures: Path, lists: Path) -> Dataset:
    """List the pictures that the two official lists name; the class is the file's name before its last underscore."""
    pictures, lists = (
        next((folder / inner for inner in (name, f"{entry.folder}/{name}") if (folder / inner).is_dir()), folder)
        for folder, name in ((pictures, "images"), (lists, "annotations"))
    )
    examples, findings = [], []
    present = set(os.listdir(pictures))
    for file, split in (("trainval.txt", "train"), ("test.txt", "test")):
        if not (lists / file).is_file():
            raise SourceError(f"{lists} should hold trainval.txt and test.txt.", got=f"no {file}")
        for line in (lists / file).read_text(encoding="utf-8").splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            picture = f"{line.split()[0]}.jpg"
            if picture in present:
                place = Place(os.path.abspath(pictures / picture))
                examples.append(Example(f"images/{picture}", place, picture.rpartition("_")[0], split))
            else:
                findings.append(Finding("missing", (f"images/{picture}",), f"named in {file}", "set aside"))
    if not examples:
        raise SourceError(f"{pictures} should hold the pictures of {entry.title}.", got="none of those that are listed")
    listed = {example.id for example in examples}
    if beside := sorted({f"images/{name}" for name in present} - listed):
        findings.append(Finding("other files", tuple(beside), f"{len(beside)} files are in neither list", "note"))
    counts = Counter(example.label for example in examples)
    classes = tuple(dict.fromkeys((*entry.classes, *sorted(counts))))
    findings += class_findings({label: counts[label] for label in classes})
    examples.sort(key=lambda example: example.id)
    return Dataset(entry.name, entry.name, tuple(examples), classes, tuple(findings))


def _list_digits(entry: Entry, cache_dir: Path) -> Dataset:
    """List scikit-learn's digits; each record of the file is the class number and 64 grey values."""
    path = build_once(cache_dir / "digits", _write_digits) / "digits.bin"
    record = 1 + _DIGIT_BYTES
    labels = np.fromfile(path, dtype=np.uint8)[::record].tolist()
    place = os.path.abspath(path)
    examples = tuple(
        Example(f"digits.bin#{row}", Place(place, row * record + 1, _DIGIT_BYTES, "1x8x8"), entry.classes[label])
        for row, label in enumerate(labels)
    )
    return Dataset(entry.name, entry.name, examples, entry.classes)


def _write_digits(folder: Path) -> None:
    pictures, labels = read_digits()
    grey = np.rint(pictures.reshape(len(pictures), -1) * (255 / 16)).astype(np.uint8)
    np.column_stack([labels, grey]).tofile(folder / "digits.bin")
