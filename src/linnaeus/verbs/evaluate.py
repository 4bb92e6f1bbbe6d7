"""evaluate: score a classifier on labelled pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from linnaeus.classifier import Classifier
from linnaeus.data.cache import Scan
from linnaeus.errors import SourceError
from linnaeus.metrics import score
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
        SourceError: No picture carries a label that the model knows.
    """
    unknown = tuple(name for name in dataset.classes if name not in classifier.classes)
    if set(classifier.classes).isdisjoint(dataset.classes):
        raise SourceError(
            f"{dataset.source} should have pictures of the model's classes.",
            got=f"classes {', '.join(dataset.classes[:5])}",
            fix=f"the model knows {', '.join(classifier.classes[:5])} ...: names must be equal, letter by letter.",
        )
    together = replace(dataset, classes=classifier.classes + unknown)
    return evaluate_rows(classifier, together, scan, np.arange(len(dataset)), talk)


def evaluate_rows(
    classifier: Classifier, dataset: Dataset, scan: Scan, rows: np.ndarray, talk: Talk
) -> tuple[Predictions, Scores]:
    """Predict and score some rows of a dataset whose first classes are the classifier's."""

    def blocks() -> Iterator[np.ndarray]:
        for first in range(0, len(rows), AT_ONCE):
            talk.progress("evaluating", first, len(rows))
            yield scan.pixels.block(rows[first : first + AT_ONCE], classifier.preprocessing.size_px)
        talk.progress("evaluating", len(rows), len(rows))

    probabilities = np.exp(classifier.log_probabilities(blocks()))
    more = len(dataset.classes) - len(classifier.classes)
    predictions = Predictions(
        probabilities=np.pad(probabilities, ((0, 0), (0, more))),
        labels=dataset.labels[rows],
        ids=tuple(dataset.examples[row].id for row in rows),
        classes=dataset.classes,
    )
    groups = [dataset.examples[row].group for row in rows]
    return predictions, score(predictions, groups=groups if any(groups) else None)
