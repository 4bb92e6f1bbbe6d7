"""What is made from pictures, as fingerprints and features are: kept by their content, in shards of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from linnaeus.data.shards import Shard, ShardWriter, open_shards
from linnaeus.errors import SettingsError


class Kept:
    """Rows of bytes in one folder of the cache, each under the SHA-256 of the picture that it was made from.

    Attributes:
        shards: What is there, mapped: what another process evicts after that can still be read.
    """

    def __init__(self, folder: Path) -> None:
        self.shards: list[Shard] = [one for one in open_shards(folder) if len(one.index) and one.take_up()]
        self._folder = folder
        self._writer: ShardWriter | None = None

    def places(self) -> dict[bytes, tuple[int, int]]:
        """Map each SHA-256 to the number of its shard and the number of its row in it."""
        found = {}
        for number, shard in enumerate(self.shards):
            joined = shard.index["hash"].tobytes()
            for row in range(len(shard.index)):
                found[joined[32 * row : 32 * row + 32]] = (number, row)
        return found

    @contextmanager
    def adding(self) -> Iterator[Callable[[bytes, np.ndarray], None]]:
        """Give a function that adds a row, uint8 [n]; all are published, file by file, also after Ctrl-C.

        Raises:
            SettingsError: The cache folder cannot be written, or the disk is full.
        """
        try:
            yield self._add
        finally:
            self._publish()

    def _add(self, digest: bytes, row: np.ndarray) -> None:
        writer = self._writer = self._writer or ShardWriter(self._folder)
        try:
            writer.append((digest, -1, writer.bytes, 1, row.nbytes, 0, 0, 0, False), row)
        except SettingsError:
            self._writer = None
            raise
        if writer.full:
            self._publish()

    def _publish(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            shard = writer.close()
            if len(shard.index) and shard.take_up():
                self.shards.append(shard)
