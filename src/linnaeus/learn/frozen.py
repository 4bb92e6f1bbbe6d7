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

from linnaeus.config import AugmentSettings, Recipe
from linnaeus.data.batches import Feed
from linnaeus.learn.engine import Engine, one_torch_thread
from linnaeus.learn.infer import infer
from linnaeus.learn.objectives import Batch
from linnaeus.nn import stages
from linnaeus.nn.cut import cut
from linnaeus.records import Preprocessing
from linnaeus.talk import Talk

AT_ONCE = 250
NOTHING_TO_CUT = "CutMix needs something with height and width, which what the frozen stages give has not"
AHEAD = 2
"""Batches that wait, ready, for their step."""


def halves_of(
    network: nn.Module, example: Tensor, count: int, recipe: Recipe, engine: Engine, *, more_bytes: int = 0
) -> tuple[tuple[nn.Module, nn.Module] | None, str]:
    """Cut a network above its frozen stages, where what they give can be kept; else tell why not, if a person should know.

    Args:
        network: In the mode in which it is trained.
        example: Two pictures, as the network takes them.
        count: How many outputs are to be kept.
        recipe: The most memory that they may take, and CutMix, which may have to be done to them.
        engine: Whose precision they are kept in.
        more_bytes: What is kept beside them.
    """
    halves = cut(network, example) if stages.frozen_names(network) else None
    if halves is None:
        return None, ""
    with torch.no_grad():
        output = halves[0](example[:1])
    size_gb = (output.numel() * (2 if engine.precision == "bf16" else 4) * count + more_bytes) / 1e9
    if size_gb > recipe.data.memory_gb:
        return None, f"what frozen stages give would take {size_gb:.2g} GB, more than data.memory_gb"
    if recipe.augment.cutmix and output.ndim != 4:
        return None, NOTHING_TO_CUT
    return halves, ""


def _room(rows: int, like: Tensor, dtype: torch.dtype) -> Tensor:
    layout = torch.channels_last if like.ndim == 4 else torch.contiguous_format
    return torch.empty((rows, *like.shape[1:]), dtype=dtype, memory_format=layout)


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
        N, done = len(feed.rows), 0
        # Few views must show every picture both ways round: left to chance, half of them would never be mirrored.
        flip: Literal["none", "alternating"] = "none" if feed.settings.flip == "none" else "alternating"
        whole_pictures = replace(feed, settings=AugmentSettings(flip=flip, fill=feed.settings.fill))
        changed = replace(feed, settings=feed.settings.model_copy(update={"flip": flip}))
        networks = [lower] if teacher is None else [lower, teacher]
        # Room for everything is made at once: parts that are joined at the end would take it twice.
        tables: list[Tensor | None] = [None] * len(networks)
        for view in range(views):
            source = changed if view else whole_pictures
            for number, network in enumerate(networks):
                place = view * N
                blocks = (
                    source.view(feed.rows[first : first + AT_ONCE], view).pictures for first in range(0, N, AT_ONCE)
                )
                for part in infer(network, blocks, preprocessing, engine):
                    table = tables[number]
                    if table is None:
                        table = tables[number] = _room(views * N, part, part.dtype if number else kept_as)
                    table[place : place + len(part)] = part
                    place, done = place + len(part), done + len(part)
                    talk.progress("frozen stages", done, len(networks) * views * N)
        outputs, taught = tables[0], tables[1] if len(tables) > 1 else None
        assert outputs is not None
        return cls(outputs, feed, {int(row): place for place, row in enumerate(feed.rows)}, taught)

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
