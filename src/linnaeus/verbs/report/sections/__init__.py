"""The sections of a report, from the answer to where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from linnaeus.verbs.report.document import Paragraph, Section
from linnaeus.verbs.report.evidence import Evidence
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import Code, say
from linnaeus.verbs.report.sections.answer import answer
from linnaeus.verbs.report.sections.audit import audit
from linnaeus.verbs.report.sections.card import card, provenance
from linnaeus.verbs.report.sections.confusion import confusion
from linnaeus.verbs.report.sections.data import data, decisions, learning
from linnaeus.verbs.report.sections.explanations import explanations
from linnaeus.verbs.report.sections.mistakes import mistakes
from linnaeus.verbs.report.sections.ranking import ranking
from linnaeus.verbs.report.sections.robustness import robustness
from linnaeus.verbs.report.sections.scores import scores
from linnaeus.verbs.report.sections.shipping import compression, exports
from linnaeus.verbs.report.sections.slices import slices
from linnaeus.verbs.report.sections.trust import abstention, calibration
from linnaeus.verbs.report.thumbnails import Budget, Shown

ROOM_FOR_FINDINGS = 0.25
"""Share of the room for pictures that the findings of the audit may take."""
ROOM_FOR_MAPS = 0.6
"""Share of the room for pictures that the examples and mistakes leave to the explanations."""


def story(evidence: Evidence, words: Words, sample: list[Shown], wrong: list[Shown], budget: Budget) -> list[Section]:
    """Tell everything, the answer first."""
    return list(_sections(evidence, words, sample, wrong, budget))


def _sections(
    evidence: Evidence, words: Words, sample: list[Shown], wrong: list[Shown], budget: Budget
) -> Iterator[Section]:
    yield answer(evidence, words)
    if evidence.run:
        yield data(evidence, words)
        found = Budget(int(budget.left * ROOM_FOR_FINDINGS))
        budget.left -= found.left
        yield _readable(lambda evidence, words: audit(evidence, words, found), "audit", evidence, words)
        budget.left += found.left
        yield decisions(evidence, words)
        yield learning(evidence, words)
    if evidence.scores:
        yield scores(evidence, words)
        yield _readable(ranking, "ranking", evidence, words)
        yield confusion(evidence, words)
        yield _readable(calibration, "calibration", evidence, words)
        yield _readable(abstention, "abstention", evidence, words)
        yield _readable(slices, "slices", evidence, words)
        maps = Budget(int(budget.left * ROOM_FOR_MAPS))
        yield mistakes(evidence, words, sample, wrong, Budget(budget.left - maps.left))
        # Both need the network, which outside predictions do not bring.
        if evidence.run or "explain" in evidence.results:
            yield _readable(lambda evidence, words: explanations(evidence, words, maps), "explain", evidence, words)
        if evidence.run or "stress" in evidence.results:
            yield _readable(robustness, "stress", evidence, words)
    if evidence.run or "export" in evidence.results:
        yield _readable(exports, "export", evidence, words)
    if evidence.run or "compress" in evidence.results:
        yield _readable(compression, "compress", evidence, words)
    yield card(evidence, words)
    yield provenance(evidence, words)


def _readable(section: Callable[[Evidence, Words], Section], verb: str, evidence: Evidence, words: Words) -> Section:
    """Make a section; where its document has another form, say so in its place and tell the rest of the report."""
    try:
        return section(evidence, words)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError) as error:
        title, short = words.sections[verb]
        told = say(words.unreadable, file=Code(f"results/{verb}.json"), error=f"{type(error).__name__}: {error}")
        return Section(verb, title, short, (Paragraph(told, "missing"),))
