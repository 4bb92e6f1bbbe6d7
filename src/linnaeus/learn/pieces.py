"""The gradient of a batch, computed in pieces: one core each, and no core waits for another inside a layer."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor, nn

from linnaeus.learn.objectives import Batch, Objective, Outcome

PIXELS_PER_PIECE = 2**16
"""Less work than this per piece is done sooner by one core."""


def piece_count(network: nn.Module, pictures: int, size_px: int, most: int) -> int:
    """Choose into how many pieces a batch is cut.

    Networks with dropout are not cut: its random numbers come from one generator, whose order must not depend on which
    core is faster.
    """
    names = ("p", "drop_prob", "drop_rate")
    if any(
        isinstance(rate := vars(layer).get(name), float) and rate > 0 for layer in network.modules() for name in names
    ):
        return 1
    # Batches of an epoch may be half as large as the setting says.
    return max(1, min(most, pictures // 2, pictures * size_px**2 // PIXELS_PER_PIECE))


class Pieces:
    """Several views of one network, with the same parameters and batch statistics of their own.

    Layers with statistics see a piece of the batch each, as they do on several GPUs; after a step the running
    statistics are averaged. Sums are formed in a fixed order: the same seed gives the same weights.

    Args:
        network: What is trained, in training mode.
        count: Pieces per batch.
    """

    def __init__(self, network: nn.Module, count: int) -> None:
        parameters = list(network.parameters())
        self._views = [network]
        for _ in range(count - 1):
            # What is in the memo is not copied: the parameters are shared, the buffers are not.
            self._views.append(copy.deepcopy(network, {id(one): one for one in parameters}))
        self._buffers = [dict(view.named_buffers()) for view in self._views]
        self._pool = ThreadPoolExecutor(count, "piece", initializer=torch.set_num_threads, initargs=(1,))

    def __call__(
        self, objective: Objective, batch: Batch, autocast: Callable[[], AbstractContextManager[object]]
    ) -> Outcome:
        """Set the gradient of every trained parameter to that of the mean loss over the batch."""
        self._follow()
        pieces = self._cut(batch)
        work = [
            self._pool.submit(self._gradient, view, objective, piece, autocast)
            for view, piece in zip(self._views, pieces, strict=True)
        ]
        outcomes, gradients = zip(*(one.result() for one in work), strict=True)
        whole = torch.stack([outcome.weight for outcome in outcomes]).sum()
        for parameter, parts in zip(self._trained, zip(*gradients, strict=True), strict=True):
            known = [part for part in parts if part is not None]
            parameter.grad = functools.reduce(torch.Tensor.add_, known).div_(whole) if known else None
        self._average_statistics()
        return Outcome(
            loss=torch.stack([outcome.loss * outcome.weight for outcome in outcomes]).sum() / whole,
            right=torch.stack([outcome.right for outcome in outcomes]).sum(),
            n=sum(outcome.n for outcome in outcomes),
            weight=whole,
        )

    def _follow(self) -> None:
        """Take up what was frozen or thawed since the last step."""
        first, *others = self._views
        self._trained = [one for one in first.parameters() if one.requires_grad]
        for view in others:
            for copied, layer in zip(view.modules(), first.modules(), strict=True):
                copied.training = layer.training

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown()

    def _cut(self, batch: Batch) -> list[Batch]:
        count = len(self._views)
        taught = [None] * count if batch.taught is None else batch.taught.tensor_split(count)
        parts = zip(batch.pictures.tensor_split(count), batch.labels.tensor_split(count), taught, strict=True)
        return [
            Batch(pictures, labels, (*batch.seed, number), answers)
            for number, (pictures, labels, answers) in enumerate(parts)
        ]

    def _gradient(
        self,
        view: nn.Module,
        objective: Objective,
        piece: Batch,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> tuple[Outcome, tuple[Tensor | None, ...]]:
        with autocast():
            outcome = objective(view, piece)
        gradients = torch.autograd.grad(outcome.loss * outcome.weight, self._trained, allow_unused=True)
        return replace(outcome, loss=outcome.loss.detach()), gradients

    @torch.no_grad()
    def _average_statistics(self) -> None:
        for name, value in self._buffers[0].items():
            if value.dtype.is_floating_point and len(self._buffers) > 1:
                mean = torch.stack([buffers[name] for buffers in self._buffers]).mean(0)
                for buffers in self._buffers:
                    buffers[name].copy_(mean)
