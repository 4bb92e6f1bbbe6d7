"""plan: decide from the data what the user left open, and say why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnaeus.config import Recipe, validate
from linnaeus.errors import SettingsError
from linnaeus.learn.balance import UNEQUAL
from linnaeus.learn.effort import EFFORTS
from linnaeus.learn.engine import Engine, Machine
from linnaeus.learn.pace import seconds_per_picture
from linnaeus.nn import stages, zoo
from linnaeus.nn.own_code import is_own_code
from linnaeus.records import Decision, Preprocessing

SMALL_PX = 64
"""Pictures up to this side are small: networks of our own learn them from nothing."""
SMALL = ("small-128", "small-64", "small-32")
PHOTOS = "tf_efficientnet_lite0"
SMALLER_PX = (192, 160, 128, 96)
"""Sizes to which a budget may shrink the pictures."""
OVERHEAD_S = 12.0
"""Seconds that a training takes besides looking at pictures: head, scores, report, saving."""
READING_S = 0.003
"""Seconds to read and decode a photograph."""
MANY = 10_000
"""From so many small training pictures on, the wider network pays."""
WIDE_PER_CORE = 450
"""Pictures that small-64 learns from in a second, on one core with bf16; small-32 learns from four times as many."""
SMALL_OVERHEAD_S = 40.0
"""Seconds that a training on CIFAR-10 takes beside learning: looking for copies, scores, report."""


@dataclass(frozen=True)
class Facts:
    """What the decisions rest on.

    Attributes:
        pictures: Number of pictures to be used, all parts.
        train: About how many of them are for training.
        val: Likewise for validation.
        classes: K.
        side_px: Median of the short sides.
        grey: No picture that was looked at has colour.
        smallest: About how many training pictures the smallest class has; 0 if not known.
        largest: Likewise of the largest class.
    """

    pictures: int
    train: int
    val: int
    classes: int
    side_px: int
    grey: bool
    smallest: int = 0
    largest: int = 0


def plan(asked: Recipe, facts: Facts, machine: Machine) -> tuple[Recipe, list[Decision]]:
    """Fill in every open setting of a recipe.

    Args:
        asked: What the user set; None is open.
        facts: Of the data.
        machine: What there is to compute with.

    Returns:
        The recipe with nothing left open, and what was decided, each with its reason.
    """
    choice = _Choices(asked)
    _network(choice, facts, machine)
    _pictures(choice, facts)
    _training(choice, facts, machine)
    _optimizer(choice)
    _augmentation(choice, facts)
    return choice.recipe(), choice.decisions


def afford(used: Recipe, asked: Recipe, facts: Facts, left_s: float) -> tuple[Recipe, list[Decision]]:
    """Make the pictures smaller where features and scores at the planned size would not fit into the budget.

    Args:
        used: The plan.
        asked: What the user set: a size that was asked for stays.
        facts: Of the data.
        left_s: Seconds of the budget that are left.

    Raises:
        SettingsError: The budget does not suffice even for the smallest size.
    """
    assert used.data.size_px
    assert used.model.name
    if used.budget_s is None or used.train.start != "head":
        return used, []
    size = used.data.size_px
    sizes = [size] if asked.data.size_px else [size, *(px for px in SMALLER_PX if px < size)]
    at_size = _seconds_of_looking(used, facts)
    needs = {px: OVERHEAD_S + facts.pictures * READING_S + at_size * (px / size) ** 2 for px in sizes}
    fitting = next((px for px in sizes if needs[px] <= left_s), None)
    if fitting is None:
        # Folds share what the user gives.
        folds = used.split.folds or 1
        shared = f"{used.budget_s:.0f} s" if folds == 1 else f"{folds * used.budget_s:.0f} s for {folds} folds"
        enough = folds * (used.budget_s - left_s + needs[sizes[-1]])
        raise SettingsError(
            f"--budget should leave time for {facts.pictures:,} pictures.",
            got=f"{shared}, of which {max(0, folds * left_s):.0f} s are left",
            fix=f"--budget {math.ceil(enough / 5) * 5}s",
        )
    if fitting == size:
        return used, []
    smaller = used.model_copy(update={"data": used.data.model_copy(update={"size_px": fitting})})
    reason = f"at {size} px the budget of {used.budget_s:.0f} s would not suffice"
    return smaller, [Decision("data.size_px", fitting, reason)]


def _seconds_of_looking(used: Recipe, facts: Facts) -> float:
    """Measure how long features of the training part and scores of the rest take at the planned size."""
    assert used.model.name
    assert used.train.precision
    how = preprocessing(used)
    network = zoo.create(
        used.model.name,
        num_classes=facts.classes,
        channels=how.channels,
        size_px=how.size_px,
        weights="none",
        options=used.model.options,
    )
    sample = np.zeros((16 * Engine().cores, how.size_px, how.size_px, how.channels), dtype=np.uint8)
    learn = seconds_per_picture(network, sample, how, Engine(used.train.precision))
    judge = seconds_per_picture(network, sample, how, Engine())
    return facts.train * learn + (facts.pictures - facts.train) * judge


def preprocessing(used: Recipe) -> Preprocessing:
    """Lay down how pictures become the network's input, from a recipe with nothing left open."""
    data = used.data
    assert data.size_px and data.resize and data.interpolation and data.channels and data.crop_fraction
    assert used.model.name
    native = _native(used.model.name)
    mean, std = native.mean, native.std
    if data.channels == 1:
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    return Preprocessing(
        size_px=data.size_px,
        resize=data.resize,
        resize_px=round(data.size_px / data.crop_fraction) if data.resize == "crop" else data.size_px,
        interpolation=data.interpolation,
        background=data.background,
        channels=data.channels,
        mean=mean,
        std=std,
        max_pixels=data.max_pixels,
    )


