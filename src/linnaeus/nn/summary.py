"""The table of layers with shapes and parameters, as the lessons print it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LayerRow:
    """One layer.

    Attributes:
        name: Its path in the network: "features.0.conv1".
        type: Its class.
        output_shape: Without the batch: (C, H, W); () if the layer was not called by itself.
        parameters: Numbers that it holds; those shared with a layer above are counted there.
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of a whole network: `total` is `trainable` plus `frozen`."""

    total: int
    trainable: int
    frozen: int


def layer_table(network: nn.Module, input_size: tuple[int, int, int]) -> list[LayerRow]:
    """List the layers in the order in which a picture passes them; the parameters add up to the network's.

    A layer is a module without children, or with parameters of its own. The network is run once, in eval mode, on
    zeros, and left as it was.

    Args:
        network: Any.
        input_size: Channels, height, width.
    """
    layers = {
        name: layer
        for name, layer in network.named_modules()
        if not any(True for _ in layer.children()) or any(True for _ in layer.parameters(recurse=False))
    }
    shapes = _output_shapes(network, layers, input_size)
    rows: list[LayerRow] = []
    counted: set[int] = set()
    for name in [*shapes, *(name for name in layers if name not in shapes)]:
        own = [parameter for parameter in layers[name].parameters(recurse=False) if id(parameter) not in counted]
        counted.update(map(id, own))
        if own or name in shapes:
            count = sum(parameter.numel() for parameter in own)
            rows.append(LayerRow(name or "(network)", type(layers[name]).__name__, shapes.get(name, ()), count))
    return rows


def count_parameters(network: nn.Module) -> ParameterCount:
    """Count the parameters, and those that training changes."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    trainable = sum(size for size, grows in sizes if grows)
    total = sum(size for size, _ in sizes)
    return ParameterCount(total=total, trainable=trainable, frozen=total - trainable)


@torch.no_grad()
def _output_shapes(
    network: nn.Module, layers: dict[str, nn.Module], input_size: tuple[int, int, int]
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    handles = [layer.register_forward_hook(_note_shape(shapes, name)) for name, layer in layers.items()]
    modes = {layer: layer.training for layer in network.modules()}
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    try:
        network.eval()(torch.zeros(1, *input_size, device=device))
    finally:
        for handle in handles:
            handle.remove()
        for layer, training in modes.items():
            layer.training = training
    return shapes


def _note_shape(shapes: dict[str, tuple[int, ...]], name: str) -> Callable[[nn.Module, object, object], None]:
    def hook(_layer: nn.Module, _inputs: object, output: object) -> None:
        first = output[0] if isinstance(output, list | tuple) and output else output
        if name not in shapes:
            shapes[name] = tuple(first.shape[1:]) if isinstance(first, Tensor) else ()

    return hook
