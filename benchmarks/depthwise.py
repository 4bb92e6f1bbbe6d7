"""Why fine-tuning on a CPU keeps depthwise filters: the gradient of one layer, PyTorch's own against ours, one thread.

    python benchmarks/depthwise.py

Prints milliseconds (median of 5) of the convolution itself, of PyTorch's gradient for input and filter, of its gradient
for the input alone, and of ours for the input alone; layers as in EfficientNet-Lite0, batch 16, channels last.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import bench
from linnaeus.nn.depthwise import hold_depthwise

LAYERS = ((96, 112, 3, 2), (240, 28, 3, 2), (480, 14, 5, 1), (672, 14, 5, 2), (1152, 7, 5, 1))


def main() -> None:
    torch.set_num_threads(1)
    print(bench.header())
    print(
        "\n| channels, side, kernel, stride | precision | convolution | all gradients | input only | ours, input only |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for channels, side, kernel, stride in LAYERS:
        for dtype in (torch.float32, torch.bfloat16):
            print(row(channels, side, kernel, stride, dtype), flush=True)


def row(channels: int, side: int, kernel: int, stride: int, dtype: torch.dtype) -> str:
    def layer() -> nn.Module:
        torch.manual_seed(0)
        made = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
        return made.to(dtype).to(memory_format=torch.channels_last)

    x = torch.randn(16, channels, side, side).to(dtype).to(memory_format=torch.channels_last).requires_grad_()
    everything, input_only, ours = layer(), layer(), layer()
    input_only.requires_grad_(False)
    hold_depthwise(ours)
    with torch.no_grad():
        forward = timed(lambda: everything(x))
    columns = [timed(lambda one=one: backward(one, x)) - forward for one in (everything, input_only, ours)]
    shape = f"{channels}, {side}, {kernel}, {stride}"
    return f"| {shape} | {str(dtype)[6:]} | {forward:.1f} | " + " | ".join(f"{value:.1f}" for value in columns) + " |"


def backward(layer: nn.Module, x: Tensor) -> None:
    y = layer(x)
    y.backward(torch.ones_like(y))
    x.grad = None


def timed(work: Callable[[], object], repeats: int = 5) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)


if __name__ == "__main__":
    main()