@dataclass(frozen=True)
class _Native:
    """What a network was made for: the size, the use of the picture, and the normalisation."""

    size_px: int = 224
    crop_fraction: float = 0.875
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


def _native(name: str) -> _Native:
    """Ask timm's schema; own code has the usual values of ImageNet."""
    if is_own_code(name):
        return _Native()
    cfg = zoo.published_cfg(name)
    known = ("bilinear", "bicubic", "nearest")
    return _Native(
        size_px=cfg["input_size"][-1],
        crop_fraction=cfg.get("crop_pct") or 1.0,
        interpolation=cfg["interpolation"] if cfg.get("interpolation") in known else "bicubic",
        mean=tuple(cfg["mean"]),
        std=tuple(cfg["std"]),
    )


class _Choices:
    """The settings so far, and a record of each that was decided."""

    def __init__(self, asked: Recipe) -> None:
        self.values: dict[str, Any] = asked.model_dump()
        self.decisions: list[Decision] = []
        self.effort = EFFORTS[asked.effort]

    def __getitem__(self, dotted: str) -> Any:
        group, name = dotted.split(".")
        return self.values[group][name]

    def settle(self, dotted: str, value: Any, reason: str) -> None:
        """Set what is open; what the user asked for stays."""
        group, name = dotted.split(".")
        if self.values[group][name] is None:
            self.values[group][name] = value
            self.decisions.append(Decision(dotted, value, reason))

    def recipe(self) -> Recipe:
        return validate(self.values)


def _network(choice: _Choices, facts: Facts, machine: Machine) -> None:
    if facts.side_px > SMALL_PX:
        choice.settle(
            "model.name", PHOTOS, f"photographs (short side {facts.side_px} px): its ImageNet weights are on board"
        )
    elif facts.train >= MANY and not _suffices(choice.values["budget_s"], facts, machine):
        choice.settle(
            "model.name",
            "small-32",
            f"the budget of {choice.values['budget_s']:.0f} s is too short for the wider small-64",
        )
    elif facts.train >= MANY:
        choice.settle(
            "model.name",
            "small-64",
            f"small pictures ({facts.side_px} px) and many of them ({facts.train:,} to learn from)",
        )
    else:
        choice.settle(
            "model.name",
            "small-32",
            f"small pictures ({facts.side_px} px), {facts.train:,} to learn from: a slim network",
        )
    published = zoo.has_weights(choice["model.name"])
    choice.settle(
        "model.weights",
        "default" if published else "none",
        "published weights know what pictures look like" if published else "there are no published weights for it",
    )


def _suffices(budget_s: float | None, facts: Facts, machine: Machine) -> bool:
    """Tell whether small-64 can see every small picture twice; on a GPU it always can."""
    if budget_s is None or machine.device != "cpu":
        return True
    per_second = WIDE_PER_CORE * machine.cores * (1.0 if machine.bf16 else 0.5)
    return budget_s >= SMALL_OVERHEAD_S + 2 * facts.train / per_second


