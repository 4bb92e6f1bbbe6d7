"""How benchmarks show what they measured: small SVG plots, Markdown tables, and their place in a page.

    plots.lines(Path("docs/scale.svg"), [plots.Panel("Time", "pictures", "s", [plots.Line("audit", [(1e3, 9), (1e4, 80)])])])
    plots.bars(Path("docs/decode.svg"), [plots.Bars("Decoding", "pictures/s", [plots.Bar("Linnaeus", 900, 880, 910, ours=True)])])
    plots.into_page(Path("docs/performance.md"), "decode", plots.table(("what", "pictures/s"), [("Linnaeus", 900)]))

The plots follow the reader's light or dark setting, need no library, and are equal for equal numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from statistics import median

STYLE = """.ground{fill:#fff}text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:#24292f}
.title{font-size:14px;font-weight:600}.soft{fill:#57606a}.end{text-anchor:end}.mid{text-anchor:middle}
.grid{stroke:#57606a;stroke-opacity:.22}.ours{fill:#1f5aa6}.other{fill:#8c959f}.limit{fill:none;stroke:#8c959f;stroke-width:1.5}
.span{stroke:#24292f;stroke-width:1.5}.bold{font-weight:600}
.c0{--c:#1f5aa6}.c1{--c:#c1440e}.c2{--c:#3d8b37}.c3{--c:#8a4fa3}.c4{--c:#8a6d00}.c5{--c:#57606a}
.line{fill:none;stroke:var(--c);stroke-width:2}.dash{stroke-dasharray:5 4;stroke-width:1.5}.dot{fill:var(--c)}
.whisker{stroke:var(--c);stroke-width:1.5}
@media(prefers-color-scheme:dark){.ground{fill:#0d1117}text{fill:#e6edf3}.soft{fill:#9ea7b3}.grid{stroke:#9ea7b3}.ours{fill:#79b0f2}
.other{fill:#6e7681}.span{stroke:#e6edf3}.c0{--c:#79b0f2}.c1{--c:#f08a5d}.c2{--c:#7fc97a}.c3{--c:#c79be0}.c4{--c:#d6b656}
.c5{--c:#a7b0ba}}"""
COLOURS = 6
WIDTH, PLOT_HEIGHT, MARGIN = 440, 230, 64
ROW, LABELS, BAR_WIDTH = 26, 250, 420
EDGE = 16
"""Room for the last tick."""


@dataclass(frozen=True)
class Line:
    """A line of a panel.

    Attributes:
        name: For the legend; equal names have equal colours in all panels.
        points: (x, y), or (x, y, low, high) where the spread is known.
        guide: What would be expected (n, n log n): dashed, without dots.
    """

    name: str
    points: Sequence[Sequence[float]]
    guide: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    log_x: bool = True
    log_y: bool = True


@dataclass(frozen=True)
class Bar:
    """A number with its spread; `ours` is drawn in colour, `limit` (what cannot be passed) as an outline.

    `shown` stands beside the bar in place of the number.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    ours: bool = False
    limit: bool = False
    shown: str = ""


@dataclass(frozen=True)
class Bars:
    """Bars that may be compared with each other: one axis from 0."""

    title: str
    unit: str
    bars: Sequence[Bar] = field(default=())


class Axis:
    """Numbers to places, linear or logarithmic, with round ticks."""

    def __init__(self, values: Iterable[float], log: bool, start: float, end: float) -> None:
        known = [value for value in values if math.isfinite(value) and (value > 0 or not log)] or [1.0]
        self.log, self.start, self.end = log, start, end
        self.ticks = log_ticks(min(known), max(known)) if log else round_ticks(min(0.0, *known), max(known))

    def __call__(self, value: float) -> float:
        low, high = self._scaled(self.ticks[0]), self._scaled(self.ticks[-1])
        return round(self.start + (self.end - self.start) * (self._scaled(value) - low) / (high - low), 1)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value


def round_ticks(low: float, high: float, count: int = 5) -> list[float]:
    raw = max(high - low, 1e-9) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    return [round(step * k, 10) for k in range(math.floor(low / step), math.ceil(high / step - 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Give the powers of ten around low..high; 2 and 5 between them where there are few."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    powers = range(first, max(last, first + 1) + 1)
    # Over less than one and a half powers of ten, ticks at 2 and 5 as well.
    if high > 30 * low:
        return [10.0**power for power in powers]
    fine = [round(m * 10.0**power, 10) for power in powers for m in (1, 2, 5)]
    below = [tick for tick in fine if tick <= low * (1 + 1e-9)]
    return [tick for tick in fine if below[-1] <= tick and tick <= min(t for t in fine if t >= high * (1 - 1e-9))]


def lines(path: Path, panels: Sequence[Panel], note: str = "") -> None:
    """Draw panels under one legend: up to three side by side, more in rows of two.

    Args:
        path: The SVG file.
        panels: In order of reading.
        note: What was measured on what, for those who see only the picture.
    """
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines if not line.guide))
    guides = list(dict.fromkeys(line.name for panel in panels for line in panel.lines if line.guide))
    colour = {name: min(number, COLOURS - 1) for number, name in enumerate(names)} | dict.fromkeys(guides, 5)
    across = len(panels) if len(panels) <= 3 else 2
    width, parts = WIDTH * across, []
    x, y = MARGIN, 22.0
    for name in (*names, *guides):
        needed = 40 + 7 * len(name)
        if x + needed > width:
            x, y = MARGIN, y + 20
        kind = "line dash" if name in guides else "line"
        parts.append(
            f'<g class="c{colour[name]}"><path class="{kind}" d="M{x} {y - 4}h22"/></g>{text(x + 28, y, name)}'
        )
        x += needed
    top, height = y + 36, y
    for number, panel in enumerate(panels):
        down, aside = divmod(number, across)
        height = top + down * (PLOT_HEIGHT + 84) + PLOT_HEIGHT + 48
        parts.append(_panel(panel, aside * WIDTH + MARGIN, height - PLOT_HEIGHT - 48, colour))
    if note:
        parts.append(text(MARGIN, height + 8, note, "soft"))
        height += 24
    _write(path, width + EDGE, height, parts, "; ".join(panel.title for panel in panels), note)


def _panel(panel: Panel, left: float, top: float, colour: dict[str, int]) -> str:
    right, bottom = left + WIDTH - MARGIN - 24, top + PLOT_HEIGHT
    points = [point for line in panel.lines for point in line.points]
    x = Axis([point[0] for point in points], panel.log_x, left, right)
    y = Axis([value for point in points for value in point[1:]], panel.log_y, bottom, top)
    parts = [text(left, top - 12, panel.title, "title")]
    for tick in y.ticks:
        parts.append(f'<path class="grid" d="M{left} {y(tick)}H{right}"/>')
        parts.append(text(left - 6, y(tick) + 4, number(tick), "soft end"))
    for tick in x.ticks:
        parts.append(f'<path class="grid" d="M{x(tick)} {top}V{bottom}"/>')
        parts.append(text(x(tick), bottom + 17, number(tick), "soft mid"))
    parts.append(text((left + right) / 2, bottom + 36, panel.x, "mid"))
    parts.append(
        f'<g transform="translate({left - 50} {(top + bottom) / 2}) rotate(-90)">{text(0, 0, panel.y, "mid")}</g>'
    )
    for line in panel.lines:
        known = [point for point in line.points if all(math.isfinite(value) for value in point)]
        course = "L".join(f"{x(point[0])} {y(point[1])}" for point in known)
        drawn = [f'<path class="line{" dash" if line.guide else ""}" d="M{course}"/>'] if len(known) > 1 else []
        for point in () if line.guide else known:
            told = f"<title>{escape(line.name)}: {number(point[0])}, {number(point[1])}</title>"
            drawn.append(f'<circle class="dot" cx="{x(point[0])}" cy="{y(point[1])}" r="3.5">{told}</circle>')
            if len(point) > 2:
                drawn.append(f'<path class="whisker" d="M{x(point[0])} {y(point[2])}V{y(point[3])}"/>')
        parts.append(f'<g class="c{colour[line.name]}">{"".join(drawn)}</g>')
    return "".join(parts)


def bars(path: Path, groups: Sequence[Bars], note: str = "") -> None:
    """Draw groups of bars under each other, each group with an axis of its own; numbers stand beside the bars.

    Args:
        path: The SVG file.
        groups: Bars of one group do the same work.
        note: What was measured on what.
    """
    parts, y = [], 26.0
    for group in groups:
        parts.append(text(12, y, f"{group.title} ({group.unit})", "title"))
        most = max((bar.high or bar.value for bar in group.bars), default=1.0) or 1.0
        y += 12
        for bar in group.bars:
            parts.append(_bar(bar, y, BAR_WIDTH / most))
            y += ROW
        y += 28
    if note:
        parts.append(text(12, y - 4, note, "soft"))
        y += 20
    _write(path, LABELS + BAR_WIDTH + 150, y - 8, parts, "; ".join(group.title for group in groups), note)


def _bar(bar: Bar, y: float, scale: float) -> str:
    kind = "ours" if bar.ours else "limit" if bar.limit else "other"
    length, bold = round(bar.value * scale, 1), "bold" if bar.ours else ""
    parts = [text(LABELS - 8, y + 15, bar.name, f"end {bold}")]
    parts.append(f'<rect class="{kind}" x="{LABELS}" y="{y + 3}" width="{length}" height="16" rx="2"/>')
    end = length
    if bar.low is not None and bar.high is not None:
        end = max(length, bar.high * scale)
        parts.append(
            f'<path class="span" d="M{round(LABELS + bar.low * scale, 1)} {y + 11}H{round(LABELS + end, 1)}"/>'
        )
    return "".join([*parts, text(round(LABELS + end + 8, 1), y + 15, bar.shown or number(bar.value), bold)])


def text(x: float, y: float, words: str, kind: str = "") -> str:
    styled = f' class="{kind.strip()}"' if kind.strip() else ""
    return f'<text x="{x:g}" y="{y:g}"{styled}>{escape(words)}</text>'


def number(value: float) -> str:
    """Write three digits that count: 0.0123, 4.56, 1,230, 2e6."""
    if value == 0 or 0.001 <= abs(value) < 1e7:
        digits = 3 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
        return f"{value:,.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:,.0f}"
    return f"{value:.0e}".replace("e+0", "e").replace("e+", "e")


def _write(path: Path, width: float, height: float, parts: Sequence[str], title: str, note: str) -> None:
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    ground = f'<rect class="ground" width="{width:g}" height="{height:g}" rx="6"/>'
    told = f"<title>{escape(title)}</title><desc>{escape(note)}</desc>"
    path.write_text("\n".join([head, told, f"<style>{STYLE}</style>", ground, *parts, "</svg>\n"]), encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a Markdown table; numbers as in the plots, (value, low, high) with its spread."""

    def cell(value: object) -> str:
        if isinstance(value, tuple):
            middle, low, high = value
            return number(middle) if low == high else f"{number(middle)} ({number(low)} to {number(high)})"
        return number(value) if isinstance(value, int | float) else str(value)

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    return "\n".join([line(head), line("---" for _ in head), *(line(map(cell, row)) for row in rows)])


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Give the median, least and most, as `table` and `Bar` take them."""
    return median(values), min(values), max(values)


def into_page(page: Path, name: str, words: str) -> None:
    """Put what a script measured between its two marks in a page: `<!-- NAME -->` and `<!-- /NAME -->`.

    Raises:
        SystemExit: The page lacks the marks.
    """
    told, first, last = page.read_text(encoding="utf-8"), f"<!-- {name} -->", f"<!-- /{name} -->"
    if first not in told or last not in told:
        raise SystemExit(f"{page} should hold the marks {first} and {last}")
    before, after = told[: told.index(first) + len(first)], told[told.index(last) :]
    page.write_text(f"{before}\n{words.strip()}\n{after}", encoding="utf-8")
