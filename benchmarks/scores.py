"""What intervals cost: scoring with 10,000 resamples, by picture and by group, ranking, and the order of many classes.

    python benchmarks/scores.py [RUNS]

Prints seconds, median of RUNS (5) with the fastest and the slowest, on one thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import numpy as np

import bench
from linnaeus.metrics import apply_temperature, clustered_order, rank, score
from linnaeus.records import Predictions

SIZES = ((1_000, 5), (10_000, 10), (10_000, 100), (50_000, 100), (10_000, 1_000))
GROUP = 10
"""Pictures of a group."""


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(bench.header())
    print(
        f"scipy {version('scipy')}, scikit-learn {version('scikit-learn')}; one thread; median of {runs} (spread), s\n"
    )
    print("| pictures | classes | score | score by group | rank | order of classes |")
    print("| --- | --- | --- | --- | --- | --- |")
    for N, K in SIZES:
        predictions = make(N, K)
        groups = [f"group {i // GROUP}" for i in range(N)]
        confusion = score(predictions, resamples=2).confusion
        cells = (
            seconds(partial(score, predictions), runs),
            seconds(partial(score, predictions, groups=groups), runs),
            seconds(partial(rank, predictions), runs),
            seconds(partial(clustered_order, confusion), runs),
        )
        print(f"| {N:,} | {K:,} | " + " | ".join(cells) + " |", flush=True)


def make(N: int, K: int) -> Predictions:
    """Predict at random, right about three times of four."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, K, N)
    logits = rng.normal(size=(N, K))
    logits[np.arange(N), labels] += 1.5 + np.log(K) / 2
    names = tuple(f"{k}" for k in range(K))
    return Predictions(apply_temperature(logits, 1.0), labels, tuple(f"{i:06}.jpg" for i in range(N)), names)


def seconds(work: Callable[[], object], runs: int) -> str:
    """Time `work` some times, after one warm-up."""
    work()
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})"


if __name__ == "__main__":
    main()
