"""compress: make a classifier smaller and faster, alone and together by all means, behind a gate of accuracy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnaeus.atomic import write_json
from linnaeus.errors import ModelError, SettingsError, UnfitError
from linnaeus.metrics.gate import non_inferior
from linnaeus.records import Preprocessing
from linnaeus.targets import Target, require
from linnaeus.targets.measure import Speed, Subject, measure
from linnaeus.targets.proof import Shown
from linnaeus.verbs.compress.choose import Choice, choose, front
from linnaeus.verbs.compress.files import Candidate, forms, write_files
from linnaeus.verbs.compress.rows import row_of
from linnaeus.verbs.compress.swap import FRONT, swapped_in
from linnaeus.verbs.compress.words import tell

if TYPE_CHECKING:
    from linnaeus.classifier import Classifier
    from linnaeus.talk import Talk

__all__ = ["FRONT", "Demand", "Pictures", "Variant", "compress", "tell"]

EAGER = "PyTorch"
"""Name of the network as it was trained, run layer by layer."""


@dataclass(frozen=True)
class Variant:
    """A network to be written: the original, or a smaller one.

    Attributes:
        name: "original", "pruned", "distilled" ...
        steps: What was done, in words; () of the original.
        make: Gives it, calibrated; may take minutes.
    """

    name: str
    steps: tuple[str, ...]
    make: Callable[[], Classifier]


@dataclass(frozen=True)
class Pictures:
    """What compression learns from and is judged by.

    Attributes:
        train: Show the range of every layer, uint8 [N, S, S, C].
        val: Calibrate again, find sensitive layers, and order the candidates.
        test: Judge.
    """

    train: np.ndarray
    val: Shown
    test: Shown


@dataclass(frozen=True)
class Demand:
    """What is wanted.

    Attributes:
        faster: Times the speed of the original in its fastest runtime, for one picture; None takes what there is.
        smaller: Times smaller than the original's file; None takes what there is.
        max_drop: Most accuracy that may be lost, 0..1.
        targets: Runtimes to write for.
        precisions: To write in, beside float32.
        outputs: As `Graph` takes them.
        calibrate: Fit the probabilities of reduced precisions again; else they stay as they are.
        keep_answers: See `fit_calibration`; of a network whose training made up for rare classes.
        seed: Of the halves of the validation pictures.
    """

    targets: Sequence[Target]
    faster: float | None = None
    smaller: float | None = None
    max_drop: float = 0.01
    precisions: tuple[str, ...] = ("int8",)
    outputs: tuple[str, ...] = ("probabilities",)
    calibrate: bool = True
    keep_answers: bool = False
    seed: int = 0


At = Callable[[Preprocessing], Pictures]
"""Gives the same pictures, in the same order, as a preprocessing wants them."""


def compress(variants: Sequence[Variant], at: At, folder: Path, demand: Demand, talk: Talk) -> dict[str, Any]:
    """Write every variant in every precision for every runtime, and find those that are worth their accuracy.

    All candidates go through the gate, a paired test on the test pictures, and share its level of 5 %: with so many of
    them, chance has no more tries than with one. Of those that pass, speed or the validation pictures choose.

    Args:
        variants: The original first.
        at: Gives the pictures to learn from and to judge by.
        folder: Gets FOLDER/NAME/RUNTIME/ for each candidate, and the model folder of each smaller network. What it holds
            of an earlier compression stays until all is done.
        demand: What is wanted.
        talk: Where words and progress go.

    Returns:
        The document "compress".

    Raises:
        SettingsError: The demand is out of range, or the folder holds what compress did not write.
        ModelError: A runtime is not installed.
        UnfitError: The network offers no hold to any means that was wanted.
    """
    _check(demand)
    with swapped_in(folder) as fresh:
        return _compress(variants, at, fresh, folder, demand, talk)


def _compress(
    variants: Sequence[Variant], at: At, fresh: Path, folder: Path, demand: Demand, talk: Talk
) -> dict[str, Any]:
    """Compress into a fresh folder, and tell of it as what it will be."""
    candidates: list[Candidate] = []
    # All training comes first: a process in which PyTorch trains after TensorFlow was loaded may crash.
    made, notes = _all_made(variants, fresh, demand, talk)
    networks = [classifier for _, classifier in made]
    original, among = networks[0], _chosen_among(networks, demand)
    with tempfile.TemporaryDirectory() as scratch:
        for variant, classifier in made:
            with talk.stage(f"{variant.name}, files"):
                pictures = at(classifier.preprocessing)
                candidates += write_files(variant, classifier, pictures, fresh, Path(scratch), demand, among, talk)
        if not any(one.is_original for one in candidates):
            raise ModelError("the network itself should be written for a runtime.", got="none that can express it")
        pictures = at(original.preprocessing)
        with talk.stage("speed"):
            speeds = _speeds(original, candidates, pictures, talk)
    placed = [replace(one, path=folder / one.path.relative_to(fresh)) for one in candidates]
    rows, choice, confidence_level = _rows(placed, speeds, pictures, demand)
    for candidate, row in zip(candidates, rows, strict=True):
        write_json(candidate.path.parent / "compress.json", row | {"path": candidate.path.name})
    base = rows[choice.original]
    return {
        "target": {"latency": demand.faster, "size": demand.smaller},
        "max_drop": demand.max_drop,
        "pictures": int(pictures.test.labelled.sum()),
        "confidence_level": confidence_level,
        "eager_ms": speeds[EAGER].p50_ms,
        "original": base,
        "candidates": [row for row in rows if row is not base],
        "notes": notes,
        "chosen": None if choice.chosen is None else rows[choice.chosen]["name"],
        "path": None if choice.chosen is None else rows[choice.chosen]["path"],
        "why": choice.why,
    }


def _all_made(
    variants: Sequence[Variant], folder: Path, demand: Demand, talk: Talk
) -> tuple[list[tuple[Variant, Classifier]], list[str]]:
    """Make every network; note which cannot be made of this one, and why.

    Raises:
        UnfitError: None can, and nothing else was wanted.
    """
    made: list[tuple[Variant, Classifier]] = []
    unfit: dict[str, UnfitError] = {}
    for variant in variants:
        try:
            made.append((variant, _made(variant, folder, talk)))
        except UnfitError as error:
            unfit[variant.name] = error
            talk.say(f"{variant.name}: left out")
    if unfit and len(made) == 1 and not demand.precisions:
        raise next(iter(unfit.values()))
    return made, [f"{name} was left out: {error.rule} Got: {error.got}" for name, error in unfit.items()]


def _made(variant: Variant, folder: Path, talk: Talk) -> Classifier:
    talk.say(f"{variant.name} ...")
    with talk.stage(variant.name):
        classifier = variant.make()
    if variant.steps:
        classifier.save(folder / variant.name / "model")
    return classifier


def _chosen_among(networks: Sequence[Classifier], demand: Demand) -> int:
    """Count what the validation pictures choose among: the networks that each one was chosen of, in every file."""
    each = (one.judgement.candidates if one.judgement else 1 for one in networks)
    return sum(each) * len(forms(demand))


def _check(demand: Demand) -> None:
    for name, value in (("latency", demand.faster), ("size", demand.smaller)):
        if value is not None and not value > 1:
            raise SettingsError(f"--target {name} should be more than 1x.", got=f"{value:g}x")
    for target in demand.targets:
        require(target, writing=True)
        if why := target.why_not_here():
            raise ModelError(f"{target.title} cannot be measured here.", got=why, fix="leave it out of --on.")


def _speeds(original: Classifier, candidates: Sequence[Candidate], pictures: Pictures, talk: Talk) -> dict[str, Speed]:
    """Measure all files and the network itself side by side."""
    from linnaeus.targets.eager import EagerRunner

    subjects = {one.name: Subject(one.open, one.path) for one in candidates}
    subjects[EAGER] = Subject(lambda: EagerRunner(original, outputs=("probabilities",)))
    return measure(subjects, next(pictures.test.portions(32)), progress=talk.progress)


def _rows(
    candidates: Sequence[Candidate], speeds: dict[str, Speed], pictures: Pictures, demand: Demand
) -> tuple[list[dict[str, Any]], Choice, float]:
    """Judge all candidates, and choose one; the last thing given is the confidence level of their differences."""
    floats = [k for k, one in enumerate(candidates) if one.is_original]
    original = min(floats, key=lambda k: speeds[candidates[k].name].p50_ms)
    tested, labels = pictures.test.labelled, pictures.test.labels
    right = [one.test[tested].argmax(1) == labels[tested] for one in candidates]
    tests = max(1, len(candidates) - 1)
    groups = pictures.test.groups_of(tested)
    verdicts = [non_inferior(right[original], one, demand.max_drop, candidates=tests, groups=groups) for one in right]
    rows = [
        row_of(one, speeds[one.name], candidates[original], speeds[candidates[original].name], pictures.test, verdict)
        for one, verdict in zip(candidates, verdicts, strict=True)
    ]
    on_front = front([(row["p50_ms"], row["accuracy"]["value"]) for row in rows])
    rows = [row | {"front": k in on_front} for k, row in enumerate(rows)]
    known = pictures.val.labels >= 0
    held = [float((one.val[known].argmax(1) == pictures.val.labels[known]).mean()) for one in candidates]
    choice = choose(rows, held, original, demand.faster, demand.smaller, demand.max_drop)
    return rows, choice, verdicts[original].confidence_level
