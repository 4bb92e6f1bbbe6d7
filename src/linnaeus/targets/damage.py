"""What 8 bits cost, layer by layer: measured in PyTorch, so that it serves every format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

if TYPE_CHECKING:
    from linnaeus.targets.graph import Graph

AT_ONCE = 4
"""Pictures in one pass: all layers' errors are held in memory."""
DRAWS = 2
FEW_CHANNELS = 4


def damages(graph: Graph, pictures: np.ndarray, *, seed: int = 0) -> dict[str, float]:
    """Estimate for each layer how far the answers move if its input and weights alone are rounded to 8 bits.

    The error that rounding makes in a layer's output is computed exactly, on the float network's own input to that layer;
    what it does to the probabilities is then estimated to second order. With J the derivative of the log-probabilities
    with respect to that output, and F = diag(p) - p p', the divergence is d' J' F J d / 2 for an error d. Random vectors
    with covariance F make it a few backward passes for all layers and pictures together.

    Args:
        graph: Stays as it is.
        pictures: uint8 [N, S, S, C]; a few dozen will do.
        seed: Of the random vectors.

    Returns:
        Layer, as in `network.named_modules()`, to nats: mean Kullback-Leibler divergence; the most harmful first. The
        first convolution is left out: it is kept in float anyway.

    Source:
        The second-order view of quantisation: M. Nagel et al. (2020), Up or down? Adaptive rounding for post-training
        quantization, ICML, arXiv:2004.10568. Drawing from the Fisher metric instead of labels is our own choice.
    """
    draw = torch.Generator().manual_seed(seed)
    step = 1 if graph.card.any_size else AT_ONCE
    total: dict[str, float] = {}
    for first in range(0, len(pictures), step):
        block = torch.from_numpy(graph.card.shaped(pictures[first : first + step]))
        for name, value in _of_block(graph, block, draw).items():
            total[name] = total.get(name, 0.0) + value
    return dict(sorted(((name, value / len(pictures)) for name, value in total.items()), key=lambda one: -one[1]))


def _of_block(graph: Graph, block: Tensor, draw: torch.Generator) -> dict[str, float]:
    """Sum the estimates over some pictures."""
    with _errors(graph) as found, torch.enable_grad():
        given = graph(block)
        p = (given[0] if isinstance(given, tuple) else given).clamp_min(1e-12)
        handles = [handle for _, handle, _ in found]
        sums = dict.fromkeys((name for name, _, _ in found), 0.0)
        for _ in range(DRAWS):
            noise = torch.randn(p.shape, generator=draw) * p.detach().sqrt()
            vector = noise - p.detach() * noise.sum(1, keepdim=True)
            back = torch.autograd.grad((p.log() * vector).sum(), handles, retain_graph=True, allow_unused=True)
            moved: dict[str, Tensor] = {}
            for (name, _, error), slope in zip(found, back, strict=True):
                if slope is not None:
                    one = (slope * error).reshape(len(p), -1).sum(1)
                    moved[name] = moved[name] + one if name in moved else one
            for name, one in moved.items():
                sums[name] += float(one.square().sum()) / 2 / DRAWS
    return sums


@contextmanager
def _errors(graph: Graph) -> Iterator[list[tuple[str, Tensor, Tensor]]]:
    """Collect, as the graph runs, for each call of a layer: its name, a handle for its gradient, its rounding error."""
    found: list[tuple[str, Tensor, Tensor]] = []
    busy = [False]

    def watch(name: str) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
        def after(layer: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> Tensor | None:
            if busy[0]:
                return None
            busy[0] = True
            with torch.no_grad():
                weights = {"weight": rounded_weights(layer.weight)}  # type: ignore[arg-type]
                error = functional_call(layer, weights, (rounded(given[0]),)) - answer
            busy[0] = False
            handle = torch.zeros_like(answer, requires_grad=True)
            found.append((name, handle, error))
            return answer + handle

        return after

    hooks = [layer.register_forward_hook(watch(name)) for name, layer in weighted_layers(graph)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def weighted_layers(graph: Graph) -> Iterator[tuple[str, nn.Module]]:
    """Go through the layers that multiply with weights, by name; the first convolution, which stays in float, is left out."""
    for name, layer in graph.network.named_modules():
        convolves = isinstance(layer, nn.Conv2d) and (layer.groups > 1 or layer.in_channels > FEW_CHANNELS)
        if convolves or isinstance(layer, nn.Linear):
            yield name, layer
    if graph.head is not None:
        yield "head", graph.head


def rounded(values: Tensor) -> Tensor:
    """Round to 256 steps between the smallest and the largest number, zero being one of the steps."""
    low, high = values.amin().clamp_max(0), values.amax().clamp_min(0)
    step = ((high - low) / 255).clamp_min(1e-12)
    zero = torch.round(-low / step)
    return (torch.clamp(torch.round(values / step) + zero, 0, 255) - zero) * step


def rounded_weights(weights: Tensor) -> Tensor:
    """Round to 255 steps around zero, with a step of its own for each output."""
    step = (weights.abs().flatten(1).amax(1) / 127).clamp_min(1e-12).reshape(-1, *[1] * (weights.dim() - 1))
    return torch.clamp(torch.round(weights / step), -127, 127) * step
