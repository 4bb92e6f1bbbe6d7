"""stress: how the answers hold when pictures are damaged, moved a little, or attacked."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from linnaeus.classifier import Classifier
from linnaeus.data.pixels import Pixels
from linnaeus.errors import SettingsError
from linnaeus.metrics import wilson
from linnaeus.metrics.intervals import percentile, resample_weights, units_of
from linnaeus.records import Dataset, Estimate
from linnaeus.talk import Talk
from linnaeus.verbs.stress.attacks import attack, planned
from linnaeus.verbs.stress.certify import MOST_PICTURES, certified
from linnaeus.verbs.stress.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from linnaeus.verbs.stress.patches import patches
from linnaeus.verbs.stress.sample import Sample, draw, stratified
from linnaeus.verbs.stress.shifts import SHIFTS, shift
from linnaeus.verbs.stress.target import Target

RESAMPLES = 2000
NORMALISATION = "none: the mean error over all kinds and strengths, not divided by another network's errors"


def stress(
    classifier: Classifier,
    dataset: Dataset,
    pixels: Pixels,
    *,
    pictures: int = 256,
    seed: int = 0,
    attacks: Sequence[str] = ("fgsm", "pgd", "patch"),
    certify: float | None = None,
    talk: Talk | None = None,
) -> dict[str, Any]:
    """Measure how accuracy holds under corruptions, small shifts and attacks.

    The network works in fp32 on a copy; answers are those of `predict`, and the classifier stays as it was. The same
    arguments give the same numbers.

    Args:
        classifier: What is tested.
        dataset: Labelled pictures, the unusable ones taken out; classes are matched by name.
        pixels: Stored pictures of the same examples (`Scan.pixels`).
        pictures: Size of the sample, stratified by class, which bounds the time. All pictures if there are not more.
        seed: Of the sample and of everything random in the changes.
        attacks: Any of "fgsm", "pgd", "patch" and "autoattack" (needs the extra `attacks`); may be empty.
        certify: Standard deviation of the noise of randomised smoothing, in units of 0..1, such as 0.25; None leaves it
            out. At most 64 pictures of the sample are certified, as each takes 432 looks.
        talk: Where words and progress go.

    Returns:
        The document "stress": plain values, estimates as dictionaries.

    Raises:
        SourceError: No picture has a label that is one of the model's classes.
        SettingsError: An option does not hold, or autoattack is not installed.
        ModelError: The network gives NaN.
    """
    talk = talk or Talk()
    _check(pictures, attacks, certify, classifier.preprocessing.size_px)
    classifier = replace(classifier, network=copy.deepcopy(classifier.network).eval().requires_grad_(False))
    sample = draw(classifier, dataset, pixels, pictures, seed)
    answers = sample.answers(classifier)
    right = answers == sample.labels
    with talk.stage("corruptions"):
        corruptions, hits = _corruptions(classifier, sample, seed, talk)
    with talk.stage("shifts"):
        shifts = _shifts(classifier, sample, answers, seed, talk)
    target = Target(classifier)
    with talk.stage("attacks"):
        gradient = tuple(name for name in attacks if name != "patch")
        attacked = attack(target, sample, right, gradient, seed, talk)
        patched = patches(target, sample, right, seed, talk) if "patch" in attacks else []
    with talk.stage("certificates"):
        few = sample.take(stratified(sample.labels, MOST_PICTURES, seed))
        proofs = None if certify is None else certified(target, few, certify, seed, talk)
    held, lost, more_lost = _summary(sample, right, hits, seed)
    return {
        "pictures": len(sample),
        "of": len(dataset),
        "seed": seed,
        "clean": asdict(wilson(int(right.sum()), len(right))),
        "corruptions": corruptions,
        "mean_corruption_accuracy": asdict(held),
        "mce": asdict(lost),
        "mce_normalisation": NORMALISATION,
        "relative_mce": asdict(more_lost),
        "weakest": min(corruptions, key=_mean_accuracy)["kind"],
        "shifts": shifts,
        "attacks": attacked,
        "patches": patched,
        "certified": proofs,
        "notes": _notes(classifier, dataset, sample, attacks, patched),
    }


def tell(document: dict[str, Any]) -> str:
    """Say the result of `stress` in a few lines."""
    clean, held = Estimate(**document["clean"]), Estimate(**document["mean_corruption_accuracy"])
    weakest = next(one for one in document["corruptions"] if one["kind"] == document["weakest"])
    firm = max(document["corruptions"], key=_mean_accuracy)
    lines = [
        f"accuracy {clean.percent()} on {document['pictures']:,} unchanged pictures of {document['of']:,}",
        f"damaged:  {held.percent()}, mean over {len(document['corruptions'])} kinds at {STRENGTHS} strengths",
        f"weakest:  {weakest['kind']}, {_course(weakest)} at strengths 1 to {STRENGTHS}",
        f"firmest:  {firm['kind']}, {_course(firm)}",
    ]
    flips = [_worst_flip(one) for one in document["shifts"]]
    lines += [f"answers flipped by {what}: {Estimate(**flip).percent()}" for flip, what in flips]
    for one in document["attacks"]:
        size = f"{one['radius_255']:g}/255" if one["norm"] == "Linf" else f"{one['radius']:g}"
        lines.append(f"{one['name']} within {one['norm']} {size}: {Estimate(**one['accuracy']).percent()} stay right")
    for one in document["patches"]:
        kept, noise = Estimate(**one["accuracy"]), Estimate(**one["noise_accuracy"])
        lines.append(
            f"patch on {100 * one['radius']:.1f} % of the picture: {kept.percent()} of the right ones stay right; "
            f"a square of noise: {noise.percent()}"
        )
    for one in document["certified"] or ():
        accuracy = Estimate(**one["accuracy"]).percent()
        lines.append(f"certified within L2 {one['radius']:.3g} (noise {one['sigma']:g}): {accuracy}")
    return "\n".join(lines + [f"note: {note}" for note in document["notes"]])


def _check(pictures: int, attacks: Sequence[str], certify: float | None, size_px: int) -> None:
    """Find a wrong option before anything takes time."""
    if pictures < 1:
        raise SettingsError("--pictures should be 1 or more.", got=str(pictures))
    if certify is not None and not 0 < certify <= 2:
        raise SettingsError(
            "--certify should be a standard deviation in units of 0..1.", got=str(certify), fix="0.12, 0.25 or 0.5"
        )
    planned(tuple(name for name in attacks if name != "patch"), size_px)


def _corruptions(
    classifier: Classifier, sample: Sample, seed: int, talk: Talk
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Score every kind at every strength; also give each picture's share of right answers, [n]."""
    found, hits = [], np.zeros(len(sample))
    for number, one in enumerate(CORRUPTIONS):
        accuracy = []
        for strength in range(1, STRENGTHS + 1):
            talk.progress("corruptions", STRENGTHS * number + strength - 1, STRENGTHS * len(CORRUPTIONS))

            def change(picture: np.ndarray, which: int, kind: str = one.name, strength: int = strength) -> np.ndarray:
                return corrupt(picture, kind, strength, (seed, which))

            right = sample.answers(classifier, change) == sample.labels
            accuracy.append(asdict(wilson(int(right.sum()), len(right))))
            hits += right
        found.append({"kind": one.name, "group": one.group, "accuracy": accuracy})
    talk.progress("corruptions", STRENGTHS * len(CORRUPTIONS), STRENGTHS * len(CORRUPTIONS))
    return found, hits / (STRENGTHS * len(CORRUPTIONS))


