"""Write whole files or nothing."""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

_NUMBER = re.compile(r"\(os error (\d+)\)")
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}\.part")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give the name of a file to write beside `path`; it is flushed to the disk and renamed, or leaves nothing behind.

    Whoever may read other new files may read this one, though safetensors lets only the owner.

    Raises:
        OSError: It could not be written; also where it was safetensors that could not, which has an error of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        unfinished.touch()
        mode = unfinished.stat().st_mode
        yield unfinished
        unfinished.chmod(mode)
        # Windows flushes only what is open for writing.
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except SafetensorError as error:
        number = _NUMBER.search(str(error))
        if number is None:
            raise
        raise _system_error(int(number[1]), str(path)) from None
    finally:
        unfinished.unlink(missing_ok=True)


def unfinished_in(folder: Path) -> list[Path]:
    """List the files that `whole` left in a folder when its process was killed."""
    return [path for path in folder.iterdir() if _UNFINISHED.fullmatch(path.name) and path.is_file()]


def _system_error(number: int, path: str) -> OSError:
    """Make of the system's number what Python makes of it."""
    if sys.platform == "win32":
        # There it is a number of Windows, of which Python makes an errno.
        return OSError(None, ctypes.FormatError(number), path, number)
    return OSError(number, os.strerror(number), path)


def write_text(path: Path, text: str) -> None:
    r"""Write a whole file or nothing.

    The odd bytes of a file name that is not UTF-8 are written as \udc.., which JSON reads back as they were.
    """
    with whole(path) as unfinished, unfinished.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write one JSON document for people and programs; arrays become lists, paths text."""
    write_text(path, json.dumps(values, ensure_ascii=False, indent=1, default=plain) + "\n")


def note(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON document that only saves time: where it cannot be written, all goes on without it."""
    with suppress(OSError):
        write_json(path, values)


def plain(value: object) -> object:
    """Give a value that JSON does not know in a form that it does: for `json.dumps(default=plain)`."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no plain form")
