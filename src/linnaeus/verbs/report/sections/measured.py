"""What an audit measured on the data as a whole: labels, shortcuts, balance, drift, and whether there is enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from linnaeus.records import Estimate
from linnaeus.verbs.report.audited import Audited
from linnaeus.verbs.report.curves import Line, line_chart
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
    Table,
)
from linnaeus.verbs.report.evidence import Evidence, estimate
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import Name, Text, joined, say, shorten

FULL_TABLE = 20
MOST_ROWS = 1000
MOST_TRAITS = 10
LONGEST_NAME = 60
TOLD_LENGTH = 200


def labels(audited: Audited, evidence: Evidence, words: Words) -> Iterator[Block]:
    """Say how many labels are wrong, in which classes, and which classes overlap."""
    found = audited.document.get("labels")
    if not found:
        return
    checked, likely = (words.whole(int(found.get(key) or 0)) for key in ("checked", "likely"))
    told: list[Text] = [say(words.labels_told, checked=checked, likely=likely)]
    wrong = _estimate(found.get("wrong"))
    told += [say(words.labels_wrong, wrong=words.with_interval(wrong))] if wrong else []
    if grown := audited.document.get("growth"):
        changes = {key: words.whole(int(grown.get(key) or 0)) for key in ("fitted", "new", "gone", "relabelled")}
        told.append(say(words.labels_grown, **changes))
    yield Paragraph(joined(told, words.between))
    judged = [
        (str(one["name"]), _estimate(one.get("noise")), int(one.get("likely") or 0))
        for one in found.get("classes") or ()
    ]
    noisy = sorted((one for one in judged if one[1]), key=lambda one: -one[1].value if one[1] else 0.0)
    rows = [
        (_name(name), Cell(words.percent(noise.value), words.interval(noise), noise), Cell(words.whole(likely)))
        for name, noise, likely in noisy
        if noise
    ]
    yield from _long(rows, (Column(words.noise_columns[0]), Column(words.noise_columns[1]),
                            Column(words.noise_columns[2], number=True)), words.noise_caption, words)  # fmt: skip
    yield from _overlaps(found.get("overlaps") or (), words)


def _overlaps(overlaps: Sequence[Mapping[str, Any]], words: Words) -> Iterator[Block]:
    yield Heading(words.overlaps_title)
    rows = []
    for one in overlaps:
        first, second = (Name(shorten(str(one[key]), LONGEST_NAME)) for key in ("first", "second"))
        shares = [_estimate(one.get(key)) for key in ("confused", "mislabelled")]
        cells = [Cell(words.percent(e.value), words.interval(e), e) if e else Cell(words.none) for e in shares]
        rows.append((Cell(say(words.overlap_pair, first=first, second=second)), *cells))
    if not rows:
        yield Paragraph(words.no_overlaps)
    yield from _long(rows, tuple(Column(head) for head in words.overlap_columns), "", words)


def shortcuts(audited: Audited, evidence: Evidence, words: Words) -> Iterator[Block]:
    """Draw how well each family of trivial features names the class, against chance."""
    found = audited.document.get("shortcuts")
    if not found or not found.get("families"):
        return
    families = found["families"]
    far: list[Text] = [_family(one, words) for one in families if one.get("far")]
    told: list[Text] = [
        say(words.shortcuts_told, pictures=words.counted(int(found.get("pictures") or 0), "picture")),
        say(words.shortcuts_far, families=words.listed(far)) if far else say(words.shortcuts_none),
    ]
    model = _estimate(found.get("model"))
    told += [say(words.shortcut_model, accuracy=words.with_interval(model))] if model else []
    yield Paragraph(joined(told, words.between))
    heads = words.shortcut_columns
    columns = (*(Column(head) for head in heads[:3]), Column(heads[3], number=True), Column(heads[4], number=True))
    yield Table(columns, tuple(_shortcut(one, words) for one in families), look="families")


def _shortcut(one: Mapping[str, Any], words: Words) -> tuple[Cell, ...]:
    accuracy = estimate(one["accuracy"])
    chance = max(float(one.get("majority") or 0.0), float(one.get("shuffled") or 0.0))
    skill = float(one["skill"]) if one.get("skill") is not None else (accuracy.value - chance) / max(1e-9, 1 - chance)
    telling = shorten(str(one.get("telling") or ""), TOLD_LENGTH)
    name = say(words.family_far, what=_family(one, words)) if one.get("far") else _family(one, words)
    return (
        Cell(name, telling),
        Cell(words.derived.get(str(one.get("derived")), "")),
        Cell(words.percent(accuracy.value), words.interval(accuracy), accuracy, guess=chance),
        Cell(words.percent(chance)),
        Cell(words.decimal(max(0.0, skill), 2)),
    )


def _family(one: Mapping[str, Any], words: Words) -> str:
    name = str(one.get("name") or "")
    return words.families.get(name, shorten(name, LONGEST_NAME))


def balance(audited: Audited, evidence: Evidence, words: Words) -> Iterator[Block]:
    """Draw the classes as bars; in a run's report the data's own section has them."""
    found = audited.document.get("balance") or {}
    classes = {str(name): int(n) for name, n in (found.get("classes") or audited.classes).items()}
    if not classes:
        return
    if found.get("effective"):
        effective, ratio = float(found["effective"]), float(found.get("ratio") or 0.0)
        told: list[Text] = [
            say(words.balance_told, classes=words.counted(len(classes), "class"), effective=words.decimal(effective, 1))
        ]
        told += [say(words.balance_ratio, ratio=f"{ratio:,.3g}")] if ratio > 1 else []
        yield Paragraph(joined(told, words.between))
    if evidence.counts:
        return
    largest = max(1, *classes.values())
    rows = [
        (_name(name), Cell(bar=(("train", n / largest),)), Cell(words.whole(n)))
        for name, n in sorted(classes.items(), key=lambda item: -item[1])
    ]
    columns = (Column(words.class_), Column(""), Column(words.pictures_head, number=True))
    yield from _long(rows, columns, words.balance_caption, words, "stages")


def drift(audited: Audited, evidence: Evidence, words: Words) -> Iterator[Block]:
    """Say whether test pictures can be told from training pictures, and by what."""
    found = audited.document.get("drift")
    auroc = _estimate(found.get("auroc")) if found else None
    if not found or not auroc:
        return
    told = words.value_with_interval("auroc", auroc)
    yield Paragraph(say(words.drift_told, auroc=told, p=words.p_value(float(found.get("p", 1.0)))))
    rows = []
    for one in (found.get("by") or ())[:MOST_TRAITS]:
        ranked = one.get("auroc")
        rows.append(
            (
                Cell(words.name(shorten(str(one["trait"]), LONGEST_NAME))),
                Cell(shorten(str(one.get("what") or ""), TOLD_LENGTH)),
                Cell(words.decimal(float(ranked), 2) if ranked is not None else ""),
                Cell(words.p_value(float(one["p_adjusted"]))),
            )
        )
    if rows:
        heads = enumerate(words.drift_columns)
        yield Table(tuple(Column(head, number=place > 1) for place, head in heads), tuple(rows), words.drift_by)


def enough(audited: Audited, evidence: Evidence, words: Words) -> Iterator[Block]:
    """Draw accuracy by number of pictures, and what twice as many would bring."""
    found = audited.document.get("enough")
    points = [(float(one["n"]), estimate(one["accuracy"])) for one in (found or {}).get("points") or ()]
    if not found or not points:
        return
    twice = _estimate(found.get("twice"))
    lines = [
        Line(
            words.measured, [(n, one.value) for n, one in points], "s1", band=[(one.low, one.high) for _, one in points]
        )
    ]
    lines += [_ahead(points[-1], twice, words)] if twice else []
    rows = tuple((Cell(words.whole(round(n))), Cell(words.percent(e.value), words.interval(e))) for n, e in points)
    table = Table(tuple(Column(head) for head in words.enough_columns), rows)
    told: list[Text] = [say(words.enough_now, accuracy=words.with_interval(points[-1][1]))]
    if twice:
        gain = words.signed_points(twice.value)
        told.append(say(words.enough_twice, gain=gain, range=words.signed_range(twice)))
    half = found.get("half the error needs")
    told.append(say(words.enough_half, n=words.whole(round(float(half)))) if half else words.enough_never)
    said = Paragraph(joined(told, words.between))
    if len(points) < 2:
        yield from (said, table)
        return
    svg = line_chart(lines, words.enough_title, words.enough_chart, words.enough_axes, id="enough", words=words,
                     x_kind="whole", fit_y=True)  # fmt: skip
    legend = tuple((line.look, line.name) for line in lines)
    drawing = Drawing(svg, words.enough_title, words.enough_chart, legend=legend)
    yield Beside((drawing, Group((said, Fold(words.the_numbers, (table,))))))


def _ahead(last: tuple[float, Estimate], twice: Estimate, words: Words) -> Line:
    """Lead on from the last point to twice as many pictures, with the interval of what they would bring."""
    n, now = last
    low, high = (min(1.0, max(0.0, now.value + gain)) for gain in (twice.low, twice.high))
    end = min(1.0, max(0.0, now.value + twice.value))
    return Line(words.extrapolated, [(n, now.value), (2 * n, end)], "s2", band=[(now.value, now.value), (low, high)])


def _estimate(stored: Any) -> Estimate | None:
    """Read an estimate; none where there was nothing to estimate."""
    return estimate(stored) if stored and stored.get("value") is not None and int(stored.get("n") or 0) else None


def _name(name: str) -> Cell:
    return Cell(Name(shorten(name, LONGEST_NAME)))


def _long(
    rows: Sequence[tuple[Cell, ...]], columns: tuple[Column, ...], caption: Text, words: Words, look: str = "per-class"
) -> Iterator[Block]:
    """Show a table's first rows, and all of them behind a line."""
    if rows:
        yield Table(columns, tuple(rows[:FULL_TABLE]), caption, look)
    if len(rows) > FULL_TABLE:
        left = len(rows) - MOST_ROWS
        more = say(words.more_rows, n=words.whole(left)) if left > 0 else ""
        rest = Table(columns, tuple(rows[FULL_TABLE:MOST_ROWS]), caption, look, left_out=more)
        yield Fold(say(words.and_others, n=words.whole(len(rows) - FULL_TABLE)), (rest,))
