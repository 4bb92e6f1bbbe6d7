"""Where a training step of small-64 goes on one core, and how near its convolutions come to what the core can do.

    python benchmarks/small_step.py [--write]

Processor time of one thread; forward and backward of 250 pictures of 32 pixels, channels last, bf16 where there is any.
The arithmetic of the convolutions (twice the multiplications forward, twice that backward) per second is set beside that of
products of matrices of their sizes, taken in turns with the steps. Then what a step costs while lower stages stand still
(`model.freeze_after`), in turns as well.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import bench
import plots
from linnaeus.learn.engine import Engine, Machine
from linnaeus.learn.objectives import Batch, Loss, supervised
from linnaeus.learn.optim import Muon
from linnaeus.nn import zoo
from linnaeus.nn.stages import freeze, train_mode

PAGE = Path(__file__).parents[1] / "docs" / "cifar10.md"
PICTURES = 250
KINDS = {
    "convolution": "convolutions",
    "max_pool2d": "max pooling",
    "fill_": "max pooling",
    "gelu": "GELU",
    "batch_norm": "batch norm",
}
"""Part of an operation's name -> what it is for; zeros are written for the gradient of pooling only."""
PRODUCTS = ((12250, 2304, 256), (12250, 256, 2304), (256, 12250, 2304))
"""Rows, shared side, columns: 256 channels of 7x7, forward, backward to the input and to the filters."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/cifar10.md")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    precision = "bf16" if Machine.here().bf16 else "fp32"
    engine = Engine(precision)
    network = engine.place(zoo.create("small-64", num_classes=10, weights="none")).train()
    step = stepper(network, engine)
    words = f"{measured(network, step, precision)}\n\n{shares(step)}\n\n{standing(engine)}\n\n{bench.header()}"
    print(words)
    if asked.write:
        plots.into_page(PAGE, "step", words)


def stepper(network: nn.Module, engine: Engine) -> Callable[[], object]:
    draw = torch.Generator().manual_seed(0)
    pictures = torch.randn(PICTURES, 3, 32, 32, generator=draw).to(memory_format=torch.channels_last)
    batch = Batch(pictures, torch.randint(10, (PICTURES,), generator=draw))
    objective = supervised(Loss(label_smoothing=0.2))

    def step() -> None:
        network.zero_grad(set_to_none=True)
        engine.gradient(network, objective, batch)

    return step


def measured(network: nn.Module, step: Callable[[], object], precision: str) -> str:
    flops = 3 * forward_flops(network)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    products = [[torch.randn(shape, dtype=dtype) for shape in ((m, k), (k, n))] for m, k, n in PRODUCTS]
    steps, peaks = [], []
    for _ in range(5):
        steps.append(PICTURES / spent(step))
        peaks += [2e-9 * a.shape[0] * a.shape[1] * b.shape[1] / spent(lambda a=a, b=b: a @ b) for a, b in products]
    share = statistics.median(steps) * flops / 1e9 / statistics.median(peaks)
    rows = [
        ["pictures a second", spread(steps)],
        ["GFLOP a picture, in convolutions", f"{flops / 1e9:.2f}"],
        ["GFLOP/s in convolutions, of the whole step's time", spread([rate * flops / 1e9 for rate in steps])],
        ["GFLOP/s in products of matrices", spread(peaks)],
        ["so convolutions reach, of what products of matrices do", f"{share:.0%}"],
        ["milliseconds of Muon for a step", spread([1000 * one for one in muon_times(network, dtype)])],
    ]
    return plots.table((f"one core, {precision}", "median (least to most)"), rows)


def muon_times(network: nn.Module, dtype: torch.dtype) -> list[float]:
    filters: list[Tensor] = [one for one in network.parameters() if one.requires_grad and one.ndim == 4]
    for one in filters:
        one.grad = torch.randn_like(one)
    optimizer = Muon([{"params": filters, "filters": True}], lr=1e-6, dtype=dtype)
    optimizer.step()
    return [spent(optimizer.step) for _ in range(5)]


def forward_flops(network: nn.Module) -> int:
    """Count multiplications and additions of all convolutions for one picture."""
    total = 0

    def count(layer: nn.Module, inputs: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d)
        total += 2 * output[0].numel() * layer.weight[0].numel()

    handles = [one.register_forward_hook(count) for one in network.modules() if isinstance(one, nn.Conv2d)]
    with torch.no_grad():
        network(torch.zeros(2, 3, 32, 32))
    for handle in handles:
        handle.remove()
    return total


def shares(step: Callable[[], object]) -> str:
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(3):
            step()
    times: Counter[str] = Counter()
    for one in seen.key_averages():
        name = next((kind for part, kind in KINDS.items() if part in one.key), "everything else")
        times[name] += one.self_cpu_time_total
    whole = sum(times.values())
    return plots.table(
        ("what", "share of the step"), ([name, f"{time / whole:.0%}"] for name, time in times.most_common())
    )


def standing(engine: Engine) -> str:
    """Time steps while the lowest stages stand still."""
    names = ("nothing", "the stem", "the stem and the first block", "the stem and two blocks")
    networks = [engine.place(zoo.create("small-64", num_classes=10, weights="none")) for _ in names]
    for count, network in enumerate(networks):
        freeze(network, count)
        train_mode(network)
    steps = [stepper(network, engine) for network in networks]
    times: list[list[float]] = [[] for _ in names]
    for turn in range(6):
        for own, step in zip(times, steps, strict=True):
            seconds = spent(step)
            if turn:
                own.append(seconds)
    whole = statistics.median(times[0])
    rows = ([name, f"{statistics.median(own) / whole:.2f}"] for name, own in zip(names, times, strict=True))
    return plots.table(("what stands still", "a step costs"), rows)


def spent(work: Callable[[], object]) -> float:
    """Count the processor seconds of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


if __name__ == "__main__":
    main()
