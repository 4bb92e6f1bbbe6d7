"""Principal components of features, block by block: of a large set, no second copy of all features is held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

DIMENSIONS = 512
"""Principal components kept: on flowers and CIFAR-10 no score differed from that of all 1,280 features by over 0.01."""
BLOCK = 8192
"""Rows that are worked on at a time."""


@dataclass(frozen=True)
class Components:
    """How features are standardised and turned to their principal components; labels have no say in it.

    Attributes:
        middle: Mean of each feature, float32 [D].
        spread: Standard deviation of each, float32 [D].
        turned: The directions that are kept, float32 [D, d]; None where all features are, unturned.
    """

    middle: np.ndarray
    spread: np.ndarray
    turned: np.ndarray | None

    @classmethod
    def of(cls, features: np.ndarray, most: int = DIMENSIONS, rows: np.ndarray | None = None) -> Components:
        """Find the components of features.

        Args:
            features: [N, D].
            most: Components that are kept.
            rows: Which rows; by default all.
        """
        rows = np.arange(len(features)) if rows is None else rows
        D = features.shape[1]
        blocks = list(blocks_of(rows))
        mean = sum((features[some].sum(axis=0, dtype=np.float64) for some in blocks), np.zeros(D)) / max(1, len(rows))
        middle = mean.astype(np.float32)
        squares = sum(
            (np.square(features[some] - middle).sum(axis=0, dtype=np.float64) for some in blocks), np.zeros(D)
        )
        spread = np.maximum(np.sqrt(squares / max(1, len(rows))), 1e-6).astype(np.float32)
        found = cls(middle, spread, None)
        if most >= D:
            return found
        products = np.zeros((D, D))
        for some in blocks:
            block = found._standard(features[some])
            products += block.T @ block
        turned = np.linalg.eigh(products)[1][:, ::-1][:, :most].astype(np.float32)
        return cls(middle, spread, turned)

    def apply(self, features: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Compute the components of some rows of features, float32 [n, d]; by default of all."""
        rows = np.arange(len(features)) if rows is None else rows
        kept = np.empty((len(rows), len(self.middle) if self.turned is None else self.turned.shape[1]), np.float32)
        for begin, some in zip(range(0, len(rows), BLOCK), blocks_of(rows), strict=True):
            block = self._standard(features[some])
            kept[begin : begin + len(some)] = block if self.turned is None else block @ self.turned
        return kept

    def _standard(self, block: np.ndarray) -> np.ndarray:
        standard: np.ndarray = ((block - self.middle) / self.spread).astype(np.float32, copy=False)
        return standard


def components(features: np.ndarray, most: int = DIMENSIONS, rows: np.ndarray | None = None) -> np.ndarray:
    """Find the components of features and compute them, float32 [n, d]; arguments as of `Components.of`."""
    return Components.of(features, most, rows).apply(features, rows)


def finite_rows(features: np.ndarray) -> np.ndarray:
    """Tell which rows have finite numbers only, bool [N]; block by block."""
    parts = [np.isfinite(features[some]).all(axis=1) for some in blocks_of(np.arange(len(features)))]
    return np.concatenate([np.zeros(0, bool), *parts])


def blocks_of(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Cut rows into blocks that are worked on at a time."""
    return (rows[begin : begin + BLOCK] for begin in range(0, len(rows), BLOCK))
