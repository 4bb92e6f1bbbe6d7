"""Charts of lines and dots as inline SVG: sharp at every size, light and dark by the page's own colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from linnaeus.metrics import ReliabilityBin
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.plot import Plot, drawing, ticks, tooltip

FIFTHS = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
MOST_DOTS = 30


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: For its dots and the legend.
        points: (x, y).
        look: Its class in the style sheet: "s1" to "s6", or "faint".
        band: (low, high) for each point, or none.
    """

    name: str
    points: Sequence[tuple[float, float]]
    look: str
    band: Sequence[tuple[float, float]] = field(default=())


def line_chart(
    lines: Sequence[Line],
    title: str,
    told: str,
    axes: tuple[str, str],
    *,
    id: str,
    words: Words,
    x_kind: str = "percent",
    fit_y: bool = False,
    guess: bool = False,
) -> Markup:
    """Draw lines whose y is a share.

    Args:
        lines: In the order in which they are drawn.
        title: What it is.
        told: What it shows, in words.
        axes: Names of x and y.
        id: Unique in the page.
        words: The language.
        x_kind: "percent" (0..1), "whole" or "number".
        fit_y: Let the y axis end where the lines do, instead of at 0 and 100 %.
        guess: Draw the diagonal.
    """
    points = [point for line in lines for point in line.points if np.isfinite(point).all()]
    xs, ys = [x for x, _ in points] or [0.0, 1.0], [y for _, y in points] or [0.0, 1.0]
    # A share of very few pictures can be anything: their intervals would flatten the rest.
    ys += [float(np.quantile(side, 0.93)) for line in lines if line.band for side in zip(*line.band, strict=True)]
    ys += [min(low for low, _ in line.band) for line in lines if line.band]
    x_ticks = FIFTHS if x_kind == "percent" else ticks(0, max(xs), 5, whole=x_kind == "whole")
    y_ticks = ticks(max(0.0, min(ys)), min(1.0, max(ys)), 4) if fit_y else FIFTHS
    plot = Plot(70, 14, 400, 260, x_ticks, y_ticks)
    parts = [plot.frame("percent", x_kind, words.percent_sign), plot.names(axes)]
    if guess:
        parts.append(
            Markup(f'<line class="ideal" x1="{plot.x(0)}" y1="{plot.y(0)}" x2="{plot.x(1)}" y2="{plot.y(1)}"/>')
        )
    for line in lines:
        parts.append(_band(plot, line))
        named = tooltip(line.name) if line.name else ""
        parts.append(
            Markup(f'<polyline class="line {line.look}" points="{plot.course(line.points)}">{named}</polyline>')
        )
        if x_kind != "percent" and len(line.points) <= MOST_DOTS:
            parts += [_dot(plot, line, point, words) for point in line.points]
    return drawing(500, 328, parts, id=id, title=title, words=told)


def _band(plot: Plot, line: Line) -> Markup:
    if not line.band:
        return Markup("")
    xs = [x for x, _ in line.points]
    low = list(zip(xs, (low for low, _ in line.band), strict=True))
    high = list(zip(xs, (high for _, high in line.band), strict=True))
    return Markup(f'<polygon class="band {line.look}" points="{plot.course(high)} {plot.course(low[::-1])}"/>')


def _dot(plot: Plot, line: Line, point: tuple[float, float], words: Words) -> Markup:
    x, y = point
    told = tooltip(f"{line.name} {x:,.6g}: {words.percent(y)}")
    return Markup(f'<circle class="dot {line.look}" cx="{plot.x(x)}" cy="{plot.y(y)}" r="3">{told}</circle>')


