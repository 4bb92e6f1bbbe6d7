"""The proof of an export: the file and the classifier answer the same real pictures, and are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.metrics.intervals import wilson
from linnaeus.metrics.paired import accuracy_difference
from linnaeus.records import Estimate, Predictions
from linnaeus.tables import write_table

LIMIT = 1e-4
"""Largest difference of a probability that single precision explains."""
LIMIT_ROUGH = 1e-2
"""The same where rounding is amplified: resizing in the graph rounds other than the decoder in one byte of some thousands,
and an isotonic calibration has steps."""
TIE = 1e-6
"""Where the two best are nearer to each other than single precision can tell, either may come first."""


@dataclass(frozen=True)
class Shown:
    """Real pictures at the input of the graph.

    Attributes:
        ids: [N].
        labels: Class numbers, [N]; -1 where the model does not know the class, or nobody does.
        tested: Whether the picture is one of the test pictures, bool [N]: only those tell the accuracy.
        pictures: uint8 [N, S, S, C]; or N of [H, W, 3] each, of a graph for any size.
        groups: Name of each picture's group, [N], "" of none; () where nobody knows.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    tested: np.ndarray
    pictures: np.ndarray | Sequence[np.ndarray]
    groups: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labelled(self) -> np.ndarray:
        """Tell which are test pictures whose class the model knows, bool [N]."""
        return self.tested & (self.labels >= 0)

    def portions(self, size: int = 16) -> Iterator[np.ndarray]:
        """Give the pictures some at a time; of many sizes one at a time."""
        if isinstance(self.pictures, np.ndarray):
            yield from (self.pictures[first : first + size] for first in range(0, len(self), size))
        else:
            yield from (one[None] for one in self.pictures)

    def predictions(self, probabilities: np.ndarray, classes: tuple[str, ...]) -> Predictions:
        """Lay answers beside the true classes."""
        return Predictions(probabilities, self.labels, self.ids, classes)


@dataclass(frozen=True)
class Proof:
    """What came of comparing a file's answers with the classifier's.

    Attributes:
        pictures: How many were compared.
        tested: How many of them are labelled test pictures.
        largest_difference: Of a probability.
        agreement: Share of the pictures with the same most probable class.
        accuracy: Of the file, on the test pictures; None where none has a label.
        accuracy_before: Of the classifier on the same.
        difference: File - classifier, paired.
        limit: Largest difference that passes; None of a precision that may differ.
        why_failed: "" if it passed.
    """

    pictures: int
    tested: int
    largest_difference: float
    agreement: Estimate
    accuracy: Estimate | None
    accuracy_before: Estimate | None
    difference: Estimate | None
    limit: float | None
    why_failed: str

    @property
    def passed(self) -> bool:
        """Tell whether the file may be used."""
        return not self.why_failed

    def document(self) -> dict[str, Any]:
        """Write as plain values for JSON."""
        return asdict(self) | {"passed": self.passed}


def prove(shown: Shown, before: np.ndarray, after: np.ndarray, limit: float | None, max_drop: float | None) -> Proof:
    """Compare what the classifier and the file say.

    Args:
        shown: The pictures.
        before: The classifier's probabilities, [N, K].
        after: The file's, [N, K].
        limit: Largest difference that passes, with equal answers throughout; None of a precision that may differ.
        max_drop: Most accuracy that the file may lose, tested (`gate`); None does not ask.
    """
    gap = np.abs(before - after)
    same = before.argmax(axis=1) == after.argmax(axis=1)
    rows = np.flatnonzero(shown.labelled)
    right_before, right_after = (one[rows].argmax(axis=1) == shown.labels[rows] for one in (before, after))
    counts = [(int(right.sum()), len(rows)) for right in (right_after, right_before)]
    told = [wilson(*count) for count in counts] if len(rows) else [None, None]
    proof = Proof(
        pictures=len(shown),
        tested=len(rows),
        largest_difference=float(np.nan_to_num(gap, nan=1.0).max(initial=0.0)),
        agreement=wilson(int(same.sum()), len(same)),
        accuracy=told[0],
        accuracy_before=told[1],
        difference=accuracy_difference(right_before, right_after) if len(rows) else None,
        limit=limit,
        why_failed="",
    )
    return replace(proof, why_failed=_why_failed(proof, before, after, same, max_drop))


def _why_failed(proof: Proof, before: np.ndarray, after: np.ndarray, same: np.ndarray, max_drop: float | None) -> str:
    if not np.isfinite(after).all():
        return f"NaN or infinity for {int((~np.isfinite(after)).any(axis=1).sum())} of {len(after)} pictures"
    if proof.limit is not None:
        if proof.largest_difference > proof.limit:
            return f"a probability differs by {proof.largest_difference:.2g}; {proof.limit:g} is allowed"
        top = np.sort(before, axis=1)[:, -2:]
        tied = top[:, -1] - top[:, 0] <= TIE if before.shape[1] > 1 else np.zeros(len(before), bool)
        if wrong := int((~same & ~tied).sum()):
            return f"{wrong} of {len(same)} pictures get another class"
    if max_drop is not None and proof.difference is not None and proof.difference.low < -max_drop:
        return (
            f"it may lose more than {100 * max_drop:g} points of accuracy: {100 * proof.difference.value:+.2f} "
            f"({100 * proof.difference.low:+.2f} to {100 * proof.difference.high:+.2f})"
        )
    return ""


def write_evidence(path: Path, shown: Shown, before: np.ndarray, after: np.ndarray, classes: Sequence[str]) -> None:
    """Write what both said of every picture, the largest difference first."""
    gap = np.abs(before - after).max(axis=1)
    order = np.argsort(-np.nan_to_num(gap, nan=np.inf), kind="stable")
    columns: dict[str, Any] = {
        "id": [shown.ids[row] for row in order],
        "difference": gap[order],
        "predicted before": [classes[k] for k in before[order].argmax(axis=1)],
        "predicted after": [classes[k] for k in after[order].argmax(axis=1)],
    }
    for k, name in enumerate(classes):
        columns |= {f"before:{name}": before[order, k], f"after:{name}": after[order, k]}
    write_table(path, columns)
