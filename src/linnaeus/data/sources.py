"""Open whatever holds labelled pictures, as one table."""

from __future__ import annotations

import difflib
import os
from dataclasses import replace
from pathlib import Path

from linnaeus.data.archive import ARCHIVE_EXTENSIONS, archive_stem, unpack
from linnaeus.data.binary import find_binary, list_binary
from linnaeus.data.builtin import open_builtin
from linnaeus.data.catalog import CATALOG
from linnaeus.data.embedded import find_embedded, list_embedded
from linnaeus.data.filenames import is_hidden, is_picture_name, printable, split_of
from linnaeus.data.folders import Progress
from linnaeus.data.manifest import TABLE_EXTENSIONS, is_manifest, list_manifest
from linnaeus.data.tree import list_folder
from linnaeus.errors import SourceError
from linnaeus.records import Dataset, Finding


def open_source(
    source: str | Path, *, data_dir: Path | None = None, cache_dir: Path, progress: Progress | None = None
) -> Dataset:
    """List the pictures of a source; nothing is decoded, and the user's files are only read.

    A source is a folder with one sub-folder per class, or with train/val/test above the classes (see `list_folder`);
    a CSV, TSV or Parquet table (`list_manifest`); CIFAR-10 or -100 in the binary layout (`list_binary`); Parquet with
    picture bytes, or a folder of such files (`list_embedded`); a zip or tar of any of these; or a name of the catalog.
    A path that exists goes before a name of the catalog, unless `data_dir` is given.

    Args:
        source: What the user typed.
        data_dir: For names of the catalog: a folder that holds the archive or its contents.
        cache_dir: Where archives are unpacked and downloads are kept; see `default_cache_dir`.
        progress: Told what is being done, how much of it, and the total where it is known.

    Raises:
        SourceError: There is nothing of these at `source`, or it holds no pictures.
        DownloadError: A data set of the catalog cannot be fetched.
    """
    typed = os.fspath(source)
    path = Path(os.path.expanduser(typed))
    if data_dir is not None:
        data_dir = data_dir.expanduser()
    try:
        if typed in CATALOG and (data_dir is not None or not os.path.lexists(path)):
            return open_builtin(CATALOG[typed], data_dir=data_dir, cache_dir=cache_dir, progress=progress)
        dataset = _open_path(path, typed, cache_dir, progress)
        dataset = replace(dataset, name=printable(dataset.name))
    except OSError as error:
        raise SourceError(
            f"{typed} cannot be opened.", got=str(error), fix="check the path and its permissions."
        ) from None
    if typed in CATALOG:
        evidence = f"{typed!r} is also the name of a built-in data set; the one in {path.absolute()} is taken"
        dataset = replace(dataset, findings=(*dataset.findings, Finding("shadowed name", (typed,), evidence, "note")))
    return dataset


def _open_path(path: Path, typed: str, cache_dir: Path, progress: Progress | None) -> Dataset:
    absolute = Path(os.path.abspath(path))
    if path.is_dir():
        return _open_folder(path, absolute.name or "dataset", typed, cache_dir, progress)
    if not path.is_file():
        raise _not_there(typed, exists=os.path.lexists(path))
    stem = archive_stem(path)
    if stem is not None:
        folder, findings = unpack(path, cache_dir, source=typed, progress=progress)
        folder, beside = _descend(folder)
        dataset = _open_unpacked(folder, stem, typed, cache_dir, progress)
        return replace(dataset, findings=(*findings, *beside, *dataset.findings))
    if path.suffix.lower() in TABLE_EXTENSIONS:
        return _open_table(path, path.stem, typed, cache_dir, progress)
    picture = is_picture_name(path.name)
    raise SourceError(
        f"{typed} should be a folder, a table ({', '.join(TABLE_EXTENSIONS)}) or an archive (.zip, .tar.gz ...).",
        got="one picture" if picture else f"a file ending in {path.suffix or 'nothing'}",
        fix="pass the folder that holds the folders of the classes."
        if picture
        else "rename it, if it is one of these.",
    )


