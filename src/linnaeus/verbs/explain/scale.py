"""From raw attributions to heat maps: float32 [S, S] in 0..1."""

from __future__ import annotations

import numpy as np


def heat_map(evidence: np.ndarray, side_px: int, *, top: float = 1.0) -> np.ndarray:
    """Keep what speaks for the class and scale it, so that the strongest place is 1.

    What speaks against the class is cut to 0. Where nothing speaks for it, the map is all 0.

    Args:
        evidence: Signed, [h, w].
        side_px: S; a coarser map is enlarged bilinearly.
        top: The quantile that becomes 1; below 1 for methods with a few very strong pixels.

    Returns:
        float32 [S, S].
    """
    import cv2

    positive = np.maximum(np.nan_to_num(np.asarray(evidence, dtype=np.float32), posinf=0.0, neginf=0.0), 0)
    if positive.shape != (side_px, side_px):
        positive = cv2.resize(np.ascontiguousarray(positive), (side_px, side_px), interpolation=cv2.INTER_LINEAR)
    strongest = float(np.quantile(positive, top)) or float(positive.max())
    if strongest <= 0:
        return np.zeros((side_px, side_px), np.float32)
    return np.clip(positive / strongest, 0, 1).astype(np.float32)
