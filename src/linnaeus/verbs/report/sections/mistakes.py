"""Pictures to judge by eye: some without favour, and the wrong answers of which the model was most sure."""

from __future__ import annotations

import numpy as np

from linnaeus.verbs.report.document import Block, Cell, Column, Fold, Gallery, Heading, Paragraph, Section, Table
from linnaeus.verbs.report.evidence import Evidence
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import Code, Name, say, shorten
from linnaeus.verbs.report.thumbnails import Budget, Shown, within

MOST_LISTED = 400
ROOM_FOR_EXAMPLES = 0.4


def mistakes(evidence: Evidence, words: Words, sample: list[Shown], wrong: list[Shown], budget: Budget) -> Section:
    """Show examples, mistakes, and the list of mistakes."""
    title, short = words.sections["mistakes"]
    blocks: list[Block] = []
    if evidence.run:
        first = Budget(int(budget.left * ROOM_FOR_EXAMPLES))
        rest = Budget(budget.left - first.left)
        shown, missed = within(sample, first), within(wrong, rest)
        heading = say(words.some_pictures, pictures=words.counted(len(shown), words.part_pictures[evidence.part]))
        blocks += [Heading(heading), Paragraph(words.by_hash), Gallery(shown, "examples", words.examples_alt)]
        blocks.append(Heading(words.sure_and_wrong))
        if missed:
            blocks.append(Paragraph(words.look_first))
            blocks.append(Gallery(missed, "mistakes", words.mistakes_alt, filterable=True))
    table, n = _list(evidence, words)
    if n:
        blocks.append(Fold(say(words.all_mistakes, answers=words.counted(n, "wrong answer")), (table,)))
    else:
        blocks.append(Paragraph(say(words.no_mistakes, part=words.on_part[evidence.part])))
    return Section("mistakes", title, short, tuple(blocks))


def _list(evidence: Evidence, words: Words) -> tuple[Table, int]:
    """List the wrong answers, the surest first, and count them all."""
    assert evidence.predictions is not None
    judged = evidence.predictions.known()
    predicted, confidence = judged.predicted, judged.confidence
    wrong = np.flatnonzero(predicted != judged.labels)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_LISTED]
    rows, marks = [], []
    for row in order:
        true, called = judged.classes[judged.labels[row]], judged.classes[predicted[row]]
        shown = words.percent(float(confidence[row]))
        rows.append((Cell(Code(shorten(judged.ids[row], 120))), Cell(Name(true)), Cell(Name(called)), Cell(shown)))
        pair = {"t": str(judged.labels[row]), "p": str(predicted[row])}
        marks.append({**pair, "sure": f"{confidence[row]:.4f}"})
    picture, it_is, said, sure = words.mistake_columns
    columns = (Column(picture), Column(it_is), Column(said), Column(sure, number=True))
    left = len(wrong) - MOST_LISTED
    more = say(words.more_rows, n=words.whole(left)) if left > 0 else ""
    return Table(columns, tuple(rows), look="mistakes", marks=tuple(marks), left_out=more), len(wrong)
