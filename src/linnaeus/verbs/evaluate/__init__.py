"""evaluate: score a classifier on labelled pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from linnaeus.classifier import Classifier
from linnaeus.data.cache import Scan
from linnaeus.errors import SourceError
from linnaeus.metrics import apply_temperature, score
from linnaeus.records import Dataset, Predictions, Scores
from linnaeus.talk import Talk

AT_ONCE = 250


def evaluate(classifier: Classifier, dataset: Dataset, scan: Scan, talk: Talk) -> tuple[Predictions, Scores]:
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
    predictions, scores = judge(logits_of(classifier, scan, rows, talk), classifier.temperature, together, rows)
    strange = [f"{name} ({count})" for name, count in dataset.counts().items() if name in unknown]
    if strange:
        note = f"the model does not know {', '.join(strange)}: these pictures count as wrong."
        scores = replace(scores, notes=(*scores.notes, note))
    return predictions, scores


def logits_of(classifier: Classifier, scan: Scan, rows: np.ndarray, talk: Talk) -> np.ndarray:
    """Compute the raw answers for some rows, float64 [n, K]."""

    def blocks() -> Iterator[np.ndarray]:
        for first in range(0, len(rows), AT_ONCE):
            talk.progress("evaluating", first, len(rows))
            yield scan.pixels.block(rows[first : first + AT_ONCE], classifier.preprocessing.size_px)
        talk.progress("evaluating", len(rows), len(rows))

    return classifier.logits(blocks())


def judge(logits: np.ndarray, temperature: float, dataset: Dataset, rows: np.ndarray) -> tuple[Predictions, Scores]:
    """Turn raw answers for some rows into calibrated predictions and their scores.

    Args:
        logits: [n, K].
        temperature: Of the model.
        dataset: Its first K classes are the model's.
        rows: [n].
    """
    probabilities = apply_temperature(logits, temperature)
    predictions = Predictions(
        probabilities=np.pad(probabilities, ((0, 0), (0, len(dataset.classes) - logits.shape[1]))),
        labels=dataset.labels[rows],
        ids=tuple(dataset.examples[row].id for row in rows),
        classes=dataset.classes,
    )
    groups = [dataset.examples[row].group for row in rows]
    return predictions, score(predictions, groups=groups if any(groups) else None)
