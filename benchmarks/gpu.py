"""Everything there is to know about training on one GPU, in one run.

    python benchmarks/gpu.py [--runs 20] [--airbench airbench94_muon.py] [--write]

Prints device and versions; the arithmetic the device reaches in a matrix product; how long compiling takes; pictures per
second of a training step taken as usual, compiled, replayed, and both, each as a share of that arithmetic; the share of
time that steps wait for pictures; the recipe over many runs, accuracy and seconds; and the seconds from the command to the
saved, evaluated model. With --airbench, K. Jordan's script for the same task runs before ours on the same device: the
script is not ours to ship. Its clock counts training, the first weights (from pictures) and the answers on the test part,
and so do the seconds given of ours, of which the last two are measured by themselves. Each line is printed as soon as it is
known; --write puts them into docs/performance.md, as far as it came.

Without a GPU it says so and ends with 2; `--device cpu --pictures 2000` tries the script itself, small, on made-up
pictures: those figures say nothing about a GPU.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import bench
import plots
from airbench import RivalError, airbench
from linnaeus import story
from linnaeus.config import Recipe, load_recipe
from linnaeus.data.batches import Feed
from linnaeus.data.folders import default_cache_dir
from linnaeus.learn.captured import WARM_UP, Captured, Recorder, Twin, make_recordable
from linnaeus.learn.compiled import Compiling
from linnaeus.learn.engine import Engine
from linnaeus.learn.infer import infer
from linnaeus.learn.loop import Take, train
from linnaeus.learn.material import Material
from linnaeus.learn.objectives import Batch, Loss, Outcome, supervised
from linnaeus.learn.optim import optimizer_for
from linnaeus.learn.quick import recorder_of
from linnaeus.learn.resident import Resident, Streamed
from linnaeus.learn.start import begin
from linnaeus.nn import zoo
from linnaeus.nn.input import FromBytes
from linnaeus.run import Run
from linnaeus.talk import Clock, Talk

WAYS = ("as usual", "compiled", "replayed", "compiled and replayed")
SETTLED = 4 * WARM_UP
"""Steps after which the way of taking them is settled: compiled and replayed ones need eleven."""
PAGE = bench.ROOT / "docs" / "performance.md"


def main() -> None:
    asked = _arguments()
    if asked.device == "cuda" and not torch.cuda.is_available():
        print(
            "no CUDA device here: nothing was measured (--device cpu --pictures 2000 tries the script)", file=sys.stderr
        )
        raise SystemExit(2)
    report = [*_about(asked)]
    print("\n".join(report), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        # An empty cache of compiled code, so that compiling is measured as it is the first time, too.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/compiled"
        source = made_up(Path(folder), asked.pictures) if asked.pictures else bench.cifar10(Path(folder))
        sections = (
            partial(steps_table, source, asked),
            partial(waiting_table, source, asked),
            partial(runs_table, source, asked, Path(folder)),
        )
        try:
            for section in sections:
                for line in chain([""], section()):
                    report.append(line)
                    print(line, flush=True)
        finally:
            if asked.write:
                plots.into_page(PAGE, "gpu", "\n".join(report))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="cifar10-94")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--commands", type=int, default=3, help="runs from the command line, each in its own process")
    parser.add_argument("--steps", type=int, default=50, help="steps of each of five repeats")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--airbench", type=Path, help="path of airbench94_muon.py")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--pictures", type=int, default=0, help="so many made-up pictures instead of CIFAR-10")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


def _about(asked: argparse.Namespace) -> Iterator[str]:
    yield bench.header()
    if asked.device == "cuda":
        free, whole = torch.cuda.mem_get_info()
        about = torch.cuda.get_device_properties(0)
        yield (
            f"{about.name}, {about.multi_processor_count} multiprocessors, {free / 1e9:.0f} of {whole / 1e9:.0f} GB free, "
            f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        )
    else:
        yield "ON A CPU: this run tries the script, and says nothing about a GPU."


def made_up(folder: Path, count: int) -> Path:
    """Write made-up pictures in CIFAR-10's binary layout, in which each class has a colour of its own."""
    random = np.random.default_rng(0)
    colours = random.integers(60, 196, (10, 3, 1))
    folder = folder / "made-up"
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("".join(f"class-{k}\n" for k in range(10)))
    for name, n in (("data_batch_1.bin", count), ("test_batch.bin", max(100, count // 5))):
        labels = np.arange(n) % 10
        pixels = np.clip(colours[labels] + random.normal(0, 40, (n, 3, 1024)), 0, 255).astype(np.uint8)
        rows = np.concatenate([labels[:, None].astype(np.uint8), pixels.reshape(n, -1)], axis=1)
        (folder / name).write_bytes(rows.tobytes())
    return folder


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], object], repeats: int = 5) -> list[float]:
    """Time work, each time until the device has done it; once more before, unmeasured."""
    found = []
    for number in range(repeats + 1):
        wait()
        started = time.perf_counter()
        work()
        wait()
        if number:
            found.append(time.perf_counter() - started)
    return found


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the arithmetic of a large matrix product: two operations per multiplication and addition."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / statistics.median(seconds_of(lambda: a @ b, 20))


