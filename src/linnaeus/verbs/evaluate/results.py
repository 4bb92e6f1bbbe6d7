"""The evidence beside the scores: calibration, abstention, ranking and slices, each as a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from linnaeus.metrics.abstention import Judgement, abstention_document
from linnaeus.metrics.calibration import Calibration
from linnaeus.metrics.miscalibration import calibration_document
from linnaeus.metrics.ranking import rank
from linnaeus.metrics.slices import find_slices
from linnaeus.metrics.unknown import UnknownScores
from linnaeus.records import Predictions


def results_of(
    before: Predictions,
    after: Predictions,
    calibration: Calibration,
    judgement: Judgement | None,
    *,
    part: str,
    columns: Mapping[str, Any] | None = None,
    unknown: UnknownScores | None = None,
    groups: Sequence[str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Judge labelled predictions, of whatever model.

    Args:
        before: Uncalibrated.
        after: The same pictures, calibrated.
        calibration: What lies between.
        judgement: What promises rest on, if anything.
        part: What the pictures are: "test", "val", or a source.
        columns: Traits by name, one value per picture, among which the worst slices are searched.
        unknown: What was measured on strange pictures.
        groups: A name per row: see `score`.

    Returns:
        Name of the document -> its values.
    """
    found = {
        "calibration": calibration_document(before, after, calibration, part=part, groups=groups),
        "ranking": rank(after, groups=groups).document(),
    }
    nothing = replace(after, probabilities=after.probabilities[:0], labels=after.labels[:0], ids=())
    found["abstention"] = abstention_document(judgement or Judgement.make(nothing), after, unknown)
    if columns:
        found["slices"] = find_slices(after, columns).document()
    return found
