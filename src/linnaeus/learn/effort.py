"""How far to go: what each effort means for a plan, and how long it is expected to take."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from linnaeus.atomic import note
from linnaeus.config import Recipe
from linnaeus.learn.engine import Engine, Machine
from linnaeus.learn.pace import seconds_per_picture
from linnaeus.learn.ways import folder
from linnaeus.nn import zoo
from linnaeus.nn.own_code import is_own_code
from linnaeus.records import Preprocessing


@dataclass(frozen=True)
class Effort:
    """What one effort means; each setting that the user sets himself stays as it is.

    Attributes:
        photo_px: Size of photographs for the network on board.
        fine_tune_on: About how many pictures fine-tuning sees in all; 0 keeps the solved head.
        most_passes: No more passes than this over few pictures.
        frozen: Share of the stages that stay as they are, on a CPU.
        views: Most random views of each picture for which the outputs of frozen stages are computed; one for each pass.
        length: Epochs of a network that learns from nothing, as a multiple of the usual.
        strange_each: Strange pictures that are made of each kind, to choose and to measure what tells them.
        words: What is done, for people.
    """

    photo_px: int
    fine_tune_on: int
    most_passes: int
    frozen: float
    views: int
    length: float
    strange_each: int
    words: str


EFFORTS = {
    "quick": Effort(256, 0, 0, 0.45, 2, 0.4, 8, "a head is solved on ready features, nothing else is learned"),
    "balanced": Effort(256, 10_000, 6, 0.45, 6, 1.0, 32, "a head is solved, then fine-tuned with the layers below it"),
    "best": Effort(288, 20_000, 12, 0.25, 8, 2.0, 32, "larger pictures, more stages and views, and longer"),
}

ON_BOARD = "tf_efficientnet_lite0"
USUAL = {"bf16": 180.0, "fp32": 100.0}
"""Pictures of 256 px that one core looks at in a second with the network on board; measured on an AVX512-BF16 processor."""
SAMPLE_PIXELS = 2**16
"""Pixels that each core looks at, at least, to measure a pace: a few small pictures would measure the calls."""
START_S = 4.0
"""Seconds until everything is loaded and the source is listed; and, at the end, for scores, report and saving."""
FINISH_S = 4.0
READING_S = 0.0015
"""Seconds to read, hash and decode a photograph, and to look for its copies, on one core."""
EXACT = 1.75
"""How much longer fp32 takes than bf16."""
LEARNING = 3.5
"""How much longer a step takes than looking at the picture, where everything is learned."""
ABOVE_FROZEN = 1.4
"""The same where the lower stages are frozen, from their kept outputs."""
LOWER_SHARE = 0.6
"""Share of the work that frozen stages are."""


def seconds_of_looking(used: Recipe, classes: int, how: Preprocessing) -> float:
    """Tell how long the planned network takes to look at a picture: as it did before on this machine, else measured now.

    Where everything is over in seconds, nothing is measured for the network on board: its usual pace is told, until a run
    has left its own.
    """
    assert used.model.name
    engine = Engine(str(used.train.precision))
    try:
        return float(json.loads(_pace_path(used, how).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if used.effort == "quick" and used.model.name == ON_BOARD:
        return (how.size_px / 256) ** 2 / (USUAL[engine.precision] * engine.cores)
    network = zoo.create(
        used.model.name,
        num_classes=classes,
        channels=how.channels,
        size_px=how.size_px,
        weights="none",
        options=used.model.options,
    )
    each = max(8, SAMPLE_PIXELS // how.size_px**2)
    sample = np.zeros((each * engine.cores, how.size_px, how.size_px, how.channels), np.uint8)
    found = seconds_per_picture(network, sample, how, engine)
    remember_pace(used, how, found)
    return found


def remember_pace(used: Recipe, how: Preprocessing, seconds: float) -> None:
    """Keep how long the network took to look at a picture, for the next time; own code may be another one by then."""
    if is_own_code(str(used.model.name)):
        return
    note(_pace_path(used, how), {"network": used.model.name, "size_px": how.size_px, "seconds": seconds})


def _pace_path(used: Recipe, how: Preprocessing) -> Path:
    machine = Machine.here()
    kind = [machine.name, machine.cores, torch.__version__, used.model.name, dict(used.model.options)]
    kind += [how.size_px, how.channels, used.train.precision]
    return folder() / f"pace-{hashlib.sha256(json.dumps(kind).encode()).hexdigest()[:16]}.json"


def what_is_done(used: Recipe) -> str:
    """Say what is done, for people; nothing is left open."""
    if used.train.start != "fresh":
        return EFFORTS[used.effort].words
    passes = f"{used.train.epochs:g} pass{'' if used.train.epochs == 1 else 'es'} over the training pictures"
    most = "" if used.budget_s is None else "at most "
    start = "from nothing" if used.model.weights == "none" else "from given weights, with a new head"
    return f"{most}{passes}, {start}"


def expected_s(used: Recipe, pictures: int, train: int, val: int, look_s: float, cores: int) -> float:
    """Estimate the seconds of everything, from the start of the program to the report.

    Args:
        used: Nothing left open.
        pictures: Number of pictures, all parts.
        train: About how many of them are for training.
        val: About how many of them are looked at after every pass, to validate.
        look_s: Seconds in which the network looks at a picture, in the precision of the training.
        cores: That read pictures.
    """
    exact_s = look_s * (EXACT if used.train.precision == "bf16" else 1.0)
    # A network that answers from several views learns from one.
    views_of_answer = used.model.options.get("views")
    seen_s = look_s / views_of_answer if isinstance(views_of_answer, int) and views_of_answer else look_s
    epochs, views = used.train.epochs or 0.0, used.train.views or 0
    bank = 0 if not epochs and used.train.start == "head" else 600
    strange = 12 * EFFORTS[used.effort].strange_each
    judged_s = (pictures - train + min(bank, train) + strange) * exact_s
    frozen = bool(views) and used.model.freeze not in (None, "none", 0)
    step_s = seen_s * (ABOVE_FROZEN if frozen else LEARNING)
    learned_s = epochs * (train * step_s + val * look_s * (1 - LOWER_SHARE if frozen else 1.0))
    if frozen and epochs:
        learned_s += (views * train + val) * LOWER_SHARE * look_s
    elif used.train.start == "head":
        learned_s += train * look_s
    return START_S + pictures * READING_S / cores + learned_s + judged_s + FINISH_S
