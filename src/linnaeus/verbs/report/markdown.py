"""The same story as GitHub Markdown, for a pull request, a wiki or a model's README."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from linnaeus.verbs.report.document import (
    Beside,
    Block,
    Bullets,
    Cell,
    Command,
    Decisions,
    Drawing,
    Fold,
    Gallery,
    Gauge,
    Group,
    Heading,
    Matrix,
    Notice,
    Paragraph,
    Section,
    Strip,
    Table,
)
from linnaeus.verbs.report.evidence import Evidence
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.page import subtitle
from linnaeus.verbs.report.prose import Code, as_html, as_markdown, shorten

MOST_ROWS = 100
"""Longer tables are for the page and the JSON: nobody reads them in Markdown."""


def markdown(evidence: Evidence, sections: Sequence[Section], words: Words) -> str:
    """Write the sections; what only a page can do (sliders, filters) is left out, and its tables stay."""
    name = as_markdown(shorten(evidence.name, 200))
    lines = [f"# {name}", "", as_markdown(" · ".join(subtitle(evidence, words))), ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for block in section.blocks:
            lines += _written(block, evidence, words)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _written(block: Block, evidence: Evidence, words: Words) -> Iterator[str]:
    match block:
        case Paragraph() if block.tone == "missing":
            yield from (f"> {as_markdown(block.text)}", "")
        case Paragraph():
            yield from (as_markdown(block.text), "")
        case Heading():
            yield from (f"### {as_markdown(block.text)}", "")
        case Bullets():
            yield from (f"**{as_markdown(block.title)}**", "") if block.title else ()
            for place, item in enumerate(block.items, start=1):
                yield f"{f'{place}.' if block.ordered else '-'} {as_markdown(item)}"
            yield ""
        case Command():
            # A line that ends the block early would let its rest be read as Markdown.
            yield from ("```text", block.text.replace("```", "` ` `"), "```", "")
        case Gauge():
            told = as_markdown(block.caption), as_markdown(block.interval), as_markdown(block.guessing)
            yield from (f"**{block.value}{words.percent_sign}** {words.semicolon.join(told)}", "")
        case Table():
            yield from _table(block)
        case Decisions():
            heads = f"| {words.decision_columns[0]} | {words.decision_columns[1]} | {words.decision_columns[2]} |"
            yield from (heads, "| --- | --- | --- |")
            for setting, value, reason in block.rows:
                yield f"| {as_markdown(Code(setting))} | {as_markdown(value)} | {as_markdown(reason)} |"
            yield ""
        case Drawing():
            yield from _picture(block.picture, block.alt, evidence)
        case Matrix():
            yield from _picture("confusion", block.alt, evidence)
        case Gallery():
            yield from _picture(block.picture, block.alt, evidence)
        case Strip():
            yield from _strip(block)
        case Beside() | Group():
            for one in block.blocks:
                yield from _written(one, evidence, words)
        case Notice():
            yield from (f"### {as_markdown(block.title)} ({block.badge}{words.comma}{block.count})", "")
            for one in block.blocks:
                yield from _written(one, evidence, words)
        case Fold():
            yield from _fold(block, evidence, words)


def _table(block: Table) -> Iterator[str]:
    if not block.rows:
        return
    if block.caption:
        yield from (as_markdown(block.caption), "")
    drawn = [k for k in range(len(block.rows[0])) if any(_has_words(row[k]) for row in block.rows)]
    numbers = {k for k, column in enumerate(block.columns) if column.number}
    heads = [f"{as_markdown(one.title)} {as_markdown(one.small)}".strip() for one in block.columns]
    yield "| " + " | ".join(heads[k] if heads else "" for k in drawn) + " |"
    yield "| " + " | ".join("---:" if k in numbers else "---" for k in drawn) + " |"
    for row in block.rows[:MOST_ROWS]:
        yield "| " + " | ".join(_cell(row[k]) for k in drawn) + " |"
    yield ""
    if len(block.rows) > MOST_ROWS:
        yield from (f"+ {len(block.rows) - MOST_ROWS:,}", "")
    if block.left_out:
        yield from (as_markdown(block.left_out), "")


def _has_words(cell: Cell) -> bool:
    return bool(cell.text or cell.small)


def _cell(cell: Cell) -> str:
    text, small = as_markdown(cell.text), as_markdown(cell.small)
    return f"{text} ({small})" if text and small and not small.startswith("（") else text or small


def _picture(name: str, alt: str, evidence: Evidence) -> Iterator[str]:
    if name and evidence.run and (evidence.run.folder / "pictures" / f"{name}.png").is_file():
        yield from (f"![{as_markdown(alt)}](pictures/{name}.png)", "")


def _strip(block: Strip) -> Iterator[str]:
    yield from (as_markdown(block.title), "") if block.title else ()
    links = [f"![{as_markdown(one.caption)}](<{_path(one.file)}>)" for one in block.plates if one.file]
    # Pictures that are only inside the page leave their captions.
    yield from (" ".join(links), "") if links else (*(f"- {as_markdown(one.caption)}" for one in block.plates), "")


def _path(file: str) -> str:
    return re.sub(r"[<>\n\\]", lambda found: f"%{ord(found.group()):02X}", file)


def _fold(block: Fold, evidence: Evidence, words: Words) -> Iterator[str]:
    yield from ("<details>", f"<summary>{_summary(block)}</summary>", "")
    for one in block.blocks:
        yield from _written(one, evidence, words)
    yield from ("</details>", "")


def _summary(block: Fold) -> str:
    return re.sub(r"\s+", " ", str(as_html(block.summary)))
