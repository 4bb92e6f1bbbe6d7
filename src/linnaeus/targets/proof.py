"""The proof of an export: the file and the classifier answer the same real pictures, and are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.metrics.intervals import wilson
from linnaeus.metrics.paired import accuracy_difference
from linnaeus.records import Estimate, Predictions
from linnaeus.tables import write_table
from linnaeus.targets.card import PROBABILITIES, UNKNOWN_SCORE

LIMIT = 1e-4
"""Largest difference of a probability that single precision explains."""
LIMIT_ROUGH = 1e-2
"""The same where rounding is amplified: resizing in the graph rounds other than the decoder in one byte of some thousands,
and an isotonic calibration has steps."""
TIE = 1e-6
"""Where the two best are nearer to each other than single precision can tell, either may come first."""


Outputs = Mapping[str, np.ndarray]
"""What was answered of N pictures, by the name of the output: [N, K], [N, D] or [N]."""


def limit_of(precision: str, *, calibration: str = "", any_size: bool = False) -> float | None:
    """Say by how much a file's answers may differ from the classifier's.

    Args:
        precision: Of the file.
        calibration: Its kind, where probabilities are compared; "" of outputs that it does not change.
        any_size: The graph resizes.

    Returns:
        The largest difference that passes; None of a precision that may differ.
    """
    if precision != "float32":
        return None
    return LIMIT_ROUGH if any_size or calibration == "isotonic" else LIMIT


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

    def groups_of(self, rows: np.ndarray) -> tuple[str, ...] | None:
        """Name the groups of some pictures, given by number or by a bool for each; None where nobody knows them."""
        return tuple(np.asarray(self.groups, dtype=object)[rows].tolist()) if self.groups else None

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
        differences: The largest of each other output, by its name; None where one is no number.
        unknown: Share of the pictures that the file calls unknown; None of a file that cannot tell.
        unknown_before: Share of the same that the classifier calls unknown.
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
    differences: Mapping[str, float | None] = field(default_factory=dict)
    unknown: Estimate | None = None
    unknown_before: Estimate | None = None

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
        max_drop: Most accuracy that the file may lose, tested (`gate`); None does not ask. Where no picture tells the
            accuracy, the file fails.
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
        difference=accuracy_difference(right_before, right_after, groups=shown.groups_of(rows)) if len(rows) else None,
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
    if max_drop is not None and proof.difference is None:
        return (
            f"the loss of accuracy cannot be tested: none of the {proof.pictures} pictures is a test picture with one of the "
            "model's classes as its label"
        )
    if max_drop is not None and proof.difference is not None and proof.difference.low < -max_drop:
        return (
            f"it may lose more than {100 * max_drop:g} points of accuracy: {100 * proof.difference.value:+.2f} "
            f"({100 * proof.difference.low:+.2f} to {100 * proof.difference.high:+.2f})"
        )
    return ""


def with_others(
    proof: Proof, before: Outputs, after: Outputs, limit: float | None, strange_above: float | None
) -> Proof:
    """Compare the outputs beside the probabilities, too.

    Args:
        proof: Of the probabilities.
        before: What the classifier gives.
        after: What the file gives.
        limit: As `why_apart` takes it.
        strange_above: A picture whose unknown score is larger is called unknown; None of a model that cannot tell.
    """
    names = [name for name in before if name != PROBABILITIES]
    whys = (why_apart(name, before[name], after.get(name), limit) for name in names)
    found = replace(
        proof,
        why_failed=proof.why_failed or next(filter(None, whys), ""),
        differences={name: _largest(before[name], after.get(name)) for name in names},
    )
    if strange_above is None or UNKNOWN_SCORE not in before or UNKNOWN_SCORE not in after:
        return found
    told, told_before = (
        wilson(int((one[UNKNOWN_SCORE] > strange_above).sum()), proof.pictures) for one in (after, before)
    )
    return replace(found, unknown=told, unknown_before=told_before)


def why_apart(name: str, before: np.ndarray, after: np.ndarray | None, limit: float | None) -> str:
    """Say how an output differs from the classifier's; "" if it does not.

    Args:
        name: Of the output.
        before: What the classifier gives, [N] or [N, D].
        after: What the file gives; None if it does not.
        limit: Largest difference that passes, as a share of the largest number of the same picture where that is above
            1; None of a precision that may differ, which has to be numbers all the same.
    """
    what = name.replace("_", " ")
    if after is None or after.shape != before.shape:
        return f"{what}: {'nothing' if after is None else list(after.shape)} instead of {list(before.shape)}"
    if strange := int((~np.isfinite(_rows(after))).any(axis=1).sum()):
        return f"{what}: NaN or infinity for {strange} of {len(after)} pictures"
    if limit is None or not len(before):
        return ""
    gap, allowed = _gap(before, after), limit * _size(before)
    # Asked like this, a difference that is no number does not pass.
    if (gap <= allowed).all():
        return ""
    worst = int(np.nan_to_num(gap / allowed, nan=np.inf).argmax())
    return f"{what} differs by {gap[worst]:.2g}; {allowed[worst]:.2g} is allowed"


def _rows(output: np.ndarray) -> np.ndarray:
    """Lay an output out as one row of numbers for each picture."""
    return output.reshape(len(output), -1) if len(output) else output.reshape(0, 1)


def _gap(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Find the largest difference of each picture, [N]."""
    return np.abs(_rows(before) - _rows(after)).max(axis=1)


def _size(before: np.ndarray) -> np.ndarray:
    """Find the largest number of each picture, at least 1, [N]."""
    return np.maximum(1.0, np.abs(_rows(before)).max(axis=1))


def _largest(before: np.ndarray, after: np.ndarray | None) -> float | None:
    if after is None or after.shape != before.shape or not np.isfinite(after).all():
        return None
    return float(_gap(before, after).max(initial=0.0))


def write_evidence(path: Path, shown: Shown, before: Outputs, after: Outputs, classes: Sequence[str]) -> None:
    """Write what both said of every picture, the largest difference first.

    Differences of other outputs than probabilities count as shares of the largest number of the same picture.
    """
    others = [name for name in before if name != PROBABILITIES and name in after]
    others = [name for name in others if before[name].shape == after[name].shape]
    gaps = {name: _gap(before[name], after[name]) for name in (PROBABILITIES, *others)}
    shares = [gap / (1.0 if name == PROBABILITIES else _size(before[name])) for name, gap in gaps.items()]
    order = np.argsort(-np.nan_to_num(np.stack(shares), nan=np.inf).max(axis=0), kind="stable")
    first, last = before[PROBABILITIES], after[PROBABILITIES]
    columns: dict[str, Any] = {
        "id": [shown.ids[row] for row in order],
        "difference": gaps[PROBABILITIES][order],
        "predicted before": [classes[k] for k in first[order].argmax(axis=1)],
        "predicted after": [classes[k] for k in last[order].argmax(axis=1)],
    }
    columns |= {f"difference of {name}": gaps[name][order] for name in others}
    if UNKNOWN_SCORE in others:
        columns |= {
            f"{UNKNOWN_SCORE} before": before[UNKNOWN_SCORE][order],
            f"{UNKNOWN_SCORE} after": after[UNKNOWN_SCORE][order],
        }
    for k, name in enumerate(classes):
        columns |= {f"before:{name}": first[order, k], f"after:{name}": last[order, k]}
    write_table(path, columns)
