"""Weights rounded to 8 bits so that their errors cancel: done in PyTorch, so that it serves every format."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from linnaeus.nn.refit import WIDEST, rows_read
from linnaeus.targets.damage import weighted_layers
from linnaeus.targets.target import Blueprint, Precision, digest

if TYPE_CHECKING:
    from linnaeus.targets.graph import Graph

PICTURES = 128
"""So many of the calibration pictures are looked at."""
AT_ONCE = 8
DAMPING = 0.01
"""Of the mean variance: what the pictures do not show is not to be relied on."""
NOISE = 1e-5
"""A variance that is a smaller share of the squares is none: the sums are of single precision."""
STEPS = 127


@dataclass(frozen=True)
class Read:
    """What a layer reads for one output, in G groups of D numbers.

    Attributes:
        mean: [G, D], float64.
        second: Mean products of two of them, [G, D, D], float64.
        rows: How many outputs were looked at.
    """

    mean: Tensor
    second: Tensor
    rows: int

    def metric(self, *, centred: bool) -> Tensor:
        """Give what a squared error of the weights costs, [G, D, D]; few rows are trusted less on two numbers together."""
        found = self.second - self.mean[:, :, None] * self.mean[:, None, :] if centred else self.second.clone()
        # Of an input that never varies nothing is left but what single precision made of the sums.
        varies = found.diagonal(dim1=1, dim2=2) > NOISE * self.second.diagonal(dim1=1, dim2=2)
        found *= varies[:, :, None] & varies[:, None, :]
        own = found.diagonal(dim1=1, dim2=2).clone()
        found *= self.rows / (self.rows + found.shape[1])
        found.diagonal(dim1=1, dim2=2).copy_(own + DAMPING * own.mean(1, keepdim=True).clamp_min(1e-12))
        return found


def suited(blueprint: Blueprint, precision: Precision) -> Blueprint:
    """Give the blueprint that a file of a precision is written from: for 8 bits one with rounded weights, else the same.

    Layers to keep in float keep their weights. Without pictures, nothing is known of what the layers read, and rounding
    is left to the format.
    """
    pictures = precision.pictures
    if precision.name not in ("int8", "weights") or pictures is None or not len(pictures):
        return blueprint
    # Evenly: they lie in the order of their classes.
    seen = pictures[np.linspace(0, len(pictures) - 1, min(PICTURES, len(pictures))).round().astype(int)]
    reads = blueprint.once(f"read-{digest(seen)}", lambda _: _reads(blueprint.graph, seen))

    def make(folder: Path) -> Blueprint:
        made = copy.deepcopy(blueprint.graph, {id(blueprint.graph.classifier): blueprint.graph.classifier})
        round_weights(made, {name: one for name, one in reads.items() if name not in precision.keep})
        return Blueprint(made, folder)

    return blueprint.once(f"rounded-{digest(seen)}-{digest(np.array(sorted(precision.keep)))}", make)


@torch.no_grad()
def round_weights(graph: Graph, reads: Mapping[str, Read]) -> None:
    """Round the weights of layers to 255 steps for each output, in place.

    Numbers are rounded one after the other; what an output loses by one is made up for by those that are still to come,
    as far as they vary alike on real pictures. What changes alike in all pictures goes into the bias. The largest weight
    of each output stays where it is, so that a format that rounds again finds the very same steps.

    Args:
        graph: Is changed.
        reads: Of the layers to round.

    Source:
        E. Frantar et al. (2023), GPTQ: accurate post-training quantization for generative pre-trained transformers,
        ICLR, arXiv:2210.17323; for convolutions as in E. Frantar and D. Alistarh (2022), arXiv:2208.11580. Deviations:
        numbers in the order of their variance; shrunk covariance; the mean goes into the bias.
    """
    layers = dict(weighted_layers(graph))
    for name, read in reads.items():
        layer = layers[name]
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        groups, width = read.mean.shape
        weights = layer.weight.double().reshape(groups, -1, width)
        made = _rounded(weights, read.metric(centred=layer.bias is not None))
        layer.weight.copy_(made.reshape(layer.weight.shape))
        if layer.bias is not None:
            layer.bias.add_(((weights - made) @ read.mean[:, :, None]).reshape(-1))


def _rounded(weights: Tensor, metric: Tensor) -> Tensor:
    """Round [G, O, D] to 255 steps for each output, with the metric [G, D, D] of what the inputs are."""
    scale = (weights.abs().amax(2) / STEPS).clamp_min(1e-12)
    order = metric.diagonal(dim1=1, dim2=2).argsort(1, descending=True)
    left = weights.gather(2, order[:, None].expand_as(weights))
    metric = metric.gather(1, order[:, :, None].expand_as(metric)).gather(2, order[:, None].expand_as(metric))
    largest, steps = left.abs().argmax(2), torch.zeros_like(left)
    factor = torch.linalg.cholesky(torch.linalg.inv(metric), upper=True)
    for place in range(left.shape[2]):
        value = left[:, :, place]
        rounded = torch.round(value / scale)
        rounded = torch.where(largest == place, STEPS * value.sign(), rounded).clamp(-STEPS, STEPS)
        steps[:, :, place] = rounded
        lost = (value - rounded * scale) / factor[:, place, place, None]
        left[:, :, place:] -= lost[:, :, None] * factor[:, None, place, place:]
    return (steps * scale[:, :, None]).gather(2, order.argsort(1)[:, None].expand_as(weights))


def _reads(graph: Graph, pictures: np.ndarray) -> dict[str, Read]:
    """Measure what each layer reads; layers that read too many numbers for their equations are left out."""
    sums: dict[str, list[Tensor]] = {}
    layers = {name: layer for name, layer in weighted_layers(graph) if layer.weight[0].numel() <= WIDEST}  # type: ignore[index]
    handles = [layer.register_forward_pre_hook(_adder(sums, name)) for name, layer in layers.items()]
    step = 1 if graph.card.any_size else AT_ONCE
    try:
        with torch.no_grad():
            for first in range(0, len(pictures), step):
                graph(torch.from_numpy(graph.card.shaped(pictures[first : first + step])))
    finally:
        for handle in handles:
            handle.remove()
    return {name: Read(first / count, second / count, int(count)) for name, (count, first, second) in sums.items()}


def _adder(sums: dict[str, list[Tensor]], name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def add(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows = rows_read(layer, inputs[0]).float()
        rows = rows.reshape(len(rows), getattr(layer, "groups", 1), -1).transpose(0, 1)
        count = torch.tensor(float(rows.shape[1]), dtype=torch.float64)
        parts = [count, rows.sum(1).double(), (rows.transpose(1, 2) @ rows).double()]
        known = sums.get(name)
        sums[name] = parts if known is None else [a + b for a, b in zip(known, parts, strict=True)]

    return add
