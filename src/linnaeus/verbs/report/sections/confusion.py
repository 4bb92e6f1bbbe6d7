"""What is taken for what."""

from __future__ import annotations

from linnaeus.verbs.report.document import (
    Beside,
    Block,
    Cell,
    Column,
    Fold,
    Group,
    Heading,
    Matrix,
    Paragraph,
    Section,
    Table,
)
from linnaeus.verbs.report.evidence import Confusion, Evidence
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.matrix import NUMBERED, confusion_matrix, shown_classes
from linnaeus.verbs.report.prose import Name, Text, say

PAIRS = 8
PAIRS_OF_MANY = 15
MOST_BESIDE = 420


def confusion(evidence: Evidence, words: Words) -> Section:
    """Show the matrix as counts, by row and by column, the most frequent mistakes, and the numbers as a table."""
    assert evidence.scores is not None
    title, short = words.sections["confusion"]
    counts, K = evidence.scores.confusion, len(evidence.classes)
    svg, width, alt = confusion_matrix(counts, evidence.classes, words)
    # Of many classes there are no numbers in the fields, and counts would look like shares of the row.
    views = tuple(one for one in words.matrix_views.items() if K <= NUMBERED or one[0] != "count")
    matrix = Matrix(svg, views, width, alt)
    pairs = evidence.confusions(PAIRS if K <= NUMBERED else PAIRS_OF_MANY)
    told: list[Block] = [Paragraph(words.matrix_told if K <= NUMBERED else words.matrix_clustered)]
    shown = K if K <= NUMBERED else len(shown_classes(counts))
    if shown < K:
        told.append(Paragraph(say(words.matrix_part, n=words.whole(shown), all=words.counted(K, "class"))))
    if pairs:
        listed = Group((Heading(words.frequent_mistakes), _pairs(pairs, words)))
        told += [Beside((matrix, listed))] if width < MOST_BESIDE else [matrix, listed]
    else:
        told.append(matrix)
    if K <= NUMBERED:
        told.append(Fold(words.matrix_as_table, (_numbers(evidence, words),)))
    return Section("confusion", title, short, tuple(told))


def _pairs(pairs: list[Confusion], words: Words) -> Table:
    it_is, called, times, of = words.pair_columns
    columns = (Column(it_is), Column(called), Column(times, number=True), Column(of, number=True))
    rows = tuple(
        (Cell(Name(one.true)), Cell(Name(one.called)), Cell(words.whole(one.count)), Cell(words.whole(one.support)))
        for one in pairs
    )
    return Table(columns, rows, look="pairs")


def _numbers(evidence: Evidence, words: Words) -> Table:
    assert evidence.scores is not None
    names: list[Text] = [Name(name) for name in evidence.classes]
    columns = (Column(words.pair_columns[0]), *(Column(name, number=True) for name in names))
    rows = tuple(
        (Cell(name), *(Cell(words.whole(int(count))) for count in row))
        for name, row in zip(names, evidence.scores.confusion, strict=True)
    )
    return Table(columns, rows, look="matrix-table")
