"""What the model learned from: the pictures, what was set aside, what was decided, and the course of the training."""

from __future__ import annotations

from collections.abc import Iterator

from linnaeus.records import PARTS, Finding
from linnaeus.verbs.report.curves import learning_curve
from linnaeus.verbs.report.document import (
    Beside,
    Block,
    Bullets,
    Cell,
    Column,
    Decisions,
    Drawing,
    Fold,
    Paragraph,
    Section,
    Table,
)
from linnaeus.verbs.report.evidence import Evidence
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import Code, Name, Text, joined, say, shorten

FULL_TABLE = 30
MOST_ROWS = 1000
MOST_ASIDE = 200
MOST_NOTICED = 200
EVIDENCE_LENGTH = 300


def data(evidence: Evidence, words: Words) -> Section:
    """Account for every file, and count the pictures of each class."""
    title, short = words.sections["data"]
    blocks: list[Block] = [Paragraph(account(evidence, words))]
    blocks += [_set_aside(evidence, words)] if evidence.set_aside else []
    blocks += _noticed(evidence, words)
    table = _counts(evidence, words)
    if len(evidence.classes) > FULL_TABLE:
        summary = say(words.all_counts, classes=words.counted(len(evidence.classes), "class"))
        blocks.append(Fold(summary, (table,)))
    else:
        blocks.append(table)
    return Section("data", title, short, tuple(blocks))


def decisions(evidence: Evidence, words: Words) -> Section:
    """List every setting that was chosen for the user, with its reason."""
    title, short = words.sections["decisions"]
    rows = tuple(
        (str(one["setting"]), _value(one["value"]), str(one["reason"])) for one in evidence.plan.get("decisions", [])
    )
    return Section("decisions", title, short, (Decisions(rows) if rows else Paragraph(words.nothing_decided),))


def learning(evidence: Evidence, words: Words) -> Section:
    """Draw loss and accuracy by epoch."""
    title, short = words.sections["learning"]
    best = evidence.summary.get("best_epoch")
    best = float(best) if isinstance(best, int | float) else None
    charts = [(what, learning_curve(evidence.epochs, what, best, words)) for what in ("loss", "accuracy")]
    drawn = [Drawing(svg, words.curves[what], alt) for what, (svg, alt) in charts if svg]
    if not drawn:
        return Section("learning", title, short, (Paragraph(words.no_epochs),))
    told: list[Text] = [words.healthy_curves]
    told += [say(words.kept_epoch, epoch=f"{best:g}")] if best is not None else []
    stopped = str(evidence.summary.get("stopped") or "")
    told += [say(words.stopped, reason=words.name(stopped))] if stopped else []
    picture = Drawing(drawn[0].svg, drawn[0].caption, drawn[0].alt, "learning_curves")
    return Section("learning", title, short, (Paragraph(joined(told, words.between)), Beside((picture, *drawn[1:]))))


def account(evidence: Evidence, words: Words) -> Text:
    """Say how many files were found, used and set aside."""
    reasons = {key: count for key, count in evidence.accounted.items() if key not in ("found", "used") and count}
    found = words.counted(evidence.accounted.get("found", 0), "file")
    used = words.whole(evidence.accounted.get("used", 0))
    if not reasons:
        return say(words.none_aside, found=found, used=used)
    listed = joined([f"{words.whole(count)} {words.kind(reason)}" for reason, count in reasons.items()], words.comma)
    return say(words.some_aside, found=found, used=used, aside=words.whole(sum(reasons.values())), reasons=listed)


def _set_aside(evidence: Evidence, words: Words) -> Fold:
    aside = [(id, one) for one in evidence.set_aside for id in one.ids]
    columns = tuple(Column(head) for head in words.aside_columns)
    rows = tuple(
        (
            Cell(Code(shorten(id, EVIDENCE_LENGTH))),
            Cell(words.kind(one.kind)),
            Cell(shorten(one.evidence, EVIDENCE_LENGTH)),
        )
        for id, one in aside[:MOST_ASIDE]
    )
    more = len(aside) - MOST_ASIDE
    file = Code(evidence.run.set_aside_path.name if evidence.run else "")
    left_out = say(words.more_aside, n=words.whole(more), file=file) if more > 0 else ""
    summary = say(words.aside_summary, files=words.counted(len(aside), "file"))
    return Fold(summary, (Table(columns, rows, look="paths", left_out=left_out),))


def _noticed(evidence: Evidence, words: Words) -> Iterator[Block]:
    noticed = [one for one in evidence.findings if one.severity != "set aside"]
    if noticed:
        items = [_finding(one, words) for one in noticed[:MOST_NOTICED]]
        more = len(noticed) - MOST_NOTICED
        items += [say(words.and_others, n=words.whole(more))] if more > 0 else []
        yield Fold(say(words.noticed_summary, things=words.counted(len(noticed), "finding")), (Bullets(tuple(items)),))


def _finding(one: Finding, words: Words) -> Text:
    told = say(words.warning, kind=words.headed(one.kind), evidence=shorten(one.evidence, EVIDENCE_LENGTH))
    if not one.ids:
        return told
    ids = joined([Code(shorten(id, 100)) for id in one.ids[:5]], words.comma)
    if len(one.ids) > 5:
        ids = say(words.and_more, names=ids, n=words.whole(len(one.ids) - 5))
    return say(words.with_ids, told=told, ids=ids)


def _counts(evidence: Evidence, words: Words) -> Table:
    parts = [part for part in PARTS if evidence.total(part)]
    largest = max(1, *(sum(count.values()) for count in evidence.counts.values())) if evidence.counts else 1
    columns = (Column(words.class_), Column(""), *(Column(words.parts[part], number=True) for part in parts))
    rows = [
        (
            Cell(Name(name)),
            Cell(bar=tuple((part, count[part] / largest) for part in parts)),
            *(Cell(words.whole(count[part])) for part in parts),
        )
        for name, count in list(evidence.counts.items())[:MOST_ROWS]
    ]
    rows.append((Cell(words.all), Cell(), *(Cell(words.whole(evidence.total(part))) for part in parts)))
    left = len(evidence.counts) - MOST_ROWS
    return Table(
        columns,
        tuple(rows),
        words.counts_caption,
        "counts",
        tuple((part, words.parts[part]) for part in parts),
        left_out=say(words.more_rows, n=words.whole(left)) if left > 0 else "",
    )


def _value(value: object) -> str:
    return ", ".join(str(one) for one in value) if isinstance(value, list | tuple) else str(value)