def _open_folder(path: Path, name: str, typed: str, cache_dir: Path, progress: Progress | None) -> Dataset:
    if found := find_binary(path):
        return list_binary(*found, name=name, source=typed)
    if files := find_embedded(path):
        dataset = list_embedded(files, cache_dir, name=name, source=typed, progress=progress)
        return replace(dataset, findings=(*dataset.findings, *_beside(path, files)))
    return list_folder(path, name=name, source=typed)


def _beside(folder: Path, files: list[Path]) -> tuple[Finding, ...]:
    """Say what lies beside the files that were read, in their folders and in those above, down from the given one."""
    read = {one for file in files for one in (file, *file.parents)}
    looked = [one for one in read if one == folder or (folder in one.parents and one.is_dir())]
    others = [one for inner in looked for one in inner.iterdir() if not is_hidden(one.name) and one not in read]
    names = sorted(printable(one.relative_to(folder).as_posix()) for one in others)
    evidence = f"{len(names)} files or folders lie beside the Parquet files with pictures, and are not read"
    return (Finding("other files", tuple(names), evidence, "note"),) if names else ()


def _open_table(path: Path, name: str, typed: str, cache_dir: Path, progress: Progress | None) -> Dataset:
    if files := find_embedded(path):
        return list_embedded(files, cache_dir, name=name, source=typed, progress=progress)
    return list_manifest(path, name=name, source=typed)


def _open_unpacked(folder: Path, name: str, typed: str, cache_dir: Path, progress: Progress | None) -> Dataset:
    """Open what was in an archive: the one table at its top, if there is one, else the folder."""
    tables = [Path(entry.path) for entry in os.scandir(folder) if entry.is_file() and not is_hidden(entry.name)]
    tables = [table for table in tables if is_manifest(table) and not find_embedded(table)]
    if len(tables) == 1:
        return list_manifest(tables[0], name=name, source=typed)
    return _open_folder(folder, name, typed, cache_dir, progress)


def _descend(folder: Path) -> tuple[Path, tuple[Finding, ...]]:
    """Go down through folders that hold nothing but one further folder with folders in it, and texts such as README."""
    beside = list[str]()
    top = folder
    while True:
        entries = [entry for entry in os.scandir(folder) if not is_hidden(entry.name)]
        folders = [entry for entry in entries if entry.is_dir()]
        files = [entry.name for entry in entries if not entry.is_dir()]
        data = any(is_picture_name(name) or name.lower().endswith((*TABLE_EXTENSIONS, ".bin")) for name in files)
        if len(folders) != 1 or data or split_of(folders[0].name) or not _goes_on(folders[0].path):
            break
        beside += [printable(os.path.relpath(os.path.join(folder, name), top)) for name in files]
        folder = Path(folders[0].path)
    evidence = f"{len(beside)} files lie above the folder {printable(os.path.relpath(folder, top))}"
    return folder, (Finding("other files", tuple(sorted(beside)), evidence, "note"),) if beside else ()


def _goes_on(folder: str) -> bool:
    """Tell whether a folder holds folders, a table or CIFAR's files, and so is no class itself."""
    entries = [entry for entry in os.scandir(folder) if not is_hidden(entry.name)]
    return any(entry.is_dir() or entry.name.lower().endswith((*TABLE_EXTENSIONS, ".bin")) for entry in entries)


def _not_there(typed: str, *, exists: bool) -> SourceError:
    near = difflib.get_close_matches(typed.lower(), CATALOG, n=2, cutoff=0.5)
    names = " or ".join(near) if near else ", ".join(CATALOG)
    kinds = f"a folder, a table ({', '.join(TABLE_EXTENSIONS)}), an archive ({', '.join(ARCHIVE_EXTENSIONS[:3])} ...)"
    return SourceError(
        f"{typed} should be {kinds} or a built-in name.",
        got="a link that leads nowhere, or no file" if exists else "nothing of that name",
        fix=f"{'did you mean' if near else 'check the path, or take'} {names}{'?' if near else '.'}",
    )
