"""Make a classifier cheaper: a smaller network from its own, or another small one, taught by the original."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from linnaeus.config import OptimSettings, Recipe, validate
from linnaeus.errors import ModelError, SettingsError
from linnaeus.learn.balance import Settled, settle_without_head
from linnaeus.learn.distill import Teacher
from linnaeus.learn.engine import Engine
from linnaeus.learn.fit import Fit, Fitted
from linnaeus.learn.infer import infer
from linnaeus.learn.material import Material
from linnaeus.learn.start import begin
from linnaeus.metrics import apply_temperature, fit_temperature
from linnaeus.nn import zoo
from linnaeus.nn.arithmetic import multiply_adds
from linnaeus.nn.blocks import without_blocks
from linnaeus.nn.importance import Importance
from linnaeus.nn.input import FromBytes
from linnaeus.nn.prune import Scope, prune
from linnaeus.nn.refit import refit, restate
from linnaeus.nn.sparse import unstructured
from linnaeus.records import Preprocessing
from linnaeus.run import Run
from linnaeus.talk import Clock, Talk

Way = Literal["channels", "blocks", "blocks and channels", "size", "size and blocks", "size and channels"]
"""What a network is made smaller by. channels: less important ones are pruned. blocks: those that change least are left out.
size: smaller pictures, the same network."""
PRUNING: tuple[Way, ...] = ("channels", "blocks and channels")
DISTILLING: tuple[Way, ...] = ("size", "size and blocks")
LOOK_AT = 128
"""Training pictures by which channels and blocks are judged."""
AT_ONCE = 16
SEEN = 10_000
"""Pictures, counted as often as they come, on which a smaller network is trained."""
SIZE_STEP = 2
SMALLEST_PX = 12
GENTLE = 3e-4
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
    lr: float = 5e-4
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


@dataclass(frozen=True)
class Candidate:
    """A smaller network that is not trained yet.

    Attributes:
        network: On the CPU.
        material: Pictures in its size.
        changed: Its layers are not those of the original: all of it has to be trained.
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
        ModelError: The network can't be made so small in any of the ways.
        Interrupted: Ctrl-C; the state is saved.
    """
    talk, clock = talk or Talk(), clock or Clock()
    whole = copy.deepcopy(network).cpu().float().eval()
    before = multiply_adds(whole, _example(material))
    way, chosen, tried, failed = _choose(whole, material, how, recipe, at_size, talk)
    after = multiply_adds(chosen.network, _example(chosen.material))
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
                found[way] = _smaller(whole, material, step, replace(how, importances=(importance,)), at_size, recipe)
            tried[way] = _validation_loss(found[way], recipe)
            talk.say(f"{way}: validation loss {tried[way]:.3f} before training")
        except ModelError as error:
            failed[way] = str(error)
            talk.say(f"{way}: {error}")
    if not found:
        raise ModelError(
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


def _smaller(
    whole: nn.Module, material: Material, way: Way, how: Slimming, at_size: AtSize | None, recipe: Recipe
) -> Candidate:
    """Make the network smaller in a way; of two things, each saves as much as the other."""
    now, total, steps = Candidate(whole, material), multiply_adds(whole, _example(material)), way.split(" and ")
    for number, step in enumerate(steps, 1):
        goal = total * how.keep ** (number / len(steps))
        keep = goal / multiply_adds(now.network, _example(now.material))
        if keep >= 1:
            continue
        if step == "size":
            now = _smaller_pictures(now, keep, at_size)
        elif step == "blocks":
            now = _fewer_blocks(now, keep, recipe)
        else:
            now = _fewer_channels(now, keep, how, recipe)
    return now if now.network is not whole else replace(now, network=copy.deepcopy(whole))


def _smaller_pictures(now: Candidate, keep: float, at_size: AtSize | None) -> Candidate:
    if at_size is None:
        raise ModelError("smaller pictures are made of the originals.", got="only stored ones")
    size_px = now.material.preprocessing.size_px
    most = keep * multiply_adds(now.network, _example(now.material))
    for smaller in range(size_px - SIZE_STEP, SMALLEST_PX - 1, -SIZE_STEP):
        try:
            if multiply_adds(now.network, _example(now.material, smaller)) <= most:
                return replace(now, material=at_size(smaller))
        except (RuntimeError, AssertionError):
            raise ModelError("the network should take pictures of other sizes.", got=f"only {size_px} px") from None
    raise ModelError("the pictures can't be made so small.", got=f"{size_px} px are {keep:.0%} too many")


def _fewer_blocks(now: Candidate, keep: float, recipe: Recipe) -> Candidate:
    blocks, how = list(_blocks(now.material)), now.material.preprocessing
    engine = Engine(str(recipe.train.precision))

    def answers(network: nn.Module) -> Tensor:
        # The copy goes to the engine's device and back.
        return torch.cat(list(infer(network, blocks, how, engine))).log_softmax(1)

    known = answers(copy.deepcopy(now.network))

    def judge(network: nn.Module) -> float:
        return float(functional.kl_div(answers(copy.deepcopy(network)), known, reduction="batchmean", log_target=True))

    network, gone = without_blocks(now.network, _example(now.material), keep=keep, judge=judge)
    return replace(now, network=network, removed=(*now.removed, *gone), changed=True)


def _fewer_channels(now: Candidate, keep: float, how: Slimming, recipe: Recipe) -> Candidate:
    data = list(_batches(now.material))
    pruned = prune(
        now.network, _example(now.material), keep=keep, importance=how.importances[0], scope=how.scope, data=data
    )
    refit(pruned.network, now.network, pruned.kept, (pictures for pictures, _ in data))
    if not recipe.model.keep_statistics:
        restate(pruned.network, (pictures for pictures, _ in data))
    return replace(now, network=pruned.network, changed=True)


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
    rows = rows if len(rows) else _some(material)
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
    if chosen.changed:
        values["model"] |= {"freeze": "none", "unfreeze_every": None}
        values["train"]["views"] = 0
    if fresh:
        values["model"] |= {"hold_depthwise": False, "keep_statistics": False}
    if chosen.architecture:
        values["model"] |= {"name": chosen.architecture, "weights": "none" if fresh else "default", "options": {}}
    values["budget_s"] = budget_s
    return validate(values)


def _some(material: Material) -> np.ndarray:
    rows = material.split.rows("train")
    return np.sort(np.random.default_rng(0).permutation(rows)[:LOOK_AT])


def _blocks(material: Material) -> Iterator[np.ndarray]:
    return material.blocks(_some(material))


def _batches(material: Material) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield some normalised training pictures and their labels."""
    from_bytes = FromBytes(material.preprocessing.mean, material.preprocessing.std)
    rows = _some(material)
    for first in range(0, len(rows), AT_ONCE):
        few = rows[first : first + AT_ONCE]
        pictures = torch.from_numpy(material.pixels.block(few, material.preprocessing.size_px))
        yield from_bytes(pictures), torch.from_numpy(material.labels[few])


def _example(material: Material, size_px: int | None = None) -> Tensor:
    size = size_px or material.preprocessing.size_px
    return torch.zeros(1, material.preprocessing.channels, size, size)
