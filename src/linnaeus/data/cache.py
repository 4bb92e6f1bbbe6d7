"""Look at every picture once: its hash, its size, what is wrong with it, and its stored pixels.

Pixels are kept by content, so the second run starts at once, a renamed file costs nothing, and ten new pictures cost
ten pictures.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from linnaeus.data.decode import Glance, prepare_and_glance, raw_block, read_bytes, shape_of, stored_size
from linnaeus.data.pixels import Pixels
from linnaeus.data.seen import Seen
from linnaeus.data.shards import ENTRY, Shard, ShardWriter, evict, open_shards
from linnaeus.data.verdict import SIGNATURES
from linnaeus.errors import PictureError, SettingsError
from linnaeus.machine import cores_here
from linnaeus.records import Dataset, Place, Preprocessing

FORMATS = ("RAW", *(name for name, _, _ in SIGNATURES))
CHUNK = 8
"""Pictures per task, few: on many cores a task's pictures wait in memory for their turn to be written."""
RAW_CHUNK, RAW_CHUNK_BYTES = 1024, 2**22
"""Plain pixels that are stored as they are take no time each: many are read at once, but no more than so many bytes."""
VERSION = 3
"""Raise it when decoding, resizing or the table of entries changes, so that old pixels are not mixed with new ones."""


@dataclass(frozen=True)
class Scan:
    """What one look at every picture found; all columns are aligned with the examples.

    Attributes:
        hashes: SHA-256 of each picture's bytes in hex; "" where there were none to read.
        widths: Pixels of the original, after the EXIF turn; 0 where it could not be decoded. int32 [N].
        heights: The same, int32 [N].
        formats: "JPEG", "PNG" ... as found in the bytes; "" where it could not be decoded.
        turned: Whether EXIF turned the picture, bool [N].
        modes: Pillow's name of how the file keeps its pixels: "RGB", "P", "I;16" ...; "" where it could not be decoded.
        problems: Row number -> why the picture cannot be used.
        pixels: Stored pixels.
    """

    hashes: tuple[str, ...]
    widths: np.ndarray
    heights: np.ndarray
    formats: tuple[str, ...]
    turned: np.ndarray
    modes: tuple[str, ...]
    problems: dict[int, PictureError]
    pixels: Pixels

    def __len__(self) -> int:
        return len(self.hashes)

    def take(self, rows: Sequence[int] | np.ndarray) -> Scan:
        """Choose examples by row number, in that order, as `Dataset.take` does."""
        rows = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            hashes=tuple(self.hashes[row] for row in rows),
            widths=self.widths[rows],
            heights=self.heights[rows],
            formats=tuple(self.formats[row] for row in rows),
            turned=self.turned[rows],
            modes=tuple(self.modes[row] for row in rows),
            problems={new: self.problems[row] for new, row in enumerate(rows.tolist()) if row in self.problems},
            pixels=self.pixels.take(rows),
        )


