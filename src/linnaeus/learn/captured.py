"""A training step that is recorded once and then replayed: the device does the whole of it at one call from the host.

A step of a small network is hundreds of short kernels, and starting each from Python takes longer than computing it. A
CUDA graph starts them all at once. Elsewhere the same code runs with a twin that replays by calling the step again, so
that tests on a CPU go the same way.

Source:
    M. Carilli et al. (2021), https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs: whole-network capture.
    Deviation: the steps that warm up are steps of the training, so nothing has to be put back afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from linnaeus.learn.objectives import Batch, Outcome

WARM_UP = 3
"""Steps of each batch size that run as usual before one is recorded: libraries choose their kernels in them, and the
optimizer makes its moments."""

Take = Callable[[Batch], Outcome]
"""One whole step: gradient, clipping, update."""


class Recorder(Protocol):
    """Records work without doing it, to be replayed any number of times on the same memory."""

    def aside(self) -> AbstractContextManager[object]:
        """Run what stands in the block where recording will take place."""
        ...

    def record(self, work: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        """Record work; give what replays it, and the outcome whose tensors each replay fills."""
        ...


class Captured:
    """Take steps, the first of each batch size as usual and all others by replaying a recording.

    Args:
        take: One step. It must do the same work for every batch of one shape, without asking the device for a value.
        network: Its parameters and buffers are what a step changes.
        recorder: Of the device.
    """

    def __init__(self, take: Take, network: nn.Module, recorder: Recorder) -> None:
        self._take, self._network, self._recorder = take, network, recorder
        self._taken: Counter[tuple[Any, ...]] = Counter()
        self._recordings: dict[tuple[Any, ...], _Recording] = {}
        self.trouble = ""

    def __call__(self, batch: Batch) -> Outcome:
        """Take one step."""
        key = _shape(batch)
        if key not in self._recordings:
            if self.trouble or self._taken[key] < WARM_UP:
                self._taken[key] += 1
                with self._recorder.aside():
                    return self._take(batch)
            try:
                self._recordings[key] = _Recording.of(self._take, batch, self._recorder)
            except RuntimeError as error:
                # A network of the user's own may ask the device for a value: it is trained as it is, only slower.
                self.trouble = str(error).strip().splitlines()[0]
                return self(batch)
        outcome = self._recordings[key].replay(batch)
        # A recording changes weights behind PyTorch's back; whoever keeps something made from them must hear of it.
        torch.autograd.graph.increment_version([*self._network.parameters(), *self._network.buffers()])
        return outcome


@dataclass(frozen=True)
class _Recording:
    """One recorded step.

    Attributes:
        given: The batch in whose memory every replay looks for its input.
        replays: Does the step once more.
        found: The outcome in whose memory every replay leaves what it found.
    """

    given: Batch
    replays: Callable[[], None]
    found: Outcome

    @classmethod
    def of(cls, take: Take, batch: Batch, recorder: Recorder) -> _Recording:
        given = replace(
            batch,
            pictures=batch.pictures.clone(),
            labels=batch.labels.clone(),
            taught=None if batch.taught is None else batch.taught.clone(),
        )
        replays, found = recorder.record(lambda: take(given))
        return cls(given, replays, found)

    def replay(self, batch: Batch) -> Outcome:
        self.given.pictures.copy_(batch.pictures)
        self.given.labels.copy_(batch.labels)
        if self.given.taught is not None and batch.taught is not None:
            self.given.taught.copy_(batch.taught)
        self.replays()
        # The next replay writes over these, and they may be read many steps later.
        return replace(self.found, loss=self.found.loss.clone(), right=self.found.right.clone())


def _shape(batch: Batch) -> tuple[Any, ...]:
    taught = None if batch.taught is None else tuple(batch.taught.shape)
    return tuple(batch.pictures.shape), batch.pictures.dtype, tuple(batch.labels.shape), taught


class Graph:
    """Record with CUDA graphs."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    def aside(self) -> AbstractContextManager[object]:
        """Run on the stream that recordings are made on, after what the present stream was told, and before what comes."""
        return _Aside(self._stream)

    def record(self, work: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        """Record work; its memory is the recording's own as long as that lives."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            found = work()
        return graph.replay, found


class _Aside:
    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream
        self._within: Any = None

    def __enter__(self) -> None:
        self._stream.wait_stream(torch.cuda.current_stream())
        self._within = torch.cuda.stream(self._stream)
        self._within.__enter__()

    def __exit__(self, *error: object) -> None:
        self._within.__exit__(*error)
        torch.cuda.current_stream().wait_stream(self._stream)


class Twin:
    """Stand in for `Graph` without a GPU: a replay does the work again and leaves the outcome in the same memory."""

    def aside(self) -> AbstractContextManager[object]:
        """Change nothing."""
        from contextlib import nullcontext

        return nullcontext()

    def record(self, work: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        """Do nothing yet, as a recording does nothing yet."""
        kept = Outcome(torch.zeros(()), torch.zeros((), dtype=torch.int64), 0, torch.zeros(()))

        def replay() -> None:
            outcome = work()
            kept.loss.copy_(outcome.loss)
            kept.right.copy_(outcome.right)

        return replay, kept


def recordable(optimizer: Optimizer, device: torch.device) -> None:
    """Let the learning rates be tensors on the device, so that a recorded step sees them change."""
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), dtype=torch.float32, device=device)
        if "capturable" in group:
            group["capturable"] = device.type == "cuda"
