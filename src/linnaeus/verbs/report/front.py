"""The front of accuracy against time as inline SVG: what is gained by each smaller version, and what is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from unicodedata import east_asian_width

from markupsafe import Markup, escape

from linnaeus.records import Estimate
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.plot import Plot, drawing, ticks, tooltip
from linnaeus.verbs.report.prose import shorten

WIDE = 5.0
"""From this ratio of the slowest to the fastest on, the axis is logarithmic."""
FAR = 0.1
"""What loses more than this, and twice what may be lost, would flatten the rest: it is shown at the lower edge."""
MOST_TICKS = 8
LONGEST_LABEL = 26
WIDE_LETTER = 8.0
"""Of a label on a phone, where letters are larger."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Point:
    """A version of the model.

    Attributes:
        name: For its tooltip.
        label: Beside it; "" for none.
        ms: Of one picture.
        accuracy: With its interval.
        look: "original", "passed" or "failed".
        front: No other is both faster and better.
        strong: The one that was chosen.
    """

    name: str
    label: str
    ms: float
    accuracy: Estimate
    look: str
    front: bool = False
    strong: bool = False


@dataclass(frozen=True)
class Asked:
    """What was asked for: at most so many milliseconds, None for any; at least such an accuracy."""

    ms: float | None
    accuracy: float


@dataclass(frozen=True)
class _Place:
    """Where a label may stand: its text begins at x, or ends there; and the box that it fills."""

    x: float
    y: float
    side: str
    box: Box


class LogPlot(Plot):
    """A plot whose x axis is logarithmic; its ticks are above 0."""

    def x(self, value: float) -> float:
        """Place a number from left to right."""
        low, high = self.x_ticks[0], self.x_ticks[-1]
        value = min(max(value, low), high)
        return round(self.left + self.width * log10(value / low) / log10(high / low), 1)


def is_wide(points: Sequence[Point]) -> bool:
    """Tell whether the times are too far apart for an even axis."""
    times = [one.ms for one in points]
    return min(times) > 0 and max(times) / min(times) >= WIDE


def front_chart(points: Sequence[Point], asked: Asked, told: str, words: Words) -> Markup:
    """Draw accuracy against time with intervals, the points of the front joined.

    Args:
        points: The original first.
        asked: Drawn as an area.
        told: What the drawing shows, in words.
        words: The language.
    """
    wide = is_wide(points)
    shown = [one for one in points if not _is_below(one, points[0], asked)]
    xs = [one.ms for one in points] + ([asked.ms] if asked.ms else [])
    ys = [end for one in shown for end in (one.accuracy.low, one.accuracy.high)] + [asked.accuracy]
    y_ticks = ticks(max(0.0, min(ys)), min(1.0, max(ys)), 4)
    x_ticks = log_ticks(min(xs), max(xs)) if wide else ticks(0, max(xs), 5)
    plot = (LogPlot if wide else Plot)(86, 14, 390, 260, x_ticks, y_ticks)
    front = sorted((one for one in points if one.front), key=lambda one: (one.ms, one.accuracy.value))
    course = plot.course([(one.ms, one.accuracy.value) for one in front])
    parts = [
        _zone(plot, asked),
        plot.frame("percent", "number", words.percent_sign),
        plot.names(words.front_axes_log if wide else words.front_axes),
        Markup(f'<polyline class="line s1" points="{course}"/>') if len(front) > 1 else Markup(""),
        *(_point(plot, one, one not in shown, words) for one in points),
        *_labels(plot, points),
    ]
    return drawing(500, 328, parts, id="front", title=words.front_title, words=told)


def front_key(points: Sequence[Point], asked: Asked, words: Words) -> Iterator[tuple[Markup, str]]:
    """Explain the marks that the drawing has."""
    looks = {"below" if _is_below(one, points[0], asked) else one.look for one in points}
    for look in ("original", "passed", "failed", "below"):
        if look in looks:
            yield mark(look, 13, 6), words.front_key[look]
    yield Markup('<line class="reach" x1="13" x2="13" y1="0" y2="12"/>'), words.front_key["bar"]
    yield Markup('<rect class="zone" x="2" y="0" width="22" height="12"/>'), words.front_key["zone"]


