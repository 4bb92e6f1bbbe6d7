"""Write whole files or nothing."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def write_text(path: Path, text: str) -> None:
    r"""Write a whole file or nothing: temporary file, flush to disk, rename.

    The odd bytes of a file name that is not UTF-8 are written as \udc.., which JSON reads back as they were.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    with unfinished.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write one JSON document for people and programs; arrays become lists, paths text."""
    write_text(path, json.dumps(values, ensure_ascii=False, indent=1, default=plain) + "\n")


def plain(value: object) -> object:
    """Give a value that JSON does not know in a form that it does: for `json.dumps(default=plain)`."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no plain form")
