"""Why networks are computed on a CPU as they are: threads, pieces, precision, order in memory, compilation, busy cores.

    python benchmarks/machine.py [infer | memory | ways | busy | compile] [--write]

Pictures per second, median of 3 with spread; each table has all its sides in one run, taken in turns where they are compared.

* infer: EfficientNet-Lite0, 224 px: one batch shared by all threads (PyTorch's way), and pieces with one thread each, of
  several sizes; in bf16 and fp32.
* memory: EfficientNet-Lite0, 256 px, in pieces: freed memory given back to the system; kept, in arenas of the threads'
  own; and kept in one arena, as it is.
* ways: steps of training in both precisions and both orders in memory, in pieces with one thread each, with one thread,
  and with PyTorch's threads.
* busy: training, inference, and predicting from files with OpenVINO, beside a program that never rests on core 0, as a share
  of what the idle machine does, and of the ideal: that program takes half of a core, the rest is ours.
* compile: what torch.compile costs and brings.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import torch

import bench
import plots
from linnaeus import malloc
from linnaeus.learn import engine as engines
from linnaeus.learn import infer as inference
from linnaeus.learn.objectives import Batch, Loss, supervised
from linnaeus.learn.pieces import Pieces
from linnaeus.machine import cores_here
from linnaeus.nn import zoo
from linnaeus.nn.depthwise import ease_depthwise
from linnaeus.nn.input import FromBytes
from linnaeus.records import Preprocessing
from linnaeus.tables import TableWriter
from linnaeus.targets.fastest import open_fastest
from linnaeus.verbs.predict import predict

HOW = Preprocessing(224, resize_px=256)
PICTURES = {"bf16": 240, "fp32": 120}
TRAINED = (("tf_efficientnet_lite0", 224, 8), ("resnet18", 224, 8), ("small-32", 32, 256))
CORES = cores_here()
FILES = [str(path) for path in sorted(bench.FLOWERS.glob("*/*.jpg"))[::40]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="default: all five")
    parser.add_argument(
        "--write", action="store_true", help="put the tables into docs/performance.md, but that of infer"
    )
    arguments = parser.parse_args()
    about = bench.header()
    print(about)
    for what in arguments.what or TABLES:
        words = TABLES[what]()
        print(f"\n{words}", flush=True)
        if arguments.write and what != "infer":
            told = f"\n{words}\n\n`python benchmarks/machine.py {what} --write`; {about.splitlines()[0]}.\n"
            plots.into_page(bench.ROOT / "docs" / "performance.md", what, told)


def infer_table() -> str:
    network = zoo.create("tf_efficientnet_lite0", num_classes=5, weights="none").eval()
    pictures = np.random.default_rng(0).integers(0, 255, (240, 224, 224, 3), dtype=np.uint8)
    sizes, found = (2, 5, 10, 20), []
    for precision, count in PICTURES.items():
        engine, some = engines.Engine(precision), pictures[:count]
        cells = [rates([lambda some=some, engine=engine: shared(network, some, engine)], count)[0]]
        for size in sizes:
            inference.PIXELS_AT_ONCE = dict.fromkeys(PICTURES, size * 224**2)
            cells.append(rates([answering(network, some, engine)], count)[0])
        found.append((precision, *map(plots.spread, cells)))
    return plots.table(("inference", "all threads, batch 32", *(f"pieces of {size}" for size in sizes)), found)


def answering(network: torch.nn.Module, pictures: np.ndarray, engine: engines.Engine) -> Callable[[], object]:
    """Make one pass over pictures, in pieces."""
    return lambda: list(inference.infer(network, [pictures], HOW, engine))


def memory_table() -> str:
    found = []
    for memory in ("given back", "kept, in arenas of threads", "kept, in one arena"):
        # A process each: the settings cannot be taken back.
        command = [sys.executable, __file__, "memory of", memory]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append((memory, *map(tuple, json.loads(done.stdout))))
    kinds = ("training, bf16", "training, fp32", "inference, bf16", "inference, fp32")
    return plots.table(("freed memory, pictures/s", *kinds), found)


def memory_of(memory: str) -> None:
    """Print the rates with freed memory treated in one way."""
    if memory != "kept, in one arena":
        malloc.share_freed_memory = lambda: None
    if memory == "given back":
        malloc.keep_freed_memory = lambda: None
    name, size = "tf_efficientnet_lite0", 256
    found = [rates([step_of(name, size, 32, precision, "channels-last", CORES)], 32, 2.0)[0] for precision in PICTURES]
    network = zoo.create(name, num_classes=5, weights="none").eval()
    pictures = np.random.default_rng(0).integers(0, 255, (240, size, size, 3), dtype=np.uint8)
    for precision, count in PICTURES.items():
        found.append(rates([answering(network, pictures[:count], engines.Engine(precision))], count)[0])
    print(json.dumps([plots.spread(one) for one in found]))


def step_of(name: str, size: int, count: int, precision: str, memory: str, pieces: int) -> Callable[[], object]:
    """Make one step of training; pieces 0 is one batch shared by PyTorch's threads."""
    form = torch.channels_last if memory == "channels-last" else torch.contiguous_format
    network = zoo.create(name, num_classes=10, size_px=size, weights="none").to(memory_format=form).train()
    ease_depthwise(network, hold=False)
    engine, objective = engines.Engine(precision), supervised(Loss())
    raw = np.random.default_rng(0).integers(0, 255, (count, size, size, 3), dtype=np.uint8)
    pictures = FromBytes(HOW.mean, HOW.std)(torch.from_numpy(raw)).contiguous(memory_format=form)
    batch = Batch(pictures, torch.arange(count) % 10, (0, 0, 0))
    views = Pieces(network, max(1, pieces))

    def step() -> None:
        if pieces:
            views(objective, batch, engine.autocast)
            return
        with engine.autocast():
            loss = objective(network, batch).loss
        torch.autograd.grad(loss, [one for one in network.parameters() if one.requires_grad])

    return step


