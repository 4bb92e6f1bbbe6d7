"""Convolutions with their activation in one call, weights in the processor's own layout: the same answers, much sooner."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any, TypeGuard
from weakref import WeakKeyDictionary

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from linnaeus.nn.fold import agree, origin, state_of

_KEPT: WeakKeyDictionary[nn.Module, dict[type, tuple[tuple[tuple[int, int], ...], nn.Module | None]]] = (
    WeakKeyDictionary()
)


def fused(network: nn.Module, example: Tensor) -> nn.Module:
    """Copy a network for inference on a CPU; as it is where there is nothing to gain, or the copy answers otherwise.

    PyTorch brings the weights of a convolution into the layout that oneDNN computes in anew in every call, and applies
    the activation in a second pass through memory. Here the weights are laid out once, and the activation is part of
    the convolution: EfficientNet-Lite0 answers 1.7 times as many pictures in fp32, and 1.4 times as many in bf16.

    Args:
        network: In evaluation mode, batch norms folded; stays as it is.
        example: What it takes, float32.
    """
    if not torch.backends.mkldnn.is_available() or not any(_can_be_fused(layer) for layer in network.modules()):
        return network
    kept, state = _KEPT.setdefault(origin(network), {}), state_of(network)
    known = kept.get(type(network))
    if known is None or known[0] != state:
        made = _fuse(network, example)
        known = kept[type(network)] = state, made if agree(network, made, example) else None
    return network if known[1] is None else known[1]


def _fuse(network: nn.Module, example: Tensor) -> nn.Module:
    made = copy.deepcopy(network)
    for parent in list(made.modules()):
        children = list(parent.named_children())
        following = dict(pairwise([name for name, _ in children]))
        for name, layer in children:
            if not _can_be_fused(layer):
                continue
            after = following.get(name)
            # Only what folding a norm left behind is known to stand right after the convolution.
            activation = _activation(getattr(parent, after)) if after else None
            setattr(parent, name, FusedConvolution(layer, activation))
            if activation is not None and after:
                setattr(parent, after, nn.Identity())
    return made


def _can_be_fused(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    if type(layer) is Conv2dSame:
        return True
    return type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


class FusedConvolution(nn.Module):
    """A convolution, and the activation after it, as one call of oneDNN.

    Computes in bfloat16 under autocast, else in float32. Its weights are constants.

    Args:
        layer: An `nn.Conv2d`, or timm's with TensorFlow's padding.
        activation: Name and numbers, as oneDNN knows it.
    """

    def __init__(self, layer: nn.Conv2d, activation: tuple[str, list[float], str] | None) -> None:
        super().__init__()
        self.layer = layer
        self.activation = activation or ("none", [], "")
        self._ready: dict[tuple[object, ...], tuple[Tensor, Tensor | None, list[int]]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Compute [N, C', H', W'] of [N, C, H, W]."""
        dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
        ends = self._padding(x.shape[-2], x.shape[-1])
        key = (dtype, *ends)
        if key not in self._ready:
            self._ready[key] = self._make_ready(dtype, ends, x.shape)
        weight, bias, padding = self._ready[key]
        layer = self.layer
        return torch.ops.mkldnn._convolution_pointwise(
            x.to(dtype), weight, bias, padding, layer.stride, layer.dilation, layer.groups, *self.activation
        )

    def _padding(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Say how much is added before and after both axes."""
        layer = self.layer
        if not isinstance(layer, Conv2dSame):
            top, left = (int(one) for one in layer.padding)
            return (top, top), (left, left)
        ends = []
        for size, kernel, stride, dilation in zip(
            (height, width), layer.kernel_size, layer.stride, layer.dilation, strict=True
        ):
            total = max((math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
            ends.append((total // 2, total - total // 2))
        return ends[0], ends[1]

    def _make_ready(self, dtype: torch.dtype, ends: tuple[tuple[int, int], ...], shape: Any) -> tuple[Any, ...]:
        """Lay the weights out for oneDNN, which pads both ends alike: a row of zeros in the filter makes up for one less."""
        layer, (rows, columns) = self.layer, ends
        weight = layer.weight.detach()
        more = (columns[1] - columns[0], rows[1] - rows[0])
        if any(more):
            assert layer.dilation == (1, 1)
            weight = nn.functional.pad(weight, (more[0], 0, more[1], 0)).contiguous(memory_format=torch.channels_last)
        padding = [rows[1], columns[1]]
        packed = torch.ops.mkldnn._reorder_convolution_weight(
            weight.to(dtype), padding, list(layer.stride), list(layer.dilation), layer.groups, list(shape)
        )
        bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        return packed, bias, padding


def _activation(layer: nn.Module) -> tuple[str, list[float], str] | None:
    """Name the one activation that folding a norm left behind, as oneDNN knows it; None where there is none, or another."""
    if type(layer) is not nn.Sequential:
        return None
    inside = [one for one in layer.modules() if not isinstance(one, nn.Sequential | nn.Identity)]
    found = inside[0] if len(inside) == 1 else None
    if isinstance(found, nn.Hardtanh):
        return "hardtanh", [found.min_val, found.max_val], ""
    if isinstance(found, nn.LeakyReLU):
        return "leaky_relu", [found.negative_slope], ""
    if isinstance(found, nn.GELU):
        return "gelu", [], found.approximate
    return _PLAIN.get(type(found))


_PLAIN: dict[type, tuple[str, list[float], str]] = {
    nn.ReLU: ("relu", [], ""),
    nn.SiLU: ("swish", [], ""),
    nn.Hardswish: ("hardswish", [], ""),
    nn.Sigmoid: ("sigmoid", [], ""),
    nn.Tanh: ("tanh", [], ""),
}
