"""What adversarial training gains, and what it costs in clean accuracy: CIFAR-10, plain and with --recipe adversarial.

    python benchmarks/robustness.py [--train 5000] [--test 1000] [--epochs 8] [--pictures 256] [--steps 3]

Both trainings have the same network, pictures, seed and number of epochs. Prints for each: seconds, accuracy on unchanged
test pictures, mean accuracy under the corruptions, and accuracy under PGD, all with their intervals.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import bench
from linnaeus import story
from linnaeus.classifier import Classifier
from linnaeus.config import load_recipe
from linnaeus.data.cache import scan
from linnaeus.records import Dataset, Estimate, Example
from linnaeus.run import Run
from linnaeus.verbs.stress import stress

RECORD = 3073
"""Bytes of one picture with its label in CIFAR-10's binary layout."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("train", 5000), ("test", 1000), ("epochs", 8), ("pictures", 256), ("steps", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    print(bench.header())
    print(
        f"{asked.train:,} training pictures, {asked.epochs} epochs, {asked.pictures} test pictures under stress, seed 0\n"
    )
    print("| training | s | clean | mean of 75 corruptions | PGD Linf 2/255 | 4/255 | 8/255 | L2 0.5 |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        source = shortened(bench.cifar10(Path(folder)), Path(folder) / "few" / "cifar-10-batches-bin", asked)
        for name, recipe in (("plain", None), (f"adversarial, {asked.steps} step(s)", "adversarial")):
            print(row(name, recipe, source, Path(folder), asked), flush=True)


def shortened(whole: Path, few: Path, asked: argparse.Namespace) -> Path:
    """Copy the beginning of each file: CIFAR-10's pictures are in random order."""
    few.mkdir(parents=True)
    for file in whole.iterdir():
        count = asked.test if file.name.startswith("test") else asked.train // 5
        content = file.read_bytes()
        (few / file.name).write_bytes(content[: count * RECORD] if file.suffix == ".bin" else content)
    return few


def row(name: str, recipe: str | None, source: Path, folder: Path, asked: argparse.Namespace) -> str:
    settings: dict[str, Any] = {"train.epochs": asked.epochs, "model.name": "small-32", "augment.flip": "random"}
    settings |= (
        {"train.adversarial_steps": asked.steps} if recipe else {"train.keep": "last", "train.label_smoothing": 0}
    )
    started = time.perf_counter()
    run = story.tell(str(source), load_recipe(recipe, settings), out=folder / (recipe or "plain"))
    seconds = time.perf_counter() - started
    found = stress(Classifier.load(run.folder), *test_part(run, folder), pictures=asked.pictures, attacks=("pgd",))
    attacked = {(one["norm"], round(one["radius_255"], 1)): one["accuracy"] for one in found["attacks"]}
    cells = [found["clean"], found["mean_corruption_accuracy"]]
    cells += [attacked[key] for key in (("Linf", 2), ("Linf", 4), ("Linf", 8), ("L2", 127.5))]
    return f"| {name} | {seconds:.0f} | " + " | ".join(Estimate(**one).percent() for one in cells) + " |"


def test_part(run: Run, folder: Path) -> tuple[Dataset, Any]:
    """Open the run's own test pictures."""
    columns, classifier = run.split(), Classifier.load(run.folder)
    rows = np.flatnonzero(np.array(columns["split"]) == "test")
    examples = tuple(Example(columns["id"][row], columns["place"][row], columns["label"][row], "test") for row in rows)
    dataset = Dataset("test", str(run.folder), examples, classifier.classes)
    return dataset, scan(dataset, classifier.preprocessing, cache_dir=folder / "pixels", cache_gb=1).pixels


if __name__ == "__main__":
    main()
