"""Which layers of a network are low and which are high: freezing, thawing, smaller steps for lower layers."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any, Literal

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from linnaeus.errors import ModelError
from linnaeus.nn.head import head_parameters


def stages(network: Any) -> list[list[str]]:
    """Group all parameter names from the stem to the head; the last stage is the classifier alone.

    timm's own grouping is used where the network has one, else the order of its children.
    """
    if hasattr(network, "group_matcher"):
        groups = list(group_parameters(network, network.group_matcher(coarse=True)).values())
    else:
        groups = _by_children(network)
    head = set(head_parameters(network))
    body = [[name for name in group if name not in head] for group in groups]
    return [*filter(None, body), [name for group in groups for name in group if name in head]]


def freeze(network: nn.Module, how: Literal["none", "backbone"] | int) -> list[str]:
    """Keep the lower stages as they are, and thaw what an earlier call froze above them.

    Parameters that the network itself holds fixed (a whitening stem) stay fixed. Call `train_mode` instead of
    `network.train()` afterwards, so that running statistics of frozen stages do not drift either.

    Args:
        network: Any.
        how: "none", "backbone" (all but the head) or the number of lower stages.

    Returns:
        The names of the frozen parameters.

    Raises:
        ModelError: The number is not one of 0 .. stages - 1.
    """
    groups = stages(network)
    count = {"none": 0, "backbone": len(groups) - 1}[how] if isinstance(how, str) else how
    if not 0 <= count < len(groups):
        raise ModelError(
            f"model.freeze and model.freeze_after should leave at least the head of the {len(groups)} stages to be trained.",
            got=str(how),
            fix=f"take 0 to {len(groups) - 1}, or backbone.",
        )
    low = {name for group in groups[:count] for name in group}
    before = frozen_names(network)
    after = {
        name
        for name, parameter in network.named_parameters()
        if name in low and (parameter.requires_grad or name in before)
    }
    for name, parameter in network.named_parameters():
        if name in before | after:
            parameter.requires_grad_(name not in after)
    network.__dict__["_linnaeus_frozen"] = frozenset(after)
    return [name for name, _ in network.named_parameters() if name in after]


def train_mode(network: nn.Module, *, keep_statistics: bool = False) -> None:
    """Switch to training, but leave the batch norms of frozen stages with their statistics.

    Args:
        network: As it was given to `freeze`, not wrapped for several devices.
        keep_statistics: Leave all batch norms with their statistics, not only those of frozen stages.
    """
    network.train()
    frozen = frozen_names(network)
    for name, layer in network.named_modules():
        if isinstance(layer, _BatchNorm) and (keep_statistics or (frozen and _is_frozen(network, name, frozen))):
            layer.eval()


def unfrozen_stages(epoch: int, every: int, total: int) -> int:
    """Count the stages, from the top, that are trained in an epoch of gradual unfreezing.

    Args:
        epoch: From 0.
        every: Epochs between two stages.
        total: Number of stages, head included.

    Source:
        J. Howard, S. Ruder (2018), ULMFiT, arXiv:1801.06146: start with the last layer, add one at a time.
    """
    return min(total, 1 + epoch // every)


def freezing_steps(shares: Sequence[float], steps: int) -> list[int]:
    """Say after which of so many steps another stage, from the lowest up, is no longer trained; never before the first.

    Source:
        A. Brock et al. (2017), FreezeOut, arXiv:1706.04983: lower layers are ready first. Deviation: a stage keeps its
        learning rate until it stands still.
    """
    return [max(1, round(share * steps)) for share in shares]


def layer_scales(network: nn.Module, decay: float) -> dict[str, float]:
    """Give each parameter the factor of its learning rate: 1 for the head, `decay` less for each stage below.

    Source:
        J. Howard, S. Ruder (2018), arXiv:1801.06146 (discriminative fine-tuning).
    """
    groups = stages(network)
    return {name: decay ** (len(groups) - 1 - depth) for depth, group in enumerate(groups) for name in group}


def exempt(network: Any) -> set[str]:
    """Name the parameters that weight decay spares: norms, biases, and what the network itself excludes."""
    excluded = network.no_weight_decay() if hasattr(network, "no_weight_decay") else ()
    return {
        name
        for name, parameter in network.named_parameters()
        if parameter.ndim <= 1 or name.endswith(".bias") or any(fnmatch.fnmatch(name, pattern) for pattern in excluded)
    }


def _by_children(network: nn.Module) -> list[list[str]]:
    """Take each child as a stage; a lone child is opened, since a wrapper says nothing about low and high."""
    prefix, root = "", network
    while len(inner := [(name, child) for name, child in root.named_children() if _has_parameters(child)]) == 1:
        if not any(_has_parameters(grandchild) for grandchild in inner[0][1].children()):
            break
        prefix, root = f"{prefix}{inner[0][0]}.", inner[0][1]
    groups: dict[str, list[str]] = {}
    for name, _ in network.named_parameters():
        child, dot, _ = name.removeprefix(prefix).partition(".")
        groups.setdefault(child if dot else "", []).append(name)
    return list(groups.values())


def _has_parameters(layer: nn.Module) -> bool:
    return any(True for _ in layer.parameters())


def frozen_names(network: nn.Module) -> frozenset[str]:
    """Name the parameters that `freeze` holds."""
    return network.__dict__.get("_linnaeus_frozen", frozenset())


def _is_frozen(network: nn.Module, name: str, frozen: frozenset[str]) -> bool:
    """Say whether a norm layer stands in a frozen stage; one without parameters follows the module around it."""
    while name and not _has_parameters(network.get_submodule(name)):
        name = name.rpartition(".")[0]
    prefix = f"{name}." if name else ""
    around = [(inner, value) for inner, value in network.named_parameters() if inner.startswith(prefix)]
    return any(inner in frozen for inner, _ in around) and not any(value.requires_grad for _, value in around)
