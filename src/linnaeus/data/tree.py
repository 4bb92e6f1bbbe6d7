"""A folder with one sub-folder per class, or with train, val and test above the classes."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from linnaeus.data.classes import class_findings, order_classes
from linnaeus.data.filenames import is_hidden, is_picture_name, printable, split_of
from linnaeus.errors import SourceError
from linnaeus.records import Dataset, Example, Finding, Place

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def list_folder(root: Path, *, name: str, source: str) -> Dataset:
    """List the pictures of a folder of class folders; every file in it is accounted for.

    A class is a visible sub-folder, spelled as it is; its pictures lie at any depth below. The folder holds
    train/val/test (in any case, also training, valid, validation, testing) above the classes if two of its visible
    sub-folders, or all of them, are named so and one of these holds folders, whatever lies beside them.
    Anything else named "test" is a class. Links are followed, and within a class no folder is entered twice.

    Raises:
        SourceError: It cannot be listed or holds no picture in a class folder.
    """
    listing = _Listing(os.path.abspath(root))
    top = listing.scan("")
    if closed := [one for one in listing.findings if one.kind == "unreadable"]:
        raise SourceError(f"{source} cannot be listed.", got=closed[0].evidence, fix="check its permissions.")
    classes = listing.read(top)
    if not listing.examples:
        raise _no_pictures(source, listing, classes)
    counts = Counter(example.label for example in listing.examples)
    return Dataset(
        name=name,
        source=source,
        examples=tuple(sorted(listing.examples, key=lambda example: example.id)),
        classes=classes,
        findings=(
            *sorted(listing.all_findings(), key=lambda finding: (finding.kind, finding.ids)),
            *class_findings({label: counts[label] for label in classes}, hint=_hint(listing.root, top)),
        ),
    )


@dataclass
class _Folder:
    """The visible things in one folder, as paths relative to the root."""

    folders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


@dataclass
class _Listing:
    """What was found so far below `root`."""

    root: str
    examples: list[Example] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)

    def read(self, top: _Folder) -> tuple[str, ...]:
        """Read everything below the top folder, and return the class names."""
        above = self._ancestors()
        splits = _split_folders(self.root, top)
        classes = set() if splits else self._read_classes(top, "", above)
        if splits:
            self._take_loose(top.files)
        parts = set[tuple[int, int]]()
        for folder in [*sorted(top.folders), *sorted(top.links)] if splits else ():
            if folder in splits:
                # The same part may have two names: valid/, and val that leads to it.
                if not self._enter(folder, parts):
                    continue
                classes |= self._read_classes(self.scan(folder), splits[folder], above | self._identity(folder))
            else:
                self._walk(folder, None, "", set(above))
        return order_classes(classes)

    def _read_classes(self, folder: _Folder, split: str, above: set[tuple[int, int]]) -> set[str]:
        self._take_loose(folder.files)
        classes = set()
        for inner in sorted(folder.folders + folder.links):
            label = printable(inner.rpartition("/")[2])
            if self._walk(inner, label, split, set(above)):
                classes.add(label)
        return classes

    def _walk(self, top: str, label: str | None, split: str, entered: set[tuple[int, int]]) -> bool:
        """Take every file below `top`: real folders first, then links, each folder once. False: `top` is a circle."""
        if not self._enter(top, entered):
            return False
        folders, links = [top], list[str]()
        while folders:
            found = self.scan(folders.pop())
            self._take(found.files, label, split)
            folders += [folder for folder in found.folders if self._enter(folder, entered)]
            links += found.links
            while links and not folders:
                links.sort(reverse=True)
                link = links.pop()
                folders += [link] if self._enter(link, entered) else []
        return True

    def scan(self, folder: str) -> _Folder:
        """List one folder, without looking at its files."""
        found = _Folder()
        prefix = f"{folder}/" if folder else ""
        try:
            with os.scandir(f"{self.root}/{folder}") as entries:
                for entry in entries:
                    self._sort_in(entry, prefix + entry.name, found)
        except OSError as error:
            self._set_aside("unreadable", folder or ".", f"the folder cannot be listed: {error.strerror}")
        return found

    def _sort_in(self, entry: os.DirEntry[str], id: str, found: _Folder) -> None:
        try:
            if is_hidden(entry.name):
                self.hidden.append(printable(id))
            elif entry.is_dir():
                (found.links if entry.is_symlink() else found.folders).append(id)
            elif entry.is_file():
                found.files.append(id)
            elif entry.is_symlink():
                self._set_aside("missing", id, "a link that leads nowhere")
            else:
                self._set_aside("not a picture", id, "neither a file nor a folder")
        except OSError as error:
            self._set_aside("missing", id, f"a link that cannot be followed: {error.strerror}")

    def _take(self, files: Iterable[str], label: str | None, split: str) -> None:
        for id in files:
            if not is_picture_name(id):
                self._set_aside(
                    "not a picture", id, f"a file ending in {os.path.splitext(printable(id))[1] or 'nothing'}"
                )
            elif label is None:
                self._set_aside("outside the splits", id, "lies beside train, val and test")
            else:
                self.examples.append(Example(printable(id), Place(f"{self.root}/{id}"), label, split))

    def _take_loose(self, files: Iterable[str]) -> None:
        for id in files:
            if is_picture_name(id):
                self._set_aside("no class", id, "a picture that lies in no class folder")
            else:
                self.beside.append(printable(id))

    def _set_aside(self, kind: str, id: str, evidence: str) -> None:
        self.findings.append(Finding(kind, (printable(id),), evidence, "set aside"))

    def _enter(self, folder: str, entered: set[tuple[int, int]]) -> bool:
        identity = self._identity(folder)
        if identity and identity <= entered:
            evidence = "a link to a folder that is read already"
            self.findings.append(Finding("circular link", (printable(folder),), evidence, "note"))
            return False
        entered |= identity
        return True

    def _identity(self, folder: str) -> set[tuple[int, int]]:
        try:
            status = os.stat(f"{self.root}/{folder}")
        except OSError:
            return set()
        return {(status.st_dev, status.st_ino)}

    def _ancestors(self) -> set[tuple[int, int]]:
        """Identify the root and every folder above it: a link to one of them is a circle."""
        path, found = os.path.realpath(self.root), set()
        while True:
            status = os.stat(path)
            found.add((status.st_dev, status.st_ino))
            if path == (path := os.path.dirname(path)):
                return found

    def all_findings(self) -> list[Finding]:
        findings = list(self.findings)
        if self.hidden:
            evidence = f"{len(self.hidden)} hidden files or folders are no pictures"
            findings.append(Finding("hidden files", tuple(sorted(self.hidden)), evidence, "note"))
        if self.beside:
            evidence = f"{len(self.beside)} files lie beside the class folders"
            findings.append(Finding("other files", tuple(sorted(self.beside)), evidence, "note"))
        return findings


def _split_folders(root: str, top: _Folder) -> dict[str, str]:
    """Map the folders that are sides of a split to "train", "val" or "test"; empty where there is no such layout."""
    folders = top.folders + top.links
    splits = {folder: split for folder in folders if (split := split_of(folder))}
    deep = any(_has_folder(f"{root}/{folder}") for folder in splits)
    return splits if deep and (len(splits) >= 2 or len(splits) == len(folders)) else {}


def _has_folder(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return any(not is_hidden(entry.name) and entry.is_dir() for entry in entries)
    except OSError:
        return False


def _hint(root: str, top: _Folder) -> str:
    """Say what a single class may mean: one folder too high, or a table of labels beside the pictures."""
    tables = [file for file in sorted(top.files) if file.lower().endswith((".csv", ".tsv", ".parquet"))]
    if tables:
        return f"; or pass {tables[0]}, if it has columns path,label"
    deep = [folder for folder in top.folders if _has_folder(f"{root}/{folder}")]
    return f"; or pass its folder {deep[0]}" if deep else ""


def _no_pictures(source: str, listing: _Listing, classes: tuple[str, ...]) -> SourceError:
    loose = sum(finding.kind == "no class" for finding in listing.findings)
    got = "0 files ending in .jpg, .png, .webp ..."
    if loose:
        got = f"{loose} pictures that lie in no class folder"
    elif classes:
        got = f"{len(classes)} folders with {got}"
    return SourceError(
        f"{source} should hold pictures, one folder per class.",
        got=got,
        fix="check the path, or pass a CSV with columns path,label.",
    )
