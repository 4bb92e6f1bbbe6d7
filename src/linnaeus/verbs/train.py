"""train: learn a classifier from pictures that were scanned and split."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from linnaeus.classifier import Classifier
from linnaeus.config import Recipe
from linnaeus.learn.balance import Settled
from linnaeus.learn.course import Fitted
from linnaeus.learn.distill import Teacher, same_classes
from linnaeus.learn.effort import remember_pace
from linnaeus.learn.engine import Engine
from linnaeus.learn.fit import Fit
from linnaeus.learn.material import Material
from linnaeus.learn.start import begin, features_of
from linnaeus.nn import zoo
from linnaeus.records import Decision
from linnaeus.run import Run
from linnaeus.talk import Clock, Talk

__all__ = ["Material", "Trained", "train"]


@dataclass(frozen=True)
class Trained:
    """What came out of a training.

    Attributes:
        classifier: Not calibrated yet.
        fitted: How it went.
        features: Of the training pictures, float32 [n, D], in their order, where they were computed anyhow.
    """

    classifier: Classifier
    fitted: Fitted
    features: np.ndarray | None = None


def train(run: Run, material: Material, recipe: Recipe, *, clock: Clock, talk: Talk) -> Trained:
    """Learn a classifier; go on from the run's checkpoint if it has one.

    Args:
        run: Gets the journal and the checkpoints.
        material: What to learn from.
        recipe: Nothing left open.
        clock: The budget.
        talk: Where words and progress go.

    Raises:
        NonFiniteError: The loss left the finite numbers.
        Interrupted: Ctrl-C; the state is saved.
        SettingsError: The teacher does not know the same classes.
    """
    assert recipe.model.name
    assert recipe.model.weights
    assert recipe.train.precision
    torch.manual_seed(recipe.seed)
    engine = Engine(recipe.train.precision, recipe.seed)
    network = zoo.create(
        recipe.model.name,
        num_classes=len(material.classes),
        channels=material.preprocessing.channels,
        size_px=material.preprocessing.size_px,
        weights=recipe.model.weights,
        options=recipe.model.options,
    )
    engine.place(network)
    start, features = partial(begin, network, material, recipe, engine, talk), None
    if recipe.train.epochs:
        teacher = _teacher(recipe.train.teacher, material, engine) if recipe.train.teacher else None
        fitted = Fit(run, network, material, recipe, engine, clock, talk, start, teacher).run_through()
    elif recipe.train.start == "head":
        # Those of an audit count under the same name.
        before = talk.seconds.get("features", 0.0)
        found = features_of(network, material, engine, talk, recipe.data.memory_gb)
        remember_pace(recipe, material.preprocessing, (talk.seconds["features"] - before) / max(1, len(found)))
        fitted = Fitted(0, 0, "the head is solved, nothing else was trained", _told(start(found), talk))
        features = found.numpy()
    else:
        fitted = Fitted(0, 0, "nothing was trained", _told(start(None), talk))
    classifier = Classifier(
        network=network,
        architecture=recipe.model.name,
        classes=material.classes,
        preprocessing=material.preprocessing,
        options=recipe.model.options,
    )
    return Trained(classifier, fitted, features)


def _teacher(name: str, material: Material, engine: Engine) -> Teacher:
    """Load the network whose answers are learned."""
    taught = Classifier.load(name)
    columns = same_classes(taught.classes, material.classes, name)
    teacher = Teacher(taught.network, taught.preprocessing, material.preprocessing, columns)
    engine.place(teacher)
    return teacher


def _told(settled: Settled, talk: Talk) -> tuple[Decision, ...]:
    if not settled.reason:
        return ()
    talk.say(f"train.balance = {settled.balance}: {settled.reason}")
    return (Decision("train.balance", settled.balance, settled.reason),)
