"""How well each class is told from the rest, whatever the threshold: ROC and precision-recall curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from linnaeus.verbs.report.curves import Line, line_chart
from linnaeus.verbs.report.document import Beside, Block, Column, Drawing, Fold, Paragraph, Section, Table
from linnaeus.verbs.report.evidence import Evidence, estimate
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import Code, Name, say
from linnaeus.verbs.report.sections.answer import command, notes
from linnaeus.verbs.report.sections.scores import row_of

NAMED = 6
"""Curves that get a colour and a name; as many as can be told apart."""
DRAWN = 60
FULL_TABLE = 30
MOST_ROWS = 1000


def ranking(evidence: Evidence, words: Words) -> Section:
    """Show AUROC and average precision of each class, with the curves of the weakest."""
    title, short = words.sections["ranking"]
    found = evidence.results.get("ranking")
    if not found:
        told = say(words.missing["ranking"], command=Code(command("ranking", evidence)))
        return Section("ranking", title, short, (Paragraph(told, "missing"),))
    classes = sorted(found["classes"], key=lambda one: float(one["average_precision"]["value"]))
    auroc, ap = estimate(found["macro_auroc"]), estimate(found["macro_average_precision"])
    told = say(
        words.ranking_told,
        auroc=words.value_with_interval("auroc", auroc),
        ap=words.value_with_interval("average_precision", ap),
    )
    curves = Beside((_curves(classes, "roc", words), _curves(classes, "precision_recall", words)))
    table = _table(classes, words)
    short_table = table if len(classes) <= FULL_TABLE else _table(classes[:12], words)
    blocks: tuple[Block, ...] = (Paragraph(told), curves, short_table, *notes(found))
    if len(classes) > FULL_TABLE:
        summary = say(words.all_classes, classes=words.counted(len(classes), "class"))
        return Section("ranking", title, short, (*blocks, Fold(summary, (table,))))
    return Section("ranking", title, short, blocks)


def _curves(classes: Sequence[Mapping[str, Any]], kind: str, words: Words) -> Drawing:
    faint = [Line("", _points(one[kind]), "faint") for one in classes[NAMED:DRAWN]]
    named = [Line(str(one["name"]), _points(one[kind]), f"s{k + 1}") for k, one in enumerate(classes[:NAMED])]
    title, x, y = words.ranking_axes[kind]
    svg = line_chart([*faint, *named], title, words.ranking_chart, (x, y), id=kind, words=words, guess=kind == "roc")
    legend = tuple((one.look, Name(one.name)) for one in named)
    return Drawing(svg, title, words.ranking_chart, legend=legend)


def _points(stored: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in stored]


def _table(classes: Sequence[Mapping[str, Any]], words: Words) -> Table:
    rows = tuple(
        row_of(
            Name(str(one["name"])),
            [("auroc", estimate(one["auroc"])), ("average_precision", estimate(one["average_precision"]))],
            words,
        )
        for one in classes[:MOST_ROWS]
    )
    heads = (Column(words.class_), *(Column(words.score(name)[0]) for name in ("auroc", "average_precision")))
    left = len(classes) - MOST_ROWS
    return Table(
        heads, rows, words.ranking_caption, left_out=say(words.more_rows, n=words.whole(left)) if left > 0 else ""
    )
