"""On which kinds of pictures the model is worse than on the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linnaeus.verbs.report.document import Block, Cell, Column, Fold, Paragraph, Section, Table
from linnaeus.verbs.report.evidence import Evidence, estimate
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import Code, joined, say, shorten
from linnaeus.verbs.report.sections.answer import command, notes

SHOWN = 12
MOST = 200


def slices(evidence: Evidence, words: Words) -> Section:
    """List the slices, the worst first, with the difference to the rest and its p-value after correction."""
    title, short = words.sections["slices"]
    found = evidence.results.get("slices")
    if not found:
        told = say(words.missing["slices"], command=Code(command("slices", evidence)))
        return Section("slices", title, short, (Paragraph(told, "missing"),))
    listed = found["slices"]
    worse = sum(bool(one["worse"]) for one in listed)
    told = say(
        words.slices_told if worse else words.slices_even,
        tested=words.whole(int(found["tested"])),
        worse=words.whole(worse),
        correction=str(found["correction"]),
    )
    blocks: list[Block] = [Paragraph(told)]
    rows = tuple(_row(one, words) for one in listed[:MOST])
    columns = tuple(Column(head, number=place == 1) for place, head in enumerate(words.slice_columns))
    if rows:
        blocks.append(Table(columns, rows[:SHOWN], look="slices"))
    if len(rows) > SHOWN:
        left = len(listed) - MOST
        more = say(words.more_rows, n=words.whole(left)) if left > 0 else ""
        blocks.append(
            Fold(
                say(words.all_slices, n=words.whole(len(listed))), (Table(columns, rows, look="slices", left_out=more),)
            )
        )
    return Section("slices", title, short, (*blocks, *notes(found)))


def _row(one: Mapping[str, Any], words: Words) -> tuple[Cell, ...]:
    stored = {key: estimate(one[key]) for key in ("accuracy", "rest", "difference")}
    ids = one.get("ids") or []
    wrong = (
        say(words.slice_wrong, ids=joined([Code(shorten(str(id), 60)) for id in ids[:3]], words.comma)) if ids else ""
    )
    name = shorten(words.slice_name(str(one["trait"]), str(one["what"])), 200)
    what = Cell(say(words.slice_worse, what=name) if one["worse"] else name, wrong)
    difference = stored["difference"]
    return (
        what,
        Cell(words.whole(int(one["n"]))),
        Cell(words.percent(stored["accuracy"].value), words.interval(stored["accuracy"]), stored["accuracy"]),
        Cell(words.percent(stored["rest"].value)),
        Cell(words.signed_points(difference.value), words.signed_range(difference)),
        Cell(words.p_value(float(one["p_adjusted"]))),
    )
