"""Structured pruning: whole channels are taken out of a network, from every layer that depends on them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from linnaeus.errors import ModelError, SettingsError
from linnaeus.nn.arithmetic import multiply_adds, multiply_adds_by_layer
from linnaeus.nn.elimination import Member
from linnaeus.nn.head import head_parameters
from linnaeus.nn.importance import Importance, importance_of
from linnaeus.nn.reshape import linear_widths, retell

Scope = Literal["global", "layer"]
"""global: channels of all layers compete, by what they are worth for what they cost. layer: all lose the same share."""
MULTIPLE = 8
"""Runtimes compute in vectors of so many numbers: a layer with one channel more costs as much as one with eight more."""
LEAST = 0.1
"""No layer keeps less than this share of its channels."""


@dataclass(frozen=True)
class Kept:
    """Which inputs and outputs of a layer are left, as numbers of those that it had."""

    inputs: Tensor
    outputs: Tensor


@dataclass(frozen=True)
class Pruned:
    """A network without some of its channels.

    Attributes:
        network: A pruned copy.
        kept: What is left of every convolution and linear layer that lost something, by name.
        before: Multiply-adds of the whole network for one picture.
        after: Those of the pruned one.
    """

    network: nn.Module
    kept: Mapping[str, Kept]
    before: int
    after: int


@dataclass
class _Group:
    """Channels that can only go together: those of a layer, of the norm after it, and the inputs of those that read it."""

    root: nn.Module
    remove: Any
    members: list[Member]
    worth: Tensor
    order: list[int] = field(default_factory=list)
    left: int = 0

    def __post_init__(self) -> None:
        self.order, self.left = self.worth.argsort().tolist(), len(self.worth)

    @property
    def channels(self) -> int:
        return len(self.worth)

    def fewer(self, multiple: int) -> int:
        """Say how many channels would be left after the next cut; as many as now where there is none."""
        step = multiple if self.channels >= 2 * multiple else 1
        after = (math.ceil(self.left / step) - 1) * step
        return after if after >= max(1, LEAST * self.channels) else self.left

    def at_share(self, share: float, multiple: int) -> int:
        """Say how many channels a share of them comes to, rounded."""
        step = multiple if self.channels >= 2 * multiple else 1
        return min(
            self.channels, max(step, math.ceil(LEAST * self.channels), round(share * self.channels / step) * step)
        )

    def going(self) -> list[int]:
        """List the channels that are taken out: the least important."""
        return self.order[: self.channels - self.left]


def prune(
    network: nn.Module,
    example: Tensor,
    *,
    keep: float,
    importance: Importance = "taylor",
    scope: Scope = "global",
    data: Iterable[tuple[Tensor, Tensor]] = (),
    multiple: int = MULTIPLE,
) -> Pruned:
    """Take the least important channels out, until so much of the arithmetic is left.

    What depends on a channel goes with it: the filters of a depthwise convolution, norms, gates, the inputs of all layers
    that read it, and what is added to it. The head's outputs stay, and so does attention, whose heads are of one size.
    The accuracy is bad afterwards: refit what reads pruned channels (`nn.refit`), then fine-tune.

    Args:
        network: Stays as it is.
        example: A picture that it takes, [1, C, H, W].
        keep: Share of the multiply-adds to be kept, at most; 0..1.
        importance: How channels are judged; "error" and "taylor" need data.
        scope: Between which channels the choice is.
        data: Batches of normalised pictures [n, C, H, W] and labels [n] for training.
        multiple: Layers of twice as many channels or more keep a multiple of so many.

    Raises:
        SettingsError: A setting does not hold.
        ModelError: The network cannot be pruned, or not so far.

    Source:
        Dependencies: Fang et al. (2023), arXiv:2301.12900, by the package torch-pruning. For importances see
        `importance_of`. Worth by cost: as in Shen et al. (2022), HALP, arXiv:2110.10811, solved greedily.
    """
    _check(keep, importance, scope)
    small = copy.deepcopy(network).eval()
    frozen = {name for name, parameter in small.named_parameters() if not parameter.requires_grad}
    small.requires_grad_(True)
    graph, members = _dependencies(small, example)
    if not members:
        raise ModelError(
            f"{type(network).__name__} should have channels that can be pruned.",
            got="all depend on the head's outputs, or on attention",
            fix="distil it into a smaller network.",
        )
    worth = importance_of(small, [group for _, _, group in members], importance, data)
    groups = [_Group(root, remove, own, each) for (root, remove, own), each in zip(members, worth, strict=True)]
    before = multiply_adds(network, example)
    (_choose_globally if scope == "global" else _choose_by_layer)(
        groups, _Costs(small, example, before), keep, multiple
    )
    widths, kept = linear_widths(small), _take_out(graph, groups, small)
    retell(small, widths)
    for name, parameter in small.named_parameters():
        parameter.requires_grad_(name not in frozen)
        parameter.grad = None
    return Pruned(small, kept, before, _checked(small, example))


def _check(keep: float, importance: str, scope: str) -> None:
    if not 0 < keep < 1:
        raise SettingsError("the share of the arithmetic to keep lies between 0 and 1.", got=str(keep))
    for what, value, known in (("importance", importance, get_args(Importance)), ("scope", scope, get_args(Scope))):
        if value not in known:
            raise SettingsError(f"{what} should be one of {', '.join(known)}.", got=value)


def _dependencies(network: nn.Module, example: Tensor) -> tuple[Any, list[tuple[nn.Module, Any, list[Member]]]]:
    """Find out what depends on what."""
    try:
        import torch_pruning
    except ImportError:
        raise ModelError("pruning needs the package torch-pruning.", fix="pip install 'linnaeus[compress]'") from None
    graph = torch_pruning.DependencyGraph()
    try:
        with torch.enable_grad():
            graph.build_dependency(network, example[:1], verbose=False)
            found = list(graph.get_all_groups(ignored_layers=_left_alone(network)))
    except Exception as error:
        # The graph runs the network's own code and follows its gradient, which can fail in any way.
        raise ModelError(
            f"{type(network).__name__} cannot be pruned: its layers cannot be followed.",
            got=f"{type(error).__name__}: {error}"[:300],
            fix="distil it into a smaller network.",
        ) from None
    return graph, [one for group in found if (one := _members(graph, group)) is not None]


def _left_alone(network: nn.Module) -> list[nn.Module]:
    """List the layers whose outputs stay: the head, attention, and convolutions and norms that work in groups."""
    heads = set(head_parameters(network))
    layers: list[nn.Module] = []
    for name, layer in network.named_modules():
        grouped = isinstance(layer, nn.Conv2d) and 1 < layer.groups < layer.in_channels
        if grouped or isinstance(layer, nn.GroupNorm) or any(f"{name}.{part}" in heads for part in ("weight", "bias")):
            layers.append(layer)
        if hasattr(layer, "num_heads"):
            layers += [inner for inner in layer.modules() if isinstance(inner, nn.Linear | nn.Conv2d)]
    return layers


def _members(graph: Any, group: Any) -> tuple[nn.Module, Any, list[Member]] | None:
    """Write a group down; None where its channels do not stand for one another evenly."""
    root, channels, members = group[0].dep.target.module, len(group[0].idxs), []
    for item in group:
        layer, belongs = item.dep.target.module, tuple(item.root_idxs)
        if set(belongs) != set(range(channels)):
            return None
        if isinstance(layer, nn.Parameter) or any(True for _ in layer.parameters(recurse=False)):
            outputs = graph.is_out_channel_pruning_fn(item.dep.handler)
            members.append(Member(layer, tuple(item.idxs), belongs, outputs))
    return root, group[0].dep.handler, members


class _Costs:
    """Multiply-adds of a network, as its layers lose channels."""

    def __init__(self, network: nn.Module, example: Tensor, total: int) -> None:
        self.by_layer = multiply_adds_by_layer(network, example)
        self.total = total
        self.inputs = dict.fromkeys(self.by_layer, 1.0)
        self.outputs = dict.fromkeys(self.by_layer, 1.0)

    def saved(self, group: _Group, left: int) -> float:
        """Tell what a group saves with so many channels left."""
        touched = {member.layer for member in group.members if member.layer in self.by_layer}
        before = sum(self._cost(layer) for layer in touched)
        shares = dict(self.inputs), dict(self.outputs)
        self.cut(group, left)
        after = sum(self._cost(layer) for layer in touched)
        self.inputs, self.outputs = shares
        return before - after

    def cut(self, group: _Group, left: int) -> None:
        """Note that a group has only so many channels left."""
        gone = (group.left - left) / group.channels
        for member in group.members:
            if member.layer in self.by_layer:
                weight = member.layer.weight
                depthwise = isinstance(member.layer, nn.Conv2d) and member.layer.groups > 1
                if member.outputs or depthwise:
                    self.outputs[member.layer] -= gone * len(member.channels) / weight.shape[0]
                else:
                    self.inputs[member.layer] -= gone * len(member.channels) / weight.shape[1]

    @property
    def left(self) -> float:
        """Multiply-adds of the whole network now."""
        return self.total - sum(cost - self._cost(layer) for layer, cost in self.by_layer.items())

    def _cost(self, layer: nn.Module) -> float:
        return self.by_layer[layer] * self.inputs[layer] * self.outputs[layer]


def _choose_globally(groups: Sequence[_Group], costs: _Costs, keep: float, multiple: int) -> None:
    """Cut where the least worth is lost for the arithmetic that is saved, again and again."""
    left = costs.left
    while left > keep * costs.total:
        best, best_price = None, math.inf
        for group in groups:
            fewer = group.fewer(multiple)
            if fewer == group.left:
                continue
            lost = group.worth[group.order[group.channels - group.left : group.channels - fewer]].sum().item()
            price = lost / max(costs.saved(group, fewer), 1.0)
            if price < best_price:
                best, best_price = group, price
        if best is None:
            raise _too_far(left / costs.total, keep)
        fewer = best.fewer(multiple)
        costs.cut(best, fewer)
        best.left, left = fewer, costs.left


def _choose_by_layer(groups: Sequence[_Group], costs: _Costs, keep: float, multiple: int) -> None:
    """Cut the same share of every layer: the smallest that suffices."""
    for share in torch.linspace(1, LEAST, 181).tolist():
        for group in groups:
            fewer = min(group.left, group.at_share(share, multiple))
            costs.cut(group, fewer)
            group.left = fewer
        if costs.left <= keep * costs.total:
            return
    raise _too_far(costs.left / costs.total, keep)


def _too_far(left: float, keep: float) -> ModelError:
    return ModelError(
        f"{keep:.0%} of the arithmetic should be kept.",
        got=f"{left:.0%} are left where every layer has lost what it can",
        fix=f"keep {math.ceil(100 * left) / 100:.2f} or more, or distil it into a smaller network.",
    )


def _take_out(graph: Any, groups: Sequence[_Group], network: nn.Module) -> dict[str, Kept]:
    """Take the channels out, and note what is left of each layer."""
    sized = {layer: name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    inputs = {layer: torch.arange(graph.get_in_channels(layer)) for layer in sized}
    outputs = {layer: torch.arange(graph.get_out_channels(layer)) for layer in sized}
    whole = {layer: (len(inputs[layer]), len(outputs[layer])) for layer in sized}
    for group in groups:
        if not group.going():
            continue
        now = graph.get_pruning_group(group.root, group.remove, sorted(group.going()))
        for dependency, idxs in now:
            layer = dependency.target.module
            if layer in sized:
                sides = [outputs] if graph.is_out_channel_pruning_fn(dependency.handler) else [inputs]
                if isinstance(layer, nn.Conv2d) and layer.groups > 1:
                    sides = [inputs, outputs]
                for side in sides:
                    stays = torch.ones(len(side[layer]), dtype=torch.bool)
                    stays[list(idxs)] = False
                    side[layer] = side[layer][stays]
        now.prune()
    return {
        name: Kept(inputs[layer], outputs[layer])
        for layer, name in sized.items()
        if (len(inputs[layer]), len(outputs[layer])) != whole[layer]
    }


def _checked(network: nn.Module, example: Tensor) -> int:
    """Count what a pruned network computes, and so prove that it still runs."""
    try:
        return multiply_adds(network, example)
    except Exception as error:
        raise ModelError(
            f"{type(network).__name__} cannot be pruned: it does not run without some of its channels.",
            got=f"{type(error).__name__}: {error}"[:300],
            fix="distil it into a smaller network.",
        ) from None
