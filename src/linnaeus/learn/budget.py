"""What a wall-clock budget leaves for a training: how many views of frozen stages, how many steps."""

from __future__ import annotations

from dataclasses import dataclass

from linnaeus.talk import Clock

FINISH_S = 6.0
"""Seconds of a budget that are kept for scores, report and saving."""
VIEWS_SHARE = 0.35
"""Most of a budget's room that goes into the outputs of frozen stages."""
FILL = 0.9
"""Share of the room that is planned for: steps are not all equally long."""


@dataclass(frozen=True)
class Budget:
    """The part of a wall-clock budget that a training may use.

    Attributes:
        clock: The whole budget.
        evaluation_s: Seconds that judging the trained network will take.
    """

    clock: Clock
    evaluation_s: float = 0.0

    @property
    def room_s(self) -> float:
        """Seconds left for training; below 0 where there are none."""
        return self.clock.left() - FINISH_S - self.evaluation_s

    @property
    def is_spent(self) -> bool:
        """Tell whether training must end now."""
        return self.clock.left() < FINISH_S + self.evaluation_s

    def views(self, wanted: int, view_s: float) -> int:
        """Count the views of every picture that frozen stages may be run on.

        Args:
            wanted: Views asked for.
            view_s: Seconds for one view of all pictures.
        """
        return max(0, min(wanted, int(VIEWS_SHARE * self.room_s / view_s)))

    def steps(self, wanted: int, step_s: float, at_least: int) -> int:
        """Count the steps that fit in.

        Args:
            wanted: Steps asked for.
            step_s: Seconds of a step, with its share of the validation after every epoch.
            at_least: Steps that are done in any case.
        """
        fits = int(FILL * self.room_s / step_s) if self.room_s > 0 else 0
        return min(wanted, max(fits, at_least))
