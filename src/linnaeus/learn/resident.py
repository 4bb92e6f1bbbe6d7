"""Where training pictures come from: kept on the device as bytes where they fit, streamed to it else.

What happens to each resident picture is drawn on the host as for any other batch, a whole epoch at once and ahead of
time, and copied once: no step waits for the host, and the host waits for no step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from linnaeus.data.batches import BytesBatch, Feed
from linnaeus.data.gathered import UPLOAD_BYTES, Moves, Store, on_batch
from linnaeus.data.pixels import Pixels
from linnaeus.learn.engine import Engine
from linnaeus.learn.objectives import Batch
from linnaeus.records import Decision

SHARE_OF_FREE = 0.5
"""Most of the device's free memory that pictures may take: the rest is for the network's layers."""


@dataclass(frozen=True)
class _Epoch:
    """One epoch as it was drawn.

    Attributes:
        ends: Where each batch ends in the tensors, beginning with 0.
        chosen: Numbers of the pictures in the store, int64 [N].
        labels: Their classes, int64 [N].
        moves: What happens to them.
    """

    ends: list[int]
    chosen: Tensor
    labels: Tensor
    moves: Moves


class Resident:
    """Training pictures that stay on the device; batches are gathered, changed and normalised there.

    Args:
        rows: Row numbers of the pictures.
        pixels: The stored pictures by row number.
        normalise: From bytes [N, S, S, C] to the network's input [N, C, S, S].
        engine: The device.
    """

    def __init__(self, rows: np.ndarray, pixels: Pixels, normalise: Callable[[Tensor], Tensor], engine: Engine) -> None:
        self._normalise, self._engine = normalise, engine
        self._sizes = pixels.sizes[rows].astype(np.int64)
        self._place = np.full(int(rows.max()) + 1, -1, np.int64)
        self._place[rows] = np.arange(len(rows))
        channels = pixels[int(rows[0])].shape[2]
        self._store = Store.of(_blocks(pixels, rows), self._sizes, channels, engine.device)

    def batches(self, feed: Feed, first: int, stop: int) -> Iterator[Batch]:
        """Yield a feed's batches number `first` up to and without `stop`."""
        if first >= stop:
            return
        per_epoch = feed.steps_per_epoch
        epochs = range(first // per_epoch, -(-stop // per_epoch))
        for epoch, drawn in zip(epochs, self._ahead(feed, epochs), strict=True):
            start = epoch * per_epoch
            for place in range(max(first - start, 0), min(stop - start, per_epoch)):
                pictures, labels = self._batch(drawn, place)
                yield Batch(pictures, labels, (feed.seed, epoch, place))

    def _ahead(self, feed: Feed, epochs: range) -> Iterator[_Epoch]:
        """Draw epoch after epoch, each while the one before it is trained on."""
        with ThreadPoolExecutor(1, thread_name_prefix="draws") as pool:
            coming = pool.submit(self._draw, feed, epochs[0])
            for epoch in epochs:
                drawn = coming.result()
                if epoch + 1 in epochs:
                    coming = pool.submit(self._draw, feed, epoch + 1)
                send = self._engine.send
                yield _Epoch(drawn.ends, send(drawn.chosen), send(drawn.labels), drawn.moves.to(self._engine.device))

    def _draw(self, feed: Feed, epoch: int) -> _Epoch:
        order = feed.order(epoch)
        places = [self._place[rows] for rows in order]
        changes = [
            feed.changes(rows, self._sizes[chosen], epoch, place)
            for place, (rows, chosen) in enumerate(zip(order, places, strict=True))
        ]
        ends = [0, *np.cumsum([len(rows) for rows in order]).tolist()]
        labels = torch.from_numpy(feed.labels[np.concatenate(order)])
        return _Epoch(ends, torch.from_numpy(np.concatenate(places)), labels, Moves.of(changes))

    def _batch(self, drawn: _Epoch, place: int) -> tuple[Tensor, Tensor]:
        start, stop = drawn.ends[place : place + 2]
        pictures = on_batch(self._store, drawn.chosen[start:stop], drawn.moves.part(start, stop))
        return self._normalise(pictures), drawn.labels[start:stop]


class Streamed:
    """Batches made in main memory, each sent to the device while the one before it is trained on.

    Args:
        normalise: From bytes [N, S, S, C] to the network's input [N, C, S, S].
        engine: The device.
    """

    def __init__(self, normalise: Callable[[Tensor], Tensor], engine: Engine) -> None:
        self._normalise, self._engine = normalise, engine

    def batches(self, feed: Feed, first: int, stop: int) -> Iterator[Batch]:
        """Yield a feed's batches number `first` up to and without `stop`."""
        if self._engine.device.type == "cpu":
            # One thread: more would take the cores from the network.
            yield from _one_ahead(map(self._ready, feed.batches(first, stop)))
            return
        threads = max(1, self._engine.cores - 1)
        # Beside a GPU they have nothing else to do; what is sent there does not wait, and keeps the order of the steps.
        yield from map(self._ready, feed.batches(first, stop, ahead=3 * threads, threads=threads))

    def _ready(self, made: BytesBatch) -> Batch:
        pictures, labels = (self._engine.send(torch.from_numpy(one)) for one in (made.pictures, made.labels))
        return Batch(self._normalise(pictures), labels, made.seed)


def _one_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Have each batch made ready by another thread while the one before it is trained on."""
    with ThreadPoolExecutor(1, "ready", torch.set_num_threads, (1,)) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def supply_of(
    rows: np.ndarray, pixels: Pixels, normalise: Callable[[Tensor], Tensor], engine: Engine
) -> tuple[Resident | Streamed, list[Decision]]:
    """Keep training pictures on a device that has memory of its own and room in it; stream them else.

    Args:
        rows: Row numbers of the pictures.
        pixels: The stored pictures by row number.
        normalise: From bytes [N, S, S, C] to the network's input [N, C, S, S].
        engine: The device.

    Returns:
        Where batches come from, and what was decided.
    """
    free = engine.free_bytes()
    if not free or not len(rows):
        return Streamed(normalise, engine), []
    needed = int(pixels.sizes[rows].astype(np.int64).prod(axis=1).sum()) * pixels[int(rows[0])].shape[2]
    reason = f"the training pictures take {needed / 1e9:.2g} GB, and {free / 1e9:.3g} GB are free on the device"
    if needed > SHARE_OF_FREE * free:
        return Streamed(normalise, engine), [Decision("pictures are kept", "in main memory", reason)]
    return Resident(rows, pixels, normalise, engine), [Decision("pictures are kept", "on the device", reason)]


def _blocks(pixels: Pixels, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the pixels of some rows' pictures in pieces worth a copy, uint8 [n, C]."""
    whole = pixels.uniform
    sizes = pixels.sizes[rows].astype(np.int64).prod(axis=1)
    pieces = np.cumsum(sizes) * 3 // UPLOAD_BYTES
    for piece in np.unique(pieces):
        some = rows[pieces == piece]
        taken = [whole[some]] if whole is not None else [pixels[int(row)] for row in some]
        yield np.concatenate([one.reshape(-1, one.shape[-1]) for one in taken])
