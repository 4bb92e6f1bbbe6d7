"""The files of one variant: each runtime, each precision, calibrated again after it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from linnaeus.errors import ModelError
from linnaeus.metrics.abstention import Judgement, divide
from linnaeus.metrics.calibration import Calibration, fit_calibration
from linnaeus.metrics.scores import SMALLEST
from linnaeus.nn.arithmetic import multiply_adds
from linnaeus.records import Predictions
from linnaeus.targets import Blueprint, Precision, Runner, Target
from linnaeus.targets.card import PROBABILITIES
from linnaeus.targets.graph import Graph
from linnaeus.targets.proof import Shown
from linnaeus.targets.sensitivity import written

if TYPE_CHECKING:
    from linnaeus.classifier import Classifier
    from linnaeus.talk import Talk
    from linnaeus.verbs.compress import Demand, Pictures, Variant


@dataclass(frozen=True)
class Candidate:
    """One file.

    Attributes:
        name: "pruned, int8, OpenVINO".
        steps: What was done, in words.
        target: Its format.
        precision: Name.
        path: The file.
        multiply_adds: Of the network for one picture.
        parameters: Of the network.
        calibration: Kind.
        val: Probabilities of the validation pictures, [N, K].
        test: Of the test pictures.
        is_original: The network as it was trained, in single precision.
        sample: Some pictures at its size.
    """

    name: str
    steps: tuple[str, ...]
    target: Target
    precision: str
    path: Path
    multiply_adds: int
    parameters: int
    calibration: str
    val: np.ndarray
    test: np.ndarray
    is_original: bool
    sample: np.ndarray

    def open(self) -> Runner:
        """Make the file ready to answer pictures of its own size, whatever it is given: for measuring its speed."""
        return _OwnSize(self.target.open(self.path), self.sample)


class _OwnSize:
    """A runner that answers as many pictures as it is given, but its own."""

    def __init__(self, runner: Runner, sample: np.ndarray) -> None:
        self._runner, self._sample, self.card = runner, sample, runner.card

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        return self._runner.run(self._sample[np.arange(len(pictures)) % len(self._sample)])


def forms(demand: Demand) -> list[tuple[Target, str]]:
    """List the files in which each network is written, as runtime and precision."""
    precisions = ("float32", *demand.precisions)
    return [(target, one) for target in demand.targets for one in precisions if one in target.precisions]


def write_files(
    variant: Variant,
    classifier: Classifier,
    pictures: Pictures,
    folder: Path,
    scratch: Path,
    demand: Demand,
    among: int,
    talk: Talk,
) -> Iterator[Candidate]:
    """Write a variant for all runtimes in all precisions, one after the other.

    Args:
        variant: What is written.
        classifier: Its network, calibrated.
        pictures: At its size.
        folder: Gets the files.
        scratch: For what is needed on the way.
        demand: What is wanted.
        among: Number of networks, in all files of all variants, that the validation pictures choose among.
        talk: Where words go.
    """
    about = classifier.preprocessing
    example = torch.zeros(1, about.channels, about.size_px, about.size_px)
    arithmetic = multiply_adds(classifier.network.cpu(), example)
    parameters = sum(one.numel() for one in classifier.network.parameters())
    for target, precision in forms(demand):
        place = folder / variant.name / f"{target.name}-{precision}"
        place.mkdir(parents=True, exist_ok=True)
        work = scratch / f"{variant.name}-{target.name}-{precision}"
        work.mkdir()
        try:
            with talk.stage(precision):
                path, calibration, done = _write(classifier, target, precision, pictures, place, work, demand, among)
        except ModelError as error:
            # One form that cannot be had does not cost the others.
            talk.say(f"  {place}: {error.rule} {error.got}")
            shutil.rmtree(place)
            continue
        talk.say(f"  {path}")
        yield Candidate(
            name=f"{variant.name}, {precision}, {target.title}",
            steps=(*variant.steps, *done),
            target=target,
            precision=precision,
            path=path,
            multiply_adds=arithmetic,
            parameters=parameters,
            calibration=calibration.kind,
            val=answers(target, path, pictures.val),
            test=answers(target, path, pictures.test),
            is_original=not variant.steps and precision == "float32",
            sample=next(pictures.test.portions(32)),
        )


def _write(
    classifier: Classifier,
    target: Target,
    precision: str,
    pictures: Pictures,
    place: Path,
    work: Path,
    demand: Demand,
    among: int,
) -> tuple[Path, Calibration, tuple[str, ...]]:
    """Write one file; of less than single precision twice: its raw answers calibrate the second one."""
    if precision == "float32":
        counted = replace(classifier, judgement=_counted(classifier.judgement, among))
        path = target.write(_blueprint(counted, work / "graph", demand), place)
        return path, classifier.calibration, ()
    plain = _blueprint(replace(classifier, calibration=Calibration()), work / "plain", demand)
    first = work / "first"
    first.mkdir()
    assert isinstance(pictures.val.pictures, np.ndarray)
    path, exact = written(target, plain, first, Precision(precision, pictures.train, held=pictures.val.pictures))
    done = (f"computed in {precision}",)
    if precision == "int8":
        kept = f", {len(exact.keep)} sensitive layers in float" if exact.keep else ""
        done = (f"8-bit integers{kept}",)
    mended = calibrated_again(classifier, answers(target, path, pictures.val), pictures.val, demand, among)
    path = target.write(_blueprint(mended, work / "graph", demand), place, exact)
    return path, mended.calibration, done


def _counted(judgement: Judgement | None, among: int) -> Judgement | None:
    return None if judgement is None else replace(judgement, candidates=among)


def calibrated_again(classifier: Classifier, raw: np.ndarray, val: Shown, demand: Demand, among: int) -> Classifier:
    """Fit calibration and promises to what a file says of the validation pictures, as those of the network were fitted.

    Args:
        classifier: Its detector of strange pictures stays; where it promises nothing, all pictures calibrate.
        raw: Softmax of the file's logits, [N, K].
        val: The pictures.
        demand: How to calibrate, and the seed of the halves.
        among: Number of networks that these pictures choose among, this file included.
    """
    logs = np.log(np.maximum(raw, SMALLEST))
    old = classifier.judgement
    everything = np.flatnonzero(val.labels >= 0)
    none = everything[:0]
    every = np.arange(len(val))
    first, held = divide(val.labels, groups=val.groups_of(every), seed=demand.seed) if old else (everything, none)
    if not demand.calibrate:
        first, held = none, everything
    calibration = Calibration()
    if len(first):
        tied = val.groups_of(first)
        labels, keep = val.labels[first], demand.keep_answers
        calibration = fit_calibration(logs[first], labels, keep_answers=keep, groups=tied, raw=False)
    if old is None or not len(held):
        return replace(classifier, calibration=calibration)
    predictions = Predictions(
        calibration.probabilities(logs[held]), val.labels[held], tuple(val.ids[row] for row in held), classifier.classes
    )
    made = Judgement.make(predictions, candidates=among, groups=val.groups_of(held), seed=demand.seed)
    judgement = replace(made, detector=old.detector, strange_above=old.strange_above)
    return replace(classifier, calibration=calibration, judgement=judgement)


def answers(target: Target, path: Path, shown: Shown) -> np.ndarray:
    """Ask a file, float64 [N, K].

    Raises:
        ModelError: It gives NaN or infinity.
    """
    runner = target.open(path)
    found = np.concatenate([runner.run(one)[PROBABILITIES] for one in shown.portions()]).astype(np.float64)
    if not np.isfinite(found).all():
        raise ModelError(f"{path} should give finite numbers.", got="NaN or infinity")
    return found


def _blueprint(classifier: Classifier, scratch: Path, demand: Demand) -> Blueprint:
    scratch.mkdir()
    return Blueprint(Graph(classifier, outputs=demand.outputs), scratch)
