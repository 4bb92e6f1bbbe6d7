"""Which channels can go with the least harm, if the layers that read them are refitted: one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from linnaeus.nn.refit import Moments, can_be_refitted, moments_of, norms_after

ROUNDS = 128
"""In so many rounds all channels of a group are taken out; in each, a few of them together."""


@dataclass(frozen=True)
class Member:
    """A layer that has some channels in common with others.

    Attributes:
        layer: Or a parameter that stands alone.
        channels: Numbers of its channels.
        belongs: For each of them, the number of the group's channel with which it goes; behind a flattening many of the
            layer's go with one.
        outputs: They are outputs of the layer; else inputs.
    """

    layer: Any
    channels: tuple[int, ...]
    belongs: tuple[int, ...]
    outputs: bool


@dataclass
class _Reader:
    """A layer that reads the channels of a group, in the course of the elimination.

    Attributes:
        weight: [O, D] of what is left, float64.
        inverse: Of the second moment of what it reads, [D, D].
        matters: How much the loss minds the square of an error in each output, [O].
        column: For each of the D numbers it reads, the group's channel with which it goes; -1 of others.
    """

    weight: Tensor
    inverse: Tensor
    matters: Tensor
    column: Tensor

    def errors(self, channels: int) -> Tensor:
        """Tell what the loss of each channel alone would cost, [channels]; of those already gone, 0."""
        mine = (self.column >= 0).nonzero().flatten()
        single = self.matters @ self.weight[:, mine].square() / self.inverse.diagonal()[mine]
        # Several columns of one channel are judged as if they did not depend on each other.
        return torch.zeros(channels, dtype=single.dtype).index_add(0, self.column[mine], single)

    def remove(self, channels: Tensor) -> float:
        """Take channels out and let the others make up for them; tell the error that is left.

        Source:
            Hassibi and Stork (1993), optimal brain surgeon; for whole columns as in Frantar and Alistarh (2022),
            arXiv:2208.11580.
        """
        goes = torch.isin(self.column, channels)
        if not goes.any():
            return 0.0
        stays, taken = ~goes, self.weight[:, goes]
        solved = torch.linalg.solve(self.inverse[goes][:, goes], torch.cat([taken.T, self.inverse[goes]], 1))
        by_weight, by_inverse = solved[:, : len(taken)], solved[:, len(taken) :]
        error = float((self.matters * (taken * by_weight.T).sum(1)).sum())
        self.weight = self.weight[:, stays] - taken @ by_inverse[:, stays]
        self.inverse = self.inverse[stays][:, stays] - self.inverse[stays][:, goes] @ by_inverse[:, stays]
        self.column = self.column[stays]
        return error


def elimination(
    network: nn.Module, groups: Sequence[Sequence[Member]], data: Sequence[tuple[Tensor, Tensor]]
) -> list[Tensor]:
    """Judge channels by the error that is left when they are taken out one after the other, the least harmful first.

    Each layer that reads a group's channels is a linear map: without some of them, it is refitted to give what it gave.
    What is then still wrong with its outputs counts as much as the loss minds (the Fisher information). Layers that are too
    wide for their equations are judged without being refitted.

    Args:
        network: In evaluation mode; gets gradients.
        groups: What goes together.
        data: Batches of pictures; labels are drawn from the network's own answers.

    Returns:
        For each group, what each channel costs in its turn; it never falls from one to the next that goes.
    """
    layers = {str(id(one.layer)): one.layer for members in groups for one in members if _reads(one)}
    fitted = {name: layer for name, layer in layers.items() if can_be_refitted(layer)}
    moments = moments_of(network, fitted, (pictures for pictures, _ in data))
    matters = _matters(network, layers, (pictures for pictures, _ in data))
    names = {id(layer): name for name, layer in network.named_modules()}
    with_norm = norms_after(network)
    judged = []
    for members in groups:
        readers = []
        for one in members:
            key = str(id(one.layer))
            if _reads(one) and key in matters:
                free = one.layer.bias is not None or names[id(one.layer)] in with_norm
                readers.append(_reader(one, moments.get(key), matters[key], free))
        judged.append(_in_turn(readers, max(members[0].belongs) + 1))
    return judged


def _reads(member: Member) -> bool:
    layer = member.layer
    return not member.outputs and (isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1))


def _reader(member: Member, moments: Moments | None, matters: Tensor, free: bool) -> _Reader:
    weight = member.layer.weight.detach().double().flatten(1)
    each = weight.shape[1] // member.layer.weight.shape[1]
    column = torch.full((weight.shape[1],), -1)
    places = torch.tensor(member.channels)[:, None] * each + torch.arange(each)
    column[places.flatten()] = torch.tensor(member.belongs).repeat_interleave(each)
    if moments is None:
        return _Reader(weight, torch.eye(weight.shape[1], dtype=torch.float64), matters, column)
    return _Reader(weight, torch.linalg.inv(moments.matrix(centred=free)), matters, column)


def _in_turn(readers: Sequence[_Reader], channels: int) -> Tensor:
    worth, left = torch.zeros(channels, dtype=torch.float64), torch.ones(channels, dtype=torch.bool)
    at_once, before = max(1, channels // ROUNDS), 0.0
    while left.any():
        errors = sum((reader.errors(channels) for reader in readers), torch.zeros(channels, dtype=torch.float64))
        going = errors.masked_fill(~left, float("inf")).argsort()[: min(at_once, int(left.sum()))]
        error = sum(reader.remove(going) for reader in readers) / len(going)
        # What goes later must cost more, or it would be taken for what goes first.
        before = max(error, before * (1 + 1e-9))
        worth[going], left[going] = before, False
    return worth


def _matters(network: nn.Module, layers: dict[str, nn.Module], batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Measure the mean square of the loss's gradient with respect to each output of the layers, summed over places."""
    draw, sums, count = torch.Generator().manual_seed(0), dict[str, Tensor](), 0
    handles = [layer.register_forward_hook(_watch(sums, name)) for name, layer in layers.items()]
    try:
        for pictures in batches:
            with torch.enable_grad():
                logits = network(pictures).float()
                labels = torch.multinomial(logits.detach().softmax(1).cpu(), 1, generator=draw)[:, 0]
                loss = functional.cross_entropy(logits, labels.to(logits.device), reduction="sum")
                network.zero_grad(set_to_none=True)
                loss.backward()
            count += len(pictures)
    finally:
        for handle in handles:
            handle.remove()
    network.zero_grad(set_to_none=True)
    return {name: found / count for name, found in sums.items()}


def _watch(sums: dict[str, Tensor], name: str) -> Callable[[nn.Module, object, Tensor], None]:
    def add(gradient: Tensor, axis: int) -> None:
        rest = [one for one in range(gradient.ndim) if one != axis % gradient.ndim]
        found = gradient.detach().double().square().sum(rest).cpu()
        sums[name] = sums[name] + found if name in sums else found

    def watch(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        if output.requires_grad:
            axis = 1 if isinstance(layer, nn.Conv2d) else -1
            output.register_hook(lambda gradient: add(gradient, axis))

    return watch
