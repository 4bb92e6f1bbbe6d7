"""Find where a network last knows places: the feature map on which the CAM methods rest."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from linnaeus.errors import ModelError

Layout = Literal["NCHW", "NHWC", "tokens"]
REACHED = 0.5
"""Share of the tokens that must matter to the answer: behind the last attention only the class token does."""
MOST_PREFIX = 8


@dataclass(frozen=True)
class FeatureMap:
    """A layer whose output has places.

    Attributes:
        name: Of the layer in the network.
        layer: Itself.
        layout: Of its output: "NCHW", "NHWC", or "tokens" [N, prefix + height * width, C].
        height: Places from top to bottom.
        width: Places from left to right.
        prefix: Tokens before the first place (class token, registers).
    """

    name: str
    layer: nn.Module
    layout: Layout
    height: int
    width: int
    prefix: int = 0

    def to_nchw(self, output: Tensor) -> Tensor:
        """Bring the layer's output, or its gradient, to [N, C, height, width]."""
        if self.layout == "NCHW":
            return output
        if self.layout == "tokens":
            output = output[:, self.prefix :].unflatten(1, (self.height, self.width))
        return output.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class _Seen:
    """One output with places, as the network gave it."""

    name: str
    layer: nn.Module
    output: Tensor


def find_feature_map(network: nn.Module, example: Tensor) -> FeatureMap:
    """Find the last feature map before pooling, whatever the network.

    One picture is run through. In a convolutional network it is the last output that has as many places as the last
    convolution: after its norm and activation, before any pooling. Where the last places are those of tokens, it is the
    last norm whose tokens, most of them, still matter to the answer: in a vision transformer the first norm of the last
    block, since behind the last attention only the class token counts.

    Args:
        network: In evaluation mode, frozen or not.
        example: One normalised picture, [1, C, S, S].

    Raises:
        ModelError: The network has no such layer.
    """
    seen, logits = _watch(network, example)
    maps = _convolution_maps(seen)
    norms = [one for one in seen if _is_norm(one.layer) and _token_layout(one, network) is not None]
    after = seen.index(maps[-1]) if maps else -1
    # The gradient goes through the graph once for all norms behind the last map.
    norms = _that_matter([one for one in norms if seen.index(one) > after], logits, network)
    if norms:
        return _as_tokens(norms[-1], network)
    if maps:
        height, width = maps[-1].output.shape[2:]
        return FeatureMap(maps[-1].name, maps[-1].layer, "NCHW", height, width)
    raise ModelError(
        "Grad-CAM, Grad-CAM++ and layer-CAM need a network with a feature map: a convolution or tokens.",
        got=f"{type(network).__name__} without one",
        fix="--method integrated-gradients, occlusion, lime or shap, which need none.",
    )


def _watch(network: nn.Module, example: Tensor) -> tuple[list[_Seen], Tensor]:
    """Run one picture; keep the outputs with places of the layers that were called once, in order."""
    seen: list[_Seen] = []

    def keep(name: str) -> Any:
        def hook(layer: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim in (3, 4):
                seen.append(_Seen(name, layer, output))

        return hook

    handles = [layer.register_forward_hook(keep(name)) for name, layer in network.named_modules() if name]
    try:
        with torch.enable_grad():
            logits = network(example.detach().requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    # A layer that is used again and again (one ReLU for all) has no one place in the network.
    times = Counter(id(one.layer) for one in seen)
    return [one for one in seen if times[id(one.layer)] == 1], logits


def _convolution_maps(seen: list[_Seen]) -> list[_Seen]:
    """List the last convolution that has places, and what keeps its places behind it."""
    convolutions = [
        place
        for place, one in enumerate(seen)
        if isinstance(one.layer, nn.Conv2d) and one.output.ndim == 4 and one.output.shape[2:].numel() > 1
    ]
    if not convolutions:
        return []
    last = convolutions[-1]
    size = seen[last].output.shape[2:]
    return [one for one in seen[last:] if one.output.ndim == 4 and one.output.shape[2:] == size]


def _is_norm(layer: nn.Module) -> bool:
    return "norm" in type(layer).__name__.lower()


def _token_layout(one: _Seen, network: nn.Module) -> tuple[Layout, int, int, int] | None:
    """Read layout, height, width and prefix off an output; None where it has no places, or channels first."""
    shape = one.output.shape
    if one.output.ndim == 4:
        channels = getattr(one.layer, "normalized_shape", (0,))[-1]
        last = channels == shape[-1] and not type(one.layer).__name__.endswith("2d")
        return ("NHWC", shape[1], shape[2], 0) if last and shape[1] * shape[2] > 1 else None
    known = getattr(network, "num_prefix_tokens", None)
    for prefix in [known] if isinstance(known, int) else range(MOST_PREFIX):
        side = math.isqrt(max(0, shape[1] - prefix))
        if side > 1 and side * side == shape[1] - prefix:
            return "tokens", side, side, prefix
    return None


def _that_matter(norms: list[_Seen], logits: Tensor, network: nn.Module) -> list[_Seen]:
    """Keep the norms of whose places most have an influence on the logits."""
    if not norms or not logits.requires_grad:
        return []
    with torch.enable_grad():
        gradients = torch.autograd.grad(logits.square().sum(), [one.output for one in norms], allow_unused=True)
    kept = []
    for one, gradient in zip(norms, gradients, strict=True):
        if gradient is not None:
            there = _as_tokens(one, network).to_nchw(gradient).abs().sum(dim=1) > 0
            if there.float().mean() >= REACHED:
                kept.append(one)
    return kept


def _as_tokens(one: _Seen, network: nn.Module) -> FeatureMap:
    found = _token_layout(one, network)
    assert found is not None, "only outputs with places come here"
    layout, height, width, prefix = found
    return FeatureMap(one.name, one.layer, layout, height, width, prefix)
