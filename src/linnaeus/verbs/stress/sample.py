"""The pictures that are put under stress: a sample with the class shares of the whole, and the answers for it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from linnaeus.classifier import Classifier
from linnaeus.data.pixels import Pixels
from linnaeus.errors import ModelError, SourceError
from linnaeus.machine import cores_here
from linnaeus.records import Dataset

AT_ONCE = 64

Change = Callable[[np.ndarray, int], np.ndarray]
"""Takes a picture, uint8 [S, S, C], and its number, from which randomness may be drawn; gives another one of that shape."""


@dataclass(frozen=True)
class Sample:
    """Labelled pictures at the network's size.

    Attributes:
        pixels: Of the whole source.
        rows: Rows of the sample, ascending.
        labels: Number of the true class among the model's classes; -1 where the model does not know it. [n]
        ids: [n].
        groups: [n], or None where the source has none.
        size_px: Height and width.
    """

    pixels: Pixels
    rows: np.ndarray
    labels: np.ndarray
    ids: tuple[str, ...]
    groups: tuple[str, ...] | None
    size_px: int

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def numbers(self) -> list[int]:
        """A number for each picture that depends on its id only, not on what else is in the sample."""
        return [zlib.crc32(id.encode()) for id in self.ids]

    def take(self, places: np.ndarray) -> Sample:
        """Choose pictures by their place in the sample."""
        return replace(
            self,
            rows=self.rows[places],
            labels=self.labels[places],
            ids=tuple(self.ids[place] for place in places),
            groups=None if self.groups is None else tuple(self.groups[place] for place in places),
        )

    def pictures(self, places: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Read pictures as the network sees them, uint8 [n, S, S, C]."""
        return self.pixels.block(self.rows[places], self.size_px)

    def blocks(self, change: Change | None = None) -> Iterator[np.ndarray]:
        """Yield all pictures in their order, changed by threads."""
        with ThreadPoolExecutor(cores_here(), "stress") as pool:
            for first in range(0, len(self), AT_ONCE):
                block = self.pictures(slice(first, first + AT_ONCE))
                if change is not None:
                    block = np.stack(list(pool.map(change, block, self.numbers[first : first + AT_ONCE])))
                yield block

    def answers(self, classifier: Classifier, change: Change | None = None) -> np.ndarray:
        """Name the class number of every picture, int64 [n], as `predict` would.

        Raises:
            ModelError: The network gives NaN or infinity.
        """
        logits = classifier.logits(self.blocks(change))
        if not np.isfinite(logits).all():
            raise ModelError("the network should give finite numbers.", got="NaN or infinity", fix="train again.")
        return classifier.calibration.probabilities(logits).argmax(axis=1)


def draw(classifier: Classifier, dataset: Dataset, pixels: Pixels, pictures: int, seed: int) -> Sample:
    """Draw a sample, stratified by class: each class has its share of the whole, to within one picture.

    Pictures without a label cannot be judged and are left out. Classes are matched by name; pictures of a class that the
    model does not know stay in, and count as wrong.

    Raises:
        SourceError: No picture has a label that is one of the model's classes.
    """
    number = {name: index for index, name in enumerate(classifier.classes)}
    named = [example.label for example in dataset.examples]
    labelled = np.array([row for row, name in enumerate(named) if name in dataset.classes], dtype=np.int64)
    if not any(named[row] in number for row in labelled):
        raise SourceError(
            f"{dataset.source} should have pictures of the model's classes.",
            got=f"classes {', '.join(dataset.classes[:5])}" if len(labelled) else "no labelled pictures",
            fix=f"the model knows {', '.join(classifier.classes[:5])} ...: names must be equal, letter by letter.",
        )
    rows = labelled[stratified(dataset.labels[labelled], pictures, seed)]
    groups = tuple(dataset.examples[row].group for row in rows)
    return Sample(
        pixels=pixels,
        rows=rows,
        labels=np.array([number.get(named[row], -1) for row in rows], dtype=np.int64),
        ids=tuple(dataset.examples[row].id for row in rows),
        groups=groups if any(groups) else None,
        size_px=classifier.preprocessing.size_px,
    )


def stratified(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw places so that each class has its share to within one, ascending; all of them if there are not more."""
    N = len(labels)
    if count >= N:
        return np.arange(N)
    shuffled = np.random.default_rng(seed).permutation(N)
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    # Evenly spaced places in the order of the classes take each class's share.
    return np.sort(by_class[((np.arange(count) + 0.5) * N / count).astype(np.int64)])
