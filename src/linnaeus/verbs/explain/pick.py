"""Choose which pictures of a run to explain: right, wrong and least certain ones of each class."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from linnaeus.records import Predictions

KINDS = ("wrong", "least certain", "right")


@dataclass(frozen=True)
class Picked:
    """One row of the predictions, and why it was chosen."""

    row: int
    kind: str


def pick(predictions: Predictions, most: int) -> list[Picked]:
    """Choose at most `most` pictures, each once.

    Of each class: the wrong answers of which the model was most sure, the answers of which it was least sure, and right
    ones by the hash of their ids, without favour. Where there are too many classes for all, those with the most wrong
    answers come first.

    Returns:
        Ordered by class, then wrong, least certain, right.
    """
    labels, confidence = predictions.labels, predictions.confidence
    right = predictions.predicted == labels
    mistakes = np.bincount(labels[(labels >= 0) & ~right], minlength=len(predictions.classes))
    classes = [int(k) for k in np.unique(labels) if k >= 0]
    classes.sort(key=lambda k: -mistakes[k])
    each = max(1, most // (len(KINDS) * max(1, len(classes))))
    found: list[tuple[int, int, int, int]] = []
    for place, k in enumerate(classes[:most]):
        mine, taken = np.flatnonzero(labels == k), set()
        for kind, rows in enumerate(_candidates(mine, right[mine], confidence[mine], predictions.ids)):
            fresh = [row for row in rows if row not in taken][:each]
            taken.update(fresh)
            found += [(turn, place, kind, row) for turn, row in enumerate(fresh)]
    kept = sorted(found)[:most]
    kept.sort(key=lambda one: (classes[one[1]], one[2], one[0]))
    return [Picked(row, KINDS[kind]) for _, _, kind, row in kept]


def _candidates(mine: np.ndarray, right: np.ndarray, confidence: np.ndarray, ids: tuple[str, ...]) -> list[list[int]]:
    """Order the rows of one class by how well they serve as each of KINDS."""
    surest_first = np.argsort(-confidence, kind="stable")
    wrong = [int(mine[row]) for row in surest_first if not right[row]]
    unsure = mine[np.argsort(confidence, kind="stable")].tolist()
    by_hash = sorted(mine[right].tolist(), key=lambda row: hashlib.sha256(ids[row].encode()).digest())
    return [wrong, unsure, by_hash]