def ways_table() -> str:
    rows = []
    for name, size, count in TRAINED:
        for precision in ("bf16", "fp32"):
            for memory in ("channels-last", "contiguous"):
                sides = [step_of(name, size, count, precision, memory, pieces) for pieces in (CORES, 1, 0)]
                rows.append((name, precision, memory, *(plots.spread(one) for one in rates(sides, count))))
    head = ("network", "precision", "memory", f"{CORES} pieces", "one thread", f"{CORES} threads of PyTorch")
    return "Steps of training, pictures/s:\n\n" + plots.table(head, rows)


def busy_table() -> str:
    network = zoo.create("tf_efficientnet_lite0", num_classes=5, weights="none").eval()
    pictures = np.random.default_rng(0).integers(0, 255, (64, 224, 224, 3), dtype=np.uint8)
    engine = engines.Engine("bf16")
    sides: dict[str, tuple[int, Callable[[], object]]] = {}
    for name, size, count in TRAINED[::2]:
        sides[f"training {name}, {CORES} pieces"] = count, step_of(name, size, count, "bf16", "channels-last", CORES)
        sides[f"training {name}, PyTorch's threads"] = count, step_of(name, size, count, "bf16", "channels-last", 0)
    sides["inference, pieces"] = 64, answering(network, pictures, engine)
    sides["inference, PyTorch's threads"] = 64, lambda: shared(network, pictures, engine)
    with tempfile.TemporaryDirectory() as folder:
        sides["predicting, JPEG files to CSV, OpenVINO in fp32"] = len(FILES), predicting(Path(folder))
        idle = {name: rates([work], count)[0] for name, (count, work) in sides.items()}
        with busy_core():
            busy = {name: rates([work], count)[0] for name, (count, work) in sides.items()}
    rows = []
    for name in sides:
        work, share = name.partition(",")[0], statistics.median(busy[name]) / statistics.median(idle[name])
        # Of what is left of the machine, by the best way that an idle one has.
        best = max(statistics.median(idle[one]) for one in sides if one.startswith(f"{work},"))
        ideal = best * (CORES - 0.5) / CORES
        rows.append(
            (name, plots.spread(idle[name]), plots.spread(busy[name]), share, ideal / statistics.median(busy[name]))
        )
    head = ("bf16", "idle, pictures/s", "beside a busy program", "of idle", "times slower than the ideal")
    return plots.table(head, rows)


def predicting(folder: Path) -> Callable[[], object]:
    """Answer for photographs as the command does where a runtime's file is kept; the model is trained here."""
    run = bench.train_run(bench.FLOWERS, folder / "run", "--effort", "quick")
    model = open_fastest(run, FILES, on="openvino")

    def work() -> None:
        with TableWriter(folder / "answers.csv") as writer:
            for answers in predict(model, FILES):
                writer.write(answers.columns())

    return work


def compile_table() -> str:
    rows = []
    for name, size, count in TRAINED[::2]:
        network = zoo.create(name, num_classes=10, size_px=size, weights="none").to(memory_format=torch.channels_last)
        raw = torch.randn(count, 3, size, size).contiguous(memory_format=torch.channels_last)
        plain, made = network.train(), torch.compile(copy.deepcopy(network))

        def step(one: torch.nn.Module, raw: torch.Tensor = raw) -> None:
            with torch.autocast("cpu", torch.bfloat16):
                loss = one(raw).float().square().mean()
            loss.backward()

        began = time.perf_counter()
        step(made)
        first_s = time.perf_counter() - began
        eager, compiled = rates([lambda: step(plain), lambda: step(made)], count)  # noqa: B023  Called at once, within this turn.
        gain_s = count / statistics.median(eager) - count / statistics.median(compiled)
        pays = f"{first_s / gain_s:,.0f} steps of {count}" if gain_s > 0 else "never"
        rows.append((name, first_s, plots.spread(eager), plots.spread(compiled), pays))
    head = ("training, bf16, PyTorch's threads", "s to compile", "eager, pictures/s", "compiled", "pays after")
    return plots.table(head, rows)


@contextmanager
def busy_core() -> Iterator[None]:
    """Let another program never rest on core 0."""
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=_spin, args=(begun,), daemon=True)
    process.start()
    begun.wait()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _spin(begun: Event) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    begun.set()
    while True:
        pass


def rates(sides: list[Callable[[], object]], count: int, seconds: float = 0.4) -> list[list[float]]:
    """Take sides in turns, three rounds after one to warm up; each lasts about `seconds`."""
    found: list[list[float]] = [[] for _ in sides]
    for turn in range(4):
        for side, work in zip(found, sides, strict=True):
            began, done = time.perf_counter(), 0
            while not done or (turn and time.perf_counter() - began < seconds):
                work()
                done += 1
            if turn:
                side.append(done * count / (time.perf_counter() - began))
    return found


def shared(network: torch.nn.Module, pictures: np.ndarray, engine: engines.Engine) -> None:
    whole = torch.nn.Sequential(FromBytes(HOW.mean, HOW.std), engine.place(network)).eval()
    with torch.inference_mode(), engine.autocast():
        for first in range(0, len(pictures), 32):
            whole(torch.from_numpy(pictures[first : first + 32]))


TABLES = {
    "infer": infer_table,
    "memory": memory_table,
    "ways": ways_table,
    "busy": busy_table,
    "compile": compile_table,
}


if __name__ == "__main__":
    memory_of(sys.argv[2]) if sys.argv[1:2] == ["memory of"] else main()