def mark(look: str, x: float, y: float) -> Markup:
    """Draw the mark of a point."""
    if look == "original":
        return Markup(f'<rect class="spot original" x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10"/>')
    if look == "below":
        return Markup(
            f'<polygon class="spot failed" points="{x - 5:.1f},{y - 5:.1f} {x + 5:.1f},{y - 5:.1f} {x:.1f},{y + 4:.1f}"/>'
        )
    return Markup(f'<circle class="spot {look}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')


def log_ticks(low: float, high: float) -> list[float]:
    """Choose 1, 2, 5, 10 ... around low..high; of very wide ranges only 1, 10, 100."""
    first, last = floor(log10(low)), ceil(log10(high))
    fine = [m * 10.0**power for power in range(first, last + 1) for m in (1, 2, 5)]
    for every in (fine, [10.0**power for power in range(first, last + 1)]):
        start = max(k for k, one in enumerate(every) if one <= low * (1 + 1e-9))
        end = min((k for k, one in enumerate(every) if one >= high * (1 - 1e-9)), default=len(every) - 1)
        chosen = every[start : max(end, start + 1) + 1]
        if len(chosen) <= MOST_TICKS:
            break
    return chosen


def _is_below(one: Point, original: Point, asked: Asked) -> bool:
    before = original.accuracy.value
    return one is not original and one.accuracy.value < before - max(FAR, 2 * (before - asked.accuracy))


def _zone(plot: Plot, asked: Asked) -> Markup:
    right = plot.x(asked.ms) if asked.ms else plot.left + plot.width
    bottom = plot.y(asked.accuracy)
    size = f'width="{right - plot.left:.1f}" height="{bottom - plot.top:.1f}"'
    return Markup(f'<rect class="zone" x="{plot.left}" y="{plot.top}" {size}/>')


def _point(plot: Plot, one: Point, below: bool, words: Words) -> Markup:
    x, y = plot.x(one.ms), plot.y(one.accuracy.value)
    told = tooltip(
        f"{one.name}{words.comma}{words.milliseconds(one.ms)}{words.comma}{words.with_interval(one.accuracy)}"
    )
    if below:
        return Markup(f"<g>{told}{mark('below', x, plot.top + plot.height - 6)}</g>")
    low, high = plot.y(one.accuracy.low), plot.y(one.accuracy.high)
    ring = f'<circle class="ring" cx="{x}" cy="{y}" r="9.5"/>' if one.strong else ""
    reach = f'<line class="reach" x1="{x}" x2="{x}" y1="{low}" y2="{high}"/>'
    return Markup(f"<g>{told}{reach}{ring}{mark(one.look, x, y)}</g>")


def _labels(plot: Plot, points: Sequence[Point]) -> Iterator[Markup]:
    """Write names and numbers beside their points, where they cover neither another mark nor each other."""
    taken = [_around(plot.x(one.ms), plot.y(one.accuracy.value), 7) for one in points]
    for one in sorted((one for one in points if one.label), key=lambda one: (not one.strong, one.look != "original")):
        label = shorten(one.label, LONGEST_LABEL)
        places = list(_places(plot, plot.x(one.ms), plot.y(one.accuracy.value), _width(label)))
        free = [place for place in places if not any(_meet(place.box, other) for other in taken)]
        if not free and not one.strong and one.look != "original":
            continue
        place = (free or places)[0]
        taken.append(place.box)
        look = "label strong" if one.strong else "label"
        yield Markup(f'<text class="{look}{place.side}" x="{place.x:.1f}" y="{place.y:.1f}">{escape(label)}</text>')


def _places(plot: Plot, x: float, y: float, width: float) -> Iterator[_Place]:
    """List where a label may stand: above its point first, then below, to its right and to its left."""
    for row in (y - 12, y + 22, y - 29, y + 39, y - 46, y + 56):
        for side in ("", " end"):
            left = x - 8 - width if side else x + 8
            inside = plot.left <= left and left + width <= plot.left + plot.width + 20
            if inside and plot.top + 10 < row < plot.top + plot.height:
                yield _Place(x + (-8 if side else 8), row, side, (left, row - 12, left + width, row + 3))
    # One is always left, also for a point at the edge.
    yield _Place(x + 8, y - 12, "", (x + 8, y - 24, x + 8 + width, y - 9))


def _width(label: str) -> float:
    """Guess how wide words are: Han characters fill a square."""
    return sum(WIDE_LETTER * (2.1 if east_asian_width(one) in "WF" else 1.0) for one in label)


def _around(x: float, y: float, half: float) -> Box:
    return x - half, y - half, x + half, y + half


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
