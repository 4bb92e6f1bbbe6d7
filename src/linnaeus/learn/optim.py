"""Optimizers, and the course of the learning rate as a value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from linnaeus.config import OptimSettings, Recipe
from linnaeus.nn import stages

Schedule = Callable[[int], float]
"""Step number -> factor on the peak learning rate."""

USUAL_MOMENTUM = 0.9


class Muon(Optimizer):
    """Nesterov momentum; the update of each filter bank is orthogonalised.

    Filters [out, in, h, w] are treated as matrices [out, in * h * w] and held at norm sqrt(out), which takes the place
    of weight decay. Everything else is trained by plain Nesterov SGD, as the head, norms and biases should be.

    Args:
        groups: Parameter groups; those with "filters": True are orthogonalised.
        lr: Learning rate.
        momentum: Nesterov momentum.
        weight_decay: Of the other parameters, as L2 in the gradient.
        dtype: In which updates are orthogonalised.

    Source:
        K. Jordan et al. (2024), https://kellerjordan.github.io/posts/muon; the form for filters is that of
        airbench94_muon. Deviation: bfloat16 only where asked for.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        momentum: float = 0.6,
        weight_decay: float = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.dtype = dtype
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "filters": False})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter along its momentum."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        if group["weight_decay"] and not group["filters"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state, momentum = self.state[parameter], group["momentum"]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer = state["momentum_buffer"].mul_(momentum).add_(gradient)
        update = gradient.add(buffer, alpha=momentum)
        if group["filters"]:
            parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp_min(1e-7))
            update = orthogonalise(update.reshape(len(update), -1), dtype=self.dtype).view_as(update)
        # The rate may be a tensor on the device: as `alpha` it would be asked for, and the host would wait.
        parameter.sub_(update * group["lr"])


def orthogonalise(matrix: Tensor, steps: int = 3, eps: float = 1e-7, dtype: torch.dtype | None = None) -> Tensor:
    """Approximate U V' of the singular value decomposition U S V' by Newton and Schulz's quintic iteration.

    Args:
        matrix: [R, C].
        steps: Iterations; three leave singular values between about 0.5 and 1.5.
        eps: Guards against a zero matrix.
        dtype: Of the products; bfloat16 is precise enough. None is the matrix's own.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = (matrix / (matrix.norm() + eps)).to(dtype)
    transposed = x.shape[0] > x.shape[1]
    x = x.T if transposed else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if transposed else x).to(matrix.dtype)


def make_optimizer(
    network: nn.Module,
    settings: OptimSettings,
    exempt: set[str],
    scales: Mapping[str, float],
    dtype: torch.dtype = torch.float32,
) -> Optimizer:
    """Make the optimizer over the trainable parameters, in groups of equal rate and decay.

    Args:
        network: Parameters with requires_grad are trained.
        settings: name and lr are decided; a weight_decay of None is 0.
        exempt: Names of parameters to which bias_decay applies instead of weight_decay; see `stages.exempt`.
        scales: Factor on the learning rate by parameter name; 1 where missing.
        dtype: In which muon orthogonalises.
    """
    assert settings.name is not None
    assert settings.lr is not None
    lr = settings.lr
    momentum = USUAL_MOMENTUM if settings.momentum is None else settings.momentum
    # By kind, not by decay: the order of the groups, and so of the moments in a checkpoint, does not hang on values.
    groups: dict[tuple[float, bool, bool], list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            filters = settings.name == "muon" and parameter.ndim == 4
            groups.setdefault((scales.get(name, 1.0), name in exempt, filters), []).append(parameter)
    described: list[dict[str, Any]] = []
    for (scale, spared, filters), parameters in groups.items():
        decay = (settings.bias_decay if spared else settings.weight_decay) or 0.0
        rate = scale * (settings.sgd_lr or lr if settings.name == "muon" and not filters else lr)
        described.append({"params": parameters, "lr": rate, "peak_lr": rate, "weight_decay": decay})
        if settings.name == "muon":
            plain = momentum if settings.sgd_momentum is None else settings.sgd_momentum
            described[-1] |= {"filters": filters, "momentum": momentum if filters else plain}
    match settings.name:
        case "adam":
            return Adam(described, lr, betas=(momentum, 0.999), eps=settings.eps, fused=True)
        case "adamw":
            return AdamW(described, lr, betas=(momentum, 0.999), eps=settings.eps, fused=True)
        case "sgd":
            sgd = SGD(described, lr, momentum=momentum, nesterov=momentum > 0, fused=True)
            # It would make them in its first step, and would fail where a stage thaws later: the same bits either way.
            if momentum:
                trained = [one for parameters in groups.values() for one in parameters]
                sgd.state.update({one: {"momentum_buffer": torch.zeros_like(one)} for one in trained})
            return sgd
        case "muon":
            return Muon(described, lr, momentum=momentum, dtype=dtype)


def optimizer_for(network: nn.Module, recipe: Recipe) -> Optimizer:
    """Make the optimizer that a recipe with nothing left open asks for."""
    decay = recipe.model.layer_decay
    return make_optimizer(
        network,
        recipe.optim,
        stages.exempt(network),
        stages.layer_scales(network, decay) if decay < 1 else {},
        torch.bfloat16 if recipe.train.precision == "bf16" else torch.float32,
    )


def make_schedule(settings: OptimSettings, steps: int, steps_per_epoch: int) -> Schedule:
    """Make the course of the learning rate over a run of so many steps."""
    warm = round(settings.warmup * steps)

    def course(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        progress = (step - warm) / max(1, steps - warm)
        match settings.schedule:
            case "step":
                return settings.gamma ** (step // (settings.step_epochs * steps_per_epoch))
            case "cosine":
                return 0.5 * (1 + math.cos(math.pi * progress))
            case "linear":
                return max(0.0, 1 - progress)
            case "one-cycle":
                return _one_cycle(step / max(1, steps))
            case _:
                return 1.0

    return course


def _one_cycle(progress: float, top: float = 0.25, start: float = 1 / 25, end: float = 1e-5) -> float:
    """Rise from `start` to 1 until `top` of the run, fall to `end`; both along a cosine (Smith & Topin 2018, fastai's form)."""

    def between(a: float, b: float, share: float) -> float:
        return b + (a - b) * 0.5 * (1 + math.cos(math.pi * share))

    return between(start, 1, progress / top) if progress < top else between(1, end, (progress - top) / (1 - top))


def set_rate(optimizer: Optimizer, factor: float) -> None:
    """Set every group's learning rate to its own peak times the factor."""
    for group in optimizer.param_groups:
        rate = group["peak_lr"] * factor
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


class Average:
    """Exponential moving average of a network's weights and statistics.

    Args:
        network: What is averaged.
        decay: Of the average; early on it is smaller, so that the random start is soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.values = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self._averaged = [name for name, value in self.values.items() if value.dtype.is_floating_point]

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network's present weights."""
        self.updates += 1
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        present = network.state_dict()
        averages, values = ([where[name] for name in self._averaged] for where in (self.values, present))
        # All in one call: of many small ones, starting each takes a GPU longer than computing it.
        torch._foreach_lerp_(averages, values, weight)
        for name in self.values.keys() - self._averaged:
            self.values[name].copy_(present[name])