def learning_curve(
    epochs: Sequence[Mapping[str, Any]], what: str, best: float | None, words: Words
) -> tuple[Markup, str]:
    """Draw train and val over epochs, for what = "loss" or "accuracy", and say it; empty without a number to draw."""
    lines = {side: _series(epochs, f"{side}_{what}") for side in ("train", "val")}
    points = [point for line in lines.values() for point in line]
    if not points:
        return Markup(""), ""
    x_ticks, y_ticks = ticks(0, max(x for x, _ in points), 5, whole=True), _y_ticks(points, what)
    plot = Plot(56, 14, 380, 216, x_ticks, y_ticks)
    kind = "percent" if what == "accuracy" else "number"
    x_name = Markup('<text class="axis mid" x="246" y="272">{}</text>').format(words.epoch)
    parts = [plot.frame(kind, "whole", words.percent_sign), x_name]
    if best is not None and 0 <= best <= x_ticks[-1]:
        x = plot.x(best)
        parts.append(Markup(f'<line class="best" x1="{x}" x2="{x}" y1="14" y2="230"/>'))
    parts += [_side(plot, line, side, words) for side, line in lines.items() if line]
    parts.append(_line_names(plot, lines, words))
    courses = [_course(words.sides[side], line, what, words) for side, line in lines.items() if line]
    told = words.curve_alt.format(what=words.curves[what], course=words.semicolon.join(courses))
    return drawing(500, 280, parts, id=f"learning-{what}", title=words.curves[what], words=told), told


def _side(plot: Plot, points: Sequence[tuple[float, float]], side: str, words: Words) -> Markup:
    drawn = f'<polyline class="line {side}" points="{plot.course(points)}"/>'
    if len(points) <= MOST_DOTS:
        for x, y in points:
            told = tooltip(words.point.format(side=words.sides[side], epoch=f"{x:g}", value=f"{y:.4g}"))
            drawn += f'<circle class="dot {side}" cx="{plot.x(x)}" cy="{plot.y(y)}" r="2.6">{told}</circle>'
    return Markup(drawn)


def _series(epochs: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    pairs = [(event.get("epoch", place + 1), event.get(key)) for place, event in enumerate(epochs)]
    return [(float(x), float(y)) for x, y in pairs if isinstance(y, int | float) and np.isfinite(y)]


def _y_ticks(points: Sequence[tuple[float, float]], what: str) -> list[float]:
    values = [y for _, y in points]
    if what == "accuracy":
        return ticks(min(values), 1.0, 4)
    # A first epoch that explodes would flatten all the rest.
    return ticks(0.0, min(max(values), 3 * float(np.quantile(values, 0.75)) + 1e-9), 4)


def _line_names(plot: Plot, lines: Mapping[str, list[tuple[float, float]]], words: Words) -> Markup:
    """Name the lines at their ends, apart from each other."""
    ends = sorted((plot.y(line[-1][1]), side) for side, line in lines.items() if line)
    if len(ends) == 2 and ends[1][0] - ends[0][0] < 16:
        middle = (ends[0][0] + ends[1][0]) / 2
        ends = [(middle - 8, ends[0][1]), (middle + 8, ends[1][1])]
    x = max(plot.x(line[-1][0]) for line in lines.values() if line) + 8
    texts = [
        f'<text class="name {side}" x="{x}" y="{y + 4:.1f}">{escape(words.sides[side])}</text>' for y, side in ends
    ]
    return Markup("".join(texts))


def _course(side: str, line: Sequence[tuple[float, float]], what: str, words: Words) -> str:
    start, end = (words.percent(y) if what == "accuracy" else f"{y:.3g}" for y in (line[0][1], line[-1][1]))
    return words.course.format(side=side, start=start, end=end)


def reliability_diagram(bins: Sequence[ReliabilityBin], words: Words, id: str) -> Markup:
    """Draw accuracy against confidence: on the diagonal, the model is right as often as it says."""
    plot = Plot(76, 14, 300, 300, FIFTHS, FIFTHS)
    parts = [
        plot.frame("percent", "percent", words.percent_sign),
        Markup(f'<line class="ideal" x1="{plot.x(0)}" y1="{plot.y(0)}" x2="{plot.x(1)}" y2="{plot.y(1)}"/>'),
        plot.names(words.reliability_axes),
    ]
    for one in bins:
        x, share = plot.x(one.confidence), one.accuracy
        told = words.bin_words.format(
            confidence=words.percent(one.confidence, 0),
            accuracy=words.percent(share.value, 0),
            interval=words.range(share.low, share.high, 0),
            pictures=words.counted(one.count, "picture"),
        )
        parts.append(
            Markup(
                f'<g class="bin">{tooltip(told)}'
                f'<line x1="{x}" x2="{x}" y1="{plot.y(share.low)}" y2="{plot.y(share.high)}"/>'
                f'<circle cx="{x}" cy="{plot.y(share.value)}" r="4.5"/></g>'
            )
        )
    return drawing(396, 366, parts, id=f"reliability-{id}", title=words.reliability_title, words=words.reliability_alt)
