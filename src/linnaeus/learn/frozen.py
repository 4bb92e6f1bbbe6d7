"""Batches for the upper part of a network whose lower part is frozen: what the lower part gives is computed once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from linnaeus.config import AugmentSettings
from linnaeus.data.batches import Feed
from linnaeus.learn.engine import Engine, one_torch_thread
from linnaeus.learn.infer import infer
from linnaeus.learn.objectives import Batch
from linnaeus.nn import stages
from linnaeus.nn.cut import cut
from linnaeus.records import Preprocessing
from linnaeus.talk import Talk

AT_ONCE = 250
AHEAD = 2
"""Batches that wait, ready, for their step."""
FROZEN_BYTES = 4e9
"""Most memory for the outputs of frozen stages."""


def halves_of(network: nn.Module, example: Tensor, count: int, engine: Engine) -> tuple[nn.Module, nn.Module] | None:
    """Cut a network above its frozen stages; None where nothing is frozen, or their outputs would take too much room.

    Args:
        network: In the mode in which it is trained.
        example: Two pictures, as the network takes them.
        count: How many outputs are to be kept.
        engine: Whose precision they are kept in.
    """
    if not stages.frozen_names(network):
        return None
    halves = cut(network, example)
    if halves is None:
        return None
    with torch.no_grad():
        bytes_each = halves[0](example[:1]).numel() * (2 if engine.precision == "bf16" else 4)
    return halves if bytes_each * count <= FROZEN_BYTES else None


@dataclass(frozen=True)
class FrozenFeed:
    """Outputs of the frozen part for several random views of every training picture.

    Attributes:
        outputs: [views, N, ...], bfloat16 where the engine computes in it; channels last where they have height and width.
        feed: What the views were drawn from; it also deals the batches.
        place: Row number of a picture -> its place in `outputs`.
        taught: A teacher's logits for the same views, float32 [views, N, K]; None without a teacher.
    """

    outputs: Tensor
    feed: Feed
    place: dict[int, int]
    taught: Tensor | None = None

    @classmethod
    def make(
        cls,
        lower: nn.Module,
        feed: Feed,
        views: int,
        preprocessing: Preprocessing,
        engine: Engine,
        talk: Talk,
        teacher: nn.Module | None = None,
    ) -> FrozenFeed:
        """Compute the outputs of the frozen part for `views` views of each picture.

        Args:
            lower: The frozen part; is put into evaluation mode.
            feed: Pictures and their augmentation; view 0 is the whole picture, view v what epoch v would show, but
                mirrored in turns.
            views: How many.
            preprocessing: For the normalisation.
            engine: The machine and precision.
            talk: Where progress goes.
            teacher: Is asked about the same views; its input is that of the whole network.
        """
        kept_as = torch.bfloat16 if engine.precision == "bf16" else torch.float32
        outputs: list[Tensor] = []
        taught: list[Tensor] = []
        N, done = len(feed.rows), 0
        # Few views must show every picture both ways round: left to chance, half of them would never be mirrored.
        flip: Literal["none", "alternating"] = "none" if feed.settings.flip == "none" else "alternating"
        whole_pictures = replace(feed, settings=AugmentSettings(flip=flip, fill=feed.settings.fill))
        changed = replace(feed, settings=feed.settings.model_copy(update={"flip": flip}))
        networks = [lower] if teacher is None else [lower, teacher]
        for view in range(views):
            source = changed if view else whole_pictures
            for network, kept in zip(networks, (outputs, taught), strict=False):
                blocks = (
                    source.view(feed.rows[first : first + AT_ONCE], view).pictures for first in range(0, N, AT_ONCE)
                )
                for part in infer(network, blocks, preprocessing, engine):
                    kept.append(part.to(kept_as) if network is lower else part)
                    done += len(part)
                    talk.progress("frozen stages", done, len(networks) * views * N)
        # One view after the other, joined without a second copy of everything at once.
        whole = torch.empty((views * N, *outputs[0].shape[1:]), dtype=kept_as)
        if whole.ndim == 4:
            whole = whole.to(memory_format=torch.channels_last)
        torch.cat(outputs, out=whole)
        places = {int(row): place for place, row in enumerate(feed.rows)}
        return cls(whole, feed, places, torch.cat(taught) if taught else None)

    def first_view(self, count: int | None = None) -> Iterator[Tensor]:
        """Yield the outputs for the first `count` whole pictures, view 0, in the order of the feed's rows."""
        N = len(self.feed.rows) if count is None else count
        return (self.outputs[first : min(N, first + 32)] for first in range(0, N, 32))

    def batches(self, first: int, stop: int, device: torch.device) -> Iterator[Batch]:
        """Yield batches number `first` up to and without `stop`; a pure function of seed and number, as `Feed` is.

        They are gathered ahead of time by a thread.
        """
        per_epoch = self.feed.steps_per_epoch
        orders: dict[int, list[np.ndarray]] = {}
        # More threads would be in the way of the step that is computed meanwhile.
        with one_torch_thread(), ThreadPoolExecutor(1, "batches", torch.set_num_threads, (1,)) as pool:
            waiting: deque[Future[Batch]] = deque()
            for number in range(first, stop):
                epoch, place = divmod(number, per_epoch)
                if epoch not in orders:
                    orders = {epoch: self.feed.order(epoch)}
                waiting.append(pool.submit(self._gather, orders[epoch][place], epoch, place, device))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _gather(self, rows: np.ndarray, epoch: int, place: int, device: torch.device) -> Batch:
        N = len(self.feed.rows)
        chosen = np.random.default_rng((self.feed.seed, epoch, place, 2)).integers(
            len(self.outputs) // N, size=len(rows)
        )
        places = torch.tensor([self.place[int(row)] + view * N for row, view in zip(rows, chosen, strict=True)])
        pictures, labels = self.outputs[places].to(device), torch.from_numpy(self.feed.labels[rows]).to(device)
        taught = None if self.taught is None else self.taught[places].to(device)
        return Batch(pictures, labels, (self.feed.seed, epoch, place), taught)
