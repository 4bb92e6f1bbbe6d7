"""What a classifier learns after its training: calibrated probabilities, and when to say "I don't know"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from linnaeus.classifier import Classifier
from linnaeus.data.cache import Scan
from linnaeus.learn.material import BANK_PICTURES, OUTLIERS_OF_A_KIND
from linnaeus.metrics.abstention import Judgement, divide
from linnaeus.metrics.calibration import Calibration, fit_calibration
from linnaeus.metrics.unknown import Choice, Detector, Seen, choose_detector, fit_detectors
from linnaeus.records import Dataset, Predictions, Split
from linnaeus.talk import Talk
from linnaeus.verbs.evaluate.judge import seen_of
from linnaeus.verbs.evaluate.outliers import outliers

ENOUGH = 40
"""With fewer labelled validation pictures all of them calibrate, and nothing is promised."""

NOT_STRANGE = 0.97
"""Share of the pictures of known classes that is not called strange. A few hundred held pictures cannot tell a higher
one well, and its threshold lets most strange pictures pass."""


@dataclass(frozen=True)
class Calibrated:
    """A classifier that knows its limits, and what chose its detector of strange pictures."""

    classifier: Classifier
    detectors: tuple[Detector, ...] = ()
    choice: Choice | None = None


def calibrate(
    classifier: Classifier,
    seen: Seen,
    dataset: Dataset,
    scan: Scan,
    split: Split,
    *,
    fit: bool,
    keep_answers: bool = False,
    candidates: int,
    seed: int,
    talk: Talk,
    known: np.ndarray | None = None,
    strange_each: int = OUTLIERS_OF_A_KIND,
) -> Calibrated:
    """Fit probabilities on one half of the validation pictures, and rules for abstaining on the other half.

    Args:
        classifier: As it was trained.
        seen: Of the validation pictures, in their order in the split.
        dataset: All pictures.
        scan: Of them.
        split: Of them.
        fit: Calibrate; else probabilities stay as they are, and all validation pictures are held.
        keep_answers: See `fit_calibration`; for a training that made up for rare classes.
        candidates: Number of networks that the validation pictures chose among.
        seed: Of the halves.
        talk: Where progress goes.
        known: Features of the training pictures, float32 [n, D], in their order in the split, where they are known.
        strange_each: Strange pictures that are made of each kind.
    """
    val = split.rows("val")
    labels = dataset.labels[val]
    groups = [dataset.examples[row].group for row in val]
    everything = np.flatnonzero(labels >= 0)
    enough = len(everything) >= ENOUGH
    none = everything[:0]
    first, held = divide(labels, groups=groups, seed=seed) if enough else (everything, none)
    if not fit:
        first, held = none, everything if enough else none
    calibration = Calibration()
    if len(first):
        tied = [groups[row] for row in first]
        calibration = fit_calibration(seen.logits[first], labels[first], keep_answers=keep_answers, groups=tied)
    classifier = replace(classifier, calibration=calibration)
    if not len(held):
        return Calibrated(classifier)
    train = split.rows("train")
    bank = _evenly(train[dataset.labels[train] >= 0], dataset.labels, BANK_PICTURES, seed)
    features = seen_of(classifier, scan, bank, talk).features if known is None else known[np.searchsorted(train, bank)]
    # Of equals the first is taken: features tell strange pictures that the logits do not.
    detectors = tuple(reversed(fit_detectors(features, dataset.labels[bank], seed=seed)))
    made = strangers(classifier, scan, val, seed, talk, strange_each)
    choice = choose_detector(detectors, _take(seen, held), made, share=NOT_STRANGE)
    predictions = Predictions(
        calibration.probabilities(seen.logits[held]), labels[held], tuple(map(str, held)), classifier.classes
    )
    apart = [groups[row] for row in held]
    judgement = Judgement.make(predictions, candidates=candidates, choice=choice, groups=apart, seed=seed)
    return Calibrated(replace(classifier, judgement=judgement), detectors, choice)


def strangers(
    classifier: Classifier, scan: Scan, rows: np.ndarray, seed: int, talk: Talk, each: int = OUTLIERS_OF_A_KIND
) -> Mapping[str, Seen]:
    """Make pictures of no class out of some rows, so many of each kind, and look at them."""
    rows = np.random.default_rng(seed).permutation(rows)[:each]
    pictures = scan.pixels.block(np.sort(rows), classifier.preprocessing.size_px)
    made = outliers(pictures, classifier.classes, seed=seed)
    sizes = np.cumsum([0, *(len(one) for one in made.values())])

    def blocks() -> Iterator[np.ndarray]:
        for done, strange in zip(sizes, made.values(), strict=False):
            talk.progress("strange pictures", int(done), int(sizes[-1]))
            yield np.ascontiguousarray(strange)
        talk.progress("strange pictures", int(sizes[-1]), int(sizes[-1]))

    seen = classifier.embed(blocks())
    return {
        name: _take(seen, np.arange(begin, end)) for name, begin, end in zip(made, sizes[:-1], sizes[1:], strict=True)
    }


def _evenly(rows: np.ndarray, labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Choose rows at random, as many of each class as there are and as fit; ascending."""
    shuffled = np.random.default_rng(seed).permutation(rows)
    order = np.argsort(labels[shuffled], kind="stable")
    _, starts, counts = np.unique(labels[shuffled][order], return_index=True, return_counts=True)
    turn = np.arange(len(rows)) - np.repeat(starts, counts)
    return np.sort(shuffled[order][np.argsort(turn, kind="stable")[:most]])


def _take(seen: Seen, rows: np.ndarray) -> Seen:
    return Seen(seen.logits[rows], None if seen.features is None else seen.features[rows])
