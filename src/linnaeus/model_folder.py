"""The model folder: the names of its files, and where it is. Knowing them does not take PyTorch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from linnaeus.errors import RunError

WEIGHTS, CONFIG, CODE = "model.safetensors", "config.json", "network.py"
JUDGEMENT = "judgement.safetensors"
RUNTIMES = "runtimes"
"""Folder of what was compiled from the model for a runtime: made anew whenever it is missing."""


def find_model(folder: Path) -> Path:
    """Find the model folder of a run, or of a model folder that stands alone.

    Raises:
        RunError: There is none.
    """
    for place in (folder / "model", folder):
        if (place / CONFIG).is_file() and (place / WEIGHTS).is_file():
            return place
    got = "no such folder" if not folder.is_dir() else f"a folder without {CONFIG} and {WEIGHTS}"
    raise RunError(f"{folder} should be a run or a model folder.", got=got, fix="make one: linnaeus train SOURCE")


def content_key(place: Path) -> str:
    """Hash all that a model's answers depend on: two models with one key are one model."""
    key = hashlib.sha256()
    for name in (WEIGHTS, CONFIG, JUDGEMENT, CODE):
        path = place / name
        if path.is_file():
            key.update(f"{name}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                key.update(hashlib.file_digest(file, "sha256").digest())
    return key.hexdigest()[:16]
