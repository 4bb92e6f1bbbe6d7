"""A network made smaller: fewer channels, fewer blocks, smaller pictures. Nothing is trained here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from linnaeus.config import Recipe
from linnaeus.errors import ModelError
from linnaeus.learn.engine import Engine
from linnaeus.learn.infer import infer
from linnaeus.learn.material import Material
from linnaeus.nn.arithmetic import multiply_adds
from linnaeus.nn.blocks import without_blocks
from linnaeus.nn.importance import Importance
from linnaeus.nn.input import FromBytes
from linnaeus.nn.prune import Scope, prune
from linnaeus.nn.refit import refit, restate

Way = Literal["channels", "blocks", "blocks and channels", "size", "few blocks and size", "size and channels"]
"""What a network is made smaller by. channels: less important ones are pruned. blocks: those that change least are left out.
size: smaller pictures, the same network."""
PRUNING: tuple[Way, ...] = ("channels", "blocks and channels")
DISTILLING: tuple[Way, ...] = ("size", "few blocks and size")
FEW = 1 / 3
"""What few blocks save, as a power of what the other thing saves."""
LOOK_AT = 128
"""Training pictures by which channels and blocks are judged."""
AT_ONCE = 16
SIZE_STEP = 2
SMALLEST_PX = 12


@dataclass(frozen=True)
class Candidate:
    """A smaller network that is not trained yet.

    Attributes:
        network: On the CPU.
        material: Pictures in its size.
        changed: Its layers are not those of the original: all of it has to be trained, and faster.
        removed: Names of the blocks that were left out.
        architecture: Its name, where it is another network.
    """

    network: nn.Module
    material: Material
    changed: bool = False
    removed: tuple[str, ...] = ()
    architecture: str = ""


AtSize = Callable[[int], Material]
"""Gives the same pictures, in the same order and parts, for an input of so many pixels."""


def made_smaller(
    whole: nn.Module,
    material: Material,
    way: Way,
    *,
    keep: float,
    importance: Importance,
    scope: Scope,
    at_size: AtSize | None,
    recipe: Recipe,
) -> Candidate:
    """Make a network smaller in a way; of two things, each saves as much as the other, few blocks less.

    Args:
        whole: Stays as it is.
        material: Pictures in its size.
        way: By what.
        keep: Share of the multiply-adds to be kept, at most.
        importance: How channels are judged.
        scope: Between which channels the choice is.
        at_size: Needed for ways that make the pictures smaller.
        recipe: With which the network was trained.

    Raises:
        ModelError: It can't be made so small in this way.
    """
    # What goes is chosen on the processor, wherever the network was asked before.
    now = Candidate(copy.deepcopy(whole).cpu(), material)
    total, steps = multiply_adds(now.network, example_of(material)), way.split(" and ")
    weights = [FEW if step.startswith("few ") else 1.0 for step in steps]
    for number, step in enumerate(steps, 1):
        goal = total * keep ** (sum(weights[:number]) / sum(weights))
        part = goal / multiply_adds(now.network, example_of(now.material))
        if part >= 1:
            continue
        if step == "size":
            now = _smaller_pictures(now, part, at_size)
        elif step.endswith("blocks"):
            now = _fewer_blocks(now, part, recipe)
        else:
            now = _fewer_channels(now, part, importance, scope, recipe)
    return now


def _smaller_pictures(now: Candidate, keep: float, at_size: AtSize | None) -> Candidate:
    if at_size is None:
        raise ModelError("smaller pictures are made of the originals.", got="only stored ones")
    size_px = now.material.preprocessing.size_px
    most = keep * multiply_adds(now.network, example_of(now.material))
    for smaller in range(size_px - SIZE_STEP, SMALLEST_PX - 1, -SIZE_STEP):
        try:
            enough = multiply_adds(now.network, example_of(now.material, smaller)) <= most
        except (RuntimeError, AssertionError):
            raise ModelError("the network should take pictures of other sizes.", got=f"only {size_px} px") from None
        if enough:
            return replace(now, material=at_size(smaller))
    raise ModelError("the pictures can't be made so small.", got=f"{keep:.0%} of the arithmetic of {size_px} px")


def _fewer_blocks(now: Candidate, keep: float, recipe: Recipe) -> Candidate:
    blocks, how = list(_blocks(now.material)), now.material.preprocessing
    engine = Engine(str(recipe.train.precision))

    def answers(network: nn.Module) -> Tensor:
        # The copy goes to the engine's device and back.
        return torch.cat(list(infer(network, blocks, how, engine))).log_softmax(1)

    known = answers(copy.deepcopy(now.network))

    def judge(network: nn.Module) -> float:
        return float(functional.kl_div(answers(copy.deepcopy(network)), known, reduction="batchmean", log_target=True))

    network, gone = without_blocks(now.network, example_of(now.material), keep=keep, judge=judge)
    return replace(now, network=network, removed=(*now.removed, *gone))


def _fewer_channels(now: Candidate, keep: float, importance: Importance, scope: Scope, recipe: Recipe) -> Candidate:
    data = list(_batches(now.material))
    pruned = prune(now.network, example_of(now.material), keep=keep, importance=importance, scope=scope, data=data)
    refit(pruned.network, now.network, pruned.kept, (pictures for pictures, _ in data))
    if not recipe.model.keep_statistics:
        restate(pruned.network, (pictures for pictures, _ in data))
    return replace(now, network=pruned.network, changed=True)


def some_rows(material: Material) -> np.ndarray:
    """Choose the training pictures by which channels and blocks are judged."""
    rows = material.split.rows("train")
    return np.sort(np.random.default_rng(0).permutation(rows)[:LOOK_AT])


def _blocks(material: Material) -> Iterator[np.ndarray]:
    return material.blocks(some_rows(material))


def _batches(material: Material) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield some normalised training pictures and their labels."""
    from_bytes = FromBytes(material.preprocessing.mean, material.preprocessing.std)
    rows = some_rows(material)
    for first in range(0, len(rows), AT_ONCE):
        few = rows[first : first + AT_ONCE]
        pictures = torch.from_numpy(material.pixels.block(few, material.preprocessing.size_px))
        yield from_bytes(pictures), torch.from_numpy(material.labels[few])


def example_of(material: Material, size_px: int | None = None) -> Tensor:
    """Make an empty picture in the network's size, or another."""
    size = size_px or material.preprocessing.size_px
    return torch.zeros(1, material.preprocessing.channels, size, size)
