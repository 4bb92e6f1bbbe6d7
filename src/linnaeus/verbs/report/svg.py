"""Charts as inline SVG: sharp at every size, light and dark by the page's own colours, readable without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from unicodedata import east_asian_width

import numpy as np
from markupsafe import Markup, escape

from linnaeus.metrics import ReliabilityBin

CELL = 46
NUMBERED = 20
MOST_TITLES = 3000
SHADES = 8


def shorten(name: str, most: int = 20) -> str:
    """Cut a long name, with an ellipsis."""
    return name if len(name) <= most else name[: most - 1].rstrip() + "…"


def learning_curve(epochs: Sequence[Mapping[str, Any]], what: str, title: str, best: float | None) -> Markup:
    """Draw train and val over epochs, for what = "loss" or "accuracy"; empty without a number to draw."""
    lines = {side: _series(epochs, f"{side}_{what}") for side in ("train", "val")}
    points = [point for line in lines.values() for point in line]
    if not points:
        return Markup("")
    x_ticks, y_ticks = _ticks(0, max(x for x, _ in points), 5, whole=True), _y_ticks(points, what)
    plot = _Plot(56, 18, 380, 212, x_ticks, y_ticks)
    parts = [plot.frame("percent" if what == "accuracy" else "number"), _axis_name(246, 266, "epoch")]
    if best is not None and 0 <= best <= x_ticks[-1]:
        x = plot.x(best)
        parts.append(Markup(f'<line class="best" x1="{x}" x2="{x}" y1="18" y2="230"/>'))
    for side, line in lines.items():
        parts += [plot.line(line, side)] if line else []
    parts.append(_line_names(plot, lines))
    words = "; ".join(_course(side, line, what) for side, line in lines.items() if line)
    return _svg(500, 272, f"{title} by epoch. {words}.", parts, "chart")


def reliability_diagram(bins: Sequence[ReliabilityBin]) -> Markup:
    """Draw accuracy against confidence: on the diagonal, the model is right as often as it says."""
    plot = _Plot(68, 14, 300, 300, [0, 0.2, 0.4, 0.6, 0.8, 1.0], [0, 0.2, 0.4, 0.6, 0.8, 1.0])
    parts = [
        plot.frame("percent", x_format="percent"),
        Markup(f'<line class="ideal" x1="{plot.x(0)}" y1="{plot.y(0)}" x2="{plot.x(1)}" y2="{plot.y(1)}"/>'),
        _axis_name(218, 352, "what the model said (confidence)"),
        Markup('<text class="axis mid" transform="translate(12 164) rotate(-90)">how often it was right</text>'),
    ]
    for one in bins:
        x, share = plot.x(one.confidence), one.accuracy
        parts.append(
            Markup(
                f'<g class="bin"><title>Said {one.confidence:.0%}, right {share.value:.0%} '
                f"({share.low:.0%} to {share.high:.0%}), {one.count} pictures</title>"
                f'<line x1="{x}" x2="{x}" y1="{plot.y(share.low)}" y2="{plot.y(share.high)}"/>'
                f'<circle cx="{x}" cy="{plot.y(share.value)}" r="4.5"/></g>'
            )
        )
    return _svg(384, 358, "Reliability: accuracy against confidence; the table below has the numbers.", parts, "chart")


def confusion_matrix(confusion: np.ndarray, classes: Sequence[str]) -> Markup:
    """Draw counts, coloured by their share of the row; a cell says its names on hover.

    Up to 20 classes carry numbers and names. Above, only cells that are not empty are drawn.
    """
    K = len(classes)
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    if K > NUMBERED:
        return _large_matrix(confusion, share, classes)
    names = [escape(shorten(name)) for name in classes]
    longest = max(_letters(shorten(name)) for name in classes)
    left, top = 24 + 7.4 * longest, 30 + 5.4 * longest
    parts: list[str] = []
    for k, name in enumerate(names):
        middle = CELL * (k + 0.5)
        parts.append(f'<text class="row" x="{left - 10:.0f}" y="{top + middle + 4.5:.1f}">{name}</text>')
        x, y = left + middle, top - 10
        parts.append(f'<text class="column" transform="translate({x + 4:.1f} {y:.1f}) rotate(-45)">{name}</text>')
    for t, p in np.ndindex(K, K):
        parts.append(
            _cell(left + CELL * p, top + CELL * t, int(confusion[t, p]), share[t, p], t == p, (classes[t], classes[p]))
        )
    width, height = left + CELL * K + top * 0.6, top + CELL * K + 8
    return _svg(width, height, _matrix_words(confusion), [Markup("".join(parts))], "matrix")


def _letters(name: str) -> int:
    """Count letters, those of East Asian scripts twice, as they are twice as wide."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in name)