def scan(
    dataset: Dataset,
    preprocessing: Preprocessing,
    *,
    cache_dir: Path,
    cache_gb: float,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Scan:
    """Read, hash and decode every picture once, in threads, keeping what the cache does not have yet.

    Where the whole set does not fit into the cache, the rest is decoded again whenever it is touched.

    Args:
        dataset: What to look at.
        preprocessing: How pictures are stored.
        cache_dir: Where stored pixels are kept; made if needed.
        cache_gb: Most that they may take, over all preprocessings.
        progress: Called with (done, all) now and then.
        workers: Threads; by default one per processor core that this process may use.

    Raises:
        SettingsError: The cache folder cannot be written.
    """
    run = _Filling(dataset, preprocessing, Path(cache_dir), cache_gb * 1e9)
    workers = workers or cores_here()
    with warnings.catch_warnings(), ThreadPoolExecutor(workers, thread_name_prefix="scan") as pool:
        # Pillow warns of odd EXIF blocks and large sizes. Filters are the process's own, so threads must not set them.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        done = 0
        try:
            for rows, outcome in _in_order(pool, run.look, _chunks(dataset, preprocessing), ahead=workers + 2):
                run.keep(rows, outcome)
                done += len(rows)
                if progress is not None:
                    progress(done, len(dataset))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            run.close()
    return run.result()


@dataclass(slots=True)
class _Look:
    """What a thread found out about one picture."""

    digest: bytes = b""
    seen: Glance | None = None
    pixels: np.ndarray | None = None
    problem: PictureError | None = None
    key: bytes = b""


class _Filling:
    """One scan under way: threads call `look`, the calling thread calls `keep` in the order of the rows."""

    def __init__(self, dataset: Dataset, preprocessing: Preprocessing, cache_dir: Path, limit_bytes: float) -> None:
        self.dataset, self.preprocessing = dataset, preprocessing
        self.cache_dir, self.limit_bytes = cache_dir, limit_bytes
        self.folder = cache_dir / _key(preprocessing)
        self.seen = Seen(cache_dir, dataset.source)
        self.shards: list[Shard | None] = list(open_shards(self.folder))
        self.tables = [_numbered(shard.index, number) for number, shard in enumerate(self.shards) if shard]
        entries = np.concatenate([np.empty(0, ENTRY), *self.tables])
        self.where = {digest: number for number, digest in enumerate(_digests(entries))}
        self.sizes = (entries["source_height"].astype(np.int64) * entries["source_width"]).tolist()
        self.count = len(entries)
        self.writer: ShardWriter | None = None
        self.used: set[int] = set()
        self.used_bytes = 0
        self.row_entry = np.full(len(dataset), -1, np.int64)
        self.row_digest: list[bytes] = [b""] * len(dataset)
        self.problems: dict[int, PictureError] = {}
        self.shard_of = entries["shard"].tolist()

    def look(self, rows: Sequence[int]) -> list[_Look]:
        """Find out all about some pictures; called by threads."""
        places = [self.dataset.examples[row].place for row in rows]
        looks = self._look_at_block(places) if len(places) > CHUNK else None
        return looks if looks is not None else [self._look_at(place) for place in places]

    def _look_at(self, place: Place) -> _Look:
        look = _Look(key=self.seen.key(place))
        known = self.seen.digest(look.key)
        if known and known in self.where:
            look.digest = known
            return look
        try:
            data = read_bytes(place)
            look.digest = hashlib.sha256(_prefix(place.layout) + data).digest()
            if look.digest not in self.where:
                look.pixels, look.seen = prepare_and_glance(data, place.layout, self.preprocessing)
        except PictureError as error:
            look.problem = error
        return look

    def _look_at_block(self, places: Sequence[Place]) -> list[_Look] | None:
        """Read plain pixels that lie close together in one file at once; None where that is not possible."""
        layout = places[0].layout
        C, H, W = shape_of(layout)
        size = C * H * W
        start = min(place.offset for place in places)
        span = max(place.offset for place in places) + size - start
        if span > 2 * len(places) * size or any(place.length != size for place in places):
            return None
        try:
            data = read_bytes(replace(places[0], offset=start, length=span))
        except PictureError:
            return None
        begins = [place.offset - start for place in places]
        pieces = [data[begin : begin + size] for begin in begins]
        looks = [_Look(hashlib.sha256(_prefix(layout) + piece).digest()) for piece in pieces]
        new = [(look, piece) for look, piece in zip(looks, pieces, strict=True) if look.digest not in self.where]
        if not new:
            return looks
        joined = np.frombuffer(b"".join(piece for _, piece in new), np.uint8)
        seen = Glance(W, H, "RAW", "L" if C == 1 else "RGB")
        for (look, _), pixels in zip(new, raw_block(joined, layout, self.preprocessing.channels), strict=True):
            look.seen, look.pixels = seen, pixels
        return looks

    def keep(self, rows: Sequence[int], looks: list[_Look]) -> None:
        """Store what is new and note where each row is."""
        fresh: list[tuple[object, ...]] = []
        for row, look in zip(rows, looks, strict=True):
            self.row_digest[row] = look.digest
            if look.problem is not None:
                self.problems[row] = look.problem
                continue
            if look.pixels is not None and look.seen is not None and look.digest not in self.where:
                fresh.append(self._store(look.digest, look.pixels, look.seen))
                self.where[look.digest] = self.count
                self.count += 1
            number = self.where[look.digest]
            if self.sizes[number] > self.preprocessing.max_pixels:
                limit = self.preprocessing.max_pixels
                self.problems[row] = PictureError(
                    "too large", f"{self.sizes[number]} pixels; data.max_pixels is {limit}"
                )
                continue
            self.row_entry[row] = number
            self._use(self.shard_of[number])
            self.seen.note(look.key, look.digest)
        if fresh:
            self.tables.append(np.array(fresh, ENTRY))
        if self.writer is not None and self.writer.full:
            self._publish()

    def _store(self, digest: bytes, pixels: np.ndarray, seen: Glance) -> tuple[object, ...]:
        offset, number = 0, -1
        if self._room_for(pixels.nbytes):
            self.writer = self.writer or ShardWriter(self.folder)
            offset, number = self.writer.bytes, len(self.shards)
        h, w = pixels.shape[:2]
        turned, kind = seen.orientation != 1, FORMATS.index(seen.format)
        entry = (digest, number, offset, h, w, seen.height, seen.width, kind, turned, seen.mode.encode())
        if number >= 0 and self.writer is not None:
            try:
                self.writer.append(entry, pixels)
            except SettingsError:
                self.writer = None
                raise
        self.sizes.append(seen.height * seen.width)
        self.shard_of.append(number)
        return entry

    def _use(self, number: int) -> None:
        """Note that a row needs a shard; the one that is being written counts when it is published."""
        if number not in self.used and number < len(self.shards):
            self.used.add(number)
            shard = self.shards[number] if number >= 0 else None
            self.used_bytes += shard.bytes if shard else 0

    def _room_for(self, more: int) -> bool:
        """Say whether what this scan needs still fits; what others left is evicted for it."""
        return self.used_bytes + (self.writer.bytes if self.writer else 0) + more <= self.limit_bytes

    def _publish(self) -> None:
        if self.writer is None:
            return
        writer, self.writer = self.writer, None
        self.shards.append(writer.close())
        self._use(len(self.shards) - 1)
        evict(self.cache_dir, self.limit_bytes)

    def close(self) -> None:
        """Publish what is there, also after Ctrl-C; let go of shards that no row needs; make room."""
        self._publish()
        self.shards = [
            shard if shard is not None and number in self.used and shard.take_up() else None
            for number, shard in enumerate(self.shards)
        ]
        self.seen.save()
        evict(self.cache_dir, self.limit_bytes)

    def result(self) -> Scan:
        """Assemble the columns."""
        nothing = np.zeros(1, ENTRY)
        nothing["shard"] = -1
        # The last entry stands for rows with a problem: their number is -1.
        table = np.concatenate([*self.tables, nothing])[self.row_entry]
        kinds = [FORMATS[number] for number in table["format"].tolist()]
        places = tuple(example.place for example in self.dataset.examples)
        return Scan(
            hashes=tuple(digest.hex() for digest in self.row_digest),
            widths=table["source_width"],
            heights=table["source_height"],
            formats=tuple("" if row in self.problems else kind for row, kind in enumerate(kinds)),
            turned=table["turned"].astype(bool),
            modes=tuple(mode.decode() for mode in table["mode"].tolist()),
            problems=self.problems,
            pixels=Pixels(self.shards, table, places, self.problems, self.preprocessing),
        )


def _key(preprocessing: Preprocessing) -> str:
    """Name the folder by all that changes stored pixels, and by nothing else."""
    what = (
        VERSION,
        preprocessing.resize,
        preprocessing.resize_px,
        preprocessing.interpolation,
        preprocessing.background,
        preprocessing.channels,
    )
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _prefix(layout: str) -> bytes:
    """Set plain pixels of different shapes apart."""
    return f"{layout}\0".encode() if layout else b""


def _numbered(index: np.ndarray, number: int) -> np.ndarray:
    index = index.copy()
    index["shard"] = number
    return index


def _digests(entries: np.ndarray) -> Iterator[bytes]:
    joined = entries["hash"].tobytes()
    return (joined[start : start + 32] for start in range(0, len(joined), 32))


def _chunks(dataset: Dataset, preprocessing: Preprocessing) -> Iterator[list[int]]:
    """Group neighbouring rows: many where plain pixels of one file are stored as they are, else few."""

    def file(row: int) -> tuple[str, str]:
        place = dataset.examples[row].place
        return (place.path, place.layout) if place.layout else ("", "")

    for (_, layout), group in groupby(range(len(dataset)), file):
        _, H, W = shape_of(layout) if layout else (0, 0, 0)
        rows, size = list(group), CHUNK
        if layout and stored_size(W, H, preprocessing):
            size = max(CHUNK, min(RAW_CHUNK, RAW_CHUNK_BYTES // (3 * H * W)))
        yield from (rows[start : start + size] for start in range(0, len(rows), size))


def _in_order(
    pool: ThreadPoolExecutor,
    look: Callable[[Sequence[int]], list[_Look]],
    chunks: Iterator[list[int]],
    ahead: int,
) -> Iterator[tuple[list[int], list[_Look]]]:
    """Work on several chunks at once, but give them back in their order, so that the cache is laid out by row."""
    waiting: deque[tuple[list[int], Future[list[_Look]]]] = deque()
    for chunk in chunks:
        waiting.append((chunk, pool.submit(look, chunk)))
        if len(waiting) > ahead:
            rows, future = waiting.popleft()
            yield rows, future.result()
    while waiting:
        rows, future = waiting.popleft()
        yield rows, future.result()
