"""Every score with its interval, over all pictures and class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from linnaeus.records import ClassScores, Estimate
from linnaeus.verbs.report.document import Block, Cell, Column, Fold, Heading, Paragraph, Section, Table
from linnaeus.verbs.report.evidence import Evidence
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import Name, Text, say
from linnaeus.verbs.report.sections.answer import weakest

FULL_TABLE = 30
WORST = 12
MOST_ROWS = 1000


def scores(evidence: Evidence, words: Words) -> Section:
    """Show all scores, then precision, recall and F1 of each class."""
    assert evidence.scores is not None
    title, short = words.sections["scores"]
    blocks: list[Block] = [
        Paragraph(say(words.scores_told, part=words.on_part[evidence.part])),
        _overall(evidence.scores.overall, words),
        Heading(words.class_by_class),
    ]
    classes = evidence.scores.per_class
    if len(classes) > FULL_TABLE:
        worst = weakest(classes)[:WORST]
        blocks.append(_per_class(worst, words, say(words.worst_classes, n=words.whole(len(worst)))))
        summary = say(words.all_classes, classes=words.counted(len(classes), "class"))
        blocks.append(Fold(summary, (_per_class(classes, words, words.report_caption),)))
    else:
        blocks.append(_per_class(classes, words, words.report_caption))
    return Section("scores", title, short, tuple(blocks))


def _overall(overall: Mapping[str, Estimate], words: Words) -> Table:
    rows = []
    for name, estimate in overall.items():
        shown, meaning = words.score(name)
        value, interval = words.value_of(name, estimate)
        rows.append((Cell(shown, meaning), Cell(value), Cell(interval), Cell(words.whole(estimate.n))))
    columns = (
        Column(words.score_columns[0]),
        Column(words.score_columns[1], number=True),
        Column(words.score_columns[2], number=True),
        Column(words.score_columns[3], number=True),
    )
    return Table(columns, tuple(rows), look="scores")


def _per_class(classes: Sequence[ClassScores], words: Words, caption: Text) -> Table:
    found, precise, f1, support = words.class_columns
    columns = (
        Column(words.class_),
        Column(*found),
        Column(*precise),
        Column(*f1),
        Column(*support, number=True),
    )
    rows = tuple(
        (
            Cell(Name(one.name)),
            _share(one.recall, words, drawn=True),
            _share(one.precision, words),
            _share(one.f1, words),
            Cell(words.whole(one.support)),
        )
        for one in classes[:MOST_ROWS]
    )
    left = len(classes) - MOST_ROWS
    return Table(
        columns, rows, caption, "per-class", left_out=say(words.more_rows, n=words.whole(left)) if left > 0 else ""
    )


def _share(estimate: Estimate, words: Words, drawn: bool = False) -> Cell:
    if not estimate.n:
        return Cell(words.none)
    low_high = f"{100 * estimate.low:.0f}–{100 * estimate.high:.0f}"
    return Cell(f"{100 * estimate.value:.1f}", low_high, estimate if drawn else None)


def row_of(name: Text, estimates: Sequence[tuple[str, Estimate]], words: Words) -> tuple[Cell, ...]:
    """Write a row of estimates, each as value and interval, named by the kind of score that they are."""
    cells = [Cell(name)]
    for kind, one in estimates:
        value, interval = words.value_of(kind, one)
        cells.append(Cell(value, interval))
    return tuple(cells)
