"""Batches of training pictures: which, in which order, changed how. A pure function of seed and step."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from linnaeus.config import AugmentSettings
from linnaeus.data.augment import Changes, draw, on_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence


Sampling = Literal["all", "oversample", "undersample"]
"""Which pictures make an epoch. all: each once. oversample: as many in all, but every class equally often: pictures of
rare classes come again, those of common classes take turns over the epochs. undersample: of each class as many as the
rarest has, in turns."""


class Pictures(Protocol):
    """Stored pictures by row number: uint8 [h, w, C]."""

    def __getitem__(self, row: int) -> np.ndarray:
        """Return one picture."""
        ...


@dataclass(frozen=True)
class BytesBatch:
    """One batch before normalisation.

    Attributes:
        pictures: uint8 [N, S, S, C].
        labels: int64 [N].
        seed: From which later randomness (mixup) is drawn.
    """

    pictures: np.ndarray
    labels: np.ndarray
    seed: tuple[int, int, int]


@dataclass(frozen=True)
class Feed:
    """Everything that determines the batches of a training.

    No state: batch number s is the same whether the run came there in one go or was resumed, because every random
    number comes from (seed, epoch, batch). Batches are made ahead of time by threads (decoding is done, and
    OpenCV and numpy leave the interpreter's lock), so that no step waits.

    Attributes:
        pictures: Stored pictures by row number.
        rows: Row numbers of the training pictures.
        labels: Class number of every row of `pictures`.
        settings: Augmentation.
        size_px: Height and width of the network's input.
        batch_size: Pictures per step.
        seed: Of the run.
        sampling: Which pictures make an epoch.
    """

    pictures: Pictures
    rows: np.ndarray
    labels: np.ndarray
    settings: AugmentSettings
    size_px: int
    batch_size: int
    seed: int
    sampling: Sampling = "all"

    @property
    def pictures_per_epoch(self) -> int:
        """Number of pictures of an epoch."""
        if self.sampling != "undersample":
            return len(self.rows)
        counts = np.unique(self.labels[self.rows], return_counts=True)[1]
        return int(len(counts) * counts.min(initial=len(self.rows)))

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches of an epoch."""
        return max(1, math.ceil(self.pictures_per_epoch / self.batch_size))

    def batches(self, first: int, stop: int, *, ahead: int = 3, threads: int = 1) -> Iterator[BytesBatch]:
        """Yield batches number `first` up to and without `stop`, made by threads at most `ahead` of time."""
        with ThreadPoolExecutor(threads, thread_name_prefix="batches") as pool:
            waiting: deque[Future[BytesBatch]] = deque()
            orders: dict[int, list[np.ndarray]] = {}
            for number in range(first, stop):
                epoch, place = divmod(number, self.steps_per_epoch)
                if epoch not in orders:
                    orders = {epoch: self.order(epoch)}
                waiting.append(pool.submit(self._make, orders[epoch][place], epoch, place))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def order(self, epoch: int) -> list[np.ndarray]:
        """Deal the rows into the batches of an epoch, of sizes that differ by one at most (BatchNorm dislikes a rest of one)."""
        chosen = self.rows if self.sampling == "all" else self._evenly(epoch)
        shuffled = np.random.default_rng((self.seed, epoch)).permutation(chosen)
        return np.array_split(shuffled, self.steps_per_epoch)

    def _evenly(self, epoch: int) -> np.ndarray:
        """Choose the rows of an epoch, equally many of each class.

        All epochs together are one long row of places, dealt to the classes in turn; a class fills its places with all
        of its pictures, in another order each time it has gone through them.
        """
        owned = [self.rows[self.labels[self.rows] == label] for label in np.unique(self.labels[self.rows])]
        first, count = epoch * self.pictures_per_epoch, self.pictures_per_epoch
        places = np.arange(first, first + count)
        chosen = np.empty(count, dtype=self.rows.dtype)
        for k, own in enumerate(owned):
            turn, place = np.divmod(places[places % len(owned) == k] // len(owned), len(own))
            orders = {one: np.random.default_rng((self.seed, one, k, 0, 3)).permutation(own) for one in np.unique(turn)}
            chosen[places % len(owned) == k] = [orders[t][p] for t, p in zip(turn.tolist(), place, strict=True)]
        return chosen

    def view(self, rows: np.ndarray, epoch: int) -> BytesBatch:
        """Make the pictures of some rows as a given epoch shows them; a pure function of seed, first row and epoch."""
        return self._make(rows, epoch, int(rows[0]))

    def changes(self, rows: np.ndarray, sizes: np.ndarray, epoch: int, place: int) -> Changes:
        """Draw what happens to the pictures of a batch; a pure function of seed, epoch and place.

        Args:
            rows: Row numbers of the pictures, [N].
            sizes: Height and width of each as it is stored, [N, 2].
            epoch: Number of the epoch.
            place: Number of the batch in its epoch.
        """
        random = np.random.default_rng((self.seed, epoch, place, 1))
        return draw(self.settings, sizes, self.size_px, random, rows, epoch)

    def _make(self, rows: np.ndarray, epoch: int, place: int) -> BytesBatch:
        stored: Sequence[np.ndarray] = [self.pictures[int(row)] for row in rows]
        sizes = np.array([picture.shape[:2] for picture in stored])
        changes = self.changes(rows, sizes, epoch, place)
        return BytesBatch(on_bytes(stored, changes), self.labels[rows], (self.seed, epoch, place))
