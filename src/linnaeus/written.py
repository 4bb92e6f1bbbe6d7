"""Predictions and scores as they are written down: tables and plain values, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.errors import SourceError
from linnaeus.records import ClassScores, Estimate, Predictions, Scores
from linnaeus.tables import read_table

MANY_CLASSES = 1000
"""With more, tables of pictures by classes and of classes by classes are too large for text."""


def prediction_columns(predictions: Predictions) -> dict[str, Any]:
    """Lay predictions out as a table: id, label, predicted, confidence, and p:CLASS for each class."""
    names = (*predictions.classes, "")
    columns: dict[str, Any] = {
        "id": list(predictions.ids),
        "label": [names[label] for label in predictions.labels],
        "predicted": [names[label] for label in predictions.predicted],
        "confidence": predictions.confidence,
    }
    return columns | {f"p:{name}": predictions.probabilities[:, k] for k, name in enumerate(predictions.classes)}


def read_predictions(path: Path) -> Predictions:
    """Read a table of predictions, of this program or any other: columns id, label, and p:CLASS for each class.

    Labels may be empty where they are not known. Rows of probabilities that do not sum to 1 (within 1 %) are refused,
    smaller errors of rounding are mended.

    Raises:
        SourceError: A column is missing, a label is no class, or a probability is none.
    """
    try:
        columns = read_table(path, ("id", "path", "label", "predicted", "answer", "set", "error"))
    except (OSError, ValueError) as error:
        got = str(error).splitlines()[0][:200]
        raise SourceError(f"{path} should be a table of predictions: CSV or Parquet.", got=got) from None
    classes = tuple(name.removeprefix("p:") for name in columns if name.startswith("p:"))
    words = {
        name: ["" if one is None else str(one) for one in columns[name]]
        for name in ("id", "path", "label")
        if name in columns
    }
    ids = words.get("id", words.get("path"))
    if not classes or ids is None:
        raise SourceError(
            f"{path} should have the columns id, label, and p:CLASS for each class.",
            got=", ".join(list(columns)[:8]) or "no columns",
            fix='name the column of class "cat" p:cat.',
        )
    if not ids:
        raise SourceError(
            f"{path} should have a row for each picture.", got="no rows", fix="write one for each picture."
        )
    try:
        probabilities = np.stack([np.asarray(columns[f"p:{name}"], dtype=np.float64) for name in classes], axis=1)
    except (TypeError, ValueError) as error:
        raise SourceError(
            f"{path} should hold probabilities as numbers from 0 to 1.",
            got=str(error),
            fix="write 0.9, not 90% or 0,9.",
        ) from None
    total = probabilities.sum(axis=1)
    bad = ~(np.abs(total - 1) < 0.01) | (probabilities < 0).any(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise SourceError(
            f"{path} should hold probabilities whose sum is 1.",
            got=f"{ids[row]}: sum {total[row]:g}" if np.isfinite(total[row]) else f"{ids[row]}: no number",
            fix="leave out rows without an answer.",
        )
    exact = np.abs(total - 1) < 1e-9
    probabilities = np.where(exact[:, None], probabilities, probabilities / total[:, None])
    number = {name: index for index, name in enumerate(classes)} | {"": -1}
    labels = words.get("label", [""] * len(ids))
    strange = sorted({name for name in labels if name not in number})
    if strange:
        raise SourceError(
            f"{path} should have labels that are classes.",
            got=", ".join(strange[:5]),
            fix="add a column p:CLASS, of zeros if the model does not know the class.",
        )
    return Predictions(probabilities, np.array([number[name] for name in labels], dtype=np.int64), tuple(ids), classes)


def scores_document(scores: Scores) -> dict[str, Any]:
    """Write scores as plain values for JSON."""
    return {
        "overall": {name: asdict(one) for name, one in scores.overall.items()},
        "per_class": [asdict(one) for one in scores.per_class],
        "confusion": _fields(scores.confusion) if len(scores.per_class) > MANY_CLASSES else scores.confusion.tolist(),
        "notes": list(scores.notes),
    }


def read_scores(stored: Mapping[str, Any]) -> Scores:
    """Read what `scores_document` wrote."""
    return Scores(
        overall={name: Estimate(**one) for name, one in stored["overall"].items()},
        per_class=tuple(
            ClassScores(
                name=one["name"],
                precision=Estimate(**one["precision"]),
                recall=Estimate(**one["recall"]),
                f1=Estimate(**one["f1"]),
                support=one["support"],
            )
            for one in stored["per_class"]
        ),
        confusion=_confusion(stored["confusion"], len(stored["per_class"])),
        notes=tuple(stored["notes"]),
    )


def _fields(confusion: np.ndarray) -> dict[str, list[int]]:
    """List the fields that are not 0: of many classes, nearly all are."""
    true, predicted = np.nonzero(confusion)
    fields = {"true": true, "predicted": predicted, "count": confusion[true, predicted]}
    return {name: values.tolist() for name, values in fields.items()}


def _confusion(stored: Any, K: int) -> np.ndarray:
    if isinstance(stored, list):
        return np.array(stored, dtype=np.int32)
    found = np.zeros((K, K), dtype=np.int32)
    found[stored["true"], stored["predicted"]] = stored["count"]
    return found
