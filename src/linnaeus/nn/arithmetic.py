"""How much a network computes for one picture, in multiply-adds."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def multiply_adds(network: nn.Module, example: Tensor) -> int:
    """Count the multiply-adds of convolutions, linear layers and attention for one picture.

    Args:
        network: Is run once in evaluation mode, and left as it was.
        example: A picture that it takes, [1, C, H, W]; of more, the first counts.
    """
    # Here, since it brings Triton along, which takes a while.
    from torch.utils.flop_counter import FlopCounterMode

    modes = {layer: layer.training for layer in network.modules()}
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            network.eval()(example[:1])
    finally:
        for layer, training in modes.items():
            layer.training = training
    return counter.get_total_flops() // 2


def multiply_adds_by_layer(network: nn.Module, example: Tensor) -> dict[nn.Module, float]:
    """Count the multiply-adds of each convolution and linear layer for one picture; those never called are absent.

    Args:
        network: Is run once in evaluation mode, and left as it was.
        example: As for `multiply_adds`.
    """
    found: dict[nn.Module, float] = {}

    def note(layer: nn.Module, _inputs: object, output: object) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        assert isinstance(output, Tensor)
        outputs = layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features
        found[layer] = found.get(layer, 0) + output.numel() / outputs * layer.weight.numel()

    modes = {layer: layer.training for layer in network.modules()}
    handles = [one.register_forward_hook(note) for one in network.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    try:
        with torch.no_grad():
            network.eval()(example[:1])
    finally:
        for handle in handles:
            handle.remove()
        for layer, training in modes.items():
            layer.training = training
    return found
