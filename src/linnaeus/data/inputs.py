"""What `predict` is given: files, folders, patterns, and a list on stdin, as one stream of paths."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

from linnaeus.data.filenames import is_hidden, is_picture_name


def expand_inputs(paths: Iterable[str], *, stdin: TextIO | None = None) -> Iterator[str]:
    """Turn what the user typed into paths of pictures, one at a time; every input gives at least one.

    A file is taken whatever its name. A folder gives the files in it, at any depth, whose names end like a picture
    and are not hidden, sorted in each folder. A pattern (`*`, `?`, `[...]`, `**`) is expanded, in sorted order, if no
    file has that very name. "-" reads paths from stdin, one per line. What does not exist, or gives no picture, is
    passed on as it is, so that it becomes a row with an error.

    Args:
        paths: Files, folders, patterns, "-".
        stdin: Read for "-"; sys.stdin if None.
    """
    for path in paths:
        if path == "-":
            lines = (line.rstrip("\r\n") for line in stdin or sys.stdin)
            for line in lines:
                if line:
                    yield from _expand(line)
        else:
            yield from _expand(path)


def _expand(path: str) -> Iterator[str]:
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        yield from _pictures_below(path)
    elif not os.path.lexists(path) and glob.has_magic(path):
        # A pattern with ** names the folders and their files alike: the folders would give each file twice.
        found = [match for match in glob.iglob(path, recursive=True) if "**" not in path or not os.path.isdir(match)]
        for match in sorted(found):
            yield from _expand(match)
        if not found:
            yield path
    else:
        yield path


def _pictures_below(top: str) -> Iterator[str]:
    """Yield the pictures of a folder; the folder itself if it has none, or cannot be listed."""
    entered: set[tuple[int, int]] = set()
    waiting, any_found = [top], False
    while waiting:
        folder = waiting.pop()
        try:
            status = os.stat(folder)
            with os.scandir(folder) as scan:
                entries = sorted((entry for entry in scan if not is_hidden(entry.name)), key=lambda entry: entry.name)
        except OSError:
            any_found = True
            yield folder
            continue
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        for entry in entries:
            if not _is_folder(entry) and is_picture_name(entry.name):
                any_found = True
                yield entry.path
        waiting += [entry.path for entry in reversed(entries) if _is_folder(entry)]
    if not any_found:
        yield top


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
