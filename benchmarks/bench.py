"""What every benchmark prints first, and how it runs the command: hardware, versions, cold cache, seconds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from linnaeus.run import Run

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
FLOWERS = SHARED / "flowers"
PHOTOGRAPHS = "tf_efficientnet_lite0"
"""The default network for photographs."""


@dataclass(frozen=True)
class Outcome:
    """One run of `linnaeus train`: its JSON document, wall-clock seconds from the command to the end, and to the last epoch's."""

    document: dict[str, Any]
    seconds: float
    learned_s: float

    @property
    def accuracy(self) -> dict[str, float]:
        """Accuracy on the test part: value, low, high, n."""
        return self.document["scores"]["test"]["overall"]["accuracy"]


def header() -> str:
    """Name the machine and the versions; the load says whether something else was running."""
    from linnaeus.learn.engine import Machine

    machine = Machine.here()
    names = ("linnaeus", "torch", "torchvision", "timm", "numpy", "opencv-python-headless", "simplejpeg")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    load = os.getloadavg()[0]
    about = f"{machine.name}, {machine.cores} cores, {machine.memory_gb} GB, bf16 {machine.bf16}, load {load:.1f}"
    return f"{about}\n{versions}"


def train(source: str | Path, *options: str, cache: Path | None = None) -> Outcome:
    """Run the command in a process of its own, from a cold cache unless one is given."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"LINNAEUS_CACHE": str(cache or Path(folder) / "cache")}
        command = [sys.executable, "-m", "linnaeus", "train", str(source), "--out", f"{folder}/run", "--json", *options]
        started, began = time.perf_counter(), time.time()
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
        learned = [event["time"] - began for event in Run.open(f"{folder}/run").journal() if event["event"] == "epoch"]
    return Outcome(json.loads(done.stdout), seconds, learned[-1] if learned else seconds)


def cifar10(folder: Path) -> Path:
    """Unpack CIFAR-10 into its binary layout."""
    subprocess.run([sys.executable, str(SHARED / "unpack_cifar10.py"), str(folder)], check=True)
    return folder / "cifar-10-batches-bin"


def train_run(source: str | Path, out: Path, *options: str) -> Path:
    """Run the command and keep its run."""
    command = [sys.executable, "-m", "linnaeus", "train", str(source), "--out", str(out), *options]
    subprocess.run(command, check=True, capture_output=True)
    return out


def fresh(run: Path, out: Path) -> Path:
    """Copy the model of a run without the files that runtimes keep beside it."""
    shutil.copytree(run / "model", out / "model", ignore=shutil.ignore_patterns("runtimes"))
    return out


def warm(python: str | Path, modules: str, pictures: Iterable[Path]) -> None:
    """Bring libraries and pictures into the system's cache: a shared machine drops files from it at any time."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    subprocess.run([str(python), "-c", f"import {modules}"], check=True, capture_output=True, env=clean)
    for path in pictures:
        path.read_bytes()
