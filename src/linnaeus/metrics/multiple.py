"""Many tests at once: p-values that hold for all of them together."""

from __future__ import annotations

import numpy as np


def holm(p: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Adjust p-values so that the chance of one false alarm or more among all of them is at most the level.

    Args:
        p: [M]; tests may depend on each other in any way.
        weights: How the level is shared out, [M], above 0; by default evenly.

    Returns:
        Adjusted p-values, [M], at most 1: what is at or below the level is significant.

    Source:
        S. Holm (1979), Scand. J. Stat. 6, 65-70; weighted as in his section 3.
    """
    p = np.asarray(p, dtype=np.float64)
    if not len(p):
        return p
    weights = np.ones_like(p) if weights is None else np.asarray(weights, dtype=np.float64)
    order = np.argsort(p / weights, kind="stable")
    left = np.cumsum(weights[order][::-1])[::-1]
    steps = np.maximum.accumulate(left * (p / weights)[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, steps)
    return adjusted
