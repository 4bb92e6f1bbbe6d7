"""How a training went: passes done, why it ended, how long its steps waited for pictures."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from linnaeus.learn.objectives import Batch
from linnaeus.records import Decision


@dataclass(frozen=True)
class Fitted:
    """How a training ended.

    Attributes:
        epochs: Passes done.
        best_epoch: After how many of them the kept weights were reached.
        stopped: Why it ended: "all epochs done", "patience", "budget".
        decisions: What was decided on the way.
        waited: Share of the steps' time that they waited for their batch; None where there was no step.
        pictures_per_s: How fast the steps learned, waiting included.
    """

    epochs: float
    best_epoch: float
    stopped: str
    decisions: tuple[Decision, ...] = ()
    waited: float | None = None
    pictures_per_s: float | None = None


class Pulse:
    """Measures, inside the loop, how long steps wait for their batch, and how long they take.

    On a GPU steps are sent off, and their end is waited for some steps later: that is time which they take, too.
    """

    def __init__(self) -> None:
        self.waited_s = self.busy_s = 0.0
        self.pictures = 0
        self._ready = 0.0

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Hand batches on; the time until one is there is waiting."""
        source = iter(batches)
        while True:
            asked = time.perf_counter()
            batch = next(source, None)
            if batch is None:
                return
            self._ready = time.perf_counter()
            self.waited_s += self._ready - asked
            yield batch

    def stepped(self, pictures: int) -> None:
        """Note the end of a step, or with 0 pictures that of waiting for earlier ones."""
        now = time.perf_counter()
        self.busy_s += now - self._ready
        self._ready = now
        self.pictures += pictures

    @property
    def waited(self) -> float | None:
        """Share of the steps' time that was waiting."""
        return round(self.waited_s / (self.waited_s + self.busy_s), 5) if self.pictures else None

    @property
    def pictures_per_s(self) -> float | None:
        """Pictures learned from in a second of steps, waiting included."""
        return round(self.pictures / (self.waited_s + self.busy_s), 1) if self.pictures else None
