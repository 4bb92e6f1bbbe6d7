"""Where the time of a training step and of a prediction run goes, on one core.

    python benchmarks/profiles.py [steps] [prediction] [--model RUN] [--write]

Steps are profiled with torch.profiler: the fine-tuning step of photographs (EfficientNet-Lite0 at 256 px above its frozen
stages, a batch of 16, as each of two cores has one) and the step of small-64 (250 pictures of 32 px, Muon), both in
bfloat16. Prints the share of each phase, and the operations that take longest by themselves. The prediction run reads
the flowers from JPEG files to a CSV with --model (a run; without it one is trained, without fine-tuning), in PyTorch and in
OpenVINO, whose file is kept beside the model. Its parts are measured in this process, one after the other; the command as a
whole in one of its own, with all cores. --write puts
the tables into docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.profiler import ProfilerActivity, profile, record_function

import bench
import plots
from linnaeus.classifier import Classifier
from linnaeus.config import OptimSettings
from linnaeus.data.decode import prepare, read_bytes
from linnaeus.learn.engine import Engine
from linnaeus.learn.infer import infer
from linnaeus.learn.objectives import Batch, supervised
from linnaeus.learn.optim import make_optimizer
from linnaeus.nn import stages, zoo
from linnaeus.nn.cut import cut
from linnaeus.nn.depthwise import hold_depthwise
from linnaeus.records import Place
from linnaeus.tables import TableWriter
from linnaeus.targets.fastest import open_fastest
from linnaeus.verbs.predict import TRUTHS, Answers, predict

PAGE = bench.ROOT / "docs" / "performance.md"
STEPS, WARM, SHOWN, PICTURES = 8, 3, 8, 100
PHASES = ("forward", "gradient", "update")


@dataclass(frozen=True)
class Training:
    """What one step works on."""

    title: str
    network: nn.Module
    batch: Batch
    optimizer: Optimizer
    engine: Engine

    def step(self) -> None:
        """Take a step as `loop.train` does, with its phases named."""
        with record_function("forward"), self.engine.autocast():
            outcome = supervised()(self.network, self.batch)
        with record_function("gradient"):
            outcome.loss.backward()
        with record_function("update"):
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["steps", "prediction"])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if "steps" in asked.parts:
        tell("steps", [*step_tables(photographs()), "", *step_tables(small())], asked.write)
    if "prediction" in asked.parts:
        with tempfile.TemporaryDirectory() as folder:
            model = asked.model or bench.train_run(bench.FLOWERS, Path(folder) / "run", "--epochs", "0")
            tell("prediction", prediction_table(model, Path(folder)), asked.write)


def tell(part: str, words: list[str], writes: bool) -> None:
    """Print what was found, and put it into the page."""
    words = ["  \n".join(bench.header().splitlines()), "", *words]
    print("\n".join(words), flush=True)
    if writes:
        plots.into_page(PAGE, f"profile of {part}", "\n".join(words))


def photographs() -> Training:
    """Set up the fine-tuning of photographs as it is planned on a CPU."""
    engine = Engine("bf16")
    network = zoo.create("tf_efficientnet_lite0", num_classes=5, channels=3, size_px=256, weights="default", options={})
    engine.place(network)
    stages.freeze(network, round(0.45 * len(stages.stages(network))))
    hold_depthwise(network)
    stages.train_mode(network, keep_statistics=True)
    pictures = torch.randn(16, 3, 256, 256).to(memory_format=torch.channels_last)
    halves = cut(network, pictures[:2])
    assert halves is not None
    lower, upper = halves
    with torch.no_grad(), engine.autocast():
        outputs = lower(pictures).to(torch.bfloat16)
    optimizer = make_optimizer(network, OptimSettings(name="adamw", lr=1e-4, weight_decay=0.05), set(), {})
    title = "Fine-tuning EfficientNet-Lite0 above its frozen stages, 16 photographs"
    return Training(title, upper, Batch(outputs, labels(16, 5)), optimizer, engine)


def small() -> Training:
    """Set up the training of small pictures."""
    engine = Engine("bf16")
    network = zoo.create("small-64", num_classes=10, channels=3, size_px=32, weights="none", options={})
    engine.place(network).train()
    pictures = torch.randn(250, 3, 32, 32).to(memory_format=torch.channels_last)
    settings = OptimSettings(name="muon", lr=0.1, sgd_lr=10.0, weight_decay=4e-5)
    optimizer = make_optimizer(network, settings, stages.exempt(network), {}, torch.bfloat16)
    return Training("small-64, 250 small pictures", network, Batch(pictures, labels(250, 10)), optimizer, engine)


def labels(n: int, classes: int) -> Tensor:
    return torch.arange(n) % classes


def step_tables(one: Training) -> list[str]:
    """Profile some steps; give the phases, and the operations that take longest by themselves."""
    for _ in range(WARM):
        one.step()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(STEPS):
            one.step()
    events = found.key_averages()
    times = {event.key: event.cpu_time_total / STEPS / 1000 for event in events if event.key in PHASES}
    whole = sum(times.values())
    pace = len(one.batch.labels) / whole * 1000
    phases = ", ".join(f"{name} {100 * times[name] / whole:.0f} %" for name in PHASES)
    alone = sorted((event for event in events if event.key not in PHASES), key=lambda event: -event.self_cpu_time_total)
    rows = [
        (
            f"`{event.key}`",
            f"{event.count / STEPS:.0f}",
            f"{event.self_cpu_time_total / STEPS / 1000:.1f}",
            f"{event.self_cpu_time_total / STEPS / 10 / whole:.0f} %",
        )
        for event in alone[:SHOWN]
    ]
    head = f"**{one.title}**, {one.engine.precision}, one core: {whole:.0f} ms a step, {pace:.0f} pictures/s. {phases}."
    return [head, "", plots.table(("operation", "calls a step", "ms by itself", "of the step"), rows)]


def prediction_table(model: Path, folder: Path) -> list[str]:
    """Measure the parts of predicting from files, one core each, and the command as a whole."""
    paths = sorted(bench.FLOWERS.rglob("*.jpg"))
    paths = paths[:: max(1, len(paths) // PICTURES)][:PICTURES]
    few, many = folder / "few", folder / "many"
    for place, chosen in ((few, paths[:1]), (many, paths)):
        place.mkdir()
        for number, path in enumerate(chosen):
            shutil.copy(path, place / f"{number:04}.jpg")
    classifier = Classifier.load(model)
    how, engine = classifier.preprocessing, Engine()
    data = [read_bytes(Place(str(path), 0, -1, "")) for path in paths]
    read_s = timed(lambda: [read_bytes(Place(str(path), 0, -1, "")) for path in paths])
    decode_s = timed(lambda: [prepare(one, "", how) for one in data])
    blocks = np.zeros((PICTURES, how.size_px, how.size_px, how.channels), np.uint8)
    engine.cores = 1
    eager_s = timed(lambda: list(infer(classifier.network, [blocks], how, engine)))
    pytorch = [command_seconds(model, place, folder, "pytorch") for place in (few, many)]
    kept = [command_seconds(model, place, folder, "openvino") for place in (few, many)]
    runtime = open_fastest(model, [str(path) for path in paths], on="openvino")
    pieces = [blocks[at : at + runtime.portion] for at in range(0, len(paths), runtime.portion)]
    runtime_s = timed(lambda: [runtime.judge(piece) for piece in pieces])
    answers = next(predict(runtime, [str(path) for path in paths]))
    csv_s = timed(lambda: write(answers, folder / "answers.csv"))
    parts = {
        "reading files": read_s,
        "decoding and resizing, one core": decode_s,
        "the network in eager PyTorch, fp32, one core": eager_s,
        "the network in OpenVINO, fp32, one core": runtime_s,
        "columns and CSV": csv_s,
        "the command for one picture, PyTorch": pytorch[0],
        f"the command for {len(paths)} pictures, PyTorch, all cores": pytorch[1],
        "the command for one picture, OpenVINO's file kept": kept[0],
        f"the command for {len(paths)} pictures, OpenVINO's file kept, all cores": kept[1],
    }
    rows = [
        (name, f"{seconds:.2f}", "" if "one picture" in name else f"{1000 * seconds / len(paths):.1f}")
        for name, seconds in parts.items()
    ]
    head = f"**Predicting {len(paths)} photographs** from JPEG files to a CSV, {how.size_px} px:"
    return [head, "", plots.table(("part", "s", "ms a picture"), rows)]


def timed(work: Callable[[], object]) -> float:
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def write(answers: Answers, out: Path) -> None:
    with TableWriter(out, TRUTHS) as writer:
        writer.write(answers.columns())


def command_seconds(model: Path, pictures: Path, folder: Path, on: str) -> float:
    """Run `linnaeus predict` twice; the second run finds everything where the first has put it."""
    command = [
        sys.executable,
        "-m",
        "linnaeus",
        "predict",
        str(model),
        str(pictures),
        "--out",
        str(folder / "answers.csv"),
        "--on",
        on,
    ]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    for _ in range(2):
        started = time.perf_counter()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        seconds = time.perf_counter() - started
        (folder / "answers.csv").unlink()
    return seconds


if __name__ == "__main__":
    main()
