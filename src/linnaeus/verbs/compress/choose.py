"""Choose among candidates: validation pictures order them, and what does not pass the gate is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """What came of it.

    Attributes:
        original: Row of what everything is compared with.
        chosen: Row, or None.
        why: In words.
    """

    original: int
    chosen: int | None
    why: str


def front(points: Sequence[tuple[float, float]]) -> set[int]:
    """Find the points (milliseconds, accuracy) than which no other is both faster and at least as accurate."""
    order = sorted(range(len(points)), key=lambda k: (points[k][0], -points[k][1]))
    found, best = set[int](), float("-inf")
    for k in order:
        if points[k][1] > best:
            found.add(k)
            best = points[k][1]
    return found


def choose(
    rows: Sequence[Mapping[str, Any]],
    held: Sequence[float],
    original: int,
    faster: float | None,
    smaller: float | None,
    max_drop: float,
) -> Choice:
    """Choose the candidate that meets the targets, is best on the validation pictures, and passes the gate.

    Without a target the fastest goes first, and those that lose more than `max_drop` on the validation pictures are left
    out. To go on until one passes gives chance as many tries as there are candidates: so the verdicts have to share one
    level between them, whatever the order is.

    Args:
        rows: As `row_of` makes them, with verdicts that allow for their number (`non_inferior`).
        held: Accuracy of each on the validation pictures.
        original: Row of the original.
        faster: Wanted speed-up, or None.
        smaller: Wanted reduction of size, or None.
        max_drop: What may be lost.
    """
    meets = [k for k in range(len(rows)) if k != original and _meets(rows[k], faster, smaller)]
    wanted = " and ".join(
        f"{value:g} times as {word}" for value, word in ((faster, "fast"), (smaller, "small")) if value is not None
    )
    if not meets:
        best = max((k for k in range(len(rows)) if k != original), key=lambda k: rows[k]["faster"], default=None)
        most = (
            "" if best is None else f"; the fastest, {rows[best]['name']}, is {rows[best]['faster']:.1f} times as fast"
        )
        return Choice(original, None, f"no candidate is {wanted or 'faster than the original'}{most}")
    fine = [k for k in meets if held[original] - held[k] <= max_drop]
    if not fine:
        return Choice(
            original, None, f"all {len(meets)} candidates lose more than {100 * max_drop:g} points on validation"
        )
    if faster is None and smaller is None:
        order = sorted(fine, key=lambda k: -rows[k]["faster"])
    else:
        order = sorted(fine, key=lambda k: (-held[k], -rows[k]["faster"]))
    for tried, k in enumerate(order):
        if rows[k]["verdict"] == "passed":
            before = f", after {tried} that did not pass" if tried else ""
            return Choice(original, k, f"{rows[k]['why']}{before}")
    return Choice(
        original, None, f"none of {len(order)} candidates passed; {rows[order[0]]['name']}: {rows[order[0]]['why']}"
    )


def _meets(row: Mapping[str, Any], faster: float | None, smaller: float | None) -> bool:
    if faster is None and smaller is None:
        return bool(row["faster"] > 1 or row["smaller"] > 1)
    return (faster is None or row["faster"] >= faster) and (smaller is None or row["smaller"] >= smaller)
