"""Unstructured pruning: single weights become zero, and stay so while the rest is trained."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from linnaeus.errors import SettingsError
from linnaeus.nn.depthwise import is_depthwise
from linnaeus.nn.head import head_parameters


def unstructured(network: nn.Module, share: float) -> nn.Module:
    """Set the least important weights of a copy to zero; `hold_zeros` keeps them so.

    The file packs better; a runtime without sparse kernels computes as long as before. The head, the depthwise filters and
    the first convolution stay whole: they are few, and much depends on them.

    Args:
        network: Stays as it is.
        share: Of the weights of all other convolutions and linear layers, 0..1.

    Raises:
        SettingsError: The share does not lie between 0 and 1.

    Source:
        Lee et al. (2021), LAMP, arXiv:2010.07611: the square of a weight by the sum of the squares of all larger ones of its
        layer, so that no layer is emptied.
    """
    if not 0 < share < 1:
        raise SettingsError("the share of weights to set to zero lies between 0 and 1.", got=str(share))
    sparse = copy.deepcopy(network)
    weights = _weights(sparse)
    if not weights:
        raise SettingsError(
            "unstructured pruning needs convolutions or linear layers besides the first one and the head.",
            got=type(network).__name__,
        )
    scores = torch.cat([_scores(weight).flatten() for weight in weights.values()])
    count = int(share * len(scores))
    goes = torch.zeros(len(scores), dtype=torch.bool)
    goes[scores.cpu().argsort()[:count]] = True
    sizes = [weight.numel() for weight in weights.values()]
    sparse.__dict__["_linnaeus_zeros"] = {
        name: mask.view(weight.shape).to(weight.device)
        for (name, weight), mask in zip(weights.items(), goes.split(sizes), strict=True)
    }
    hold_zeros(sparse)
    return sparse


@torch.no_grad()
def hold_zeros(network: nn.Module) -> None:
    """Set to zero again what `unstructured` set to zero; nothing of another network."""
    masks: dict[str, Tensor] = network.__dict__.get("_linnaeus_zeros", {})
    for name in masks:
        weight = network.get_parameter(name)
        # Moved once with the network, not in every step.
        masks[name] = masks[name].to(weight.device)
        weight.masked_fill_(masks[name], 0)


def zero_share(network: nn.Module) -> float:
    """Tell which share of the weights of convolutions and linear layers is zero."""
    weights = [layer.weight for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    total = sum(weight.numel() for weight in weights)
    return sum(int((weight == 0).sum()) for weight in weights) / max(1, total)


def _weights(network: nn.Module) -> dict[str, Tensor]:
    heads, first = set(head_parameters(network)), True
    found: dict[str, Tensor] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            stays = first or is_depthwise(layer) or f"{name}.weight" in heads
            first = False
            if not stays:
                found[f"{name}.weight"] = layer.weight
    return found


def _scores(weight: Tensor) -> Tensor:
    squares, order = weight.detach().double().square().flatten().sort()
    larger = squares.flip(0).cumsum(0).flip(0).clamp_min(1e-300)
    return torch.empty_like(squares).scatter(0, order, squares / larger)
