"""Training pictures that stay on the device as bytes: batches are gathered, changed and normalised there.

What happens to each picture is drawn on the host as for any other batch, a whole epoch at once and ahead of time, and
copied once: no step waits for the host, and the host waits for no step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from linnaeus.data.batches import Feed
from linnaeus.data.gathered import UPLOAD_BYTES, Moves, Store, on_batch
from linnaeus.data.pixels import Pixels
from linnaeus.learn.engine import Engine
from linnaeus.learn.objectives import Batch

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
    """The pictures of a feed, on the device, and the feed's batches made of them there.

    Args:
        feed: Says which pictures, in which order, changed how.
        pixels: The stored pictures by row number.
        normalise: From bytes [N, S, S, C] to the network's input [N, C, S, S].
        engine: The device.
    """

    def __init__(self, feed: Feed, pixels: Pixels, normalise: Callable[[Tensor], Tensor], engine: Engine) -> None:
        self.feed, self._normalise, self._engine = feed, normalise, engine
        self._sizes = pixels.sizes[feed.rows].astype(np.int64)
        self._place = np.full(int(feed.rows.max()) + 1, -1, np.int64)
        self._place[feed.rows] = np.arange(len(feed.rows))
        channels = pixels[int(feed.rows[0])].shape[2]
        self._store = Store.of(_blocks(pixels, feed.rows), self._sizes, channels, engine.device)

    def batches(self, first: int, stop: int) -> Iterator[Batch]:
        """Yield batches number `first` up to and without `stop`; the same as those of `Feed`, but on the device."""
        if first >= stop:
            return
        per_epoch = self.feed.steps_per_epoch
        epochs = range(first // per_epoch, -(-stop // per_epoch))
        for epoch, drawn in zip(epochs, self._ahead(epochs), strict=True):
            start = epoch * per_epoch
            for place in range(max(first - start, 0), min(stop - start, per_epoch)):
                yield self._batch(drawn, epoch, place)

    def _ahead(self, epochs: range) -> Iterator[_Epoch]:
        """Draw epoch after epoch, each while the one before it is trained on."""
        with ThreadPoolExecutor(1, thread_name_prefix="draws") as pool:
            coming: list[Future[_Epoch]] = [pool.submit(self._draw, epoch) for epoch in epochs[:1]]
            for epoch in epochs:
                drawn = coming.pop().result()
                if epoch + 1 in epochs:
                    coming.append(pool.submit(self._draw, epoch + 1))
                send = self._engine.send
                yield _Epoch(drawn.ends, send(drawn.chosen), send(drawn.labels), drawn.moves.to(self._engine.device))

    def _draw(self, epoch: int) -> _Epoch:
        order = self.feed.order(epoch)
        places = [self._place[rows] for rows in order]
        changes = [
            self.feed.changes(rows, self._sizes[chosen], epoch, place)
            for place, (rows, chosen) in enumerate(zip(order, places, strict=True))
        ]
        ends = [0, *np.cumsum([len(rows) for rows in order]).tolist()]
        labels = torch.from_numpy(self.feed.labels[np.concatenate(order)])
        return _Epoch(ends, torch.from_numpy(np.concatenate(places)), labels, Moves.of(changes))

    def _batch(self, drawn: _Epoch, epoch: int, place: int) -> Batch:
        start, stop = drawn.ends[place : place + 2]
        pictures = on_batch(self._store, drawn.chosen[start:stop], drawn.moves.part(start, stop))
        return Batch(self._normalise(pictures), drawn.labels[start:stop], (self.feed.seed, epoch, place))


def stays_on_device(feed: Feed, pixels: Pixels, engine: Engine) -> str | None:
    """Tell why the pictures may stay on the device, or None where they do not fit or need not leave main memory."""
    free = engine.free_bytes()
    if not free or not len(feed.rows):
        return None
    needed = int(pixels.sizes[feed.rows].astype(np.int64).prod(axis=1).sum()) * pixels[int(feed.rows[0])].shape[2]
    if needed > SHARE_OF_FREE * free:
        return None
    return f"they take {needed / 1e9:.2g} of the {free / 1e9:.0f} GB that are free there"


def _blocks(pixels: Pixels, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the pixels of some rows' pictures in pieces worth a copy, uint8 [n, C]."""
    whole = pixels.uniform
    sizes = pixels.sizes[rows].astype(np.int64).prod(axis=1)
    pieces = np.cumsum(sizes) * 3 // UPLOAD_BYTES
    for piece in np.unique(pieces):
        some = rows[pieces == piece]
        taken = [whole[some]] if whole is not None else [pixels[int(row)] for row in some]
        yield np.concatenate([one.reshape(-1, one.shape[-1]) for one in taken])
