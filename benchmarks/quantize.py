"""What reduced precisions cost and bring: ONNX Runtime and OpenVINO, one picture and one thread, on a run's test part.

    python benchmarks/quantize.py RUN [--calibration 300] [--rounds 100]

Prints size, accuracy with interval, the paired difference from the float network, agreement, divergence, and latency by
turns: every runtime answers one picture, then again, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

import bench
from linnaeus.classifier import Classifier
from linnaeus.data.decode import middle, prepare, read_bytes
from linnaeus.errors import ModelError
from linnaeus.metrics.intervals import wilson
from linnaeus.metrics.paired import accuracy_difference
from linnaeus.run import Run
from linnaeus.targets.graph import Graph
from linnaeus.targets.onnx import Onnx
from linnaeus.targets.openvino import OpenVino
from linnaeus.targets.sensitivity import divergence, written
from linnaeus.targets.target import Blueprint, Precision, Runner, Target

TARGETS: tuple[Target, ...] = (Onnx(), OpenVino())


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("run")
    asked.add_argument("--calibration", type=int, default=300)
    asked.add_argument("--rounds", type=int, default=100)
    options = asked.parse_args()
    torch.set_num_threads(1)
    run, classifier = Run.open(options.run), Classifier.load(options.run)
    print(bench.header())
    print(", ".join(f"{name} {version(name)}" for name in ("onnx", "onnxruntime", "openvino", "nncf")))
    train, _ = pictures(run, classifier, "train", options.calibration)
    held, _ = pictures(run, classifier, "val")
    test, labels = pictures(run, classifier, "test")
    print(
        f"{classifier.architecture}, {test.shape[1]} px; {len(train)} to calibrate, {len(held)} held, {len(test)} tested\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        compare(classifier, Path(folder), (train, held, test, labels), options.rounds)
    print(f"\nload at the end: {os.getloadavg()[0]:.1f}")


def compare(classifier: Classifier, folder: Path, data: tuple[np.ndarray, ...], rounds: int) -> None:
    train, held, test, labels = data
    (folder / "scratch").mkdir()
    blueprint = Blueprint(Graph(classifier, outputs=("probabilities",)), folder / "scratch")
    tasks: dict[str, Callable[[], object]] = eager(classifier, blueprint.graph, test[:1])
    print(
        "| runtime, precision | seconds | MB | test accuracy | difference, points | agreement | divergence | kept in float |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    whole = None
    for target in TARGETS:
        for name in target.precisions:
            started, place = time.perf_counter(), folder / f"{target.name}-{name}"
            place.mkdir()
            try:
                path, exact = written(target, blueprint, place, Precision(name, train, held=held))
            except ModelError as error:
                print(f"| {target.title} {name} | {error.got} |", flush=True)
                continue
            kept = (", ".join(exact.keep) or "none") if name == "int8" else ""
            seconds, runner = time.perf_counter() - started, target.open(path)
            p = answers(runner, test)
            whole = p if whole is None else whole
            size = sum(one.stat().st_size for one in place.iterdir()) / 1e6
            tasks[f"{target.title} {name}"] = lambda runner=runner: runner.run(test[:1])
            print(
                f"| {target.title} {name} | {seconds:.0f} | {size:.2f} | {quality(p, whole, labels)} | {kept} |",
                flush=True,
            )
    tell_speed(tasks, rounds)


def quality(p: np.ndarray, whole: np.ndarray, labels: np.ndarray) -> str:
    right, before = p.argmax(1) == labels, whole.argmax(1) == labels
    change = accuracy_difference(before, right)
    agreement = (p.argmax(1) == whole.argmax(1)).mean()
    cells = (
        wilson(int(right.sum()), len(labels)).percent(),
        f"{100 * change.value:+.1f} ({100 * change.low:+.1f} to {100 * change.high:+.1f})",
        f"{100 * agreement:.1f} %",
        f"{divergence(whole, p):.4f}",
    )
    return " | ".join(cells)


def tell_speed(tasks: dict[str, Callable[[], object]], rounds: int) -> None:
    seconds = in_turns(tasks, rounds)
    first = next(iter(seconds.values()))
    print("\n| runtime, precision | fastest, ms | p50, ms | p95, ms | as fast as eager | as the runtime in float32 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, one in seconds.items():
        same = seconds.get(f"{name.split(' ')[0]} float32")
        cells = [f"{1000 * value:.2f}" for value in (one.min(), np.median(one), np.quantile(one, 0.95))]
        print(f"| {name} | {' | '.join(cells)} | {times(first, one)} | {'' if same is None else times(same, one)} |")
    print(f"\n{len(first)} calls of each; ratios of the fastest calls and, in brackets, of the medians")


def times(before: np.ndarray, after: np.ndarray) -> str:
    return f"{before.min() / after.min():.1f} ({np.median(before) / np.median(after):.1f})"


def in_turns(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Time three calls of each in every round, after one that warms the caches; who begins changes."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    names = list(tasks)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            tasks[name]()
            for _ in range(3):
                started = time.perf_counter()
                tasks[name]()
                seconds[name].append(time.perf_counter() - started)
    return {name: np.array(one) for name, one in seconds.items()}


def eager(classifier: Classifier, graph: Graph, block: np.ndarray) -> dict[str, Callable[[], object]]:
    """The network alone, as it was trained; our graph, with batch norms folded, from bytes to probabilities; `predict`."""
    network, x = classifier.network.eval(), torch.from_numpy(block).permute(0, 3, 1, 2).float().contiguous() / 255
    seen = torch.from_numpy(block)

    def plain() -> object:
        with torch.inference_mode():
            return network(x)

    def folded() -> object:
        with torch.inference_mode():
            return graph(seen)

    return {
        "PyTorch eager float32": plain,
        "PyTorch folded float32": folded,
        "Classifier.logits": lambda: classifier.logits([block]),
    }


def answers(runner: Runner, block: np.ndarray) -> np.ndarray:
    return np.concatenate([runner.run(block[first : first + 8])["probabilities"] for first in range(0, len(block), 8)])


def pictures(run: Run, classifier: Classifier, part: str, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Decode a part's pictures; of the training part some, drawn at random with a fixed seed."""
    columns, about = run.split(), classifier.preprocessing
    rows = np.flatnonzero(np.array(columns["split"]) == part)
    if most is not None:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:most])
    with ThreadPoolExecutor() as pool:
        places = [columns["place"][row] for row in rows]
        stored = pool.map(lambda place: middle(prepare(read_bytes(place), place.layout, about), about.size_px), places)
        block = np.stack(list(stored))
    return block, np.array([classifier.classes.index(columns["label"][row]) for row in rows])


if __name__ == "__main__":
    main()
