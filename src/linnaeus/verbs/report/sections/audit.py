"""What is wrong with the data: a section of a run's report, and a page of its own where there is no run."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator

from linnaeus.verbs.report.audited import Audited
from linnaeus.verbs.report.document import Block, Bullets, Cell, Column, Command, Heading, Paragraph, Section, Table
from linnaeus.verbs.report.evidence import Evidence
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import Code, Text, joined, say
from linnaeus.verbs.report.sections.card import stages
from linnaeus.verbs.report.sections.data import account
from linnaeus.verbs.report.sections.findings import counted, findings
from linnaeus.verbs.report.sections.measured import balance, drift, enough, labels, shortcuts
from linnaeus.verbs.report.thumbnails import Budget

MEND_FIRST = 3

Part = Callable[[Audited, Evidence, Words], Iterator[Block]]
PARTS: dict[str, Part] = {
    "labels": labels, "shortcuts": shortcuts, "balance": balance, "drift": drift, "enough": enough,
}  # fmt: skip
"""By the name of their document, in the order in which they are told."""
BROKEN = (KeyError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError, OverflowError)


def audit(evidence: Evidence, words: Words, budget: Budget) -> Section:
    """Tell in a run's report what the audit found; the files are accounted for beside it."""
    title, short = words.sections["audit"]
    if not evidence.results.get("audit"):
        source = str(evidence.run.source().get("source", "")) if evidence.run else ""
        command = Code(f"linnaeus audit {shlex.quote(source) if source else 'SOURCE'}")
        return Section("audit", title, short, (Paragraph(say(words.audit_missing, command=command), "missing"),))
    audited = Audited.read(evidence.results["audit"])
    blocks: list[Block] = [*to_mend(audited, words), *findings(audited, evidence, words, budget)]
    for name in PARTS:
        if audited.document.get(name):
            blocks += [Heading(words.audit_sections[name][0]), *_part(name, audited, evidence, words)]
    return Section("audit", title, short, tuple(blocks))


def audit_story(audited: Audited, evidence: Evidence, words: Words, budget: Budget) -> list[Section]:
    """Tell everything on a page of its own, the answer first."""
    told = [Paragraph(one) for one in audit_told(audited, evidence, words)]
    blocks: dict[str, list[Block]] = {"answer": [*told, *to_mend(audited, words)]}
    blocks["findings"] = list(findings(audited, evidence, words, budget)) or [Paragraph(words.no_findings)]
    for name in PARTS:
        if name in audited.document or (name == "balance" and audited.classes):
            blocks[name] = _part(name, audited, evidence, words) or [Paragraph(words.not_asked, "missing")]
    blocks["files"] = list(_files(evidence, words))
    return [Section(name, *words.audit_sections[name], tuple(some)) for name, some in blocks.items() if some]


def audit_told(audited: Audited, evidence: Evidence, words: Words) -> Iterator[Text]:
    """Answer in plain words: how many files, how many used, how much there is to mend."""
    yield account(evidence, words) if evidence.accounted else words.no_account
    yield from unaccounted(evidence, words)
    mend, kinds = len({one.name for one in audited.to_mend()}), len({one.name for one in audited.kinds})
    told: list[Text] = [say(words.to_decide, kinds=words.counted(mend, "kind")) if mend else say(words.nothing_to_mend)]
    told += [say(words.to_know, kinds=words.counted(kinds - mend, "kind"))] if kinds > mend else []
    yield joined(told, words.between)


def unaccounted(evidence: Evidence, words: Words) -> Iterator[Text]:
    """Say so where the numbers of the account do not add up."""
    found, used = evidence.accounted.get("found"), evidence.accounted.get("used")
    aside = sum(count for reason, count in evidence.accounted.items() if reason not in ("found", "used"))
    if found is not None and used is not None and found != used + aside:
        yield say(words.unaccounted, found=words.whole(found), told=words.whole(used + aside))


def to_mend(audited: Audited, words: Words) -> Iterator[Block]:
    """Name the most important things to mend, and the command that does it."""
    worst = list(mend_first(audited, words))
    if worst:
        yield Bullets(tuple(worst), words.mend_title, ordered=True)
        yield Paragraph(words.mend_it)
        yield Command(audited.command)


def mend_first(audited: Audited, words: Words) -> Iterator[Text]:
    """Say what to do about the three gravest kinds."""
    shown: set[str] = set()
    for kind in audited.to_mend():
        if kind.name not in shown and len(shown) < MEND_FIRST:
            shown.add(kind.name)
            title, _, advice = words.finding(kind.name)
            yield say(words.mend_one, title=title, count=counted(kind, audited, words), advice=say(advice))


def _part(name: str, audited: Audited, evidence: Evidence, words: Words) -> list[Block]:
    """Tell one part; where its document has another form, say so in its place and tell the rest."""
    try:
        return list(PARTS[name](audited, evidence, words))
    except BROKEN as error:
        return [Paragraph(say(words.audit_unreadable, error=f"{type(error).__name__}: {error}"), "missing")]


def _files(evidence: Evidence, words: Words) -> Iterator[Block]:
    """Account for every file, reason by reason, and say how long it took."""
    if evidence.accounted:
        names = {"found": words.found_row, "used": words.used_row}
        rows = tuple(
            (
                Cell(names.get(reason) or words.kind(reason)),
                Cell(words.whole(count)),
                Cell("" if reason in names else joined([say(words.finding(reason)[1])])),
            )
            for reason, count in evidence.accounted.items()
        )
        columns = tuple(Column(head, number=place == 1) for place, head in enumerate(words.files_columns))
        yield Table(columns, rows, look="files")
    if evidence.stages:
        yield stages(evidence, words)
