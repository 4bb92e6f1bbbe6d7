"""Put the page together: everything the template needs, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linnaeus.metrics.paired import LEVEL, MEASURES, ClassDifference, Pair
from linnaeus.records import Estimate
from linnaeus.verbs.compare.comparison import Comparison
from linnaeus.verbs.compare.thumbnails import Disagreement, Thumbnails
from linnaeus.verbs.compare.words import (
    LESS_IS_BETTER,
    MEASURE_NAMES,
    PART_NAMES,
    best_of,
    difference_words,
    headline,
    left_out,
    p_words,
    plain_value,
    seeds_sentence,
    size_words,
    smallest,
    value_words,
    verdict,
)

FULL_CLASSES = 30
WORST_CLASSES = 12
MOST_VERDICTS = 10


@dataclass(frozen=True)
class ShownPair:
    """One pair as the page shows it.

    Attributes:
        pair: What was found.
        first: Name of the first run.
        second: Name of the second run.
        verdict: In words.
        rows: Measure, difference with interval, and "better", "worse" or "" for the second where the interval says so.
        classes: All, or those that differ most.
        classes_more: How many are not shown.
        sides: What only the first, and only the second has right.
    """

    pair: Pair
    first: str
    second: str
    verdict: str
    rows: list[tuple[str, Estimate, str]]
    classes: list[ClassDifference]
    classes_more: int
    sides: list[tuple[str, int, list[Disagreement]]]


def write_page(comparison: Comparison, path: Path) -> Path:
    """Write a comparison as one HTML document without scripts and without anything from elsewhere."""
    from linnaeus.atomic import write_text

    write_text(path, render(comparison))
    return path


def render(comparison: Comparison) -> str:
    """Render the page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "plain_value": plain_value, "p_words": p_words, "at": _at(comparison), "smallest": smallest,
    }  # fmt: skip
    environment.globals |= {"value_words": value_words, "difference_words": difference_words}
    thumbnails = Thumbnails(comparison)
    return environment.get_template("page.html.j2").render(
        css=(here / "page.css").read_text(encoding="utf-8"),
        comparison=comparison,
        part=PART_NAMES.get(comparison.part, comparison.part),
        headline=headline(comparison),
        less_is_better=LESS_IS_BETTER,
        measures=[(name, MEASURE_NAMES[name]) for name in MEASURES],
        runs=[(one, size_words(one)) for one in comparison.runs],
        pairs=[_shown(comparison, pair, thumbnails) for pair in comparison.pairs],
        verdicts=_verdicts(comparison),
        seeds=[(group, seeds_sentence(group)) for group in comparison.seeds],
        left_out=left_out(comparison),
        level=LEVEL,
    )


def _verdicts(comparison: Comparison) -> list[str]:
    """Tell of a few pairs all, of many those of the best run."""
    best = best_of(comparison)
    few = len(comparison.pairs) <= 3
    told = [pair for pair in comparison.pairs if few or best in (pair.first, pair.second)]
    return [verdict(comparison, pair) for pair in told[:MOST_VERDICTS]]


def _shown(comparison: Comparison, pair: Pair, thumbnails: Thumbnails) -> ShownPair:
    first, second = comparison.runs[pair.first].name, comparison.runs[pair.second].name
    classes = list(pair.per_class)
    if len(classes) > FULL_CLASSES:
        classes = sorted(classes, key=lambda one: (one.p, -abs(one.difference.value)))[:WORST_CLASSES]
    return ShownPair(
        pair=pair,
        first=first,
        second=second,
        verdict=verdict(comparison, pair),
        rows=[(name, one, _tone(pair, name)) for name, one in pair.differences.items()],
        classes=classes,
        classes_more=len(pair.per_class) - len(classes),
        sides=[
            (first, len(pair.only_first), thumbnails.of(pair, "first")),
            (second, len(pair.only_second), thumbnails.of(pair, "second")),
        ],
    )


def _tone(pair: Pair, measure: str) -> str:
    """Say what the second run is: for the accuracy by the corrected test, else by the interval of this pair alone."""
    one = pair.differences[measure]
    if (measure == "accuracy" and not pair.shown) or one.low <= 0 <= one.high:
        return ""
    return "better" if (one.value > 0) != (measure in LESS_IS_BETTER) else "worse"


def _at(comparison: Comparison) -> Any:
    """Give the place of a difference in accuracy on a line that all pairs share, 0 in the middle."""
    ends = [abs(end) for pair in comparison.pairs for end in _ends(pair.differences["accuracy"])]
    reach = max([*ends, 0.005]) * 1.08

    def place(value: float) -> str:
        return f"{50 + 50 * min(1.0, max(-1.0, value / reach)):.2f}%"

    return place


def _ends(one: Estimate) -> tuple[float, float]:
    return one.low, one.high
