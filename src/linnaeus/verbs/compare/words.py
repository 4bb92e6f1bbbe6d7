"""What a comparison says, in plain words: for the terminal and for the head of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from linnaeus.metrics.paired import Pair
from linnaeus.verbs.compare.comparison import Comparison, Contestant, SeedGroup

PART_NAMES = {"train": "training", "val": "validation", "test": "test"}
MEASURE_NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "log_loss": "Log loss",
    "brier": "Brier score",
}
LESS_IS_BETTER = ("log_loss", "brier")
MOST_PAIRS = 10
MOST_SETTINGS = 12


def tell(comparison: Comparison) -> str:
    """Sum a comparison up for the terminal: each run, each pair, the settings that differ, seeds, what was left out."""
    lines = [headline(comparison), "", *_table(comparison.runs), ""]
    shown = comparison.pairs[:MOST_PAIRS]
    lines += [verdict(comparison, pair) for pair in shown]
    if len(comparison.pairs) > MOST_PAIRS:
        lines.append(f"... and {len(comparison.pairs) - MOST_PAIRS} more pairs: see --json or the page.")
    lines += ["", *_settings(comparison)] if comparison.settings else []
    lines += ["", *(seeds_sentence(group) for group in comparison.seeds)] if comparison.seeds else []
    told = [*left_out(comparison), *comparison.notes]
    return "\n".join(lines + ([""] + [f"note: {one}" for one in told] if told else []))


def best_of(comparison: Comparison) -> int:
    """Find the run with the best accuracy; the first of equals."""
    values = [one.scores["accuracy"].value for one in comparison.runs]
    return values.index(max(values))


def headline(comparison: Comparison) -> str:
    """Say which run is best, and which cannot be told from it."""
    runs = comparison.runs
    best = best_of(comparison)
    rivals = [number for number in range(len(runs)) if number != best]
    equal = [number for number in rivals if not _between(comparison, best, number).shown]
    part = f"{comparison.pictures:,} {PART_NAMES.get(comparison.part, comparison.part)} pictures"
    if not equal:
        than = f"than {runs[rivals[0]].name}" if len(rivals) == 1 else f"than each of the {len(rivals)} others"
        return f"{runs[best].name} is better {than}, beyond chance, on {part}."
    if len(equal) == len(rivals) == 1:
        return f"{runs[best].name} and {runs[equal[0]].name} cannot be told apart on {part}."
    if len(equal) == len(rivals):
        return f"No run is better than {runs[best].name}, which has the most right of {part}; none is surely worse."
    names = ", ".join(runs[number].name for number in equal)
    return f"{runs[best].name} has the most right of {part}; it cannot be told from {names}."


def verdict(comparison: Comparison, pair: Pair) -> str:
    """Say what two runs' difference in accuracy is, and whether it is more than chance."""
    first, second = comparison.runs[pair.first].name, comparison.runs[pair.second].name
    one = pair.differences["accuracy"]
    among = f" among {len(comparison.pairs)} pairs" if len(comparison.pairs) > 1 else ""
    evidence = (
        f"95 % interval {points(one.low)} to {points(one.high)}; {len(pair.only_second):,} right only there, "
        f"{len(pair.only_first):,} only in {first}; {p_words(pair.p_adjusted)}{among}"
    )
    if pair.shown:
        side = "better" if one.value > 0 else "worse"
        return f"{second} is {100 * abs(one.value):.1f} points {side} than {first} ({evidence})."
    told = f"{second} and {first} cannot be told apart for sure: {points(one.value)} points ({evidence})."
    return f"{told} {smallest(pair)}"


def smallest(pair: Pair) -> str:
    """Say what so many pictures can show."""
    if pair.smallest_difference is None:
        return "So few pictures cannot show any difference."
    return f"So many pictures show a difference of {100 * pair.smallest_difference:.1f} points four times out of five."


