"""The training loop: a generator that yields after each optimizer step. Everything else is the caller's `for`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.optim import Optimizer

from linnaeus.config import OptimSettings
from linnaeus.errors import NonFiniteError, SettingsError
from linnaeus.learn.engine import Engine
from linnaeus.learn.objectives import Batch, Objective, Outcome
from linnaeus.learn.optim import Schedule, set_rate

Take = Callable[[nn.Module, Batch], Outcome]
"""One whole step of a network: gradient, clipping, update."""
Quicken = Callable[[Take, nn.Module], Callable[[Batch], Outcome]]
"""Makes of a step one that does the same sooner."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did. Tensors stay on the device: read them when you need them.

    Attributes:
        number: Of the step just done, from 0.
        loss: Mean over the batch, a tensor without gradient.
        right: Number of pictures classified rightly, a tensor.
        n: Pictures in the batch.
        factor: Learning rate as a share of its peak.
    """

    number: int
    loss: Tensor
    right: Tensor
    n: int
    factor: float


def train(
    network: nn.Module,
    batches: Iterable[Batch],
    objective: Objective,
    optimizer: Optimizer,
    schedule: Schedule,
    engine: Engine,
    *,
    first: int = 0,
    clip_norm: float | None = None,
    quicken: Quicken = partial,
) -> Iterator[Step]:
    """Train, one step per batch.

    Args:
        network: On the engine's device, in training mode.
        batches: On the engine's device.
        objective: What is made small.
        optimizer: Over the network's trainable parameters.
        schedule: Factor on the learning rate by step.
        engine: The machine.
        first: Number of the first step; above 0 when a run is resumed.
        clip_norm: Largest norm of the gradient.
        quicken: Compiles or records the step; by default it is taken as it stands here.
    """

    def take(used: nn.Module, batch: Batch) -> Outcome:
        outcome = engine.gradient(used, objective, batch)
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
        optimizer.step()
        # Fused optimizers do not count their changes, and copies for inference are made anew where a count has changed.
        increment_version([weight for group in optimizer.param_groups for weight in group["params"]])
        optimizer.zero_grad(set_to_none=True)
        return outcome

    step = quicken(take, network)
    for number, batch in enumerate(batches, first):
        engine.reseed(number)
        factor = schedule(number)
        set_rate(optimizer, factor)
        outcome = step(batch)
        yield Step(number, outcome.loss, outcome.right, outcome.n, factor)


def check_finite(loss: float, number: int, network: nn.Module, settings: OptimSettings) -> None:
    """Stop where the loss of a step is NaN or infinite, and name the likeliest cause.

    Raises:
        NonFiniteError: It is.
    """
    if not math.isfinite(loss):
        raise _not_finite(f"it became {loss} in step {number}", network, settings)


def check_answers(logits: Tensor, number: int, network: nn.Module, settings: OptimSettings) -> None:
    """Stop where a step left weights that give answers which are not finite, though its own loss was.

    Raises:
        NonFiniteError: An answer is not finite.
    """
    if not torch.isfinite(logits).all():
        raise _not_finite(f"after step {number} the answers for validation pictures are not", network, settings)


def _not_finite(what: str, network: nn.Module, settings: OptimSettings) -> NonFiniteError:
    broken = [name for name, value in network.state_dict().items() if not torch.isfinite(value.float()).all()]
    rates = {"lr": settings.lr, "sgd_lr": settings.sgd_lr if settings.name == "muon" else None}
    known = {name: rate for name, rate in rates.items() if rate}
    lower = " ".join(f"--set optim.{name}={rate / 10:.2g}" for name, rate in known.items())
    return NonFiniteError(
        f"the loss should stay finite; {what}.",
        got=f"first weights that are not finite: {broken[0]}"
        if broken
        else "all weights finite: the loss itself overflowed",
        fix=f"a lower learning rate (it was {' and '.join(f'{rate:.3g}' for rate in known.values())}: {lower}), "
        "--set optim.clip_norm=1, or --set train.precision=fp32.",
    )


def too_large(batch_size: int, size_px: int, error: torch.OutOfMemoryError) -> SettingsError:
    """Say which batch the device's memory did not hold, and what to do."""
    # Which allocation failed, and what the device had; the rest is advice about PyTorch's allocator.
    what = ". ".join(str(error).split(". ")[:3])
    smaller = f"--set train.batch_size={batch_size // 2}" if batch_size > 1 else f"--set data.size_px={size_px // 2}"
    return SettingsError(
        "train.batch_size and data.size_px should leave a training step room in the device's memory.",
        got=f"batches of {batch_size} pictures of {size_px} px: {what}",
        fix=f"{smaller}, or a smaller network.",
    )
