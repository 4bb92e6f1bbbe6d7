"""Decide what the user left open: look at some pictures, plan, and keep to the budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.config import Recipe, validate
from linnaeus.data.decode import glance, read_bytes
from linnaeus.errors import PictureError
from linnaeus.learn.effort import expected_s, seconds_of_looking, what_is_done
from linnaeus.learn.engine import Machine
from linnaeus.learn.ways import fit_to_machine
from linnaeus.records import Dataset, Decision
from linnaeus.run import Run
from linnaeus.story.pictures import open_pictures, where_of
from linnaeus.talk import Clock, Talk
from linnaeus.verbs.plan import Facts, afford, plan, preprocessing

LOOK_AT = 200
"""Pictures whose header is read before anything is decided."""


@dataclass(frozen=True)
class Planned:
    """What was decided for some data, and from what."""

    used: Recipe
    decisions: list[Decision]
    facts: dict[str, Any]

    @classmethod
    def for_data(cls, dataset: Dataset, recipe: Recipe, clock: Clock | None = None) -> Planned:
        """Look at the data and decide what the recipe leaves open."""
        facts = look(dataset, recipe)
        used, decisions = plan(recipe, facts, Machine.here())
        # What takes seconds is not preceded by seconds of measuring.
        machine = fit_to_machine(used, recipe, facts.train, facts.classes, preprocessing(used))
        measured = [] if recipe.effort == "quick" else list(machine)
        used, decisions = decided(used, decisions, measured)
        left_s = (clock or Clock(recipe.budget_s)).left()
        # A fold keeps to the plan that was made for all of them, though its clock may show a second less.
        is_planned = recipe.split.fold is not None and used == recipe
        used, more = (used, []) if is_planned else afford(used, recipe, facts, left_s)
        parts = (facts.pictures, facts.train, facts.val)
        seconds = expected_s(used, *parts, _look_s(used, facts), Machine.here().cores)
        seconds = min(seconds, used.budget_s or seconds)
        return cls(used, decisions + more, {"name": dataset.name, **vars(facts), "expected_s": round(seconds, 1)})

    def promise(self) -> str:
        """Say what is going to be done, and for how long."""
        effort = self.used.effort
        return f"effort = {effort}: {what_is_done(self.used)}; expected to take {told(self.facts['expected_s'])}"

    def store(self, run: Run) -> Recipe:
        """Write the plan into the run."""
        run.write_plan(self.used, self.decisions, self.facts)
        return self.used


def foresee(source: str, recipe: Recipe, *, data_dir: Path | None = None, talk: Talk | None = None) -> Planned:
    """Decide what `tell` would decide, and stop there."""
    return Planned.for_data(open_pictures(where_of(source, data_dir=data_dir), talk or Talk()), recipe)


def told(seconds: float) -> str:
    """Say a time as people do: about 14 s, about 3 min, about 2 h."""
    if seconds < 100:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 6000 else f"about {seconds / 3600:.1f} h"


def _look_s(used: Recipe, facts: Facts) -> float:
    """Measure the pace at which pictures are looked at."""
    return seconds_of_looking(used, facts.classes, preprocessing(used))


def decided(used: Recipe, decisions: list[Decision], later: list[Decision]) -> tuple[Recipe, list[Decision]]:
    """Let later decisions take the place of earlier ones about the same setting."""
    values, names = used.model_dump(), {one.setting for one in later}
    for one in later:
        group, name = one.setting.split(".")
        values[group][name] = one.value
    return validate(values), [one for one in decisions if one.setting not in names] + later


def as_trained(used: Recipe, decisions: Iterable[Decision]) -> Recipe:
    """Put in what the training settled about classes of unequal size, where the plan left it open ("auto").

    Args:
        used: The plan.
        decisions: Of the training.
    """
    return decided(used, [], [one for one in decisions if one.setting == "train.balance"])[0]


def recipe_of(run: Run) -> Recipe:
    """Read how a run was planned, and trained where it was."""
    told = run.summary()["decisions"] if run.has_summary() else []
    return as_trained(validate(run.plan()["used"]), [Decision(**one) for one in told])


def look(dataset: Dataset, recipe: Recipe) -> Facts:
    """Read the headers of some pictures, spread evenly, and count what matters for the plan."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, LOOK_AT).astype(int))
    sides, colourful = [], False
    for row in rows:
        place = dataset.examples[row].place
        try:
            seen = glance(read_bytes(place), place.layout)
        except PictureError:
            continue
        sides.append(min(seen.width, seen.height))
        colourful = colourful or seen.mode not in ("L", "1", "I", "I;16", "F")
    given = [example.split for example in dataset.examples]
    open_rows = given.count("") + given.count("train")
    counts = [count for count in dataset.counts().values() if count]
    val = 0.0 if "val" in given else recipe.split.val
    test = 0.0 if "test" in given else recipe.split.test
    share = 1 - val - test
    return Facts(
        pictures=len(dataset),
        train=round(open_rows * share),
        val=given.count("val") + round(open_rows * val),
        classes=len(dataset.classes),
        side_px=int(np.median(sides)) if sides else 224,
        grey=bool(sides) and not colourful,
        smallest=round(min(counts, default=0) * share),
        largest=round(max(counts, default=0) * share),
    )
