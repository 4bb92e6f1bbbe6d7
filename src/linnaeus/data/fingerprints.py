"""Make of every picture a fingerprint of 1.5 KB, by which its altered copies are found: 32 x 32 grey and 16 x 16 colour.

Fingerprints are made from stored pixels, and kept beside them by content: a second run makes none, ten new pictures
cost ten pictures. All that is compared later (descriptor, hash, alignment) is computed from fingerprints alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from linnaeus.data.cache import Scan
from linnaeus.data.kept import Kept
from linnaeus.errors import PictureError
from linnaeus.machine import cores_here
from linnaeus.records import Preprocessing

SIDE = 32
COLOUR_SIDE = SIDE // 2
BYTES = SIDE * SIDE + 2 * COLOUR_SIDE * COLOUR_SIDE
VERSION = 1
"""Raise it when fingerprints change, so that old ones are not compared with new ones."""
CHUNK = 64
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
FREQUENCIES, COLOUR_FREQUENCIES = 8, 4
WINDOWS = (
    (0.0, 1.0, 0.0, 1.0),
    (0.05, 0.95, 0.05, 0.95),
    (0.0, 0.9, 0.0, 0.9),
    (0.0, 0.9, 0.1, 1.0),
    (0.1, 1.0, 0.0, 0.9),
    (0.1, 1.0, 0.1, 1.0),
)
"""Top, bottom, left, right of what a crop may have left, as shares: the whole, and the nine tenths in five places.

A crop that leaves 85 to 95 % of both sides lies within 5 % of one of them.
"""


class Fingerprints:
    """Fingerprints by row number, read from memory-mapped files.

    Attributes:
        known: Whether the row has one, bool [N]; a picture that cannot be decoded has none.
    """

    def __init__(self, tables: Sequence[np.ndarray], table: np.ndarray, position: np.ndarray) -> None:
        self._tables, self._table, self._position = tables, table, position
        self.known = table >= 0

    def __len__(self) -> int:
        return len(self._table)

    def bytes(self, rows: np.ndarray) -> np.ndarray:
        """Gather fingerprints as they are stored, uint8 [n, BYTES].

        Args:
            rows: Row numbers, all of them known.
        """
        gathered = np.empty((len(rows), BYTES), np.uint8)
        owner = self._table[rows]
        for number in np.unique(owner):
            mine = owner == number
            gathered[mine] = self._tables[number][self._position[rows[mine]]]
        return gathered

    def luma(self, rows: np.ndarray) -> np.ndarray:
        """Gather grey pictures, float32 [n, SIDE, SIDE], 0..255."""
        return grey_of(self.bytes(rows))


def fingerprints(
    scan: Scan,
    preprocessing: Preprocessing,
    *,
    cache_dir: Path,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Fingerprints:
    """Look up or make the fingerprint of every picture of a scan.

    Args:
        scan: Its pixels are read where a fingerprint is not known yet.
        preprocessing: How the scan stored them.
        cache_dir: The cache folder that the scan used; fingerprints lie in it as pixels do, and are evicted alike.
        progress: Called with (done, all) of those that have to be made.
        workers: Threads; by default one per processor.

    Raises:
        SettingsError: The cache folder cannot be written.
    """
    kept = Kept(Path(cache_dir) / f"fingerprints-{_key(preprocessing)}")
    where = kept.places()
    missing: dict[str, int] = {}
    for row, digest in enumerate(scan.hashes):
        if row not in scan.problems and digest and bytes.fromhex(digest) not in where:
            missing.setdefault(digest, row)
    if missing:
        _make(scan, missing, kept, progress, workers or cores_here())
        where = kept.places()
    nowhere = (-1, -1)
    found = [
        where.get(bytes.fromhex(digest), nowhere) if row not in scan.problems else nowhere
        for row, digest in enumerate(scan.hashes)
    ]
    columns = np.array(found, np.int64).reshape(-1, 2)
    return Fingerprints([shard.pixels.reshape(-1, BYTES) for shard in kept.shards], columns[:, 0], columns[:, 1])


def grey_of(stored: np.ndarray) -> np.ndarray:
    """Take the grey pictures out of fingerprints [n, BYTES]: float32 [n, SIDE, SIDE], 0..255."""
    return stored[:, : SIDE * SIDE].reshape(-1, SIDE, SIDE).astype(np.float32)


def colour_of(stored: np.ndarray) -> np.ndarray:
    """Take blue and red minus grey out of fingerprints [n, BYTES]: float32 [n, 2, side, side], 0 where there is none."""
    return stored[:, SIDE * SIDE :].reshape(-1, 2, COLOUR_SIDE, COLOUR_SIDE).astype(np.float32) - 128


def condense(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Make fingerprints of pictures, uint8 [h, w, 1 or 3] of any sizes: uint8 [n, BYTES].

    Both sides are squashed to SIDE, so that the copy of a picture in another size gives the same.
    """
    small = _three(np.stack([shrink(picture, SIDE) for picture in pictures])).astype(np.float32)
    luma = small @ LUMA
    halves = small.reshape(len(small), COLOUR_SIDE, 2, COLOUR_SIDE, 2, 3).mean(axis=(2, 4))
    half_luma = halves @ LUMA
    colour = np.stack([halves[..., 2] - half_luma, halves[..., 0] - half_luma], axis=1) / 2 + 128
    flat = np.concatenate([luma.reshape(len(small), -1), colour.reshape(len(small), -1)], axis=1)
    return np.rint(flat).clip(0, 255).astype(np.uint8)


