"""Whether the probabilities mean what they say, and what the model gains by keeping silent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from linnaeus.metrics import ReliabilityBin
from linnaeus.verbs.report.curves import Line, line_chart, reliability_diagram
from linnaeus.verbs.report.document import (
    Beside,
    Block,
    Cell,
    Column,
    Drawing,
    Fold,
    Group,
    Heading,
    Paragraph,
    Section,
    Table,
    Threshold,
)
from linnaeus.verbs.report.evidence import Evidence, estimate
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import Code, Name, Text, joined, say
from linnaeus.verbs.report.sections.answer import command, trusted

STEPS = 10
"""Rows of the table that stands for the slider where there are no scripts."""
MOST_CLASSES = 12
MOST_SETS = 6


def calibration(evidence: Evidence, words: Words) -> Section:
    """Draw accuracy against confidence, after calibration and, where it was measured, before."""
    title, short = words.sections["calibration"]
    found = evidence.results.get("calibration")
    if not found:
        return Section("calibration", title, short, tuple(_as_predicted(evidence, words)))
    before, after = _bins(found["bins_before"]), _bins(found["bins_after"])
    charts = Beside(
        (
            Drawing(reliability_diagram(before, words, "before"), words.before, words.reliability_alt),
            Drawing(reliability_diagram(after, words, "after"), words.after, words.reliability_alt, "reliability"),
        )
    )
    ece, _ = trusted(evidence)
    tried = {name: float(loss) for name, loss in found.get("tried", {}).items()}
    chosen = say(words.calibration_chosen, method=words.name(str(found["chosen"])), n=words.whole(len(tried)))
    told = joined([words.reliability_told, say(words.ece_told, ece=words.points(ece)), chosen], words.between)
    blocks: list[Block] = [Paragraph(told), charts, _before_after(found, words)]
    if tried:
        rows = tuple((Cell(words.name(name)), Cell(words.decimal(loss))) for name, loss in tried.items())
        columns = (Column(words.method), Column(words.cross_validated, number=True))
        blocks.append(Fold(words.tried_summary, (Table(columns, rows),)))
    blocks.append(Fold(words.the_numbers, (_bin_table(after, words),)))
    return Section("calibration", title, short, tuple(blocks))


def _as_predicted(evidence: Evidence, words: Words) -> Iterator[Block]:
    assert evidence.scores is not None
    told: list[Text] = [words.reliability_told, say(words.ece_told, ece=words.points(evidence.scores.overall["ece"]))]
    calibration = evidence.model.get("calibration") or {}
    temperature = calibration.get("temperature")
    if temperature and calibration.get("kind") == "temperature":
        told.append(say(words.temperature_told, temperature=f"{float(temperature):.2f}"))
    diagram = Drawing(reliability_diagram(evidence.bins, words, "now"), "", words.reliability_alt, "reliability")
    numbers = Fold(words.the_numbers, (_bin_table(evidence.bins, words),))
    yield Beside((diagram, Group((Paragraph(joined(told, words.between)), numbers))))
    missing = say(words.missing["calibration"], command=Code(command("calibration", evidence)))
    yield Paragraph(missing, "missing")


def _bins(stored: Sequence[Mapping[str, Any]]) -> tuple[ReliabilityBin, ...]:
    return tuple(
        ReliabilityBin(float(one["confidence"]), estimate(one["accuracy"]), int(one["count"])) for one in stored
    )


def _bin_table(bins: Sequence[ReliabilityBin], words: Words) -> Table:
    rows = tuple(
        (
            Cell(words.percent(one.confidence)),
            Cell(words.percent(one.accuracy.value)),
            Cell(words.interval(one.accuracy)),
            Cell(words.whole(one.count)),
        )
        for one in bins
    )
    return Table(tuple(Column(head, number=True) for head in words.bin_columns), rows)


def _before_after(found: Mapping[str, Any], words: Words) -> Table:
    rows = []
    for name in ("log_loss", "ece", "ece_debiased", "classwise_ece"):
        if name in found["before"] and name in found["after"]:
            cells = [words.value_of(name, estimate(found[side][name])) for side in ("before", "after")]
            rows.append((Cell(*words.score(name)), *(Cell(value, interval) for value, interval in cells)))
    columns = (Column(words.score_columns[0]), Column(words.before), Column(words.after))
    return Table(columns, tuple(rows), look="scores")


def abstention(evidence: Evidence, words: Words) -> Section:
    """Show what silence gains: risk against coverage, promises that hold, prediction sets, and the unknown."""
    title, short = words.sections["abstention"]
    found = evidence.results.get("abstention")
    if not found:
        told = say(words.missing["abstention"], command=Code(command("abstention", evidence)))
        return Section("abstention", title, short, (Paragraph(told, "missing"),))
    blocks = [*_risk(found, words), *_promises(found, words), *_sets(found, evidence, words), *_unknown(found, words)]
    return Section("abstention", title, short, tuple(blocks))


def _risk(found: Mapping[str, Any], words: Words) -> Iterator[Block]:
    keys = ("threshold", "coverage", "risk", "low", "high")
    curve = sorted(
        (float(one[keys[0]]), *(float(one[key]) for key in keys[1:])) for one in found["curve"] if one["coverage"] > 0
    )
    by_coverage = sorted(curve, key=lambda one: one[1])
    line = Line(
        words.error, [(one[1], one[2]) for one in by_coverage], "s1", band=[(one[3], one[4]) for one in by_coverage]
    )
    svg = line_chart([line], words.risk_title, words.risk_chart, words.risk_axes, id="risk", words=words, fit_y=True)
    aurc = estimate(found["aurc"])
    yield Paragraph(say(words.risk_told, aurc=words.value_with_interval("aurc", aurc)))
    chosen = [curve[int(k)] for k in np.unique(np.linspace(0, len(curve) - 1, min(STEPS, len(curve))).round())]
    rows = tuple(
        (
            Cell(words.percent(threshold)),
            Cell(words.percent(coverage)),
            Cell(words.percent(risk), words.range(low, high)),
        )
        for threshold, coverage, risk, low, high in chosen
    )
    table = Table(tuple(Column(head) for head in words.risk_columns), rows, words.risk_caption)
    slider = Threshold(tuple((one[0], one[1], one[2], one[3], one[4]) for one in curve), words.slider)
    yield Beside((Drawing(svg, words.risk_title, words.risk_chart), Group((slider, table))))


def _promises(found: Mapping[str, Any], words: Words) -> Iterator[Block]:
    promises = found.get("promises", [])
    if promises:
        rows = tuple(_promise(one, words) for one in promises)
        level = words.percent(float(promises[0]["confidence_level"]), 0)
        yield Heading(words.promises_title)
        yield Paragraph(say(words.promises_told, level=level))
        yield Table(tuple(Column(head) for head in words.promise_columns), rows)


def _promise(one: Mapping[str, Any], words: Words) -> tuple[Cell, ...]:
    limit = Cell(say(words.at_most, share=words.percent(float(one["max_error"]))))
    if not one["possible"] or one["threshold"] is None:
        return limit, Cell(words.not_possible), Cell(str(one.get("why") or "")), Cell("")
    pairs = [estimate(one[key]) if one[key] else None for key in ("coverage", "error")]
    cells = [Cell(words.percent(e.value), words.interval(e)) if e else Cell(words.none) for e in pairs]
    return limit, Cell(words.percent(float(one["threshold"]), 2)), *cells


def _sets(found: Mapping[str, Any], evidence: Evidence, words: Words) -> Iterator[Block]:
    sets = found.get("sets", [])
    if not sets:
        return
    yield Heading(words.sets_title)
    yield Paragraph(words.sets_told)
    rows = []
    for one in sets[:MOST_SETS]:
        rows.append(_set(str(one["method"]), one, one, words))
        if one.get("class_conditional"):
            name = say(words.class_by_class_sets, method=str(one["method"]))
            rows.append(_set(name, one, one["class_conditional"], words))
    yield Table(tuple(Column(head) for head in words.set_columns), tuple(rows))
    if sets[0].get("classwise"):
        yield Fold(words.set_classes, (_classwise(sets[:3], evidence, words),))


def _set(name: Text, one: Mapping[str, Any], measured: Mapping[str, Any], words: Words) -> tuple[Cell, ...]:
    coverage, size, singletons = (estimate(measured[key]) for key in ("coverage", "size", "singletons"))
    return (
        Cell(name),
        Cell(words.percent(1 - float(one["alpha"]))),
        Cell(words.percent(coverage.value), words.interval(coverage)),
        Cell(f"{size.value:.2f}", words.span(size, 2)),
        Cell(words.percent(singletons.value), words.interval(singletons)),
    )


def _classwise(sets: Sequence[Mapping[str, Any]], evidence: Evidence, words: Words) -> Table:
    covered = {name: one for name, one in sets[0]["classwise"].items() if one["n"]}
    shown = sorted(covered, key=lambda name: float(covered[name]["value"]))
    many = len(shown) > MOST_CLASSES
    rows = []
    for name in shown[:MOST_CLASSES]:
        found = [estimate(one["classwise"][name]) if name in one["classwise"] else None for one in sets]
        rows.append(
            (Cell(Name(name)), *(Cell(words.percent(e.value), words.interval(e)) if e else Cell() for e in found))
        )
    heads = [f"{one['method']} {words.percent(1 - float(one['alpha']))}" for one in sets]
    left = say(words.more_rows, n=words.whole(len(shown) - MOST_CLASSES)) if many else ""
    return Table((Column(words.class_), *(Column(head) for head in heads)), tuple(rows), left_out=left)


def _unknown(found: Mapping[str, Any], words: Words) -> Iterator[Block]:
    unknown = found.get("unknown")
    yield Heading(words.unknown_title)
    if not unknown:
        yield Paragraph(words.unknown_missing, "missing")
        return
    alarms = estimate(unknown["false_alarms"])
    yield Paragraph(
        say(
            words.unknown_told,
            chosen=words.name(str(unknown["chosen"])),
            alarms=words.with_interval(alarms),
        )
    )
    outliers = list(unknown["detected"])
    rows = [
        (Cell(words.name(str(one["name"]))), *(_auroc(one["auroc"].get(name), words) for name in outliers))
        for one in unknown["detectors"]
    ]
    detected = [estimate(unknown["detected"][name]) for name in outliers]
    rows.append((Cell(words.detected_row), *(Cell(words.percent(one.value), words.interval(one)) for one in detected)))
    heads = (Column(words.detector), *(Column(words.name(name)) for name in outliers))
    yield Table(heads, tuple(rows), words.unknown_caption)


def _auroc(stored: Mapping[str, Any] | None, words: Words) -> Cell:
    return Cell(*words.value_of("auroc", estimate(stored))) if stored else Cell(words.none)
