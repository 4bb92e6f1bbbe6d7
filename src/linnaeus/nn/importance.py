"""How much a channel matters: by the size of its weights, or by what the loss would say of its absence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from linnaeus.errors import SettingsError
from linnaeus.nn.elimination import Member, elimination

Importance = Literal["error", "taylor", "magnitude", "scale"]
"""error: how far the answers would change without the channel, after everything that can be refitted was. taylor: how the
loss on training pictures would change without it, to first order. magnitude: length of all weights of the channel.
scale: factor of the batch norm after it."""


def importance_of(
    network: nn.Module, groups: Sequence[Sequence[Member]], how: Importance, data: Iterable[tuple[Tensor, Tensor]]
) -> list[Tensor]:
    """Judge the channels of each group; more is more important, in one unit for all groups where `how` allows that.

    Args:
        network: In evaluation mode; gets gradients.
        groups: What goes together.
        how: See `Importance`.
        data: For "error" and "taylor": batches of pictures and labels.

    Raises:
        SettingsError: One of these without data.

    Source:
        taylor: Molchanov et al. (2019), arXiv:1906.10771, with the batch norms' scale and shift as gates; the square is
        taken for a batch. magnitude: Li et al. (2017), arXiv:1608.08710, over all members as in Fang et al. (2023),
        arXiv:2301.12900. scale: Liu et al. (2017), arXiv:1708.06519. The latter two are brought to a mean of 1 for each
        group, since layers differ in the size of their weights. For error see `elimination`.
    """
    if how == "error":
        return elimination(network, groups, _given(data, how))
    if how == "taylor":
        return _taylor(network, groups, _given(data, how))
    judged = []
    for members in groups:
        norms = [member for member in members if isinstance(member.layer, _BatchNorm) and member.layer.affine]
        chosen = norms if how == "scale" and norms else members
        parts = [_by_channel(member, "weight", square=True) for member in chosen]
        length = torch.stack(parts).sum(0).sqrt()
        judged.append(length / length.mean().clamp_min(1e-12))
    return judged


def _taylor(
    network: nn.Module, groups: Sequence[Sequence[Member]], data: Iterable[tuple[Tensor, Tensor]]
) -> list[Tensor]:
    gates = [_gates(members) for members in groups]
    sums: list[Tensor] | None = None
    for pictures, labels in data:
        network.zero_grad(set_to_none=True)
        with torch.enable_grad():
            functional.cross_entropy(network(pictures).float(), labels).backward()
        changes = [torch.stack([_change(member) for member in own]).sum(0).square() for own in gates]
        sums = changes if sums is None else [a + b for a, b in zip(sums, changes, strict=True)]
    network.zero_grad(set_to_none=True)
    assert sums is not None
    return sums


def _given(data: Iterable[tuple[Tensor, Tensor]], how: str) -> list[tuple[Tensor, Tensor]]:
    batches = list(data)
    if not batches:
        raise SettingsError(f"importance = {how} needs pictures.", got="none", fix="take magnitude.")
    return batches


def _gates(members: Sequence[Member]) -> list[Member]:
    """Choose what lets a channel through: the norms, else the layers that make it."""
    norms = [one for one in members if isinstance(one.layer, _BatchNorm) and one.layer.affine and one.outputs]
    return norms or [one for one in members if one.outputs] or list(members)


def _change(member: Member) -> Tensor:
    """Estimate how the loss changes without each channel: the sum of weight times gradient."""
    change = _by_channel(member, "weight", gradient=True)
    if member.outputs and getattr(member.layer, "bias", None) is not None:
        change = change + _by_channel(member, "bias", gradient=True)
    return change


def _by_channel(member: Member, name: str, *, square: bool = False, gradient: bool = False) -> Tensor:
    """Sum the square of the weights, or weight times gradient, for each channel of a group."""
    layer = member.layer
    value = layer if isinstance(layer, nn.Parameter) else getattr(layer, name)
    found = value.detach().float()
    if square:
        found = found.square()
    if gradient:
        found = found * (torch.zeros_like(found) if value.grad is None else value.grad.float())
    depthwise = isinstance(layer, nn.Conv2d) and layer.groups > 1
    if isinstance(layer, nn.Parameter):
        side = next(axis for axis in reversed(range(found.ndim)) if found.shape[axis] > 1) if found.numel() > 1 else 0
    else:
        side = 0 if member.outputs or depthwise or found.ndim == 1 else 1
    rest = [axis for axis in range(found.ndim) if axis != side]
    each = found.sum(rest) if rest else found
    count = max(member.belongs) + 1
    belongs = torch.tensor(member.belongs, device=each.device)
    return each.new_zeros(count).index_add(0, belongs, each[list(member.channels)])
