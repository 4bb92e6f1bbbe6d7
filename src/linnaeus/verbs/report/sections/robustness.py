"""How the model stands damage, small changes and attacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from linnaeus.verbs.report.curves import Line, line_chart
from linnaeus.verbs.report.document import Beside, Block, Cell, Column, Drawing, Heading, Paragraph, Section, Table
from linnaeus.verbs.report.evidence import Evidence, estimate
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import Code, say
from linnaeus.verbs.report.sections.answer import command, notes


def robustness(evidence: Evidence, words: Words) -> Section:
    """Show corruptions, small shifts, attacks, patches, and what is certified."""
    title, short = words.sections["stress"]
    found = evidence.results.get("stress")
    if not found:
        told = say(words.missing["stress"], command=Code(command("stress", evidence)))
        return Section("stress", title, short, (Paragraph(told, "missing"),))
    blocks = [*_corruptions(found, words), *_shifts(found, words), *_attacks(found, words), *_certified(found, words)]
    return Section("stress", title, short, (*blocks, *notes(found)))


def _corruptions(found: Mapping[str, Any], words: Words) -> Iterator[Block]:
    clean = estimate(found["clean"])
    corruptions = found.get("corruptions", [])
    if not corruptions:
        yield Paragraph(say(words.stress_clean, clean=words.with_interval(clean)))
        return
    yield Paragraph(
        say(
            words.stress_told,
            pictures=words.counted(int(found["pictures"]), "picture"),
            clean=words.with_interval(clean),
            mean=words.with_interval(estimate(found["mean_corruption_accuracy"])),
            mce=words.value_with_interval("mce", estimate(found["mce"])),
            weakest=words.name(str(found["weakest"])),
        )
    )
    yield _by_strength(corruptions, clean.value, words)
    heads = (Column(words.corruption), *(Column(f"{k}") for k in range(1, 6)))
    rows = tuple(
        (
            Cell(words.name(str(one["kind"])), words.name(str(one["group"]))),
            *(_heated(estimate(each), clean.value, words) for each in one["accuracy"]),
        )
        for one in corruptions
    )
    yield Table(heads, rows, words.stress_caption, "heat")


def _by_strength(corruptions: Sequence[Mapping[str, Any]], clean: float, words: Words) -> Drawing:
    groups: dict[str, list[list[float]]] = {}
    for one in corruptions:
        groups.setdefault(str(one["group"]), []).append([float(each["value"]) for each in one["accuracy"]])
    lines = []
    for k, (group, rows) in enumerate(groups.items()):
        means = [sum(column) / len(column) for column in zip(*rows, strict=True)]
        points = [(0.0, clean), *((float(k + 1), value) for k, value in enumerate(means))]
        lines.append(Line(words.name(group), points, f"s{k + 1}"))
    svg = line_chart(
        lines, words.strength_title, words.strength_chart, words.strength_axes, id="strength", words=words,
        x_kind="whole", fit_y=True,
    )  # fmt: skip
    return Drawing(svg, words.strength_title, words.strength_chart, legend=tuple((one.look, one.name) for one in lines))


def _heated(one: Any, clean: float, words: Words) -> Cell:
    return Cell(words.percent(one.value, 0), words.bare_range(one), heat=one.value / clean if clean else 0.0)


def _shifts(found: Mapping[str, Any], words: Words) -> Iterator[Block]:
    shifts = found.get("shifts", [])
    if not shifts:
        return
    yield Heading(words.shifts_title)
    yield Paragraph(words.shifts_told)
    rows = []
    for one in shifts:
        for strength, flips, accuracy in zip(one["strengths"], one["flips"], one["accuracy"], strict=True):
            changed, right = estimate(flips), estimate(accuracy)
            rows.append(
                (
                    Cell(say(words.shift, kind=words.name(str(one["kind"])), strength=f"{strength:g}",
                             unit=words.name(str(one["unit"])))),
                    Cell(words.percent(changed.value), words.interval(changed)),
                    Cell(words.percent(right.value), words.interval(right)),
                )
            )  # fmt: skip
    yield Table(tuple(Column(head) for head in words.shift_columns), tuple(rows))


def _attacks(found: Mapping[str, Any], words: Words) -> Iterator[Block]:
    attacks = [*found.get("attacks", []), *found.get("patches", [])]
    if not attacks:
        return
    yield Heading(words.attacks_title)
    yield Paragraph(words.attacks_told)
    rows = []
    for one in attacks:
        accuracy = estimate(one["accuracy"])
        rows.append(
            (
                Cell(words.name(str(one["name"]))),
                Cell(words.name(str(one.get("norm") or ""))),
                Cell(words.radius(one["radius"], str(one.get("norm") or "")) if one.get("radius") is not None else ""),
                Cell(words.whole(int(one["steps"])) if one.get("steps") is not None else ""),
                Cell(words.percent(accuracy.value), words.interval(accuracy)),
            )
        )
    yield Table(tuple(Column(head) for head in words.attack_columns), tuple(rows))


def _certified(found: Mapping[str, Any], words: Words) -> Iterator[Block]:
    certified = found.get("certified")
    if not certified:
        return
    points = [(float(one["radius"]), estimate(one["accuracy"])) for one in certified]
    rows = tuple((Cell(f"{radius:g}"), Cell(words.percent(one.value), words.interval(one))) for radius, one in points)
    yield Heading(words.certified_title)
    yield Paragraph(say(words.certified_told, sigma=f"{float(certified[0]['sigma']):g}"))
    table = Table(tuple(Column(head) for head in words.certified_columns), rows)
    line = Line(words.score("accuracy")[0], [(radius, one.value) for radius, one in points], "s1",
                band=[(one.low, one.high) for _, one in points])  # fmt: skip
    svg = line_chart([line], words.certified_title, words.certified_chart, words.certified_axes, id="certified",
                     words=words, x_kind="number", fit_y=True)  # fmt: skip
    yield Beside((Drawing(svg, words.certified_title, words.certified_chart), table)) if len(points) > 1 else table
