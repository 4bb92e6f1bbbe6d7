"""Why inference on a CPU goes as it does: threads, size of a piece, memory. EfficientNet-Lite0, 224 px.

    python benchmarks/machine.py

Prints pictures per second, median of 3 with spread, for one batch shared by all threads (PyTorch's way), and for pieces
with one thread each, of several sizes; in bf16 and fp32; with freed memory given back to the system, and kept.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

import bench
from linnaeus.learn import engine as engines
from linnaeus.learn import infer as inference
from linnaeus.nn import zoo
from linnaeus.nn.input import FromBytes
from linnaeus.records import Preprocessing

HOW = Preprocessing(224, resize_px=256)
PICTURES = {"bf16": 240, "fp32": 120}


def main() -> None:
    print(bench.header())
    print("\n| freed memory | precision | all threads, batch 32 | pieces of 2 | 5 | 10 | 20 |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for memory in ("given back", "kept"):
        # A process each: the setting cannot be taken back.
        subprocess.run([sys.executable, __file__, memory], check=True)


def rows(memory: str) -> None:
    if memory == "given back":
        engines._keep_freed_memory = lambda: None
    network = zoo.create("tf_efficientnet_lite0", num_classes=5).eval()
    pictures = np.random.default_rng(0).integers(0, 255, (240, 224, 224, 3), dtype=np.uint8)
    for precision, count in PICTURES.items():
        engine = engines.Engine(precision)
        some = pictures[:count]
        cells = [rate(lambda some=some, engine=engine: shared(network, some, engine), count)]
        for size in (2, 5, 10, 20):
            inference.PIXELS_AT_ONCE = dict.fromkeys(PICTURES, size * 224**2)
            cells.append(
                rate(lambda some=some, engine=engine: list(inference.infer(network, [some], HOW, engine)), count)
            )
        print(f"| {memory} | {precision} | " + " | ".join(cells) + " |", flush=True)


def shared(network: torch.nn.Module, pictures: np.ndarray, engine: engines.Engine) -> None:
    whole = torch.nn.Sequential(FromBytes(HOW.mean, HOW.std), engine.place(network)).eval()
    with torch.inference_mode(), engine.autocast():
        for first in range(0, len(pictures), 32):
            whole(torch.from_numpy(pictures[first : first + 32]))


def rate(work: Callable[[], object], count: int) -> str:
    work()
    rates = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        rates.append(count / (time.perf_counter() - started))
    return f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"


if __name__ == "__main__":
    rows(sys.argv[1]) if len(sys.argv) > 1 else main()
