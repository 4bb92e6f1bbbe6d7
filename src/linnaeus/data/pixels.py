"""Stored pixels by row number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from linnaeus.data.decode import middle, prepare, read_bytes
from linnaeus.data.diary import content_hash
from linnaeus.data.filenames import printable
from linnaeus.data.shards import Shard
from linnaeus.errors import PictureError
from linnaeus.records import Place, Preprocessing

GATHER_BYTES = 2**30
"""Pictures of one size that lie scattered are gathered in memory up to this."""


class Pixels:
    """A sequence of pictures, uint8 [h, w, C], read from memory-mapped shards.

    A row whose picture has a problem raises it when touched.
    """

    def __init__(
        self,
        shards: Sequence[Shard | None],
        table: np.ndarray,
        places: tuple[Place, ...],
        problems: Mapping[int, PictureError],
        preprocessing: Preprocessing,
    ) -> None:
        self._shards, self._table, self._places = shards, table, places
        self._problems, self._preprocessing = problems, preprocessing
        # Plain lists: reading single items of a structured array costs a microsecond each.
        self._shard, self._offset = table["shard"].tolist(), table["offset"].tolist()
        self._height, self._width = table["height"].tolist(), table["width"].tolist()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: int) -> np.ndarray:
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row = int(row) % len(self)
        if row in self._problems:
            raise self._problems[row].of(printable(self._places[row].path))
        h, w, C = self._height[row], self._width[row], self._preprocessing.channels
        shard = self._shards[self._shard[row]] if self._shard[row] >= 0 else None
        if shard is None:
            return self._decode_again(row)
        offset = self._offset[row]
        return shard.pixels[offset : offset + h * w * C].reshape(h, w, C)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    @property
    def sizes(self) -> np.ndarray:
        """Height and width of every stored picture, int32 [N, 2]; 0 for a row with a problem."""
        return np.stack([self._table["height"], self._table["width"]], axis=1)

    def take(self, rows: Sequence[int] | np.ndarray) -> Pixels:
        """Choose rows, in that order."""
        rows = np.asarray(rows, dtype=np.int64)
        return Pixels(
            self._shards,
            self._table[rows],
            tuple(self._places[row] for row in rows),
            {new: self._problems[row] for new, row in enumerate(rows.tolist()) if row in self._problems},
            self._preprocessing,
        )

    def joined(self, other: Pixels) -> Pixels:
        """Put another sequence, stored in the same way, after this one."""
        table = np.concatenate([self._table, other._table])
        later = table["shard"][len(self) :]
        later[later >= 0] += len(self._shards)
        problems = {row + len(self): problem for row, problem in other._problems.items()}
        return Pixels(
            [*self._shards, *other._shards],
            table,
            self._places + other._places,
            {**self._problems, **problems},
            self._preprocessing,
        )

    @cached_property
    def uniform(self) -> np.ndarray | None:
        """All pictures as one array [N, S, S, C], or None.

        A view where they lie one after the other in one shard; gathered where that takes less than 1 GiB; None where
        sizes differ, a row has a problem, or it is too much.
        """
        heights, widths, shards = self._table["height"], self._table["width"], self._table["shard"]
        if not len(self) or self._problems or shards.min() < 0:
            return None
        S, C = int(heights[0]), self._preprocessing.channels
        if (heights != S).any() or (widths != S).any():
            return None
        steps = np.arange(len(self), dtype=np.int64) * (S * S * C)
        shard = self._shards[shards[0]]
        if (
            shard is not None
            and (shards == shards[0]).all()
            and (self._table["offset"] - self._offset[0] == steps).all()
        ):
            start = self._offset[0]
            return shard.pixels[start : start + len(self) * S * S * C].reshape(-1, S, S, C)
        return np.stack(list(self)) if len(self) * S * S * C <= GATHER_BYTES else None

    def block(self, rows: Sequence[int] | np.ndarray, size_px: int) -> np.ndarray:
        """Take the middle of some pictures: what evaluation sees, uint8 [n, size_px, size_px, C].

        Raises:
            PictureError: A row has a problem.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if self.uniform is not None:
            return middle(self.uniform, size_px)[rows]
        taken = np.empty((len(rows), size_px, size_px, self._preprocessing.channels), np.uint8)
        for place, row in enumerate(rows.tolist()):
            taken[place] = middle(self[row], size_px)
        return taken

    def _decode_again(self, row: int) -> np.ndarray:
        """Decode a picture for which the cache had no room, if it still is what was scanned."""
        place = self._places[row]
        try:
            data = read_bytes(place)
            if bytes.fromhex(content_hash(data, place.layout)) != self._table["hash"][row].tobytes():
                raise PictureError("unreadable", "the file changed after it was scanned")
            return prepare(data, place.layout, self._preprocessing)
        except PictureError as error:
            raise error.of(printable(place.path)) from None
