"""Other programs, each in a virtual environment of its own, made on first use and kept in the cache.

Versions of what they share with Linnaeus (PyTorch, numpy, Pillow) are the same, so that a ratio is one of the programs.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

SHARED = ("torch", "torchvision", "numpy", "pillow")
PACKAGES = {
    "fastai": ("fastai==2.8.12",),
    "timm": ("timm==1.0.31",),
    "fastai-timm": ("fastai==2.8.12", "timm==1.0.31"),
}


@functools.cache
def python(name: str) -> Path:
    """Make the environment of a rival, unless it is there, and give its python."""
    from linnaeus.targets.environment import python_environment

    shared = [f"{package}=={version(package).partition('+')[0]}" for package in SHARED]
    return python_environment(name, [*PACKAGES[name], *shared], title=name, say=print)


def ask(name: str, script: str, *arguments: str, environment: dict[str, str] | None = None) -> Any:
    """Run Python code in a rival's environment and read the JSON in its last line.

    Raises:
        SystemExit: It failed.
    """
    command = [str(python(name)), "-c", script, *arguments]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, env=kept | (environment or {}), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def told(versions: dict[str, str]) -> str:
    """Name what was beside us, for below a table."""
    return "beside " + ", ".join(f"{name} {number}" for name, number in versions.items())