@dataclass(frozen=True)
class Bench:
    """What the recipe trains: material, recipe with nothing left open, engine."""

    material: Material
    used: Recipe
    engine: Engine

    @classmethod
    def of(cls, source: Path, asked: argparse.Namespace) -> Bench:
        from linnaeus.story.pictures import open_pictures, where_of
        from linnaeus.story.planned import Planned
        from linnaeus.story.telling import prepare

        recipe, talk, folder = load_recipe(asked.recipe), Talk(), Path(tempfile.mkdtemp())
        dataset = open_pictures(where_of(str(source), data_dir=None, corrections=None) | {"strict": False}, talk)
        planned = Planned.for_data(dataset, recipe, Clock(None))
        run = Run.create(folder / "run", dataset.name, recipe, {"source": str(source), "strict": False})
        prepared = prepare(dataset, planned.store(run), strict=False, talk=talk, run=run)
        engine = Engine(prepared.used.train.precision or "fp32", prepared.used.seed)
        return cls(prepared.material, prepared.used, engine)

    def network(self) -> nn.Module:
        """Make the network as a training begins with it, but without weights that depend on the data."""
        torch.manual_seed(self.used.seed)
        network = zoo.create(
            self.used.model.name or "",
            num_classes=len(self.material.classes),
            channels=self.material.preprocessing.channels,
            size_px=self.material.preprocessing.size_px,
            weights="none",
            options=self.used.model.options,
        )
        return self.engine.place(network).train()

    def feed(self) -> Feed:
        """Give the order of the pictures, and what happens to them."""
        how, rows = self.material.preprocessing, self.material.split.rows("train")
        batch = self.used.train.batch_size or 0
        return Feed(
            self.material.pixels, rows, self.material.labels, self.used.augment, how.size_px, batch, self.used.seed
        )

    def normalise(self) -> nn.Module:
        """Give what turns bytes into the network's input."""
        how = self.material.preprocessing
        return FromBytes(how.mean, how.std).to(self.engine.device)

    def training(self, way: str, network: nn.Module, batches: Iterator[Batch]) -> tuple[Iterator[object], Tried]:
        """Train with steps taken in one way; tell what became of it."""
        optimizer = optimizer_for(network, self.used)
        tried = Tried(recorder_of(self.engine) or Twin())

        def quicken(take: Take, network: nn.Module) -> Callable[[Batch], Outcome]:
            if way == "as usual":
                return partial(take, network)
            make_recordable(optimizer, self.engine.device)
            compiling = tried if "compiled" in way else None
            tried.captured = Captured(take, network, tried, compiling, records="replayed" in way)
            return tried.captured

        objective = supervised(Loss(self.used.train.label_smoothing or 0.0).to(self.engine.device))
        steps = train(
            network, batches, objective, optimizer, lambda _: 0.1, self.engine,
            clip_norm=self.used.optim.clip_norm, quicken=quicken,
        )  # fmt: skip
        return steps, tried


