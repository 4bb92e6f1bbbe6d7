"""train: learn a classifier from pictures that were scanned and split."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from linnaeus.classifier import Classifier
from linnaeus.config import Recipe
from linnaeus.learn.balance import Settled, settle_head, settle_without_head
from linnaeus.learn.engine import Engine
from linnaeus.learn.fit import Fit, Fitted
from linnaeus.learn.head import folds_of
from linnaeus.learn.infer import infer
from linnaeus.learn.material import Material
from linnaeus.nn import zoo
from linnaeus.nn.head import features, headless, set_head
from linnaeus.nn.input import FromBytes
from linnaeus.nn.small import SmallNet
from linnaeus.records import Decision
from linnaeus.run import Run
from linnaeus.talk import Clock, Talk

__all__ = ["Material", "Trained", "train"]


@dataclass(frozen=True)
class Trained:
    """What came out of a training: a classifier that is not calibrated yet, and how it went."""

    classifier: Classifier
    fitted: Fitted


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
    begin = partial(_begin, network, material, recipe, engine, talk)
    if recipe.train.epochs:
        fitted = Fit(run, network, material, recipe, engine, clock, talk, begin).run_through()
    else:
        fitted = Fitted(0, 0, "the head is solved, nothing else was trained", _told(begin(None), talk))
    classifier = Classifier(
        network=network,
        architecture=recipe.model.name,
        classes=material.classes,
        preprocessing=material.preprocessing,
        options=recipe.model.options,
    )
    return Trained(classifier, fitted)


def _begin(
    network: nn.Module, material: Material, recipe: Recipe, engine: Engine, talk: Talk, known: torch.Tensor | None
) -> Settled:
    """Give the network its start: statistics of the data, or a head solved on features, which may be known."""
    rows = material.split.rows("train")
    if isinstance(network, SmallNet) and recipe.model.weights == "none":
        some = np.random.default_rng(recipe.seed).permutation(rows)[:5000]
        from_bytes = FromBytes(material.preprocessing.mean, material.preprocessing.std)
        network.init_from(from_bytes(torch.from_numpy(np.concatenate(list(material.blocks(some))))))
    if recipe.train.start != "head":
        return settle_without_head(recipe.train, material.counts())
    found = known
    if found is None:
        with talk.stage("features"):
            found = _features(network, material, rows, engine, talk)
    labels, folds = torch.from_numpy(material.labels[rows]), folds_of([material.hashes[row] for row in rows])
    with talk.stage("head"):
        head, settled = settle_head(found, labels, len(material.classes), folds, recipe.train, recipe.seed)
    set_head(network, head.weight, head.bias)
    return settled


def _told(settled: Settled, talk: Talk) -> tuple[Decision, ...]:
    if not settled.reason:
        return ()
    talk.say(f"train.balance = {settled.balance}: {settled.reason}")
    return (Decision("train.balance", settled.balance, settled.reason),)


def _features(network: nn.Module, material: Material, rows: np.ndarray, engine: Engine, talk: Talk) -> torch.Tensor:
    """Compute what the linear head reads, float32 [N, D]."""
    from_bytes = FromBytes(material.preprocessing.mean, material.preprocessing.std)
    first = from_bytes(torch.from_numpy(material.pixels.block(rows[:1], material.preprocessing.size_px)))
    with torch.no_grad():
        features(network.eval(), first)  # tells whether this network's features are what its head reads
    parts, done = [], 0
    with headless(network):
        for part in infer(network, material.blocks(rows), material.preprocessing, engine):
            parts.append(part)
            done += len(part)
            talk.progress("features", done, len(rows))
    return torch.cat(parts)
