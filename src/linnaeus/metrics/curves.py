"""Curves with few points: thinned so that the area under them stays what it was."""

from __future__ import annotations

import numpy as np

POINTS = 100
"""No curve has more: enough for a picture a screen wide."""
DIGITS = 6

Curve = tuple[tuple[float, float], ...]
"""Points (x, y) in the order of x."""


def roc_curve(hits: np.ndarray, alarms: np.ndarray) -> Curve:
    """Draw the share of true pictures found over the share of others taken for them; straight between the points.

    A longer curve is cut into stretches. Each keeps its ends, and gets one point between them, which is set so that the
    area under the stretch is right.

    Args:
        hits: True pictures at or above each threshold, ascending counts [T]; the last is all of them.
        alarms: Other pictures at or above each threshold, [T].
    """
    y, x = np.concatenate([[0], hits]).astype(np.int64), np.concatenate([[0], alarms]).astype(np.int64)
    corner = np.ones(len(x), dtype=bool)
    corner[1:-1] = np.diff(x[:-1]) * np.diff(y[1:]) != np.diff(x[1:]) * np.diff(y[:-1])
    across, up = x[corner] / x[-1], y[corner] / y[-1]
    if len(across) <= POINTS:
        return _points(across, up)
    steps = np.linspace(0, 2, (POINTS + 1) // 2)
    knots = np.unique(np.searchsorted(across + up, steps).clip(max=len(across) - 1))
    return _points(*_with_middles(across, up, knots))


def _with_middles(x: np.ndarray, y: np.ndarray, knots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put a point between each two knots, on the falling diagonal of their rectangle, that makes the area right."""
    area = np.concatenate([[0], np.cumsum(np.diff(x) * (y[1:] + y[:-1]) / 2)])
    width, height = np.diff(x[knots]), np.diff(y[knots])
    missing = np.diff(area[knots]) - width * (y[knots][1:] + y[knots][:-1]) / 2
    box = width * height
    # 1 is the upper left corner of the rectangle, -1 the lower right one, 0 its middle.
    place = np.divide(2 * missing, box, out=np.zeros_like(box), where=box > 0)
    found_x, found_y = np.empty(2 * len(knots) - 1), np.empty(2 * len(knots) - 1)
    found_x[::2], found_y[::2] = x[knots], y[knots]
    found_x[1::2] = x[knots][:-1] + width * (1 - place) / 2
    found_y[1::2] = y[knots][:-1] + height * (1 + place) / 2
    return found_x, found_y


def precision_recall_curve(hits: np.ndarray, alarms: np.ndarray) -> Curve:
    """Draw precision over recall in steps: each precision holds from the recall before it to its own.

    A longer curve is cut into stretches of about the same recall; each gets its mean precision.

    Args:
        hits: True pictures at or above each threshold, ascending counts [T]; the last is all of them.
        alarms: Other pictures at or above each threshold, [T].
    """
    gained = np.diff(hits, prepend=0)
    useful = gained > 0
    hits, gained, precision = hits[useful], gained[useful], hits[useful] / (hits[useful] + alarms[useful])
    stretch = np.arange(len(hits)) if len(hits) < POINTS else (hits - 1) * (POINTS - 1) // int(hits[-1])
    _, first = np.unique(stretch, return_index=True)
    mean = np.add.reduceat(gained * precision, first) / np.add.reduceat(gained, first)
    recall = np.append(hits[first[1:] - 1], hits[-1]) / hits[-1]
    return _points(np.append(0, recall), np.append(mean[0], mean))


def _points(x: np.ndarray, y: np.ndarray) -> Curve:
    return tuple(zip(x.round(DIGITS).tolist(), y.round(DIGITS).tolist(), strict=True))
