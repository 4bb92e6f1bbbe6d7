"""Keep what was measured of pictures by their content: a second look measures none, ten new pictures cost ten."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from linnaeus.data.shards import mark_used


class Measured:
    """Numbers by content hash, in small files beside the pixels; one more file for each run that measured something.

    Args:
        cache_dir: The cache folder.
        about: All else that the numbers depend on.
        columns: How many numbers each picture has.
    """

    def __init__(self, cache_dir: Path, about: object, columns: int) -> None:
        name = hashlib.sha256(repr((about, columns)).encode()).hexdigest()[:16]
        self._folder = Path(cache_dir) / f"traits-{name}"
        self._record = np.dtype([("hash", "V32"), ("values", "<f8", (columns,))])
        self._known: dict[bytes, np.ndarray] = {}
        # Named as pixels are, so that what has not been used for long makes room for them.
        for path in sorted(self._folder.glob("*.shard")):
            records = self._load(path)
            digests, values = records["hash"].tobytes(), records["values"]
            self._known.update((digests[32 * row : 32 * row + 32], values[row]) for row in range(len(records)))

    def fill(self, hashes: Sequence[str], values: np.ndarray) -> np.ndarray:
        """Fill in what is known, and tell which rows that was, bool [N].

        Args:
            hashes: Content of each picture in hex; "" where it is not known.
            values: Numbers of each, float64 [N, columns]; changed in place.
        """
        found = np.zeros(len(hashes), bool)
        for row, digest in enumerate(hashes):
            known = self._known.get(bytes.fromhex(digest)) if digest else None
            if known is not None:
                values[row], found[row] = known, True
        return found

    def keep(self, measured: Mapping[str, np.ndarray]) -> None:
        """Keep the numbers of some pictures, by hash in hex. It only saves time: where that fails they are measured again."""
        if not measured:
            return
        records = np.empty(len(measured), self._record)
        records["hash"] = np.frombuffer(b"".join(map(bytes.fromhex, measured)), "V32")
        records["values"] = np.stack(list(measured.values()))
        part = self._folder / f"{uuid.uuid4().hex}.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as file:
                np.save(file, records, allow_pickle=False)
            os.replace(part, part.with_suffix(".shard"))
        except OSError:
            return

    def _load(self, path: Path) -> np.ndarray:
        try:
            records: np.ndarray = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return np.empty(0, self._record)
        mark_used(path)
        return records if records.dtype == self._record else np.empty(0, self._record)
