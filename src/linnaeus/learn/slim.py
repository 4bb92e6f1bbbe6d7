"""Make a classifier cheaper: a smaller network from its own, or another small one, taught by the original."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn

from linnaeus.config import OptimSettings, Recipe, validate
from linnaeus.errors import ModelError, SettingsError, UnfitError
from linnaeus.learn.balance import Settled, settle_without_head
from linnaeus.learn.course import Fitted
from linnaeus.learn.distill import Teacher
from linnaeus.learn.engine import Engine
from linnaeus.learn.fit import Fit
from linnaeus.learn.infer import infer
from linnaeus.learn.material import Material
from linnaeus.learn.smaller import DISTILLING, PRUNING, AtSize, Candidate, Way, example_of, made_smaller, some_rows
from linnaeus.learn.start import begin
from linnaeus.metrics import apply_temperature, fit_temperature
from linnaeus.nn import stages, zoo
from linnaeus.nn.arithmetic import multiply_adds
from linnaeus.nn.importance import Importance
from linnaeus.nn.prune import Scope
from linnaeus.nn.sparse import unstructured
from linnaeus.records import Preprocessing
from linnaeus.run import Run
from linnaeus.talk import Clock, Talk

__all__ = ["DISTILLING", "PRUNING", "AtSize", "Candidate", "Slimmed", "Slimming", "Way", "slim", "training_recipe"]

SEEN = 10_000
"""Pictures, counted as often as they come, on which a smaller network is trained."""
VIEWS = 4
"""Views of each picture for which the outputs of frozen stages are kept."""
GENTLE = 4e-4
"""Learning rate of a network whose layers are those of the original."""


@dataclass(frozen=True)
class Slimming:
    """How a classifier is made cheaper.

    Attributes:
        keep: Share of the multiply-adds to be kept, at most.
        ways: To be tried; the best on the validation part, before it is trained, is taken. () makes weights zero.
        zeros: Share of the weights that become zero (unstructured pruning); the arithmetic stays.
        student: Another network by name instead; `ways`, `keep` and `zeros` then do not count.
        importances: How channels may be judged; the best for the network is taken on the validation part.
        scope: Between which channels the choice is.
        epochs: Passes over the training pictures; None decides by their number.
        lr: Peak learning rate of a network whose layers changed.
        weight: Of the teacher's answers.
        temperature: Of both networks' answers.
    """

    keep: float = 0.5
    ways: tuple[Way, ...] = PRUNING
    zeros: float = 0.0
    student: str | None = None
    importances: tuple[Importance, ...] = ("taylor", "error")
    scope: Scope = "global"
    epochs: float | None = None
    lr: float = 1e-3
    weight: float = 0.9
    temperature: float = 2.0

    def __post_init__(self) -> None:
        for what, asked, known in (("ways", self.ways, Way), ("importances", self.importances, Importance)):
            strange = [one for one in asked if one not in get_args(known)]
            if strange:
                raise SettingsError(f"{what} should be among {', '.join(get_args(known))}.", got=str(strange[0]))
        if not self.importances:
            raise SettingsError("channels are judged by an importance.", got="none")
        if not self.ways and not self.zeros and self.student is None:
            raise SettingsError(
                "a network is made cheaper in a way, by zeros, or by another network.", got="none of them"
            )


@dataclass(frozen=True)
class Slimmed:
    """What came out.

    Attributes:
        network: The cheaper one.
        preprocessing: How pictures become its input.
        architecture: Its name, where it is another network; "" where it was made from the original.
        fitted: How its training went.
        way: The way that was taken; "zeros" or "student" where there was no choice.
        before: Multiply-adds of the original for one picture.
        after: Those of the cheaper one.
        tried: Validation loss (after calibration) of each way, before the training.
        failed: Why other ways could not be gone.
        removed: Names of the blocks that were left out.
    """

    network: nn.Module
    preprocessing: Preprocessing
    architecture: str
    fitted: Fitted
    way: str
    before: int
    after: int
    tried: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()


def slim(
    network: nn.Module,
    material: Material,
    how: Slimming,
    *,
    run: Run,
    recipe: Recipe,
    at_size: AtSize | None = None,
    clock: Clock | None = None,
    talk: Talk | None = None,
) -> Slimmed:
    """Make a network cheaper and train it with the original as its teacher.

    What is tried is judged on the validation part alone. A run that was stopped goes on from its checkpoint.

    Args:
        network: The original; stays as it is.
        material: What it was trained and validated on.
        how: What is wanted.
        run: Gets the journal and the checkpoints.
        recipe: With which the original was trained, nothing left open: augmentation, batches, precision.
        at_size: Needed for ways that make the pictures smaller.
        clock: The budget.
        talk: Where words and progress go.

    Raises:
        UnfitError: The network can't be made so small in any of the ways.
        Interrupted: Ctrl-C; the state is saved.
    """
    talk, clock = talk or Talk(), clock or Clock()
    whole = copy.deepcopy(network).cpu().float().eval()
    before = multiply_adds(whole, example_of(material))
    way, chosen, tried, failed = _choose(whole, material, how, recipe, at_size, talk)
    after = multiply_adds(chosen.network, example_of(chosen.material))
    talk.say(f"{way}: {after / before:.0%} of the multiply-adds")
    with talk.stage("train"):
        fitted = _train(whole, material, chosen, how, run=run, recipe=recipe, clock=clock, talk=talk)
    return Slimmed(
        network=chosen.network,
        preprocessing=chosen.material.preprocessing,
        architecture=chosen.architecture,
        fitted=fitted,
        way=way,
        before=before,
        after=after,
        tried=tried,
        failed=failed,
        removed=chosen.removed,
    )


def _choose(
    whole: nn.Module, material: Material, how: Slimming, recipe: Recipe, at_size: AtSize | None, talk: Talk
) -> tuple[str, Candidate, dict[str, float], dict[str, str]]:
    """Build what is wanted; of several ways, take the one with the best validation loss."""
    if how.student is not None:
        return "student", _student(how.student, material, recipe), {}, {}
    if how.zeros:
        return "zeros", Candidate(unstructured(whole, how.zeros), material, changed=True), {}, {}
    found: dict[str, Candidate] = {}
    tried: dict[str, float] = {}
    failed: dict[str, str] = {}
    for way, step, importance in _ways(how):
        try:
            with talk.stage(way):
                found[way] = made_smaller(
                    whole,
                    material,
                    step,
                    keep=how.keep,
                    importance=importance,
                    scope=how.scope,
                    at_size=at_size,
                    recipe=recipe,
                )
            tried[way] = _validation_loss(found[way], recipe)
            talk.say(f"{way}: validation loss {tried[way]:.3f} before training")
        except ModelError as error:
            failed[way] = str(error)
            talk.say(f"{way}: {error}")
    if not found:
        raise UnfitError(
            f"{how.keep:.0%} of the arithmetic should be kept.",
            got="; ".join(f"{way}: {said.splitlines()[0]}" for way, said in failed.items()),
            fix="keep more, or distil it into another network.",
        )
    best = min(found, key=lambda way: tried[way])
    return best, found[best], tried, failed


def _ways(how: Slimming) -> list[tuple[str, Way, Importance]]:
    """Name all that is to be tried: ways that prune channels, with each importance."""
    found: list[tuple[str, Way, Importance]] = []
    for way in how.ways:
        if "channels" in way and len(how.importances) > 1:
            found += [(f"{way} by {one}", way, one) for one in how.importances]
        else:
            found.append((way, way, how.importances[0]))
    return found


def _student(name: str, material: Material, recipe: Recipe) -> Candidate:
    """Make another network, for pictures of the same size in its own normalisation."""
    how = material.preprocessing
    if zoo.has_weights(name):
        cfg = zoo.published_cfg(name)
        if how.channels == len(cfg["mean"]):
            how = replace(how, mean=tuple(cfg["mean"]), std=tuple(cfg["std"]))
    torch.manual_seed(recipe.seed)
    network = zoo.create(
        name,
        num_classes=len(material.classes),
        channels=how.channels,
        size_px=how.size_px,
        weights="default" if zoo.has_weights(name) else "none",
    )
    return Candidate(network.eval(), replace(material, preprocessing=how), changed=True, architecture=name)


def _validation_loss(candidate: Candidate, recipe: Recipe) -> float:
    """Measure the log loss after calibration on the validation part; on some training pictures where there is none."""
    material = candidate.material
    rows = material.split.rows("val")
    rows = rows[material.labels[rows] >= 0]
    rows = rows if len(rows) else some_rows(material)
    network, engine = copy.deepcopy(candidate.network), Engine(str(recipe.train.precision))
    logits = torch.cat(list(infer(network, material.blocks(rows), material.preprocessing, engine))).double().numpy()
    labels = material.labels[rows]
    probabilities = apply_temperature(logits, fit_temperature(logits, labels))
    return float(-np.log(probabilities[np.arange(len(labels)), labels] + 1e-12).mean())


def _train(
    whole: nn.Module,
    material: Material,
    chosen: Candidate,
    how: Slimming,
    *,
    run: Run,
    recipe: Recipe,
    clock: Clock,
    talk: Talk,
) -> Fitted:
    """Train the smaller network with the original as its teacher."""
    used = training_recipe(recipe, how, chosen, clock.budget_s)
    torch.manual_seed(used.seed)
    engine = Engine(str(used.train.precision), used.seed)
    K = range(len(material.classes))
    teacher = Teacher(copy.deepcopy(whole), material.preprocessing, chosen.material.preprocessing, K)
    engine.place(teacher)
    engine.place(chosen.network)
    start: Callable[[Tensor | None], Settled] = partial(begin, chosen.network, chosen.material, used, engine, talk)
    if not chosen.architecture:
        # The original's weights are the start.
        start = partial(_go_on, used, chosen.material)
    return Fit(run, chosen.network, chosen.material, used, engine, clock, talk, start, teacher).run_through()


def _go_on(used: Recipe, material: Material, _known: Tensor | None) -> Settled:
    return settle_without_head(used.train, material.counts())


def training_recipe(recipe: Recipe, how: Slimming, chosen: Candidate, budget_s: float | None = None) -> Recipe:
    """Say how a smaller network is trained: as the original was, but all of it where its layers changed.

    Args:
        recipe: Of the original, nothing left open.
        how: What is wanted.
        chosen: What is trained.
        budget_s: Seconds for it.
    """
    fresh = bool(chosen.architecture) and not zoo.has_weights(chosen.architecture)
    passes = SEEN / max(1, len(chosen.material.split.rows("train")))
    epochs = how.epochs if how.epochs is not None else max(1.0, round(min(60.0, (4 if fresh else 1) * passes), 1))
    lr = how.lr if chosen.changed else min(how.lr, GENTLE)
    values = recipe.model_dump()
    values["optim"] = OptimSettings(name="adamw", lr=lr, weight_decay=0.05, schedule="cosine", warmup=0.1).model_dump()
    values["train"] |= {
        "start": "head" if chosen.architecture and not fresh else "fresh",
        "epochs": epochs,
        "teacher_weight": how.weight,
        "teacher_temperature": how.temperature,
        "clean": "none",
        "adversarial": 0,
        "patience": None,
    }
    values["model"] |= {"freeze": _frozen(recipe, chosen), "unfreeze_every": None, "freeze_after": None}
    # A teacher has more to say of a picture than a label: more views of it pay.
    values["train"]["views"] = 0 if chosen.changed or not recipe.train.views else max(VIEWS, recipe.train.views)
    if fresh:
        values["model"] |= {"hold_depthwise": False, "keep_statistics": False}
    if chosen.architecture:
        values["model"] |= {"name": chosen.architecture, "weights": "none" if fresh else "default", "options": {}}
    values["budget_s"] = budget_s
    return validate(values)


def _frozen(recipe: Recipe, chosen: Candidate) -> str | int:
    """Say which stages stay as they are: at most those of the original's training, none that lost a block."""
    asked = recipe.model.freeze
    if chosen.changed or asked in (None, "none"):
        return "none"
    groups = stages.stages(chosen.network)
    count = min(asked, len(groups) - 1) if isinstance(asked, int) else len(groups) - 1
    for name in chosen.removed:
        row = f"{name.rpartition('.')[0]}."
        place = next((i for i, group in enumerate(groups) if any(one.startswith(row) for one in group)), 0)
        count = min(count, place)
    return count
