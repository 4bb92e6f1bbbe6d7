"""Give a network the sizes of given tensors, so that a pruned one is built again without the program that pruned it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from linnaeus.errors import ModelError


def reshape(network: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Bring every layer of a network to the size of its tensors; what it holds is not copied.

    A block without any tensor was removed: an identity takes its place. Layers know their sizes beside their tensors
    (groups of a depthwise convolution, the width of a norm), so each kind is told; the network is told the width of what
    its head reads.

    Args:
        network: As it is made by name; is changed in place.
        tensors: Its state, pruned.

    Raises:
        ModelError: The tensors are no pruned state of this network.
    """
    widths = linear_widths(network)
    _remove_blocks(network, set(tensors))
    own = network.state_dict()
    strange = [name for name in tensors if name not in own] + [name for name in own if name not in tensors]
    if strange:
        raise ModelError(
            "a pruned network should have the layers of the network that it was.",
            got=f"{strange[0]} is only in one of the two" + (f", and {len(strange) - 1} more" if strange[1:] else ""),
        )
    for name, layer in network.named_modules():
        prefix = f"{name}." if name else ""
        sizes = {key: tensors[prefix + key].shape for key in _own_tensors(layer) if prefix + key in tensors}
        if any(sizes[key] != getattr(layer, key).shape for key in sizes):
            _resize(layer, sizes, name)
    retell(network, widths)
    return network


def retell(network: nn.Module, before: Mapping[str, int]) -> None:
    """Correct what the network says of the width of its features, after its layers changed.

    Args:
        network: Whose layers changed.
        before: `linear_widths` of before.
    """
    layers = dict(network.named_modules())
    changed = {width: layers[name].in_features for name, width in before.items() if name in layers}
    # The last linear layer speaks for the features where several had the same width.
    for attribute in ("num_features", "head_hidden_size"):
        width = getattr(network, attribute, None)
        if isinstance(width, int) and isinstance(now := changed.get(width), int):
            setattr(network, attribute, now)


def linear_widths(network: nn.Module) -> dict[str, int]:
    """Tell how many numbers each linear layer reads, by its name."""
    return {name: layer.in_features for name, layer in network.named_modules() if isinstance(layer, nn.Linear)}


def remove_block(network: nn.Module, name: str) -> None:
    """Put an identity into the place of a block.

    Args:
        network: Is changed in place.
        name: Of the block, as in `named_modules`.
    """
    parent = network.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], nn.Identity())


def _remove_blocks(network: nn.Module, names: set[str]) -> None:
    """Remove the outermost modules that have tensors in the network, and none in the file."""
    prefixes = {name[:place] for name in names for place, sign in enumerate(name) if sign == "."}

    def visit(layer: nn.Module, path: str) -> None:
        for key, child in list(layer.named_children()):
            below = f"{path}.{key}" if path else key
            if below in prefixes:
                visit(child, below)
            elif child.state_dict():
                setattr(layer, key, nn.Identity())

    visit(network, "")


def _own_tensors(layer: nn.Module) -> list[str]:
    """Name the parameters and kept buffers that belong to a layer itself."""
    kept = [name for name in layer._buffers if name not in layer._non_persistent_buffers_set]
    return [name for name in (*layer._parameters, *kept) if getattr(layer, name) is not None]


def _resize(layer: nn.Module, sizes: Mapping[str, torch.Size], name: str) -> None:
    """Give a layer tensors of other sizes, and let it know."""
    for kind, tell in _TELL.items():
        if isinstance(layer, kind):
            try:
                tell(layer, sizes)
            except (KeyError, IndexError, ZeroDivisionError):
                raise ModelError(
                    f"layer {name} should be a {type(layer).__name__}, pruned.",
                    got=", ".join(f"{key} {'x'.join(map(str, size))}" for key, size in sizes.items()),
                ) from None
            break
    for key, size in sizes.items():
        old = getattr(layer, key)
        new = torch.empty(size, dtype=old.dtype, device=old.device)
        if isinstance(old, nn.Parameter):
            new = nn.Parameter(new, requires_grad=old.requires_grad)
        setattr(layer, key, new)


def _tell_convolution(layer: Any, sizes: Mapping[str, torch.Size]) -> None:
    channels, each = sizes["weight"][0], sizes["weight"][1]
    depthwise = layer.groups > 1 and layer.weight.shape[1] == 1
    if depthwise:
        layer.groups = channels * layer.groups // layer.out_channels
    layer.in_channels, layer.out_channels = each * layer.groups, channels


def _tell_linear(layer: Any, sizes: Mapping[str, torch.Size]) -> None:
    layer.out_features, layer.in_features = sizes["weight"]


def _tell_batch_norm(layer: Any, sizes: Mapping[str, torch.Size]) -> None:
    layer.num_features = next(size[0] for size in sizes.values() if len(size))


def _tell_layer_norm(layer: Any, sizes: Mapping[str, torch.Size]) -> None:
    layer.normalized_shape = tuple(sizes["weight"])


def _tell_group_norm(layer: Any, sizes: Mapping[str, torch.Size]) -> None:
    layer.num_channels = sizes["weight"][0]


_TELL: dict[type[nn.Module], Callable[[Any, Mapping[str, torch.Size]], None]] = {
    nn.Conv2d: _tell_convolution,
    nn.Linear: _tell_linear,
    _BatchNorm: _tell_batch_norm,
    nn.LayerNorm: _tell_layer_norm,
    nn.GroupNorm: _tell_group_norm,
}
