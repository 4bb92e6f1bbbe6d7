"""What the model looks at, and whether the maps that say so can be believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from linnaeus.verbs.report.document import Block, Cell, Column, Heading, Paragraph, Plate, Section, Strip, Table
from linnaeus.verbs.report.evidence import Evidence, estimate
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import Code, Name, Text, say, shorten
from linnaeus.verbs.report.sections.answer import command
from linnaeus.verbs.report.thumbnails import Budget, small_uri, thumbnail_uri

KINDS = ("right", "wrong", "least certain")
MOST_PICTURES = 30
NEIGHBOURS = 3


def explanations(evidence: Evidence, words: Words, budget: Budget) -> Section:
    """Show the checks of each method first, since a map that fails them explains nothing; then the maps."""
    title, short = words.sections["explain"]
    found = evidence.results.get("explain")
    if not found:
        missing = say(words.missing["explain"], command=Code(command("explain", evidence)))
        return Section("explain", title, short, (Paragraph(missing, "missing"),))
    believe = found.get("believe")
    told: Text = say(words.believe, method=words.name(str(believe))) if believe else words.believe_none
    blocks: list[Block] = [Paragraph(told)]
    if found.get("checks"):
        blocks.append(_checks(found["checks"], words))
    blocks += _maps(found, evidence, words, budget)
    return Section("explain", title, short, tuple(blocks))


def _checks(checks: Mapping[str, Mapping[str, Any]], words: Words) -> Table:
    rows = []
    for method, check in checks.items():
        cells = [Cell(words.name(method))]
        for key in ("randomisation", "deletion", "insertion"):
            one = estimate(check[key]) if check.get(key) else None
            cells.append(Cell(words.decimal(one.value), words.span(one)) if one else Cell(words.none))
        cells.append(Cell(words.seconds(float(check["seconds"])) if check.get("seconds") is not None else ""))
        rows.append(tuple(cells))
    *heads, last = words.check_columns
    columns = (*(Column(*head) for head in heads), Column(*last, number=True))
    return Table(columns, tuple(rows), words.checks_caption, "scores")


def _maps(found: Mapping[str, Any], evidence: Evidence, words: Words, budget: Budget) -> Iterator[Block]:
    pictures = found.get("pictures", [])
    for kind in KINDS:
        of_kind = [one for one in pictures if one["kind"] == kind]
        strips = [_strip(one, evidence, words, budget) for one in of_kind[: MOST_PICTURES // len(KINDS)]]
        if strips:
            yield Heading(words.explained_kinds[kind])
            yield from strips
        if len(of_kind) > len(strips):
            yield Paragraph(say(words.more_maps, n=words.whole(len(of_kind) - len(strips))), "quiet")


def _strip(one: Mapping[str, Any], evidence: Evidence, words: Words, budget: Budget) -> Strip:
    plates = [_plate(thumbnail_uri(evidence, str(one["id"])), "", words.the_picture, budget)]
    for method, file in one["maps"].items():
        path = _inside(evidence, str(file))
        src = small_uri(path) if path else ""
        plates.append(_plate(src, str(file) if path else "", words.name(method), budget))
    near = one.get("neighbours", [])[:NEIGHBOURS]
    for neighbour in near:
        caption = say(
            words.neighbour, name=Name(shorten(str(neighbour["label"]), 24)),
            similarity=words.decimal(float(neighbour["similarity"]), 2),
        )  # fmt: skip
        plates.append(_plate(thumbnail_uri(evidence, str(neighbour["id"])), "", caption, budget))
    said = words.explained_right if one["label"] == one["predicted"] else words.explained_wrong
    title = say(
        said,
        id=Code(shorten(str(one["id"]), 80)),
        label=Name(str(one["label"])),
        predicted=Name(str(one["predicted"])),
        confidence=words.percent(float(one["confidence"]), 0),
    )
    return Strip(title, tuple(plate for plate in plates if plate))


def _plate(src: str, file: str, caption: Text, budget: Budget) -> Plate | None:
    if src and not budget.spend(src):
        src = ""
    return Plate(src, file, caption) if src or file else None


def _inside(evidence: Evidence, file: str) -> Path | None:
    """Find a picture of the run; a document cannot make the report show files from elsewhere."""
    if evidence.run is None:
        return None
    folder = evidence.run.folder.resolve()
    path = (folder / file).resolve()
    return path if path.is_relative_to(folder) and path.is_file() else None
