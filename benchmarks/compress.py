"""What pruning and distillation cost: half the arithmetic of a run's network, against the run's own test pictures.

    python benchmarks/compress.py [--flowers RUN] [--keep 0.5] [--seeds 1] [--only prune]

A classifier of the flowers (trained here, unless a run is named) is pruned and distilled; ways are chosen on its validation
part, the test part is looked at once. Prints the share of the multiply-adds, both accuracies, and their paired difference.
Takes about ten minutes a seed on two quiet cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

import bench
from linnaeus.classifier import Classifier
from linnaeus.config import Recipe, validate
from linnaeus.learn.material import Material
from linnaeus.learn.slim import DISTILLING, PRUNING, Slimmed, Slimming, slim
from linnaeus.records import Preprocessing, Split
from linnaeus.run import Run
from linnaeus.story.pictures import look_at_all, open_pictures
from linnaeus.talk import Talk

METHODS = {
    "prune": Slimming(ways=PRUNING),
    "distil": Slimming(ways=DISTILLING),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flowers", type=Path, help="a finished run on the flowers")
    parser.add_argument("--keep", type=float, default=0.5, help="share of the multiply-adds")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", choices=METHODS, help="one method")
    asked = parser.parse_args()
    print(bench.header())
    with tempfile.TemporaryDirectory() as folder:
        run = Run.open(asked.flowers or bench.train_run(bench.FLOWERS, Path(folder) / "run"))
        for name, how in METHODS.items():
            if asked.only in (None, name):
                for seed in range(asked.seeds):
                    one(run, name, replace(how, keep=asked.keep), seed, Path(folder) / f"{name}-{seed}")


def one(run: Run, name: str, how: Slimming, seed: int, folder: Path) -> None:
    original, recipe = Classifier.load(run.folder), validate(run.plan()["used"] | {"seed": seed})
    at_size = pictures_of(run, original.preprocessing)
    started = time.perf_counter()
    made = slim(
        original.network,
        at_size(original.preprocessing.size_px),
        how,
        run=Run.create(folder, name, recipe, run.source()),
        recipe=recipe,
        at_size=at_size,
        talk=Talk(say=print),
    )
    seconds = time.perf_counter() - started
    smaller = replace(original, network=made.network, preprocessing=made.preprocessing)
    report(name, seed, made, right(original, at_size), right(smaller, at_size), seconds)


def pictures_of(run: Run, how: Preprocessing) -> Callable[[int], Material]:
    """Give the run's pictures and parts, for an input of any size."""
    split = run.split()
    part_of = dict(zip(split["id"], split["split"], strict=True))

    def at_size(size_px: int) -> Material:
        resize_px = round(how.resize_px * size_px / how.size_px)
        smaller = replace(how, size_px=size_px, resize_px=resize_px)
        talk = Talk()
        looked = look_at_all(open_pictures(run.source(), talk), run.source(), smaller, Recipe().data.cache_gb, talk)
        dataset, scan = looked.dataset, looked.scan
        parts = np.array([part_of[one.id] for one in dataset.examples])
        return Material(scan.pixels, dataset.labels, scan.hashes, Split(parts, parts), dataset.classes, smaller)

    return at_size


def right(classifier: Classifier, at_size: Callable[[int], Material]) -> np.ndarray:
    """Tell which test pictures are classified rightly."""
    material = at_size(classifier.preprocessing.size_px)
    rows = material.split.rows("test")
    return classifier.logits(material.blocks(rows)).argmax(1) == material.labels[rows]


def report(name: str, seed: int, made: Slimmed, before: np.ndarray, after: np.ndarray, seconds: float) -> None:
    change = after.astype(float) - before
    spread = 1.96 * change.std(ddof=1) / len(change) ** 0.5
    print(
        f"{name}, seed {seed}: {made.way}, {made.after / made.before:.1%} of the multiply-adds, n = {len(after)}: "
        f"{before.mean():.1%} -> {after.mean():.1%}, {100 * change.mean():+.2f} points "
        f"({100 * (change.mean() - spread):+.2f} to {100 * (change.mean() + spread):+.2f}), {seconds:.0f} s; "
        f"validation loss before training {dict(made.tried)}"
    )


if __name__ == "__main__":
    main()