def _pictures(choice: _Choices, facts: Facts) -> None:
    name, fresh = choice["model.name"], choice["model.weights"] == "none"
    native = _native(name)
    if name in SMALL:
        size = next((size for size in (16, 32, 64) if size >= facts.side_px), 64)
        choice.settle("data.size_px", size, f"the pictures are about {facts.side_px} px")
        choice.settle("data.resize", "squash", "small pictures are used whole")
    if name == PHOTOS:
        choice.settle(
            "data.size_px",
            choice.effort.photo_px,
            "its features are better a little above the 224 it was trained at (FixRes, Touvron et al. 2019)",
        )
    choice.settle("data.size_px", native.size_px, f"what {name} was made for")
    choice.settle("data.resize", "crop", "keeps shapes as they are")
    choice.settle(
        "data.crop_fraction", native.crop_fraction if choice["data.resize"] == "crop" else 1.0, f"as {name} is used"
    )
    choice.settle("data.interpolation", native.interpolation, f"as {name} is used")
    grey = facts.grey and fresh
    choice.settle(
        "data.channels", 1 if grey else 3, "no picture has colour" if grey else "colour, or weights that expect it"
    )


def _training(choice: _Choices, facts: Facts, machine: Machine) -> None:
    fresh = choice["model.weights"] == "none"
    choice.settle(
        "train.start",
        "fresh" if fresh else "head",
        "no weights to build on" if fresh else "a linear head on ready features is solved in seconds",
    )
    _balance(choice, facts)
    if choice["train.start"] == "head":
        most, sight = choice.effort.most_passes, choice.effort.fine_tune_on
        if not sight and not choice["train.teacher"]:
            choice.settle("train.epochs", 0, "quick: the solved head is kept as it is")
        passes = max(1, min(most, round(sight / max(1, facts.train))))
        choice.settle("train.epochs", passes, f"fine-tunes on about {sight:,} pictures; 0 keeps the solved head")
    _frozen(choice, machine)
    batch = 500 if facts.train >= MANY else 64 if facts.side_px <= SMALL_PX else 32
    if machine.device == "cuda" and facts.train >= MANY and choice["model.name"] in SMALL:
        choice.settle("train.batch_size", 2_000, "airbench's: fewer small pictures at a time leave a GPU idle")
    choice.settle("train.batch_size", max(1, min(batch, facts.train)), f"{facts.train:,} pictures to learn from")
    if choice["model.name"] in SMALL:
        epochs = round(choice.effort.length * min(60.0, max(6.0, 25_000 / max(1, facts.train))), 1)
        choice.settle("train.epochs", epochs, "enough for small networks, as measured by benchmarks/first_job.py")
    choice.settle("train.epochs", 30 * choice.effort.length, "a usual length, times what the effort allows")
    if choice["train.teacher"]:
        choice.settle("train.teacher_weight", 0.9, "the teacher's answers tell more than a label")
        choice.settle("train.teacher_temperature", 2.0, "what it finds improbable tells of likeness")
    precision = "bf16" if machine.bf16 else "fp32"
    choice.settle(
        "train.precision", precision, "the processor has bf16" if machine.bf16 else "the processor has no bf16"
    )
    pieces = machine.cores if machine.device == "cpu" else 1
    choice.settle("train.pieces", pieces, "one piece of a batch for each core" if pieces > 1 else "one device")


def _balance(choice: _Choices, facts: Facts) -> None:
    ratio = facts.largest / max(1, facts.smallest)
    if choice["train.loss"] == "logit-adjusted":
        choice.settle("train.balance", "none", "the loss makes up for the class sizes already")
        if choice["train.balance"] not in ("none", "auto"):
            raise SettingsError(
                "train.loss = logit-adjusted makes up for the class sizes already: doing it twice favours the rare.",
                got=f"train.balance = {choice['train.balance']} as well",
                fix="take one of the two.",
            )
    if ratio >= UNEQUAL:
        choice.settle(
            "train.balance", "auto", f"the largest class has {ratio:.0f} times as many pictures as the smallest"
        )
    choice.settle("train.balance", "none", f"no class has {UNEQUAL:.0f} times as many pictures as another")
    if choice["train.balance"] == "smote" and choice["train.start"] != "head":
        raise SettingsError(
            "train.balance = smote makes up features for a solved head.",
            got=f"train.start = {choice['train.start']}: there are no features before the training",
            fix="--balance oversample or weights, or start from a solved head: --set train.start=head.",
        )


