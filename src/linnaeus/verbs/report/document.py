"""What a report is made of, before it is a page: sections of paragraphs, tables, drawings and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup

from linnaeus.records import Estimate
from linnaeus.verbs.report.prose import Text
from linnaeus.verbs.report.thumbnails import Shown


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `tone` is "", "missing" (no such evidence yet) or "quiet"."""

    kind: ClassVar[str] = "paragraph"
    text: Text
    tone: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    kind: ClassVar[str] = "heading"
    text: Text


@dataclass(frozen=True)
class Bullets:
    """A list; with a title it is a box, as for warnings. `english` marks what no catalogue translates."""

    kind: ClassVar[str] = "bullets"
    items: tuple[Text, ...]
    title: Text = ""
    ordered: bool = False
    english: bool = False


@dataclass(frozen=True)
class Command:
    """Something to type."""

    kind: ClassVar[str] = "command"
    text: str


@dataclass(frozen=True)
class Gauge:
    """The one number that most people want, large, with its interval and what guessing gives."""

    kind: ClassVar[str] = "gauge"
    estimate: Estimate
    guess: float
    value: str
    caption: Text
    interval: Text
    guessing: Text


@dataclass(frozen=True)
class Cell:
    """One field of a table.

    Attributes:
        text: What stands in it.
        small: A lesser word after it, such as an interval.
        estimate: Of a share: drawn as a dot on its interval, beside the text.
        bar: Lengths 0..1 of a stacked bar, by the class of their colour.
        heat: How good, 0 (bad) to 1 (good): colours the field.
        guess: Chance, as a line across the estimate's interval.
    """

    text: Text = ""
    small: Text = ""
    estimate: Estimate | None = None
    bar: tuple[tuple[str, float], ...] = ()
    heat: float | None = None
    guess: float | None = None


@dataclass(frozen=True)
class Column:
    """The head of a column; `number` sets its fields to the right."""

    title: Text
    small: Text = ""
    number: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of fields; the first field of a row is its head.

    Attributes:
        columns: Heads; none for a table of facts.
        rows: One field per column.
        caption: What it shows.
        look: Its class in the style sheet.
        key: Of the colours of its bars: (class, word).
        marks: What a script may filter each row by.
        left_out: Rows that there were too many of to show.
    """

    kind: ClassVar[str] = "table"
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: Text = ""
    look: str = ""
    key: tuple[tuple[str, str], ...] = ()
    marks: tuple[Mapping[str, str], ...] = ()
    left_out: Text = ""


@dataclass(frozen=True)
class Decisions:
    """Settings that the program chose: (setting, value, reason)."""

    kind: ClassVar[str] = "decisions"
    rows: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Drawing:
    """A chart.

    Attributes:
        svg: With title and description inside.
        caption: Above it.
        alt: In words, for Markdown.
        picture: The run's PNG of the same, "" for none.
        legend: (class of the line, name).
        key: (drawing of 26 x 12, name) of its other marks.
    """

    kind: ClassVar[str] = "drawing"
    svg: Markup
    caption: Text = ""
    alt: str = ""
    picture: str = ""
    legend: tuple[tuple[str, Text], ...] = ()
    key: tuple[tuple[Markup, Text], ...] = ()


@dataclass(frozen=True)
class Matrix:
    """The confusion matrix with a choice of what its fields say: counts, by row, by column."""

    kind: ClassVar[str] = "matrix"
    svg: Markup
    views: tuple[tuple[str, str], ...]
    width_px: int
    alt: str


@dataclass(frozen=True)
class Gallery:
    """Small pictures with the model's answers; `filterable` offers to choose among them."""

    kind: ClassVar[str] = "gallery"
    shown: tuple[Shown, ...]
    picture: str = ""
    alt: str = ""
    filterable: bool = False


@dataclass(frozen=True)
class Plate:
    """One picture of a row of pictures: where the file is in the run, and what it shows.

    Attributes:
        src: The picture itself; "" for none.
        file: Of the run, "" for none.
        caption: Below it.
        tiny: It has so few pixels that each should be seen as a square.
        trouble: Why it cannot be shown.
    """

    src: str
    file: str
    caption: Text
    tiny: bool = False
    trouble: str = ""


@dataclass(frozen=True)
class Strip:
    """A picture with what explains it, side by side."""

    kind: ClassVar[str] = "strip"
    title: Text
    plates: tuple[Plate, ...]
    after: Text = ""


@dataclass(frozen=True)
class Threshold:
    """A slider over the risk-coverage curve, for those with scripts; the table beside it is for all.

    Attributes:
        curve: Rows of threshold, coverage, risk, low, high, from the lowest threshold.
        said: Words with {threshold}, {coverage}, {risk}, {low}, {high}.
    """

    kind: ClassVar[str] = "threshold"
    curve: tuple[tuple[float, float, float, float, float], ...]
    said: str


@dataclass(frozen=True)
class Beside:
    """Blocks side by side where there is room."""

    kind: ClassVar[str] = "beside"
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Group:
    """Blocks one below the other, as one column of `Beside`."""

    kind: ClassVar[str] = "group"
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Fold:
    """Blocks behind a line that opens them."""

    kind: ClassVar[str] = "fold"
    summary: Text
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Notice:
    """One kind of finding.

    Attributes:
        look: Its class in the style sheet: "warning", "set-aside" or "note".
        badge: How severe it is, in a word.
        title: What was found.
        count: How many.
        blocks: What it means, what to do, pictures, evidence.
    """

    kind: ClassVar[str] = "notice"
    look: str
    badge: str
    title: Text
    count: str
    blocks: tuple[Block, ...]


Block = (
    Paragraph
    | Heading
    | Bullets
    | Command
    | Gauge
    | Table
    | Decisions
    | Drawing
    | Matrix
    | Gallery
    | Strip
    | Threshold
    | Beside
    | Group
    | Fold
    | Notice
)


@dataclass(frozen=True)
class Section:
    """A part of the report that the contents lead to."""

    id: str
    title: str
    short: str
    blocks: tuple[Block, ...] = field(default=())
