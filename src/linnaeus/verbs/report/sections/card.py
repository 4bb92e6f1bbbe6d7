"""The model card, and where everything comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from linnaeus.verbs.report.document import Block, Cell, Column, Command, Fold, Paragraph, Section, Table
from linnaeus.verbs.report.evidence import Evidence
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import Name, Text, joined, say, shorten
from linnaeus.verbs.report.sections.answer import trusted, weakest

MOST_LINES = 300
LONGEST_VALUE = 500


def card(evidence: Evidence, words: Words) -> Section:
    """Sum the model up for those who did not train it.

    Source:
        M. Mitchell et al. (2019), Model Cards for Model Reporting, FAT*, arXiv:1810.03993: their headings.
    """
    title, short = words.sections["card"]
    rows = tuple((Cell(head), Cell(told)) for head, told in _lines(evidence, words))
    return Section("card", title, short, (Paragraph(words.card_told, "quiet"), Table((), rows, look="lines card")))


def _lines(evidence: Evidence, words: Words) -> Iterator[tuple[str, Text]]:
    heads = words.card_heads
    yield heads["model"], _model(evidence, words)
    yield heads["use"], say(words.card_use, classes=words.counted(len(evidence.classes), "class"))
    yield heads["not"], words.card_not
    if evidence.run:
        n = {part: words.counted(evidence.total(part), "picture") for part in ("train", "val", "test")}
        yield heads["data"], say(words.card_data, source=evidence.name, **n)
    if evidence.scores is None:
        return
    accuracy = evidence.scores.overall["accuracy"]
    pictures = words.counted(accuracy.n, words.part_pictures[evidence.part])
    yield heads["measured"], say(words.card_measured, pictures=pictures, accuracy=words.with_interval(accuracy))
    yield heads["probabilities"], say(words.verdicts_alone[trusted(evidence)[1]])
    worst = weakest(evidence.scores.per_class)[:3]
    named = [say(words.card_class, name=Name(one.name), recall=words.with_interval(one.recall)) for one in worst]
    yield heads["limits"], say(words.card_limits, classes=joined(named, words.semicolon))
    verbs = ("calibration", "abstention", "ranking", "slices", "explain", "stress")
    lacking: list[Text] = [words.sections[verb][1] for verb in verbs if verb not in evidence.results]
    if lacking:
        yield heads["unknown"], say(words.card_unknown, sections=joined(lacking, words.comma))
    yield heads["people"], words.card_people


def _model(evidence: Evidence, words: Words) -> Text:
    told: list[Text] = []
    network = evidence.summary.get("network") or evidence.plan.get("used", {}).get("model", {}).get("name")
    told += [str(network)] if network else []
    parameters = evidence.summary.get("parameters")
    told += [say(words.card_parameters, n=words.whole(int(parameters)))] if parameters else []
    when = str(evidence.provenance.get("time", ""))[:10]
    told += [when] if when else []
    return joined(told, words.comma) if told else words.card_outside


def provenance(evidence: Evidence, words: Words) -> Section:
    """Tell the command, the time by stage, versions, hardware, seed, data and every setting."""
    title, short = words.sections["provenance"]
    if evidence.run is None:
        return Section("provenance", title, short, (Paragraph(words.outside_provenance),))
    command = str(evidence.provenance.get("command", ""))
    blocks: list[Block] = [Command(shorten(command, 2000))] if command else []
    blocks += [stages(evidence, words)] if evidence.stages else []
    keys = ("network", "parameters", "epochs", "effort", "expected_s", "pictures_per_s", "waited")
    network = {key: evidence.summary[key] for key in keys if key in evidence.summary}
    facts = {key: value for key, value in evidence.provenance.items() if key != "command"}
    seen = dict(evidence.model.get("preprocessing") or {})
    for caption, values in ((words.network, network), (words.seen, seen), (words.facts, facts)):
        blocks += [_facts(values, caption)] if values else []
    used = evidence.plan.get("used", {})
    blocks += [Fold(words.every_setting, (_facts(used, words.settings),))] if used else []
    return Section("provenance", title, short, tuple(blocks))


def stages(evidence: Evidence, words: Words) -> Table:
    """Draw the time that each stage took."""
    total = float(evidence.summary.get("seconds") or sum(evidence.stages.values()))
    rows = tuple(
        (
            Cell(words.name(name)),
            Cell(bar=(("train", min(1.0, seconds / max(total, 1e-9))),)),
            Cell(words.seconds(seconds)),
        )
        for name, seconds in evidence.stages.items()
    )
    caption = say(words.in_all, seconds=words.seconds(total))
    return Table((Column(words.stage), Column(""), Column(words.time, number=True)), rows, caption, "stages")


def _facts(values: Mapping[str, Any], caption: str) -> Table:
    lines = list(_flat(values))
    rows = tuple((Cell(name), Cell(shorten(value, LONGEST_VALUE))) for name, value in lines[:MOST_LINES])
    left = f"+ {len(lines) - MOST_LINES:,}" if len(lines) > MOST_LINES else ""
    return Table((), rows, caption, "lines", left_out=left)


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Lay nested values out as lines "versions.torch", "2.15.0"."""
    for key, value in values.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            if any(isinstance(one, Mapping | list | tuple) for one in value):
                yield from _flat({str(k): one for k, one in enumerate(value)}, f"{name}.")
            else:
                yield name, ", ".join(str(one) for one in value)
        elif value is not None:
            grouped = isinstance(value, int) and not isinstance(value, bool) and value > 9999 and key != "seed"
            yield name, f"{value:,}" if grouped else str(value)
