"""How the library speaks to whoever called it: silent by default, a terminal when the command line listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


def _silent(*_: object) -> None:
    """Say nothing."""


@dataclass
class Talk:
    """Where words and progress go.

    Attributes:
        say: Takes one line for a person.
        progress: Takes what is being done, how much is done, and how much there is (None if not known).
        seconds: Wall-clock time of each stage that ended.
    """

    say: Callable[[str], None] = _silent
    progress: Callable[[str, int, int | None], None] = _silent
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of the work."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0) + time.perf_counter() - started


@dataclass(frozen=True)
class Clock:
    """A wall-clock budget, counted from `started`.

    Attributes:
        budget_s: Seconds; None is no limit.
        started: On time.monotonic's scale.
    """

    budget_s: float | None = None
    started: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Return the seconds left; infinity without a budget."""
        return float("inf") if self.budget_s is None else self.budget_s - (time.monotonic() - self.started)