def _cell(x: float, y: float, count: int, share: float, right: bool, names: tuple[str, str]) -> str:
    tone = "hit" if right else "miss"
    strength = share**0.5
    number = (
        f'<text class="{"on" if strength > 0.7 else "off"}" x="{x + 22:.0f}" y="{y + 27:.0f}">{count}</text>'
        if count
        else ""
    )
    return (
        f"<g><title>{_cell_words(count, share, *names)}</title>"
        f'<rect class="empty" x="{x:.0f}" y="{y:.0f}" width="44" height="44" rx="3"/>'
        f'<rect class="{tone}" fill-opacity="{strength:.2f}" x="{x:.0f}" y="{y:.0f}" width="44" height="44" rx="3"/>'
        f"{number}</g>"
    )


def _cell_words(count: int, share: float, true: str, called: str) -> str:
    if true == called:
        return escape(f"{true}: {count} right ({share:.0%})")
    return escape(f"{true} taken for {called}: {count} ({share:.0%})")


def _large_matrix(confusion: np.ndarray, share: np.ndarray, classes: Sequence[str]) -> Markup:
    K = len(classes)
    size = max(4, 720 // K)
    side = size * K
    parts = [f'<rect class="ground" x="0" y="0" width="{side}" height="{side}"/>']
    cells = np.argwhere(confusion)
    order = np.argsort(-confusion[cells[:, 0], cells[:, 1]], kind="stable")
    shaded: dict[tuple[str, int], list[str]] = {}
    for place, (t, p) in enumerate(cells[order]):
        tone, level = "hit" if t == p else "miss", int(np.ceil(share[t, p] ** 0.5 * SHADES))
        x, y = size * p, size * t
        if place < MOST_TITLES:
            words = _cell_words(int(confusion[t, p]), share[t, p], classes[t], classes[p])
            parts.append(
                f'<rect class="{tone}" fill-opacity="{level / SHADES}" x="{x}" y="{y}" width="{size}" height="{size}">'
                f"<title>{words}</title></rect>"
            )
        else:
            shaded.setdefault((tone, level), []).append(f"M{x} {y}h{size}v{size}h-{size}z")
    parts += [
        f'<path class="{tone}" fill-opacity="{level / SHADES}" d="{"".join(path)}"/>'
        for (tone, level), path in shaded.items()
    ]
    return _svg(side, side, _matrix_words(confusion), [Markup("".join(parts))], "matrix large")


def _matrix_words(confusion: np.ndarray) -> str:
    return (
        f"Confusion matrix of {len(confusion)} classes: {int(confusion.trace())} of {int(confusion.sum())} pictures "
        "on the diagonal, which is right. The table below has the numbers."
    )


class _Plot:
    """Map numbers to places in a rectangle of the drawing."""

    def __init__(
        self, left: float, top: float, width: float, height: float, x_ticks: Sequence[float], y_ticks: Sequence[float]
    ) -> None:
        self.left, self.top, self.width, self.height = left, top, width, height
        self.x_ticks, self.y_ticks = x_ticks, y_ticks

    def x(self, value: float) -> float:
        low, high = self.x_ticks[0], self.x_ticks[-1]
        return round(self.left + self.width * (value - low) / (high - low), 1)

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        value = min(max(value, low), high)
        return round(self.top + self.height * (1 - (value - low) / (high - low)), 1)

    def frame(self, kind: str, x_format: str = "number") -> Markup:
        right, bottom = self.left + self.width, self.top + self.height
        parts = []
        for value in self.y_ticks:
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{self.left}" x2="{right}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text class="tick end" x="{self.left - 8}" y="{y + 4}">{_number(value, kind)}</text>')
        for value in self.x_ticks:
            parts.append(
                f'<text class="tick mid" x="{self.x(value)}" y="{bottom + 18}">{_number(value, x_format)}</text>'
            )
        return Markup("".join(parts))

    def line(self, points: Sequence[tuple[float, float]], side: str) -> Markup:
        places = [f"{self.x(x)},{self.y(y)}" for x, y in points]
        drawn = f'<polyline class="line {side}" points="{" ".join(places)}"/>'
        if len(points) <= 30:
            drawn += "".join(
                f'<circle class="dot {side}" cx="{self.x(x)}" cy="{self.y(y)}" r="2.6">'
                f"<title>{side}, epoch {x:g}: {y:.4g}</title></circle>"
                for x, y in points
            )
        return Markup(drawn)


def _series(epochs: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    pairs = [(event.get("epoch", place + 1), event.get(key)) for place, event in enumerate(epochs)]
    return [(float(x), float(y)) for x, y in pairs if isinstance(y, int | float) and np.isfinite(y)]


def _y_ticks(points: Sequence[tuple[float, float]], what: str) -> list[float]:
    values = [y for _, y in points]
    if what == "accuracy":
        return _ticks(min(values), 1.0, 4)
    # A first epoch that explodes would flatten all the rest.
    return _ticks(0.0, min(max(values), 3 * float(np.quantile(values, 0.75)) + 1e-9), 4)


def _ticks(low: float, high: float, count: int, whole: bool = False) -> list[float]:
    """Choose round numbers around low..high."""
    span = max(high - low, 1e-6)
    raw = span / count
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    step = max(1.0, round(step)) if whole else step
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [float(round(step * k, 10)) for k in np.arange(first, max(last, first + 1) + 1)]


def _number(value: float, kind: str) -> str:
    return f"{100 * value:.4g} %" if kind == "percent" else f"{value:.4g}"


def _line_names(plot: _Plot, lines: Mapping[str, list[tuple[float, float]]]) -> Markup:
    """Name the lines at their ends, apart from each other."""
    ends = sorted((plot.y(line[-1][1]), side) for side, line in lines.items() if line)
    if len(ends) == 2 and ends[1][0] - ends[0][0] < 16:
        middle = (ends[0][0] + ends[1][0]) / 2
        ends = [(middle - 8, ends[0][1]), (middle + 8, ends[1][1])]
    x = max(plot.x(line[-1][0]) for line in lines.values() if line) + 8
    return Markup("".join(f'<text class="name {side}" x="{x}" y="{y + 4:.1f}">{side}</text>' for y, side in ends))


def _axis_name(x: float, y: float, name: str) -> Markup:
    return Markup(f'<text class="axis mid" x="{x}" y="{y}">{name}</text>')


def _course(side: str, line: Sequence[tuple[float, float]], what: str) -> str:
    start, end = (f"{y:.1%}" if what == "accuracy" else f"{y:.3g}" for y in (line[0][1], line[-1][1]))
    return f"{side} from {start} to {end}"


def _svg(width: float, height: float, words: str, parts: Sequence[Markup], kind: str) -> Markup:
    head = Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}" xmlns="http://www.w3.org/2000/svg">')
    return head.format(kind, round(width), round(height), words) + Markup("").join(parts) + Markup("</svg>")
