"""Score a classifier on pictures whose class is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from linnaeus.classifier import Classifier
from linnaeus.data.cache import Scan
from linnaeus.errors import SourceError
from linnaeus.metrics import apply_temperature, score
from linnaeus.metrics.unknown import Seen
from linnaeus.records import Dataset, Predictions, Scores
from linnaeus.talk import Talk

AT_ONCE = 250


@dataclass(frozen=True)
class Judged:
    """What a classifier did on some pictures: raw and calibrated answers, and their scores."""

    seen: Seen
    predictions: Predictions
    scores: Scores
    groups: Sequence[str] | None = None


def evaluate(classifier: Classifier, dataset: Dataset, scan: Scan, talk: Talk) -> Judged:
    """Score a classifier on other data; classes are matched by name, never by number.

    A class that the model does not know becomes a further column of zeros, so that its pictures count as wrong: leaving
    them out would flatter the model. Pictures without a label are predicted and not scored.

    Args:
        classifier: What is scored.
        dataset: Pictures, the unusable ones taken out.
        scan: Of the same examples.
        talk: Where progress goes.

    Raises:
        SourceError: No class of the data is one of the model's.
    """
    unknown = tuple(name for name in dataset.classes if name not in classifier.classes)
    if set(classifier.classes).isdisjoint(dataset.classes):
        raise SourceError(
            f"{dataset.source} should have pictures of the model's classes.",
            got=f"classes {', '.join(dataset.classes[:5])}",
            fix=f"the model knows {', '.join(classifier.classes[:5])} ...: names must be equal, letter by letter.",
        )
    together = replace(dataset, classes=classifier.classes + unknown)
    rows = np.arange(len(dataset))
    judged = judge(classifier, seen_of(classifier, scan, rows, talk), together, rows)
    strange = [f"{name} ({count})" for name, count in dataset.counts().items() if name in unknown]
    if strange:
        note = f"the model does not know {', '.join(strange)}: these pictures count as wrong."
        judged = replace(judged, scores=replace(judged.scores, notes=(*judged.scores.notes, note)))
    return judged


def seen_of(classifier: Classifier, scan: Scan, rows: np.ndarray, talk: Talk) -> Seen:
    """Compute the raw answers and the features for some rows."""

    def blocks() -> Iterator[np.ndarray]:
        for first in range(0, len(rows), AT_ONCE):
            talk.progress("evaluating", first, len(rows))
            yield scan.pixels.block(rows[first : first + AT_ONCE], classifier.preprocessing.size_px)
        talk.progress("evaluating", len(rows), len(rows))

    return classifier.embed(blocks())


def judge(classifier: Classifier, seen: Seen, dataset: Dataset, rows: np.ndarray) -> Judged:
    """Turn raw answers for some rows into calibrated predictions and their scores.

    Args:
        classifier: Of whose calibration.
        seen: Of n pictures.
        dataset: Its first K classes are the model's.
        rows: [n].
    """
    probabilities = classifier.calibration.probabilities(seen.logits)
    predictions = Predictions(
        probabilities=np.pad(probabilities, ((0, 0), (0, len(dataset.classes) - seen.logits.shape[1]))),
        labels=dataset.labels[rows],
        ids=tuple(dataset.examples[row].id for row in rows),
        classes=dataset.classes,
    )
    groups = [dataset.examples[row].group for row in rows]
    clustered = groups if any(groups) else None
    return Judged(seen, predictions, score(predictions, groups=clustered), clustered)


def raw(judged: Judged) -> Predictions:
    """Give the predictions as they were before calibration."""
    plain = apply_temperature(judged.seen.logits, 1.0)
    more = len(judged.predictions.classes) - plain.shape[1]
    return replace(judged.predictions, probabilities=np.pad(plain, ((0, 0), (0, more))))
