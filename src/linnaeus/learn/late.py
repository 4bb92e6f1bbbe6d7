"""What steps found, read when it has long been computed: the device is never kept waiting for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from linnaeus.learn.loop import Step

TOGETHER = 20
"""Steps whose numbers travel to the host together."""


@dataclass(frozen=True)
class Read:
    """A step's numbers on the host.

    Attributes:
        step: The step.
        loss: Mean over the batch.
        right: Number of pictures classified rightly.
    """

    step: Step
    loss: float
    right: int


@dataclass(frozen=True)
class _Travelling:
    """Numbers of some steps on their way to the host: float32 [n, 2], and what tells that they have arrived."""

    steps: list[Step]
    numbers: Tensor
    arrived: torch.cuda.Event | None


class Late:
    """Losses of steps, read some steps late.

    Asking a GPU for a number waits for everything that it was told to do before. So the numbers of some steps are sent
    to the host together without waiting, and read when the next ones are sent.
    """

    def __init__(self) -> None:
        self._new: list[Step] = []
        self._travelling: deque[_Travelling] = deque()

    def __bool__(self) -> bool:
        """Tell whether steps are left to be read."""
        return bool(self._new or self._travelling)

    def note(self, step: Step) -> list[Read]:
        """Take in a step; give those that can be read without waiting, in their order."""
        self._new.append(step)
        if len(self._new) < TOGETHER:
            return []
        found = list(self._arrived())
        self._send()
        return found

    def everything(self) -> list[Read]:
        """Wait for all steps; give those that were not given before."""
        if self._new:
            self._send()
        return list(self._arrived())

    def _send(self) -> None:
        steps, self._new = self._new, []
        numbers = torch.stack([torch.stack([step.loss.float(), step.right.float()]) for step in steps])
        if numbers.device.type != "cuda":
            self._travelling.append(_Travelling(steps, numbers.cpu(), None))
            return
        there = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
        there.copy_(numbers, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self._travelling.append(_Travelling(steps, there, arrived))

    def _arrived(self) -> Iterator[Read]:
        while self._travelling:
            one = self._travelling.popleft()
            if one.arrived is not None:
                one.arrived.synchronize()
            for step, (loss, right) in zip(one.steps, one.numbers.tolist(), strict=True):
                yield Read(step, loss, int(right))
