"""Each kind of finding with its evidence, what to do about it, and pictures to judge by eye."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from linnaeus.verbs.report.audited import SETS, Audited, Kind, Noticed, Row
from linnaeus.verbs.report.document import (
    Beside,
    Block,
    Bullets,
    Cell,
    Column,
    Fold,
    Notice,
    Paragraph,
    Plate,
    Strip,
    Table,
)
from linnaeus.verbs.report.evidence import Evidence
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import Code, Name, Text, joined, say, shorten
from linnaeus.verbs.report.thumbnails import Budget, whole_picture

SHOWN = 3
"""Findings of a kind whose evidence stands open."""
MOST_EVIDENCE, MOST_ROWS = 1_200, 1_500
"""Of all kinds together; each has its share."""
FOLDED, LISTED = 50, 50
"""Most of one kind."""
PICTURES = {"warning": 14, "set aside": 14, "note": 7}
MOST_SETS = {"warning": 6, "set aside": 6, "note": 3}
OF_A_SET = 5
LARGEST_SHARE = 4
"""One kind takes at most a quarter of the room that is left: the gravest have most, and something stays for the last."""
EVIDENCE_LENGTH = 500
LONGEST_ID, LONGEST_CAPTION = 120, 60
LABELLED = ("likely wrong label", "noisy class", "overlapping classes", "model disagrees")
"""Kinds whose pictures are shown with their labels."""


def findings(audited: Audited, evidence: Evidence, words: Words, budget: Budget) -> Iterator[Notice]:
    """Show every kind, the gravest first; none takes more than its share of the room for pictures."""
    for place, kind in enumerate(audited.kinds):
        left = budget.left
        share = Budget(left // min(LARGEST_SHARE, len(audited.kinds) - place))
        given = share.left
        yield _notice(kind, audited, evidence, words, share)
        budget.left = left - (given - share.left)


def counted(kind: Kind, audited: Audited, words: Words) -> str:
    """Count what a kind is about: pictures, files, or findings where it is about classes or the whole."""
    ids = [id for one in kind.findings for id in one.ids]
    if kind.severity == "set aside":
        return words.counted(kind.count, "file")
    if any(id in audited.rows for id in ids) and not any(id in audited.classes for id in ids):
        return words.counted(kind.count, "picture")
    return words.counted(len(kind.findings), "finding")


def _notice(kind: Kind, audited: Audited, evidence: Evidence, words: Words, budget: Budget) -> Notice:
    title, means, advice = words.finding(kind.name)
    blocks: list[Block] = [Paragraph(say(means))] if means else []
    blocks.append(Paragraph(say(words.advice, advice=say(advice))))
    blocks += _pictures(kind, audited, evidence, words, budget)
    blocks += _evidence(kind, len(audited.kinds), words)
    blocks += _listed(kind, audited, words)
    badge = words.severities[kind.severity]
    return Notice(kind.severity.replace(" ", "-"), badge, title, counted(kind, audited, words), tuple(blocks))


def _evidence(kind: Kind, kinds: int, words: Words) -> Iterator[Block]:
    """Tell what was seen: some of it, more behind a line, and how much more there is."""
    told = [_told(one) for one in kind.findings[: SHOWN + min(FOLDED, MOST_EVIDENCE // kinds)] if one.evidence]
    left = len(kind.findings) - SHOWN
    yield Bullets(tuple(told[:SHOWN]), english=True)
    if told[SHOWN:]:
        more = Bullets(tuple(told[SHOWN:]), english=True)
        missing = left - len(told[SHOWN:])
        rest = [Paragraph(say(words.more_in_table, n=words.whole(missing)), "quiet")] if missing > 0 else []
        yield Fold(say(words.more_findings, n=words.whole(left)), (more, *rest))


def _told(one: Noticed) -> Text:
    return shorten(one.evidence, EVIDENCE_LENGTH)


def _pictures(kind: Kind, audited: Audited, evidence: Evidence, words: Words, budget: Budget) -> Iterator[Block]:
    """Show pictures upright and whole: sets side by side, the others in a row."""
    if kind.name == "noisy class" and any(one.name == "likely wrong label" for one in audited.kinds):
        # They are the same pictures.
        return
    if kind.name in SETS:
        yield from _sets(kind, audited, evidence, words, budget)
        return
    ids = [id for id in audited.ids(kind) if id in evidence.places]
    plates = [
        _plate(id, _caption(id, kind, audited, words), evidence, words, budget) for id in ids[: PICTURES[kind.severity]]
    ]
    # Files that cannot be decoded have no pictures to show: the evidence says why.
    if any(plate.src for plate in plates):
        yield Strip("", tuple(plates))


def _sets(kind: Kind, audited: Audited, evidence: Evidence, words: Words, budget: Budget) -> Iterator[Block]:
    sets = [[id for id in ids if id in evidence.places] for ids in audited.sets(kind)]
    sets = [ids for ids in sets if ids]
    shown = sets[: MOST_SETS[kind.severity]]
    strips = [_set(ids, audited, evidence, words, budget) for ids in shown]
    strips = [strip for strip in strips if any(plate.src for plate in strip.plates)]
    if strips:
        yield Beside(tuple(strips))
    if len(sets) > len(shown):
        yield Paragraph(say(words.more_sets, n=words.whole(len(sets) - len(shown))), "quiet")


def _set(ids: Sequence[str], audited: Audited, evidence: Evidence, words: Words, budget: Budget) -> Strip:
    captions = [(id, _set_caption(id, audited.rows.get(id), words)) for id in ids[:OF_A_SET]]
    plates = tuple(_plate(id, caption, evidence, words, budget) for id, caption in captions)
    more = len(ids) - len(plates)
    title = say(words.in_a_set, ids=words.counted(len(ids), "picture"))
    return Strip(title, plates, say(words.more_rows, n=words.whole(more)) if more > 0 else "")


def _set_caption(id: str, row: Row | None, words: Words) -> Text:
    named = Code(_end_of(id))
    return joined([named, Name(shorten(row.label, LONGEST_CAPTION))], words.comma) if row and row.label else named


def _caption(id: str, kind: Kind, audited: Audited, words: Words) -> Text:
    row = audited.rows.get(id, Row())
    if kind.name not in LABELLED or not row.suggested:
        return _set_caption(id, row, words) if kind.name in LABELLED else Code(_end_of(id))
    told: list[Text] = [_labels(row, words)]
    if row.quality is not None:
        told.append(say(words.with_quality, quality=words.percent(row.quality)))
    return joined([*told, Code(_end_of(id))], words.comma)


def _labels(row: Row, words: Words) -> Text:
    label, suggested = (Name(shorten(name, LONGEST_CAPTION)) for name in (row.label, row.suggested))
    return say(words.given_suggested, label=label, suggested=suggested)


def _end_of(id: str) -> str:
    """Keep the end of a long id: the file name tells more than the folders."""
    return id if len(id) <= LONGEST_CAPTION else f"…{id[1 - LONGEST_CAPTION :]}"


def _plate(id: str, caption: Text, evidence: Evidence, words: Words, budget: Budget) -> Plate:
    src, tiny, trouble = whole_picture(evidence.places.get(id))
    if src and not budget.spend(src):
        src, trouble = "", "no room"
    return Plate(src, "", caption, tiny, words.kind(trouble) if trouble else "")


def _listed(kind: Kind, audited: Audited, words: Words) -> Iterator[Block]:
    """List pictures by name, with their labels where these are in question."""
    ids = [id for id in audited.ids(kind) if id in audited.rows and id not in audited.classes]
    if len(ids) <= SHOWN and kind.name not in LABELLED:
        # Their evidence names them.
        return
    shown = ids[: min(LISTED, MOST_ROWS // len(audited.kinds))]
    if not shown:
        return
    rows = [(id, audited.rows[id]) for id in shown]
    columns = [Column(words.found_columns[0]), Column(words.found_columns[1])]
    columns += [Column(words.found_columns[2])] if any(row.suggested for _, row in rows) else []
    columns += [Column(words.found_columns[3], number=True)] if kind.name in LABELLED else []
    cells = tuple(tuple(_cells(id, row, kind, columns, words)) for id, row in rows)
    left = max(kind.count, len(ids)) - len(shown)
    more = say(words.more_in_table, n=words.whole(left)) if left > 0 else ""
    summary = say(words.these_pictures, pictures=words.counted(max(kind.count, len(ids)), "picture"))
    yield Fold(summary, (Table(tuple(columns), cells, look="paths", left_out=more),))


def _cells(id: str, row: Row, kind: Kind, columns: Sequence[Column], words: Words) -> Iterator[Cell]:
    yield Cell(Code(shorten(id, LONGEST_ID)))
    yield Cell(Name(shorten(row.label, LONGEST_CAPTION)) if row.label else "")
    if any(column.title == words.found_columns[2] for column in columns):
        yield Cell(Name(shorten(row.suggested, LONGEST_CAPTION)) if row.suggested else "")
    if kind.name in LABELLED:
        yield Cell(words.percent(row.quality) if row.quality is not None else "")
