"""How the steps of one training are taken on its device: as usual, compiled, replayed; and what was decided about it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn
from torch.optim import Optimizer

from linnaeus.config import Recipe
from linnaeus.learn.captured import Captured, Graphs, Recorder, make_recordable
from linnaeus.learn.compiled import Compiling
from linnaeus.learn.engine import Engine, Machine
from linnaeus.learn.loop import Take
from linnaeus.learn.objectives import Batch, Outcome
from linnaeus.records import Decision

FEW_STEPS = 50
"""A run of fewer steps is over before a recording has paid for itself."""


class Quick:
    """Make the steps of a training quick, where its device has a way: for `loop.train`.

    Args:
        recipe: Nothing left open.
        engine: The device.
        optimizer: Of the training; its learning rates become tensors where steps are recorded.
        steps: Of the whole run, also where it is resumed: its last steps are then taken as they would have been.
    """

    def __init__(self, recipe: Recipe, engine: Engine, optimizer: Optimizer, steps: int) -> None:
        self._recipe, self._engine, self._optimizer, self._steps = recipe, engine, optimizer, steps
        self._captured: Captured | None = None
        self._compiling: Compiling | None = None

    def __call__(self, take: Take, network: nn.Module) -> Callable[[Batch], Outcome]:
        """Make of a step one that does the same sooner."""
        recorder = recorder_of(self._engine)
        if recorder is None or self._steps < FEW_STEPS:
            return partial(take, network)
        make_recordable(self._optimizer, self._engine.device)
        self._compiling = Compiling(self._recipe.train.compile, self._steps, self._what())
        records = not why_not_recorded(self._recipe)
        self._captured = Captured(take, network, recorder, self._compiling, records=records)
        return self._captured

    def decisions(self) -> list[Decision]:
        """Tell how steps were taken, and why."""
        if self._captured is None or self._compiling is None:
            return []
        step_s = self._captured.step_s
        times = ", ".join(f"{1000 * seconds:.2f} ms {way}" for way, seconds in step_s.items())
        why = self._captured.trouble or why_not_recorded(self._recipe)
        taken = min(step_s, key=lambda way: step_s[way]) if step_s else "as usual"
        compiled = "compiled" in step_s
        return [
            Decision("train.compile", compiled, self._compiling.reason or "no step was left to gain from it"),
            Decision("a step is taken", taken, f"{times}; {why}" if why else times),
        ]

    def _what(self) -> str:
        model, batch, size = self._recipe.model, self._recipe.train.batch_size, self._recipe.data.size_px
        return f"{model.name} {model.options} {batch}x{size} {self._engine.precision} {Machine.here().name}"


def recorder_of(engine: Engine) -> Recorder | None:
    """Find what records steps on a device; None where nothing does."""
    return Graphs() if engine.device.type == "cuda" else None


def why_not_recorded(recipe: Recipe) -> str:
    """Tell why steps cannot be replayed: every replay does the very same work; "" where they can be."""
    if recipe.augment.mixup or recipe.augment.cutmix:
        return "mixup and cutmix are drawn on the host for each batch"
    if recipe.train.adversarial:
        return "an attack begins at a point that is drawn on the host"
    if recipe.train.teacher:
        return "a batch may hold pictures without a label"
    return ""
