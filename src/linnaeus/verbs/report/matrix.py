"""The confusion matrix as inline SVG, with counts, shares of the row and shares of the column in every field."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import east_asian_width

import numpy as np
from markupsafe import Markup, escape

from linnaeus.metrics.confusion import clustered_order
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.plot import drawing, tooltip
from linnaeus.verbs.report.prose import shorten

CELL = 46
NUMBERED = 20
MOST_TITLES = 3000
MOST_DRAWN_CLASSES = 120
"""Of more, a field would be too small to be seen."""
SAMPLE = 60
LONGEST_IN_TITLE = 40
NAMED_FROM_PX = 11
LARGE_SIDE = 720
SHADES = 8


def confusion_matrix(confusion: np.ndarray, classes: Sequence[str], words: Words) -> tuple[Markup, int, str]:
    """Draw it; return the drawing, its width in CSS pixels and its description.

    Up to 20 classes carry numbers and names. Above, only fields that are not empty are drawn, in clusters.
    """
    K = len(classes)
    told = words.matrix_desc.format(
        classes=words.counted(K, "class"),
        right=words.whole(int(confusion.trace())),
        all=words.whole(int(confusion.sum())),
    )
    draw = _numbered if K <= NUMBERED else _large
    parts, width, height = draw(confusion, _Shares(confusion), classes, words)
    look = "matrix" if K <= NUMBERED else "matrix large"
    svg = drawing(width, height, parts, id="matrix", title=words.matrix_title, words=told, look=look)
    return svg, round(width), told


class _Shares:
    """Each count as a share of its row, and of its column."""

    def __init__(self, confusion: np.ndarray) -> None:
        self._confusion, self._sums = confusion, (confusion.sum(axis=1), confusion.sum(axis=0))

    def __call__(self, t: int, p: int) -> tuple[float, float]:
        """Give the shares of one field, 0 where row or column are empty."""
        return (
            float(self._confusion[t, p] / max(1, self._sums[0][t])),
            float(self._confusion[t, p] / max(1, self._sums[1][p])),
        )


def _numbered(
    confusion: np.ndarray, shares: _Shares, classes: Sequence[str], words: Words
) -> tuple[list[Markup], float, float]:
    K = len(classes)
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
        parts.append(_cell(left + CELL * p, top + CELL * t, t, p, confusion, shares, classes, words))
    return [Markup("".join(parts))], left + CELL * K + top * 0.6, top + CELL * K + 8


def _letters(name: str) -> int:
    """Count letters, those of East Asian scripts twice, as they are twice as wide."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in name)


def _cell(
    x: float, y: float, t: int, p: int, confusion: np.ndarray, shares: _Shares, classes: Sequence[str], words: Words
) -> str:
    count, (row, column) = int(confusion[t, p]), shares(t, p)
    of_row, of_column = row**0.5, column**0.5
    numbers = ""
    if count:
        for view, strength, number in (
            ("count", of_row, words.whole(count)),
            ("row", of_row, words.percent(row, 0)),
            ("column", of_column, words.percent(column, 0)),
        ):
            ink = "on" if strength > 0.7 else "off"
            numbers += f'<text class="{ink} by-{view}" x="{x + 22:.0f}" y="{y + 27:.0f}">{number}</text>'
    place = f'x="{x:.0f}" y="{y:.0f}" width="44" height="44" rx="3"'
    return (
        f'<g class="cell" data-t="{t}" data-p="{p}">{tooltip(_cell_words(count, row, column, classes[t], classes[p], words))}'
        f'<rect class="empty" {place}/>'
        f'<rect class="{_tone(t, p)}" style="--r:{of_row:.2f};--c:{of_column:.2f}" {place}/>{numbers}</g>'
    )


def _tone(t: int, p: int) -> str:
    return "hit" if t == p else "miss"


def _cell_words(count: int, row: float, column: float, true: str, called: str, words: Words) -> str:
    pattern = words.cell_right if true == called else words.cell_wrong
    true, called = shorten(true, LONGEST_IN_TITLE), shorten(called, LONGEST_IN_TITLE)
    return pattern.format(
        true=true, called=called, count=words.whole(count), row=words.percent(row), column=words.percent(column)
    )


def _large(
    confusion: np.ndarray, shares: _Shares, classes: Sequence[str], words: Words
) -> tuple[list[Markup], float, float]:
    order = shown_classes(confusion)
    place = dict(zip(order.tolist(), range(len(order)), strict=True))
    K = len(order)
    size = LARGE_SIDE // K
    left = 8 + 6.2 * max(_letters(shorten(classes[k])) for k in order) if size >= NAMED_FROM_PX else 0.0
    parts = [f'<rect class="ground" x="{left:.0f}" y="0" width="{size * K}" height="{size * K}"/>']
    if left:
        parts += [
            f'<text class="row small" x="{left - 6:.0f}" y="{size * (k + 0.5) + 4:.1f}">{escape(shorten(classes[one]))}</text>'
            for k, one in enumerate(order)
        ]
    rest: dict[tuple[str, str, int], list[str]] = {}
    for n, (t, p) in enumerate(_most_telling(confusion)):
        if t not in place or p not in place:
            continue
        x, y = round(left) + size * place[p], size * place[t]
        of_row, of_column = shares(t, p)
        row, column = _shade(of_row), _shade(of_column)
        if n < MOST_TITLES:
            told = _cell_words(int(confusion[t, p]), of_row, of_column, classes[t], classes[p], words)
            parts.append(
                f'<rect class="cell {_tone(t, p)}" data-t="{t}" data-p="{p}" style="--r:{row / SHADES};--c:{column / SHADES}" '
                f'x="{x}" y="{y}" width="{size}" height="{size}">{tooltip(told)}</rect>'
            )
        else:
            for view, level in (("row", row), ("column", column)):
                rest.setdefault((view, _tone(t, p), level), []).append(f"M{x} {y}h{size}v{size}h-{size}z")
    parts += [
        f'<path class="{tone} of-{view}" fill-opacity="{level / SHADES}" d="{"".join(path)}"/>'
        for (view, tone, level), path in rest.items()
    ]
    return [Markup("".join(parts))], left + size * K, size * K


def shown_classes(confusion: np.ndarray) -> np.ndarray:
    """Choose the classes to draw, in clusters: all that can be seen, or those of the most frequent mistakes."""
    K = len(confusion)
    if K <= MOST_DRAWN_CLASSES:
        return clustered_order(confusion)
    chosen: dict[int, None] = {}
    for pair in _most_telling(confusion).tolist():
        if len(chosen) >= SAMPLE - 1:
            break
        chosen |= dict.fromkeys(pair)
    rows = np.array(sorted(chosen))
    return rows[clustered_order(confusion[np.ix_(rows, rows)])]


def _most_telling(confusion: np.ndarray) -> np.ndarray:
    """List the fields to draw, [n, 2]: the most frequent mistakes, as they are what one points at; then the diagonal."""
    cells = np.argwhere(confusion)
    wrong = cells[cells[:, 0] != cells[:, 1]]
    wrong = wrong[np.argsort(-confusion[wrong[:, 0], wrong[:, 1]], kind="stable")]
    return np.concatenate([wrong, cells[cells[:, 0] == cells[:, 1]]])


def _shade(share: float) -> int:
    return int(np.ceil(share**0.5 * SHADES))
