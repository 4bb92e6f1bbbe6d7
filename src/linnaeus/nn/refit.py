"""Mend a pruned network without a gradient: refit what reads pruned channels, and take the norms' statistics again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from linnaeus.nn.prune import Kept

POSITIONS = 64
"""Places of a picture that are looked at; neighbours say nearly the same."""
WIDEST = 2304
"""Layers that read more numbers than these for one output are left as they are: their equations would take too long."""
RIDGE = 1e-3
"""Of the mean variance of what a layer reads, as the least change is preferred."""


@dataclass(frozen=True)
class Moments:
    """What a layer reads for one output, D numbers.

    Attributes:
        mean: [D], float64.
        second: Mean of the products of two of them, [D, D], float64.
        rows: How many outputs were looked at.
    """

    mean: Tensor
    second: Tensor
    rows: int

    def matrix(self, *, centred: bool) -> Tensor:
        """Give covariance or second moment, [D, D], with less trust in what few rows say of two numbers together.

        Source:
            Shrinkage towards the diagonal as in Schaefer and Strimmer (2005), Stat. Appl. Genet. Mol. Biol. 4, 32; its
            strength is D / (D + rows) instead of an estimate.
        """
        found = self.second - torch.outer(self.mean, self.mean) if centred else self.second
        shrunk = found * (self.rows / (self.rows + len(found)))
        shrunk.diagonal().copy_(found.diagonal() + RIDGE * found.diagonal().mean().clamp_min(1e-12))
        return shrunk


@torch.no_grad()
def refit(network: nn.Module, whole: nn.Module, kept: Mapping[str, Kept], batches: Iterable[Tensor]) -> int:
    """Give layers that lost inputs the weights with which they come closest to what they gave before.

    Each layer is a linear map of what it reads: the inputs that are left stand in for those that are gone as far as they
    vary alike. One pass over some pictures through the whole network, then a small system of equations for each layer.

    Args:
        network: Pruned; is changed in place.
        whole: The network before pruning, in evaluation mode.
        kept: What is left of each layer, from `prune`.
        batches: Normalised training pictures, [n, C, H, W]; a few hundred.

    Returns:
        How many layers were refitted.

    Source:
        He, Zhang, Sun (2017), arXiv:1707.06168 (least squares after channel selection). Deviations: all layers at once,
        on what the unpruned network sees; a ridge on the change, so that unsure weights stay as they are.
    """
    small, large, norms = dict(network.named_modules()), dict(whole.named_modules()), norms_after(network)
    fewer = [name for name, one in kept.items() if len(one.inputs) < _inputs(large[name])]
    chosen = {name: large[name] for name in fewer if can_be_refitted(large[name])}
    moments = moments_of(whole, chosen, batches)
    for name, seen in moments.items():
        _solve(small[name], large[name], kept[name], seen, norms.get(name))
    return len(moments)


@torch.no_grad()
def restate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Take the statistics of all batch norms again, as plain means over some pictures.

    Only of a network whose statistics are those of its own training pictures. One that was fine-tuned with the statistics
    that came with its weights is not used to others: on the flowers 92 % became 73 % by this alone.

    Args:
        network: Is left in evaluation mode.
        batches: Normalised training pictures, [n, C, H, W], of equal n.

    Source:
        Li et al. (2020), EagleEye, arXiv:2007.02491: a pruned network is judged rightly only after that.
    """
    norms = [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for pictures in batches:
        network(pictures)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def can_be_refitted(layer: object) -> bool:
    """Tell whether a layer is one linear map of few enough numbers."""
    if isinstance(layer, nn.Linear):
        return layer.in_features <= WIDEST
    if not isinstance(layer, nn.Conv2d) or layer.groups > 1 or layer.padding_mode != "zeros":
        return False
    return layer.weight[0].numel() <= WIDEST


def moments_of(network: nn.Module, layers: Mapping[str, nn.Module], batches: Iterable[Tensor]) -> dict[str, Moments]:
    """Measure what each layer reads for one output.

    Args:
        network: Is run in evaluation mode.
        layers: Of the network, by any name.
        batches: Normalised pictures, [n, C, H, W].
    """
    sums: dict[str, list[Tensor]] = {}
    handles = [layer.register_forward_pre_hook(_adder(sums, name)) for name, layer in layers.items()]
    try:
        with torch.no_grad():
            for pictures in batches:
                network.eval()(pictures)
    finally:
        for handle in handles:
            handle.remove()
    return {name: Moments(first / count, second / count, int(count)) for name, (count, first, second) in sums.items()}


def _adder(sums: dict[str, list[Tensor]], name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def add(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows = rows_read(layer, inputs[0]).float()
        # The products of one batch are exact enough in single precision, and four times as fast.
        parts = [torch.tensor(float(len(rows)), dtype=torch.float64), rows.sum(0).double(), (rows.T @ rows).double()]
        known = sums.get(name)
        sums[name] = parts if known is None else [a + b for a, b in zip(known, parts, strict=True)]

    return add


def rows_read(layer: nn.Module, x: Tensor) -> Tensor:
    """Take what a layer reads at some places apart, [n, D]; the places depend on nothing but the size."""
    if isinstance(layer, nn.Linear):
        rows = x.reshape(len(x), -1, x.shape[-1])
    elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
        rows = x[:, :, :: layer.stride[0], :: layer.stride[1]].flatten(2).transpose(1, 2)
    else:
        assert isinstance(layer, nn.Conv2d)
        # What the layer itself adds at the borders, "same" included.
        padded = functional.pad(x, layer._reversed_padding_repeated_twice)
        rows = functional.unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride).transpose(1, 2)
    # An odd step: one that goes by whole rows of the picture would look at a single column of it.
    step = max(1, rows.shape[1] // POSITIONS) | 1
    return rows[:, step // 2 :: step].reshape(-1, rows.shape[-1])


def _inputs(layer: nn.Module) -> int:
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    return layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features


def norms_after(network: nn.Module) -> dict[str, _BatchNorm]:
    """Find the batch norm that stands after each layer, by the order of the layers."""
    layers = list(network.named_modules())
    found = {}
    for (name, layer), (_, norm) in pairwise(layers):
        wide = layer.out_channels if isinstance(layer, nn.Conv2d) else getattr(layer, "out_features", None)
        if isinstance(norm, _BatchNorm) and norm.num_features == wide and norm.running_mean is not None:
            found[name] = norm
    return found


def _solve(small: nn.Module, large: nn.Module, kept: Kept, seen: Moments, norm: _BatchNorm | None) -> None:
    """Add to the weights of the inputs that are left what the others did, as far as those tell it.

    What changes alike for all pictures goes into the bias or into the mean of the norm after the layer; of a layer that
    has neither, the weights have to take it on.
    """
    assert isinstance(small, nn.Conv2d | nn.Linear)
    assert isinstance(large, nn.Conv2d | nn.Linear)
    mean, moment = seen.mean, seen.matrix(centred=small.bias is not None or norm is not None)
    each = large.weight[0, 0].numel() if isinstance(large, nn.Conv2d) else 1
    weight = large.weight[kept.outputs].flatten(1).double()
    left = torch.zeros(weight.shape[1], dtype=torch.bool)
    left[(kept.inputs[:, None] * each + torch.arange(each)).flatten()] = True
    change = torch.linalg.solve(moment[left][:, left], moment[left][:, ~left] @ weight[:, ~left].T).T
    small.weight.copy_((weight[:, left] + change).reshape(small.weight.shape))
    lost = weight[:, ~left] @ mean[~left] - change @ mean[left]
    if small.bias is not None:
        small.bias.add_(lost)
    elif norm is not None:
        assert norm.running_mean is not None
        norm.running_mean.sub_(lost)