def _frozen(choice: _Choices, machine: Machine) -> None:
    moves = choice["model.unfreeze_every"] or choice["model.freeze_after"]
    if choice["train.start"] == "head" and not choice["train.epochs"] and not choice["model.freeze_after"]:
        choice.settle("model.freeze", "backbone", "only the head is learned")
    elif choice["train.start"] == "head" and choice["train.epochs"] and machine.device == "cpu" and not moves:
        data, options = choice.values["data"], choice["model.options"]
        network = zoo.outline(choice["model.name"], data["channels"], data["size_px"], options)
        count = len(stages.stages(network))
        choice.settle(
            "model.freeze",
            round(choice.effort.frozen * count),
            f"the lower stages of its {count} know edges and textures already",
        )
        if choice["model.freeze"] == "backbone" and choice["augment.cutmix"]:
            choice.settle(
                "train.views", 0, "CutMix needs pictures: the backbone gives no more than a row of numbers for each"
            )
        views = min(choice.effort.views, max(1, math.ceil(choice["train.epochs"])))
        choice.settle("train.views", views, "one for each pass; what frozen stages give is computed once for each view")
        choice.settle("model.hold_depthwise", True, "their gradient takes a CPU longer than everything else together")
    if choice["train.start"] == "head":
        choice.settle("model.keep_statistics", True, "those of small batches are too rough for fine-tuning")
    choice.settle("model.keep_statistics", False, "they are learned with the rest")
    standing = choice["model.unfreeze_every"] or choice["model.freeze"] not in (None, "none", 0)
    if choice["model.name"] in SMALL and not standing:
        choice.settle("model.freeze_after", (0.4,), "the stem is soon learned, as in airbench")
    choice.settle("model.freeze_after", (), "every stage is learned to the end, or stands still from the beginning")
    choice.settle("model.freeze", "none", "everything is learned")
    choice.settle("train.views", 0, "nothing is frozen that could be computed once")
    choice.settle("model.hold_depthwise", False, "everything is learned")


def _optimizer(choice: _Choices) -> None:
    if choice["model.name"] in SMALL and choice["optim.name"] in (None, "muon"):
        batch = choice["train.batch_size"]
        choice.settle("optim.name", "muon", "learns small networks in the fewest steps")
        choice.settle(
            "optim.lr", round(0.24 * (batch / 2000) ** 0.5, 4), "airbench's 0.24 for batches of 2,000, by the root"
        )
        choice.settle("optim.sgd_lr", round(0.053 * batch, 4), "airbench's 0.053 per picture")
        choice.settle("optim.momentum", 0.6, "as in airbench")
        choice.settle("optim.sgd_momentum", 0.85, "as in airbench")
        choice.settle("optim.schedule", "linear", "as in airbench")
        choice.settle("optim.weight_decay", 4e-5, "as in airbench")
        choice.settle("train.label_smoothing", 0.2, "as in airbench")
        return
    fine = choice["train.start"] == "head"
    if choice["optim.name"] == "muon" and choice["model.weights"] != "none":
        raise SettingsError(
            "optim.name = muon is for networks that begin from nothing: it holds filters at a norm of its own.",
            got=f"model.weights = {choice['model.weights']}",
            fix="--set optim.name=adamw, or --set model.weights=none.",
        )
    choice.settle("optim.name", "adamw", "robust without tuning")
    usual = {"sgd": 0.01 if fine else 0.05, "muon": 0.05}
    choice.settle("optim.lr", usual.get(choice["optim.name"], 3e-4 if fine else 1e-3), "usual for it")
    choice.settle("optim.momentum", 0.9, "usual for it")
    choice.settle("optim.schedule", "cosine", "ends calmly")
    choice.settle("optim.weight_decay", {"sgd": 5e-4, "muon": 0.0}.get(choice["optim.name"], 0.05), "usual for it")
    choice.settle("train.label_smoothing", 0.1 if fine else 0.0, "keeps the probabilities modest")


def _augmentation(choice: _Choices, facts: Facts) -> None:
    small = facts.side_px <= SMALL_PX
    if facts.grey:
        choice.settle("augment.flip", "none", "grey pictures may be characters, which mirrored are others")
    choice.settle(
        "augment.flip",
        "alternating" if choice["model.name"] in SMALL else "random",
        "left and right look alike in most pictures; else --set augment.flip=none",
    )
    choice.settle(
        "augment.shift",
        0.0625 if small else 0.0,
        "a little, as objects are never quite centred" if small else "crops do that already",
    )
    choice.settle("augment.fill", "reflect", "no artificial borders")
    choice.settle(
        "augment.color",
        0.0 if small else 0.2,
        "light differs from picture to picture" if not small else "helps little on small pictures",
    )
    if choice["data.resize"] == "crop" and choice["train.epochs"]:
        choice.settle("augment.crop_area", (0.5, 1.0), "objects stand near and far")
