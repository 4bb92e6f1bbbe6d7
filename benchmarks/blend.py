"""What does a discriminant bring that is blended into a solved head? The same heads without it, on the same rows.

    python benchmarks/blend.py [--splits 8] [--source CIFAR10_IN_ITS_BINARY_LAYOUT] [--cache FOLDER] [--write]

Features of EfficientNet-Lite0, of the flowers and of 5,000 pictures of CIFAR-10, are dealt into pictures to learn from and
pictures to be tested on, anew for each split; copies stay on one side. The gain is paired by split, with Student's interval.
`--write` puts the table into docs/decisions.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from scipy import stats
from torch.nn.functional import cross_entropy

import bench
import plots
from linnaeus.data.cache import scan
from linnaeus.data.sources import open_source
from linnaeus.learn import head
from linnaeus.learn.blend import Blend
from linnaeus.learn.crossfit import folds_of_keys
from linnaeus.learn.embeddings import embed
from linnaeus.learn.engine import Engine
from linnaeus.learn.head import folds_of, solve_head
from linnaeus.records import Preprocessing

LEARNED = {"flowers": (100, 400, 1700), "CIFAR-10": (200, 1000, 3500)}
CIFAR_EVERY = 12
"""One picture in so many of CIFAR-10's 60,000."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=8)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "linnaeus-blend")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    about = bench.header()
    Engine()
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            row
            for name, source, how, every in (
                ("flowers", bench.FLOWERS, Preprocessing(256), 1),
                ("CIFAR-10", asked.source or bench.cifar10(Path(folder)), Preprocessing(32), CIFAR_EVERY),
            )
            for row in compared(name, *described(source, how, every, asked.cache), asked.splits)
        ]
    head_ = ("set", "learned from", "regression", "with a discriminant", "gain, points", "log loss", "seconds")
    told = f"{plots.table(head_, rows)}\n\n```text\n{about}\n```"
    print(told)
    if asked.write:
        plots.into_page(bench.ROOT / "docs/decisions.md", "blend", told)


def described(
    source: Path, how: Preprocessing, every: int, cache: Path
) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Compute features, labels and content hashes."""
    dataset = open_source(str(source), cache_dir=cache)
    dataset = dataset.take(range(0, len(dataset), every))
    looked = scan(dataset, how, cache_dir=cache, cache_gb=8)
    found = embed(looked, how, cache_dir=cache, cache_gb=8)
    return torch.from_numpy(found), torch.from_numpy(np.asarray(dataset.labels)), list(looked.hashes)


def compared(
    name: str, features: torch.Tensor, labels: torch.Tensor, hashes: list[str], splits: int
) -> Iterator[tuple[object, ...]]:
    """Yield a row of the table for each number of pictures to learn from."""
    classes = int(labels.max()) + 1
    for count in LEARNED[name]:
        accuracy, loss, seconds = (np.empty((splits, 2)) for _ in range(3))
        for split in range(splits):
            place = np.argsort(folds_of_keys([f"{split} {key}" for key in hashes], 2**30), kind="stable")
            known, new = torch.from_numpy(place[:count]), torch.from_numpy(place[count:])
            folds = folds_of([hashes[row] for row in known])
            for way, blended in enumerate((False, True)):
                with mock.patch.object(head, "blend", head.blend if blended else nothing):
                    began = time.perf_counter()
                    solved = solve_head(features[known], labels[known], classes, folds)
                    seconds[split, way] = time.perf_counter() - began
                logits = features[new] @ solved.weight.T + solved.bias
                accuracy[split, way] = 100 * (logits.argmax(1) == labels[new]).float().mean().item()
                loss[split, way] = cross_entropy(logits, labels[new]).item()
        gain = accuracy[:, 1] - accuracy[:, 0]
        half = stats.t.ppf(0.975, splits - 1) * gain.std(ddof=1) / splits**0.5
        means = [f"{one:.2f} %" for one in accuracy.mean(0)]
        told = f"{gain.mean():+.2f} ({gain.mean() - half:+.2f} to {gain.mean() + half:+.2f}, n = {splits})"
        losses = " → ".join(f"{one:.4f}" for one in loss.mean(0))
        yield name, f"{count:,}", *means, told, losses, " → ".join(f"{one:.2f}" for one in np.median(seconds, 0))


def nothing(sums: object, labels: object, held_out: torch.Tensor, loss: object) -> Blend:
    """Leave the regression as it is."""
    return Blend(1.0, torch.zeros(1), torch.zeros(1), held_out)


if __name__ == "__main__":
    main()
