"""Class names: their order, and what is odd about them."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING

from linnaeus.records import Finding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_INTEGER = re.compile(r"[+-]?[0-9]+")


def order_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Put class names in the order of the network's outputs.

    Plain sorting by code point; where all names are whole numbers, by their value, so that 2 comes before 10.
    """
    unique = set(names)
    if unique and all(_INTEGER.fullmatch(name) for name in unique):
        return tuple(sorted(unique, key=lambda name: (int(name), name)))
    return tuple(sorted(unique))


def class_findings(counts: Mapping[str, int], *, hint: str = "") -> list[Finding]:
    """Notice classes without pictures, names that are easily confused, and a single class.

    Args:
        counts: Number of pictures of each class.
        hint: What the user may have meant, for the case of a single class.
    """
    findings = [
        Finding("empty class", (name,), f"class {name!r} holds no picture")
        for name, count in counts.items()
        if not count
    ]
    findings += _similar(counts)
    if len(counts) == 1:
        (name,) = counts
        findings.append(Finding("single class", (name,), f"the only class is {name!r}; a classifier needs two{hint}"))
    return findings


def _similar(names: Collection[str]) -> list[Finding]:
    """Notice names that differ only in case, in Unicode form (NFC, NFD) or in blanks around them."""
    groups = defaultdict(list)
    for name in names:
        groups[unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).strip()].append(name)
    return [
        Finding(
            "similar class names",
            tuple(group),
            f"{', '.join(ascii(name) for name in group)} are kept apart as {len(group)} classes: is it one?",
        )
        for group in groups.values()
        if len(group) > 1
    ]