def shrink(picture: np.ndarray, side: int) -> np.ndarray:
    """Squash a picture, uint8 [h, w, C], to [side, side, C] by the mean over areas; a small one is enlarged linearly."""
    if picture.shape[:2] == (side, side):
        return picture
    import cv2

    how = cv2.INTER_AREA if min(picture.shape[:2]) >= side else cv2.INTER_LINEAR
    return cv2.resize(picture, (side, side), interpolation=how).reshape(side, side, -1)


def grey(pictures: Sequence[np.ndarray], side: int) -> np.ndarray:
    """Squash pictures, uint8 [h, w, 1 or 3], to grey ones, float32 [n, side, side], 0..255."""
    return _three(np.stack([shrink(picture, side) for picture in pictures])).astype(np.float32) @ LUMA


def _three(pictures: np.ndarray) -> np.ndarray:
    return pictures if pictures.shape[-1] == 3 else np.repeat(pictures, 3, axis=-1)


def describe(stored: np.ndarray, window: tuple[float, float, float, float] = WINDOWS[0]) -> np.ndarray:
    """Describe a window of each picture by its low frequencies, unit length: float32 [n, D].

    Cosine transform of grey (8 x 8) and of the two colour differences (4 x 4), each without its mean, times the
    frequency: the power of photographs falls with its square, so that all frequencies count about alike. Brightness and
    contrast cancel out.

    Args:
        stored: Fingerprints [n, BYTES].
        window: One of WINDOWS.
    """
    parts = [
        _transform(grey_of(stored), window, FREQUENCIES),
        *(_transform(colour_of(stored)[:, channel], window, COLOUR_FREQUENCIES) for channel in (0, 1)),
    ]
    whole = np.concatenate(parts, axis=1)
    return whole / np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), 1e-6)


@cache
def mirror_signs() -> np.ndarray:
    """What a description is multiplied with to become that of the mirrored picture: odd frequencies change sign, [D]."""
    columns = []
    for side in (FREQUENCIES, COLOUR_FREQUENCIES, COLOUR_FREQUENCIES):
        signs = np.tile(np.where(np.arange(side) % 2 == 1, -1.0, 1.0), side)
        columns.append(signs[1:])
    return np.concatenate(columns).astype(np.float32)


def perceptual_hashes(descriptions: np.ndarray) -> np.ndarray:
    """Keep the signs of the grey frequencies, 63 bits in uint64 [n].

    Source:
        C. Zauner (2010), "Implementation and Benchmarking of Perceptual Image Hash Functions", the DCT hash, here with
        the sign in place of the median as threshold, so that mirroring is a change of known bits.
    """
    bits = descriptions[:, : FREQUENCIES * FREQUENCIES - 1] > 0
    powers = np.uint64(1) << np.arange(FREQUENCIES * FREQUENCIES - 1, dtype=np.uint64)
    return (bits * powers).sum(axis=1, dtype=np.uint64)


def _transform(channel: np.ndarray, window: tuple[float, float, float, float], count: int) -> np.ndarray:
    rows, columns = (
        _cosines(channel.shape[1], count) @ _resampling(channel.shape[1], *ends) for ends in (window[:2], window[2:])
    )
    order = np.arange(count, dtype=np.float32)
    weight = np.hypot(order[:, None], order[None, :]) * (SIDE / channel.shape[1])
    return np.ascontiguousarray(((rows @ channel @ columns.T) * weight).reshape(len(channel), -1)[:, 1:])


@cache
def _cosines(side: int, count: int) -> np.ndarray:
    """Orthonormal cosine transform, its first `count` frequencies, [count, side]."""
    angles = np.pi * np.arange(count)[:, None] * (np.arange(side) + 0.5) / side
    basis = np.cos(angles) * np.sqrt(2 / side)
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)


@cache
def _resampling(side: int, begin: float, end: float) -> np.ndarray:
    """Linear interpolation that brings the part from `begin` to `end` to the full side, [side, side]."""
    at = ((begin + (end - begin) * (np.arange(side) + 0.5) / side) * side - 0.5).clip(0, side - 1)
    first = np.minimum(at.astype(int), side - 2)
    matrix = np.zeros((side, side), np.float32)
    matrix[np.arange(side), first] = 1 - (at - first)
    matrix[np.arange(side), first + 1] += at - first
    return matrix


def _key(how: Preprocessing) -> str:
    """Name the folder by what changes stored pixels, and so fingerprints."""
    what = (VERSION, how.resize, how.resize_px, how.interpolation, how.background, how.channels)
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def _make(
    scan: Scan, missing: dict[str, int], kept: Kept, progress: Callable[[int, int], None] | None, workers: int
) -> None:
    """Make fingerprints in threads, and publish them; after Ctrl-C those that are made."""
    digests, rows = list(missing), list(missing.values())
    chunks = [range(start, min(start + CHUNK, len(rows))) for start in range(0, len(rows), CHUNK)]
    with kept.adding() as add, ThreadPoolExecutor(workers, thread_name_prefix="fingerprints") as pool:
        made = pool.map(lambda chunk: _condense_rows(scan, [rows[place] for place in chunk]), chunks)
        try:
            for chunk, (good, block) in zip(chunks, made, strict=True):
                for place, one in zip(good, block, strict=True):
                    add(bytes.fromhex(digests[chunk[place]]), one)
                if progress is not None:
                    progress(chunk.stop, len(rows))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _condense_rows(scan: Scan, rows: Sequence[int]) -> tuple[list[int], np.ndarray]:
    """Condense those that can be read: a file that changed since the scan has no fingerprint."""
    good, pictures = [], []
    for place, row in enumerate(rows):
        try:
            pictures.append(scan.pixels[row])
        except PictureError:
            continue
        good.append(place)
    return good, condense(pictures) if pictures else np.empty((0, BYTES), np.uint8)
