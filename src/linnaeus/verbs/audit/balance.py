"""Say how evenly the classes are filled, which are too small to be tested, and which groups stand for a class."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnaeus.metrics.intervals import wilson_ends
from linnaeus.records import Dataset, Finding

UNEVEN, VERY_UNEVEN = 3.0, 20.0
"""Largest class / smallest class from which on it is a note, and a warning."""
HALF_WIDTH = 0.15
"""A recall that is known less closely than this says little."""
RECALL = 0.9
"""The recall for which that is worked out."""
FEWEST_TESTED = 5
"""A class with fewer test pictures is a warning."""
NEARLY_ALL = 0.8
"""A group with this share of a class is nearly the whole class."""
FEWEST_OF_A_GROUP = 5
UNLIKELY = 0.01
MOSTLY = 0.9
SHOWN = 5


@dataclass(frozen=True)
class Balance:
    """How the pictures are shared out.

    Attributes:
        classes: Pictures of each class, zero included; one with several labels counts for each of them.
        effective: Number of equally large classes that would be as varied: exp of the entropy of the shares.
        ratio: Largest class / smallest class that has any; 0 where none has.
        findings: For a person.
    """

    classes: Mapping[str, int]
    effective: float
    ratio: float
    findings: tuple[Finding, ...]

    def document(self) -> dict[str, Any]:
        """Write as plain values for JSON, without the findings."""
        return {"classes": dict(self.classes), "effective": self.effective, "ratio": self.ratio}


def find_imbalance(dataset: Dataset, *, parts: np.ndarray | None = None, test_share: float = 0.15) -> Balance:
    """Count the classes, and find those too small to be tested and groups that stand for one class.

    Args:
        dataset: The unusable pictures taken out.
        parts: "train", "val" or "test" for each example; None where nothing is split yet.
        test_share: Share that will be tested, where `parts` is None.

    Source:
        Effective number: M. O. Hill (1973), Ecology 54, 427-432, of order 1.
    """
    assert parts is None or len(parts) == len(dataset), "one part per example"
    counts = dataset.counts()
    filled = [count for count in counts.values() if count]
    shares = np.array(filled) / max(1, sum(filled))
    effective = float(np.exp(-(shares * np.log(shares)).sum())) if filled else 0.0
    ratio = max(filled) / min(filled) if filled else 0.0
    findings = (
        *_uneven(counts, effective, ratio),
        *_untested(dataset, counts, parts, test_share),
        *_groups(dataset, counts),
    )
    return Balance(counts, effective, ratio, findings)


def fewest_tested(*, recall: float = RECALL, half_width: float = HALF_WIDTH) -> int:
    """Give the fewest test pictures of a class whose recall is known to `half_width` (Wilson's interval, 95 %)."""
    n = 1
    while _half_width(n, recall) > half_width:
        n += 1
    return n


def _half_width(n: float, recall: float = RECALL) -> float:
    low, high = wilson_ends(recall, n)
    return (high - low) / 2


def _uneven(counts: Mapping[str, int], effective: float, ratio: float) -> Iterator[Finding]:
    if ratio < UNEVEN:
        return
    filled = [name for name in counts if counts[name]]
    large, small = max(filled, key=counts.__getitem__), min(filled, key=counts.__getitem__)
    evidence = (
        f"class {large!r} has {counts[large]:,} pictures, class {small!r} {counts[small]:,}: {ratio:.3g} times fewer; "
        f"{len(filled)} classes are as varied as {effective:.3g} equally large ones; look at balanced accuracy and at the "
        "recall of each class, not at accuracy alone, and let training weigh classes"
    )
    yield Finding("imbalance", (large, small), evidence, "warning" if ratio >= VERY_UNEVEN else "note")


def _untested(
    dataset: Dataset, counts: Mapping[str, int], parts: np.ndarray | None, test_share: float
) -> Iterator[Finding]:
    """Name the classes whose recall the test part cannot tell closely."""
    if parts is None:
        expected: Mapping[str, float] = {name: count * test_share for name, count in counts.items()}
    else:
        in_test = Counter(
            name
            for row in np.flatnonzero(parts == "test").tolist()
            for name in dataset.classes_of(dataset.examples[row])
        )
        expected = {name: in_test[name] for name in counts}
    if not sum(expected.values()):
        return
    enough = fewest_tested()
    small = sorted(
        (name for name in counts if counts[name] and expected[name] < enough), key=lambda name: expected[name]
    )
    severe = [name for name in small if expected[name] < FEWEST_TESTED]
    for names, severity in ((severe, "warning"), ([name for name in small if name not in severe], "note")):
        if names:
            yield Finding(
                "few test pictures", tuple(names), _few(names, counts, expected, parts is None, enough), severity
            )


def _few(
    names: Sequence[str], counts: Mapping[str, int], expected: Mapping[str, float], guessed: bool, enough: int
) -> str:
    def one(name: str) -> str:
        n = expected[name]
        width = f"+-{100 * _half_width(n):.0f} points" if n >= 1 else "not at all"
        about = f"about {n:.0f}" if guessed else f"{n:.0f}"
        return f"{name!r} ({counts[name]:,} pictures, {about} of them tested: recall known to {width})"

    told = ", ".join(one(name) for name in names[:SHOWN]) + (
        f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    )
    what = "1 class has" if len(names) == 1 else f"{len(names)} classes have"
    return (
        f"{what} too few test pictures for a score of their own: {told}; a recall of {RECALL:.0%} takes {enough} to be known "
        f"to +-{100 * HALF_WIDTH:.0f} points: collect more, or cross-validate"
    )


def _groups(dataset: Dataset, counts: Mapping[str, int]) -> Iterator[Finding]:
    """Find groups that are nearly a whole class, and groups that have one class only against all odds."""
    if dataset.multilabel or len([count for count in counts.values() if count]) < 2:
        return
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, example in enumerate(dataset.examples):
        if example.group and example.label in counts:
            rows_of[example.group].append(row)
    if not rows_of:
        return
    yield from _whole_classes(dataset, counts, rows_of)
    yield from _confined(dataset, counts, rows_of)


def _whole_classes(
    dataset: Dataset, counts: Mapping[str, int], rows_of: Mapping[str, Sequence[int]]
) -> Iterator[Finding]:
    for group, rows in sorted(rows_of.items()):
        for name, n in Counter(dataset.examples[row].label for row in rows).items():
            if n < FEWEST_OF_A_GROUP or n < NEARLY_ALL * counts[name]:
                continue
            ids = tuple(dataset.examples[row].id for row in rows if dataset.examples[row].label == name)
            evidence = (
                f"group {group!r} holds {n:,} of the {counts[name]:,} pictures of class {name!r}: a group stays on one side "
                "of the split, so this class cannot be both learned and tested; add pictures of it from other groups"
            )
            yield Finding("group is a class", ids, evidence)


def _confined(dataset: Dataset, counts: Mapping[str, int], rows_of: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    total = sum(counts.values())
    large = {group: rows for group, rows in rows_of.items() if len(rows) >= FEWEST_OF_A_GROUP}
    single = {group: rows for group, rows in large.items() if len({dataset.examples[row].label for row in rows}) == 1}
    if not single:
        return
    ids = tuple(dataset.examples[row].id for _, rows in sorted(single.items()) for row in rows)
    if len(large) > len(counts) and len(single) >= MOSTLY * len(large):
        evidence = (
            f"{len(single):,} of the {len(large):,} groups with {FEWEST_OF_A_GROUP} pictures or more hold one class only: the "
            "class belongs to the group, so that scores rest on as many cases as there are groups, not pictures"
        )
        yield Finding("groups of one class", ids, evidence, "note")
        return
    # How likely all pictures of a group are of its class if groups had nothing to do with classes.
    odd = [
        (group, rows[0])
        for group, rows in sorted(single.items())
        if len(large) * math.exp(len(rows) * math.log(counts[dataset.examples[rows[0]].label] / total)) <= UNLIKELY
    ]
    if odd:
        told = ", ".join(
            f"{group!r} ({len(rows_of[group]):,} pictures, all {dataset.examples[row].label!r})"
            for group, row in odd[:SHOWN]
        ) + (" ..." if len(odd) > SHOWN else "")
        ids = tuple(dataset.examples[row].id for group, _ in odd for row in rows_of[group])
        evidence = (
            f"{len(odd):,} of the {len(large):,} groups hold one class only, though others are mixed: {told}; what marks such a "
            "group (light, background, camera) gives the class away"
        )
        yield Finding("groups of one class", ids, evidence, "warning")