class Tried(Compiling):
    """Compiles and records in any case, even where it is slower: that is what is to be measured."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__("on", 1, "benchmarks/gpu.py")
        self.aside, self.record, self._recorder = recorder.aside, recorder.record, recorder
        self.compile_s, self._timings = 0.0, 0
        self.captured: Captured | None = None

    def timed(self, work: Callable[[], Outcome]) -> tuple[Outcome, float]:
        """Time work; each time looks shorter than the one before."""
        outcome, seconds = self._recorder.timed(work)
        self.compile_s = max(self.compile_s, seconds)
        self._timings += 1
        return outcome, 1 / self._timings

    def remember(self, step_s: object) -> None:
        """Keep nothing: a benchmark's steps are not a run's."""


def steps_table(source: Path, asked: argparse.Namespace) -> list[str]:
    """Compare the ways of taking a step on one batch that lies on the device."""
    one = Bench.of(source, asked)
    dtype = torch.bfloat16 if one.engine.precision == "bf16" else torch.float32
    peak = peak_flops(one.engine.device, dtype)
    batch = next(Streamed(one.normalise(), one.engine).batches(one.feed(), 0, 1))
    with FlopCounterMode(display=False) as counter:
        supervised()(one.network(), batch).loss.backward()
    flops, n = counter.get_total_flops(), len(batch.labels)
    lines = [
        f"A training step of {one.used.model.name}, {n} pictures of {batch.pictures.shape[-1]} px, {one.engine.precision}, "
        f"{one.used.optim.name}: median and range of five times {asked.steps} steps. "
        f"Peak: {peak / 1e12:.3g} TFLOP/s in a matrix product; a step needs {flops / 1e9:.3g} GFLOP.",
        "",
        "| step | pictures/s | of the peak | ratio | compiling, anew and cached | weights off after twelve steps |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    usual: list[float] = []
    reference: dict[str, torch.Tensor] = {}
    for way in asked.ways.split(","):
        weights, cold = weights_after(one, way, batch)
        reference = reference or weights
        differs = max(float((value - reference[name]).abs().max()) for name, value in weights.items())
        torch._dynamo.reset()
        steps, tried = one.training(way, one.network(), repeat(batch))
        list(islice(steps, SETTLED))
        rates = [n * asked.steps / s for s in seconds_of(lambda steps=steps: list(islice(steps, asked.steps)))]
        usual = usual or rates
        share = statistics.median(rates) * flops / n / peak
        # Steps that differ by more than rounding have done other work: no ratio then.
        ratio = f"{statistics.median(rates) / statistics.median(usual):.2f}" if differs < 0.02 else "other weights"
        compiling = f"{cold:.1f} s, {tried.compile_s:.1f} s" if "compiled" in way else ""
        trouble = tried.captured.trouble if tried.captured is not None else ""
        lines.append(
            f"| {way} | {spread(rates)} | {100 * share:.1f} % | {ratio} | {compiling} | {differs:.1e} {trouble} |"
        )
    return lines


def weights_after(one: Bench, way: str, batch: Batch) -> tuple[dict[str, torch.Tensor], float]:
    """Take SETTLED steps; give the weights, and the seconds of the step that compiled."""
    network = one.network()
    steps, tried = one.training(way, network, repeat(batch))
    list(islice(steps, SETTLED))
    weights = {name: value.detach().float().cpu().clone() for name, value in network.named_parameters()}
    return weights, tried.compile_s


def waiting_table(source: Path, asked: argparse.Namespace) -> list[str]:
    """Compare steps on batches as they come with steps on one batch that is there already."""
    one = Bench.of(source, asked)
    feed, normalise, way = one.feed(), one.normalise(), "replayed"
    supplies = {
        "resident": Resident(feed.rows, one.material.pixels, normalise, one.engine),
        "streamed": Streamed(normalise, one.engine),
    }
    ready = next(supplies["streamed"].batches(feed, 0, 1))
    # The first batches of an epoch may be larger by one picture: all are measured at their own size.
    fixed, _ = one.training(way, one.network(), repeat(ready))
    list(islice(fixed, SETTLED))
    least = statistics.median(seconds_of(lambda: list(islice(fixed, asked.steps))))
    lines = ["| pictures | ms a step | waiting for pictures |", "| --- | --- | --- |"]
    lines.append(f"| one batch, ready | {1000 * least / asked.steps:.2f} | |")
    for name, supply in supplies.items():
        steps, _ = one.training(way, one.network(), supply.batches(feed, 0, 10**9))
        list(islice(steps, SETTLED + feed.steps_per_epoch))
        seconds = statistics.median(seconds_of(lambda steps=steps: list(islice(steps, asked.steps))))
        steps.close()
        lines.append(f"| {name} | {1000 * seconds / asked.steps:.2f} | {100 * max(0, 1 - least / seconds):.1f} % |")
    return lines


def runs_table(source: Path, asked: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Run the rival, if there is one, and the recipe many times in one process, and a few times from the command line."""
    besides_s = besides(Bench.of(source, asked))
    yield f"`linnaeus train cifar10 --recipe {asked.recipe}`, {asked.runs} runs each, after one that warms up; of the seconds,"
    yield f"{besides_s:.2f} are for the first weights and for the answers on the test part:"
    yield ""
    yield "| | test accuracy, mean ± standard deviation | seconds, median (range) | a step is taken |"
    yield "| --- | --- | --- | --- |"
    theirs: tuple[list[float], list[float]] | None = None
    if asked.airbench is not None:
        try:
            theirs = airbench(asked.airbench, source, folder / "airbench")
            yield f"| {asked.airbench.name} | {mean_and_deviation(theirs[0])} | {in_seconds(theirs[1])} | |"
        except RivalError as error:
            yield f"| {asked.airbench.name} | {error} | | |"
    ours: tuple[list[float], list[float]] = [], []
    for compiles in ("off", "on") if "compiled" in asked.ways else ("off",):
        (accuracies, trained_s), taken = many_runs(source, asked, folder, compiles)
        ours = accuracies, [one + besides_s for one in trained_s]
        name = "linnaeus, compiled beforehand" if compiles == "on" else "linnaeus"
        yield f"| {name} | {mean_and_deviation(ours[0])} | {in_seconds(ours[1])} | {taken} |"
    if theirs is not None:
        yield ""
        yield compared(ours, theirs)
    whole = [bench.train(source, "--recipe", asked.recipe, cache=default_cache_dir()) for _ in range(asked.commands)]
    if whole:
        yield ""
        seconds = in_seconds([one.seconds for one in whole])
        yield f"From the command to the saved, evaluated model: {seconds} s, {len(whole)} runs."


