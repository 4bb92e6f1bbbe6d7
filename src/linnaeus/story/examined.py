"""Score a classifier, or the predictions of any model, on pictures whose class is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.classifier import Classifier
from linnaeus.config import Recipe
from linnaeus.data.traits import measure
from linnaeus.errors import SourceError
from linnaeus.learn.engine import one_blas_thread
from linnaeus.metrics import score
from linnaeus.metrics.abstention import Judgement, divide
from linnaeus.metrics.calibration import Calibration, fit_calibration
from linnaeus.metrics.scores import SMALLEST
from linnaeus.records import Predictions, Scores
from linnaeus.story.pictures import look_at_all, open_pictures, say_aside, where_of
from linnaeus.talk import Talk
from linnaeus.verbs.evaluate import evaluate, raw, results_of
from linnaeus.written import read_predictions


@dataclass(frozen=True)
class Examined:
    """What `examine` found: the account of every file, predictions, scores, and the evidence beside them.

    `groups` has a name per prediction where the source has groups, else it is None.
    """

    accounted: Mapping[str, int]
    predictions: Predictions
    scores: Scores
    results: Mapping[str, dict[str, Any]]
    groups: Sequence[str] | None = None


def examine(
    model: Path,
    source: str,
    *,
    data_dir: Path | None = None,
    corrections: str | Path | None = None,
    trust_code: bool = False,
    talk: Talk | None = None,
) -> Examined:
    """Score a trained classifier on all pictures of another source.

    Args:
        model: A run or a model folder.
        source: What `open_source` takes.
        data_dir: Where the data of a built-in name are.
        corrections: File with the decisions of a review, or "none"; by default the one beside the source.
        trust_code: See `Classifier.load`.
        talk: Where words and progress go.
    """
    talk = talk or Talk()
    classifier = Classifier.load(model, trust_code=trust_code)
    where = where_of(source, data_dir=data_dir, corrections=corrections)
    looked = look_at_all(open_pictures(where, talk), where, classifier.preprocessing, Recipe().data.cache_gb, talk)
    say_aside(looked.accounted, talk)
    with one_blas_thread():
        judged = evaluate(classifier, looked.dataset, looked.scan, talk)
        results = results_of(
            raw(judged),
            judged.predictions,
            classifier.calibration,
            classifier.judgement,
            part=looked.dataset.name,
            columns=measure(looked.dataset, looked.scan, classifier.preprocessing).columns(),
            groups=judged.groups,
        )
    return Examined(looked.accounted, judged.predictions, judged.scores, results, judged.groups)


def examine_predictions(table: Path, held: Path | None = None) -> Examined:
    """Score the predictions of any model.

    Args:
        table: Columns id, label, p:CLASS.
        held: The same model's predictions on other pictures: one half calibrates, promises are made from the other.

    Raises:
        SourceError: A table cannot be read, or its classes are others.
    """
    before = read_predictions(table)
    calibration, judgement = Calibration(), None
    if held is not None:
        others = read_predictions(held)
        if others.classes != before.classes:
            raise SourceError(
                f"{held} should have the classes of {table}, in their order.", got=", ".join(others.classes)
            )
        first, rest = divide(others.labels)
        logs = np.log(np.maximum(others.probabilities, SMALLEST))
        calibration = fit_calibration(logs[first], others.labels[first])
        kept = Predictions(
            calibration.probabilities(logs[rest]),
            others.labels[rest],
            tuple(others.ids[k] for k in rest),
            others.classes,
        )
        judgement = Judgement.make(kept)
    logs = np.log(np.maximum(before.probabilities, SMALLEST))
    after = before if held is None else replace(before, probabilities=calibration.probabilities(logs))
    counts = {"found": len(before), "used": len(before)}
    return Examined(counts, after, score(after), results_of(before, after, calibration, judgement, part=table.stem))
