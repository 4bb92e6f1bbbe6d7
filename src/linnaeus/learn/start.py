"""The start of a training: statistics of the data, or a head solved on the network's features."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from linnaeus.config import Recipe
from linnaeus.learn.balance import Settled, settle_head, settle_without_head
from linnaeus.learn.engine import Engine, one_torch_thread
from linnaeus.learn.head import folds_of
from linnaeus.learn.infer import infer
from linnaeus.learn.material import Material
from linnaeus.learn.spill import gather_features
from linnaeus.nn.head import features, headless, set_head
from linnaeus.nn.input import FromBytes
from linnaeus.nn.small import SmallNet
from linnaeus.talk import Talk


def begin(
    network: nn.Module, material: Material, recipe: Recipe, engine: Engine, talk: Talk, known: torch.Tensor | None
) -> Settled:
    """Give the network its start: statistics of the data, or a head solved on features, which may be known.

    Args:
        network: Is changed in place.
        material: What to learn from.
        recipe: Nothing left open.
        engine: The machine.
        talk: Where progress goes.
        known: Features of the training pictures, [N, D], where they were computed already.

    Returns:
        What is done about classes of unequal size.
    """
    rows = material.split.rows("train")
    if isinstance(network, SmallNet) and recipe.model.weights == "none":
        # As many pixels as in 5,000 pictures of 32 px: of larger ones fewer pictures tell as much.
        count = min(5000, max(50, 5000 * 32**2 // material.preprocessing.size_px**2))
        some = np.random.default_rng(recipe.seed).permutation(rows)[:count]
        from_bytes = FromBytes(material.preprocessing.mean, material.preprocessing.std)
        network.init_from(from_bytes(torch.from_numpy(np.concatenate(list(material.blocks(some))))))
    if recipe.train.start != "head":
        return settle_without_head(recipe.train, material.counts())
    memory_gb = recipe.data.memory_gb
    found = known if known is not None else features_of(network, material, engine, talk, memory_gb)
    labels, folds = torch.from_numpy(material.labels[rows]), folds_of([material.hashes[row] for row in rows])
    with talk.stage("head"):
        head, settled = settle_head(found, labels, len(material.classes), folds, recipe.train, recipe.seed, memory_gb)
    set_head(network, head.weight, head.bias)
    return settled


def features_of(network: nn.Module, material: Material, engine: Engine, talk: Talk, memory_gb: float) -> torch.Tensor:
    """Compute what the linear head reads of the training pictures, float32 [N, D], in their order; see `gather_features`."""
    rows = material.split.rows("train")
    from_bytes = FromBytes(material.preprocessing.mean, material.preprocessing.std)
    first = from_bytes(torch.from_numpy(material.pixels.block(rows[:1], material.preprocessing.size_px))).to(
        engine.device
    )
    with torch.no_grad(), one_torch_thread():
        features(network.eval(), first)  # tells whether this network's features are what its head reads

    def parts() -> Iterator[torch.Tensor]:
        done = 0
        for part in infer(network, material.blocks(rows), material.preprocessing, engine):
            yield part
            done += len(part)
            talk.progress("features", done, len(rows))

    with talk.stage("features"), headless(network):
        return gather_features(parts(), len(rows), memory_gb)
