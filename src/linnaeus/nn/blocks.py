"""Blocks of a network that can be left out: those that give what they take, changed a little."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from linnaeus.errors import ModelError
from linnaeus.nn.arithmetic import multiply_adds
from linnaeus.nn.reshape import remove_block


def removable_blocks(network: nn.Module, example: Tensor) -> list[str]:
    """Name the blocks in a row of blocks whose output has the shape of their input.

    Args:
        network: Is run once, in evaluation mode.
        example: Pictures that it takes, [N, C, H, W].
    """
    rows = [one for one in network.modules() if isinstance(one, nn.Sequential | nn.ModuleList)]
    inside = {child for row in rows for child in row.children() if any(True for _ in child.children())}
    found: list[str] = []
    handles = []
    for name, layer in network.named_modules():
        if layer in inside and any(True for _ in layer.parameters()):
            handles.append(layer.register_forward_hook(_note_same_shape(found, name)))
    try:
        with torch.no_grad():
            network.eval()(example)
    finally:
        for handle in handles:
            handle.remove()
    # Only the outermost: a part of a block that keeps the shape is no block of its own.
    return [name for name in sorted(set(found)) if not any(name.startswith(f"{other}.") for other in found)]


def without_blocks(
    network: nn.Module, example: Tensor, *, keep: float, judge: Callable[[nn.Module], float]
) -> tuple[nn.Module, list[str]]:
    """Take out blocks one after the other, until so much of the arithmetic is left: always what changes least for its cost.

    Args:
        network: Stays as it is.
        example: A picture that it takes, [1, C, H, W].
        keep: Share of the multiply-adds to be kept, at most.
        judge: Tells how far a network's answers are from those of the whole one.

    Returns:
        The network without the blocks, and their names.

    Raises:
        ModelError: All blocks that can go do not suffice.

    Source:
        The idea that residual networks stand the loss of a block: Veit, Wilber, Belongie (2016), arXiv:1605.06431.
    """
    small, total = copy.deepcopy(network).eval(), multiply_adds(network, example)
    gone: list[str] = []
    while (now := multiply_adds(small, example)) > keep * total:
        tried = [
            ((judge(without), now - multiply_adds(without, example)), name, without)
            for name in removable_blocks(small, example)
            for without in [_without(small, name)]
        ]
        if not tried:
            raise ModelError(
                f"{keep:.0%} of the arithmetic should be kept.",
                got=f"{now / total:.0%} are left without the {len(gone)} blocks that can go",
                fix="prune channels, or take smaller pictures.",
            )
        (_, name, small) = min(tried, key=lambda one: one[0][0] / one[0][1])
        gone.append(name)
    return small, gone


def _without(network: nn.Module, name: str) -> nn.Module:
    made = copy.deepcopy(network)
    remove_block(made, name)
    return made


def _note_same_shape(found: list[str], name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
    def note(_layer: nn.Module, inputs: Sequence[object], output: object) -> None:
        tensors = [one for one in (*inputs, output) if isinstance(one, Tensor)]
        if len(inputs) == 1 and len(tensors) == 2 and tensors[0].shape == tensors[1].shape:
            found.append(name)

    return note