def p_words(p: float) -> str:
    """Write a p-value."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.9995 else "p = 1"


def points(value: float) -> str:
    """Write a difference of shares in percentage points, with its sign."""
    rounded = round(100 * value, 1)
    return f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0"


def seeds_sentence(group: SeedGroup) -> str:
    """Say how much one recipe varies by chance."""
    one = group.measures["accuracy"]
    names = _some(group.names)
    return (
        f"{names} differ only by seed: accuracy {100 * one.mean.value:.1f} % on average "
        f"(95 % interval {100 * one.mean.low:.1f} to {100 * one.mean.high:.1f}), "
        f"standard deviation {100 * one.sd:.2f} points. {len(group.names)} seeds would show a difference "
        f"of {100 * one.smallest_difference:.1f} points to another recipe four times out of five."
    )


def left_out(comparison: Comparison) -> list[str]:
    """Say which pictures could not be compared, with the first few names."""
    told = [
        f"{_pictures(len(one.missing))} of the others {_is(one.missing)} not in {one.name}: {_some(one.missing)}."
        for one in comparison.runs
        if one.missing
    ]
    for ids, why in (
        (comparison.changed, "left out, as the runs saw other bytes under the same name"),
        (comparison.relabelled, "left out, with another class in another run"),
        (comparison.unlabelled, "left out, without a known class"),
    ):
        if ids:
            told.append(f"{_pictures(len(ids))} {_is(ids)} {why}: {_some(ids)}.")
    return told


def value_words(measure: str, value: float) -> str:
    """Write a score: shares in percent, the rest as they are."""
    return f"{value:.3f}" if measure in LESS_IS_BETTER else f"{100 * value:.1f} %"


def difference_words(measure: str, value: float) -> str:
    """Write a difference: of shares in points, of the rest as it is."""
    if measure not in LESS_IS_BETTER:
        return points(value)
    return f"{value:+.3f}".replace("-", "−") if round(value, 3) else "0.000"


def size_words(one: Contestant) -> tuple[str, str, str, str]:
    """Write parameters, megabytes, seconds of training and the latency."""
    return (
        "" if one.parameters is None else f"{one.parameters:,}",
        "" if one.model_bytes is None else f"{one.model_bytes / 1e6:.1f} MB",
        "" if one.training_s is None else f"{one.training_s:,.0f} s",
        "" if one.latency is None else f"{one.latency.median_ms:.1f} ms",
    )


def plain_value(value: Any) -> str:
    """Write a setting's value."""
    if value is None:
        return "not set"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _between(comparison: Comparison, one: int, other: int) -> Pair:
    return next(pair for pair in comparison.pairs if {pair.first, pair.second} == {one, other})


def _table(runs: Sequence[Contestant]) -> list[str]:
    head = ("run", "accuracy", "log loss", "parameters", "size", "training", "one picture")
    rows = [
        (
            one.name,
            one.scores["accuracy"].percent(),
            value_words("log_loss", one.scores["log_loss"].value),
            *size_words(one),
        )
        for one in runs
    ]
    wide = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(f"{cell:<{wide[0]}}" if not column else f"{cell:>{wide[column]}}" for column, cell in enumerate(row))
        for row in (head, *rows)
    ]


def _settings(comparison: Comparison) -> list[str]:
    lines = ["settings that differ:"]
    for name, values in list(comparison.settings.items())[:MOST_SETTINGS]:
        lines.append(f"  {name}: {' | '.join(plain_value(value) for value in values)}")
    if len(comparison.settings) > MOST_SETTINGS:
        lines.append(f"  ... and {len(comparison.settings) - MOST_SETTINGS} more: see --json or the page.")
    return lines


def _pictures(count: int) -> str:
    return f"{count:,} picture{'' if count == 1 else 's'}"


def _is(ids: Sequence[str]) -> str:
    return "is" if len(ids) == 1 else "are"


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3:,} more" if len(ids) > 3 else "")
