"""The ground of a chart as inline SVG: a frame with round numbers, and words for those who do not see it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape


class Plot:
    """Map numbers to places in a rectangle of the drawing."""

    def __init__(
        self, left: float, top: float, width: float, height: float, x_ticks: Sequence[float], y_ticks: Sequence[float]
    ) -> None:
        self.left, self.top, self.width, self.height = left, top, width, height
        self.x_ticks, self.y_ticks = x_ticks, y_ticks

    def x(self, value: float) -> float:
        """Place a number from left to right."""
        low, high = self.x_ticks[0], self.x_ticks[-1]
        value = min(max(value, low), high)
        return round(self.left + self.width * (value - low) / (high - low), 1)

    def y(self, value: float) -> float:
        """Place a number from bottom to top."""
        low, high = self.y_ticks[0], self.y_ticks[-1]
        value = min(max(value, low), high)
        return round(self.top + self.height * (1 - (value - low) / (high - low)), 1)

    def frame(self, y_kind: str, x_kind: str, sign: str) -> Markup:
        """Draw the lines and numbers of both axes; a kind is "percent", "number" or "whole"."""
        right, bottom = self.left + self.width, self.top + self.height
        parts = []
        for value in self.y_ticks:
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{self.left}" x2="{right}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text class="tick end" x="{self.left - 8}" y="{y + 4}">{number(value, y_kind, sign)}</text>')
        for value in self.x_ticks:
            shown = number(value, x_kind, sign)
            parts.append(f'<text class="tick mid" x="{self.x(value)}" y="{bottom + 19}">{shown}</text>')
        return Markup("".join(parts))

    def names(self, axes: tuple[str, str]) -> Markup:
        """Write the names of both axes."""
        middle = self.left + self.width / 2
        x = Markup('<text class="axis mid" x="{}" y="{}">{}</text>').format(
            middle, self.top + self.height + 42, axes[0]
        )
        return x + Markup('<text class="axis mid" transform="translate(14 {}) rotate(-90)">{}</text>').format(
            self.top + self.height / 2, axes[1]
        )

    def course(self, points: Sequence[tuple[float, float]]) -> str:
        """List places for a polyline."""
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)


def ticks(low: float, high: float, count: int, whole: bool = False) -> list[float]:
    """Choose round numbers around low..high."""
    span = max(high - low, 1e-6)
    raw = span / count
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    step = max(1.0, round(step)) if whole else step
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [float(round(step * k, 10)) for k in np.arange(first, max(last, first + 1) + 1)]


def number(value: float, kind: str, sign: str) -> str:
    """Write a number of an axis."""
    if kind == "percent":
        return f"{100 * value:.4g}{sign}"
    return f"{value:,.0f}" if kind == "whole" else f"{value:.4g}"


def drawing(
    width: float, height: float, parts: Sequence[Markup], *, id: str, title: str, words: str, look: str = "chart"
) -> Markup:
    """Put a drawing together, with a title and a description of its own."""
    head = Markup(
        '<svg class="{}" viewBox="0 0 {} {}" role="img" aria-labelledby="{id}-title {id}-words" '
        'xmlns="http://www.w3.org/2000/svg"><title id="{id}-title">{}</title><desc id="{id}-words">{}</desc>'
    )
    drawn = Markup("").join(parts) + Markup("</svg>")
    return head.format(look, round(width), round(height), title, words, id=f"chart-{id}") + drawn


def tooltip(words: str) -> str:
    """Say something about a part of a drawing."""
    return f"<title>{escape(words)}</title>"
