"""What there is to learn from: pictures, labels, parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from linnaeus.data.pixels import Pixels
from linnaeus.records import Preprocessing, Split

EVALUATE_AT_ONCE = 250
BANK_PICTURES = 600
"""Training pictures whose features tell what is strange."""
OUTLIERS_OF_A_KIND = 32
"""Pictures of no class that are made of each kind, once from validation and once from test pictures."""
OUTLIERS = 12 * OUTLIERS_OF_A_KIND
UNLABELLED = "unlabelled"
"""Part of the pictures that have no label (-1), from which a teacher's answers are learned."""


@dataclass(frozen=True)
class Material:
    """What there is to learn from.

    Attributes:
        pixels: Stored pictures by row number.
        labels: Class numbers, int64 [N]; -1 of the unlabelled part.
        hashes: Content hash of each picture.
        split: Which row is train, val, test or unlabelled.
        classes: K names.
        preprocessing: How pictures become the network's input.
    """

    pixels: Pixels
    labels: np.ndarray
    hashes: tuple[str, ...]
    split: Split
    classes: tuple[str, ...]
    preprocessing: Preprocessing

    def blocks(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yield pictures as evaluation sees them, some at a time: uint8 [n, S, S, C]."""
        for first in range(0, len(rows), EVALUATE_AT_ONCE):
            yield self.pixels.block(rows[first : first + EVALUATE_AT_ONCE], self.preprocessing.size_px)

    @property
    def judged(self) -> int:
        """Number of pictures that will be looked at once more after the training, to judge it."""
        rest = int(np.isin(self.split.parts, ("val", "test")).sum())
        return rest + (min(BANK_PICTURES, len(self.split.parts) - rest) + OUTLIERS if rest else 0)

    def counts(self) -> np.ndarray:
        """Count the training pictures of each class, [K]."""
        return np.bincount(self.labels[self.split.rows("train")], minlength=len(self.classes))
