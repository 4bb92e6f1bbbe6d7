"""How alike two heat maps are."""

from __future__ import annotations

import numpy as np

SIDE_PX = 64
"""Maps are compared at this size: finer differences are noise."""
WINDOW_PX = 7


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Correlate the ranks of two maps (Spearman): 1 if they order the places alike, 0 if there is no relation.

    A map that is the same everywhere orders nothing: it is like another such map (1), and unlike any else (0).
    """
    from scipy.stats import rankdata

    flat = [np.asarray(values, np.float64).ravel() for values in (one, other)]
    constant = [bool(np.ptp(values) == 0) for values in flat]
    if any(constant):
        return float(all(constant))
    return float(np.corrcoef([rankdata(values) for values in flat])[0, 1])


def structural_similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Compare brightness, contrast and structure of two maps in 0..1, window by window: 1 if they are equal.

    Source:
        Z. Wang et al. (2004), IEEE TIP 13, 600-612 (SSIM), with plain windows of 7 x 7.
    """
    from scipy.ndimage import uniform_filter

    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    width = min(WINDOW_PX, min(a.shape) // 2 * 2 - 1)
    mean_a, mean_b = uniform_filter(a, width), uniform_filter(b, width)
    # Unbiased, as the authors have it.
    factor = width * width / (width * width - 1)
    spread_a = factor * (uniform_filter(a * a, width) - mean_a**2)
    spread_b = factor * (uniform_filter(b * b, width) - mean_b**2)
    together = factor * (uniform_filter(a * b, width) - mean_a * mean_b)
    small, smaller = 0.01**2, 0.03**2
    likeness = (2 * mean_a * mean_b + small) * (2 * together + smaller)
    likeness /= (mean_a**2 + mean_b**2 + small) * (spread_a + spread_b + smaller)
    border = width // 2
    return float(likeness[border : len(a) - border, border : len(a) - border].mean())


def smaller(heat: np.ndarray) -> np.ndarray:
    """Bring a map to the size at which maps are compared; small ones stay as they are."""
    import cv2

    if heat.shape[0] <= SIDE_PX:
        return heat
    return cv2.resize(heat, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
