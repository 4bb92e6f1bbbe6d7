"""Depthwise convolutions whose backward pass is fast on a CPU.

PyTorch's own gradient with respect to the input of a strided depthwise convolution takes 50 times longer in bf16 than
the convolution itself, and the gradient with respect to its filters ten times (benchmarks/depthwise.py). The first is a
convolution with the mirrored filter, which is fast; the second is saved by leaving those few filters as they are. Where
they are to learn, depthwise convolutions alone are computed in float32, which has quick gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn
from torch.nn import functional


def is_depthwise(layer: nn.Module) -> bool:
    """Tell whether a layer is a convolution with one filter per channel."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels > 1


def ease_depthwise(network: nn.Module, *, hold: bool) -> None:
    """Let depthwise convolutions train as fast as a CPU can: their filters held, or computed in float32."""
    if hold:
        hold_depthwise(network)
        return
    for layer in network.modules():
        if is_depthwise(layer):
            layer.forward = _Exact(layer)


def hold_depthwise(network: nn.Module) -> int:
    """Keep all depthwise filters as they are, and give the strided ones a fast backward pass; return how many there are."""
    layers = [layer for layer in network.modules() if is_depthwise(layer)]
    for layer in layers:
        assert isinstance(layer, nn.Conv2d)
        layer.weight.requires_grad_(False)
        if _is_plain_stride_2(layer):
            layer.forward = _Strided(layer)  # type: ignore[method-assign, assignment]
    return len(layers)


def release_depthwise(network: nn.Module) -> None:
    """Undo `ease_depthwise` and `hold_depthwise`."""
    for layer in network.modules():
        if is_depthwise(layer):
            assert isinstance(layer, nn.Conv2d)
            layer.weight.requires_grad_(True)
            layer.__dict__.pop("forward", None)


def _is_plain_stride_2(layer: nn.Conv2d) -> bool:
    if layer.stride != (2, 2) or layer.dilation != (1, 1) or layer.padding_mode != "zeros":
        return False
    if isinstance(layer.padding, str):
        return False
    return all(2 * pad < kernel for pad, kernel in zip(layer.padding, layer.kernel_size, strict=True))


class _Exact:
    """Stand in for the forward method of a layer that learns under bfloat16 autocast on a CPU: the layer in float32."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer

    def __call__(self, x: Tensor) -> Tensor:
        layer = self._layer
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or not torch.is_grad_enabled():
            return type(layer).forward(layer, x)
        with torch.autocast("cpu", enabled=False):
            return type(layer).forward(layer, x.float())


class _Strided:
    """Stand in for the forward method of a layer of stride 2."""

    def __init__(self, layer: nn.Conv2d) -> None:
        self._layer = layer

    def __call__(self, x: Tensor) -> Tensor:
        layer = self._layer
        in_bf16 = torch.is_autocast_enabled(x.device.type) or x.dtype is torch.bfloat16
        if not in_bf16 or not torch.is_grad_enabled():
            return type(layer).forward(layer, x)
        padding = layer.padding
        if isinstance(layer, Conv2dSame):
            x, padding = pad_same(x, list(layer.kernel_size), list(layer.stride)), (0, 0)
        weight, bias = layer.weight, layer.bias
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        return _StridedDepthwise.apply(x, weight, bias, padding)


class _StridedDepthwise(torch.autograd.Function):
    """Depthwise convolution of stride 2 with a gradient for its input only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.padding = x.shape, padding
        return functional.conv2d(x, weight, bias, 2, padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        (N, C, H, W), (_, _, kernel_y, kernel_x) = ctx.shape, weight.shape
        # The gradient belongs to every second place of the input: set zeros between, then convolve with the mirror image.
        spread = gradient.new_zeros(N, H, W, C).permute(0, 3, 1, 2)
        spread[:, :, : 2 * gradient.shape[2] : 2, : 2 * gradient.shape[3] : 2] = gradient
        padding = (kernel_y - 1 - ctx.padding[0], kernel_x - 1 - ctx.padding[1])
        return functional.conv2d(spread, weight.flip(2, 3), None, 1, padding, groups=C)[:, :, :H, :W], None, None, None
