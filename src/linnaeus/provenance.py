"""Where a run and its model come from, and how it went: written so that it can be checked and repeated."""

from __future__ import annotations

import hashlib
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from types import ModuleType
from typing import Any

from linnaeus.classifier import Classifier
from linnaeus.config import Recipe
from linnaeus.data.filenames import printable
from linnaeus.learn.course import Fitted
from linnaeus.learn.engine import Machine
from linnaeus.records import Dataset, Scores
from linnaeus.run import Run
from linnaeus.talk import Talk


def fingerprint(dataset: Dataset, hashes: tuple[str, ...]) -> str:
    """Identify a data set by the content and label of every picture, whatever the files are called."""
    lines = sorted(
        f"{digest} {example.label} {example.split}" for digest, example in zip(hashes, dataset.examples, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def provenance(
    run: Run, dataset: Dataset, hashes: tuple[str, ...], accounted: Mapping[str, int], seed: int
) -> dict[str, Any]:
    """Say what a training needs to be repeated: command, versions, hardware, seed, data."""
    names = ("linnaeus", "torch", "torchvision", "timm", "numpy", "pillow", "simplejpeg", "opencv-python-headless")
    return {
        "command": run.source().get("command", ""),
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in names}},
        "hardware": {**vars(Machine.here()), "system": platform.platform()},
        "seed": seed,
        "data": {
            "source": printable(dataset.source),
            "name": dataset.name,
            "fingerprint": fingerprint(dataset, hashes),
            "found": accounted["found"],
            "used": accounted["used"],
        },
    }


def about(run: Run, used: Recipe, epochs: float, scores: Mapping[str, Scores]) -> dict[str, Any]:
    """Say in the model what it was made from and how good it is."""
    stored = run.provenance()
    return {
        "data": stored["data"],
        "versions": stored["versions"],
        "seed": stored["seed"],
        "epochs": epochs,
        "recipe": used.model_dump(mode="json"),
        "scores": {
            part: {name: [one.value, one.low, one.high, one.n] for name, one in found.overall.items()}
            for part, found in scores.items()
        },
    }


def summary(classifier: Classifier, fitted: Fitted, talk: Talk) -> dict[str, Any]:
    """Say how a training went: seconds by stage, size, epochs, why it ended."""
    return {
        "stages": {name: round(seconds, 2) for name, seconds in talk.seconds.items()},
        "network": classifier.architecture,
        "parameters": sum(value.numel() for value in classifier.network.parameters()),
        "epochs": round(fitted.epochs, 3),
        "best_epoch": round(fitted.best_epoch, 3),
        "stopped": fitted.stopped,
        "waited": fitted.waited,
        "pictures_per_s": fitted.pictures_per_s,
        "decisions": [asdict(one) for one in fitted.decisions],
        "calibration": classifier.calibration.kind,
    }


def write_tensorboard(run: Run) -> None:
    """Write the journal's epochs as TensorBoard events; nothing where there was none."""
    epochs = [event for event in run.journal() if event["event"] == "epoch"]
    if not epochs:
        return
    # Else TensorBoard would load the whole of TensorFlow where it is installed, to write a few lines of its own.
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for path in run.tensorboard_dir.glob("events.*"):
        path.unlink()
    writer = EventFileWriter(str(run.tensorboard_dir))
    for event in epochs:
        values = [
            Summary.Value(tag=name.replace("_", "/", 1), simple_value=value)
            for name, value in event.items()
            if name.startswith(("train_", "val_")) or name == "lr"
        ]
        writer.add_event(Event(wall_time=event["time"], step=event["step"], summary=Summary(value=values)))
    writer.close()