def _shifts(classifier: Classifier, sample: Sample, answers: np.ndarray, seed: int, talk: Talk) -> list[dict[str, Any]]:
    """Count for each small change how many answers flip, and how many are right."""
    found = []
    for number, one in enumerate(SHIFTS):
        talk.progress("shifts", number, len(SHIFTS))
        flips, accuracy = [], []
        for strength in one.strengths:

            def change(picture: np.ndarray, which: int, kind: Any = one, strength: float = strength) -> np.ndarray:
                return shift(picture, kind, strength, (seed, which))

            after = sample.answers(classifier, change)
            flips.append(asdict(wilson(int((after != answers).sum()), len(after))))
            accuracy.append(asdict(wilson(int((after == sample.labels).sum()), len(after))))
        strengths = list(one.strengths)
        found.append({"kind": one.name, "strengths": strengths, "unit": one.unit, "flips": flips, "accuracy": accuracy})
    talk.progress("shifts", len(SHIFTS), len(SHIFTS))
    return found


def _summary(sample: Sample, right: np.ndarray, hits: np.ndarray, seed: int) -> tuple[Estimate, Estimate, Estimate]:
    """Estimate mean corruption accuracy, mean corruption error, and how much of the error damage adds.

    One picture gives 75 answers that hang together: pictures are resampled, not answers.
    """
    n = len(sample)
    held, extra = float(hits.mean()), float((right - hits).mean())
    if n == 1:
        return (
            Estimate(held, 0.0, 1.0, 1, "one picture"),
            Estimate(1 - held, 0.0, 1.0, 1, "one picture"),
            Estimate(extra, -1.0, 1.0, 1, "one picture"),
        )
    units = units_of(len(sample.labels), sample.groups)
    drawn = np.concatenate(
        [
            weights @ np.stack([hits, right - hits], axis=1) / weights.sum(axis=1, keepdims=True)
            for weights in resample_weights(units, sample.labels, seed, RESAMPLES)
        ]
    )
    # Answers that are all right, or all wrong, have no spread to resample.
    accuracy = percentile(held, drawn[:, 0], n, (0, 1)) if 0 < held < 1 else wilson(round(held * n), n)
    error = Estimate(1 - held, 1 - accuracy.high, 1 - accuracy.low, n, accuracy.method)
    return accuracy, error, percentile(extra, drawn[:, 1], n, (-1, 1))


def _notes(
    classifier: Classifier, dataset: Dataset, sample: Sample, attacks: Sequence[str], patched: list[Any]
) -> list[str]:
    notes = []
    if len(sample) < len(dataset):
        notes.append(f"a sample of {len(sample):,} of {len(dataset):,} pictures, each class with its share.")
    unlabelled = sum(example.label not in dataset.classes for example in dataset.examples)
    if unlabelled:
        notes.append(f"{unlabelled:,} pictures have no label and were left out.")
    strange = sorted({name for name in dataset.classes if name not in classifier.classes})
    if (sample.labels < 0).any():
        notes.append(f"the model does not know {', '.join(strange)}: these pictures count as wrong.")
    if "patch" in attacks and not patched:
        notes.append("no patch was learned: that takes two pictures that are answered rightly.")
    return notes


def _mean_accuracy(corruption: dict[str, Any]) -> float:
    return sum(one["value"] for one in corruption["accuracy"]) / STRENGTHS


def _course(corruption: dict[str, Any]) -> str:
    return ", ".join(f"{100 * one['value']:.0f}" for one in corruption["accuracy"]) + " %"


def _worst_flip(kind: dict[str, Any]) -> tuple[dict[str, Any], str]:
    place = max(range(len(kind["flips"])), key=lambda one: kind["flips"][one]["value"])
    return kind["flips"][place], f"{kind['kind']} ({kind['strengths'][place]:g} {kind['unit']})"