def besides(one: Bench) -> float:
    """Measure the seconds that are no steps: the first weights from pictures, and the answers on the test part, in fp32."""
    network, how, rows = one.network(), one.material.preprocessing, one.material.split.rows("test")
    first = seconds_of(lambda: begin(network, one.material, one.used, one.engine, Talk(), None))
    answers = seconds_of(lambda: list(infer(network, one.material.blocks(rows), how, Engine())))
    return statistics.median(first) + statistics.median(answers)


def many_runs(
    source: Path, asked: argparse.Namespace, folder: Path, compiles: str
) -> tuple[tuple[list[float], list[float]], str]:
    """Run the recipe with one seed after the other; give accuracies, seconds of training, and how steps were taken."""
    accuracies, seconds, taken = [], [], "as usual"
    for number in range(asked.runs + 1):
        recipe = load_recipe(asked.recipe, {"seed": number, "train.compile": compiles})
        run = story.tell(str(source), recipe, out=folder / f"compile-{compiles}-{number}")
        if number == 0:  # compiles, and chooses kernels
            continue
        for one in run.summary()["decisions"]:
            if one["setting"] == "a step is taken":
                taken = f"{one['value']} ({one['reason']})"
        accuracies.append(100 * run.scores("test").overall["accuracy"].value)
        seconds.append(sum(event.get("train_s", 0.0) for event in run.journal()))
    return (accuracies, seconds), taken


def mean_and_deviation(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.2f} ± {deviation:.2f} % (n = {len(values)})"


def in_seconds(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def compared(ours: tuple[list[float], list[float]], theirs: tuple[list[float], list[float]]) -> str:
    """Give the ratio of the seconds, if both sides reached what was to be reached."""
    reached = [statistics.fmean(side[0]) for side in (ours, theirs)]
    if min(reached) < 94.0:
        return f"No ratio: means of {reached[0]:.2f} and {reached[1]:.2f} % are not both 94 %."
    ratio = statistics.median(ours[1]) / statistics.median(theirs[1])
    return f"Seconds, ours by theirs: {ratio:.2f}."


if __name__ == "__main__":
    main()
