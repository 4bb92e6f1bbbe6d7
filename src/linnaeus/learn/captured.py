"""A training step that is recorded once and then replayed: the device does the whole of it at one call from the host.

A step of a small network is hundreds of short kernels, and starting each from Python takes longer than computing it. A
CUDA graph starts them all at once. Elsewhere the same code runs with a twin that replays by calling the step again, so
that tests on a CPU go the same way.

Source:
    M. Ng, M. Carilli et al. (2021), https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs: whole-network
    capture. Deviation: the steps that warm up are steps of the training, so nothing has to be put back afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from linnaeus.learn.compiled import Compiling
from linnaeus.learn.loop import Take
from linnaeus.learn.objectives import Batch, Outcome

WARM_UP = 3
"""Steps of each kind that run as usual before one is recorded: libraries choose their kernels in them, and the
optimizer makes its moments."""


class Recorder(Protocol):
    """Records work without doing it, to be replayed any number of times on the same memory."""

    def aside(self, work: Callable[[], Outcome]) -> Outcome:
        """Do work where recording will take place."""
        ...

    def record(self, work: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        """Record work; give what replays it, and the outcome whose tensors each replay fills."""
        ...

    def timed(self, work: Callable[[], Outcome]) -> tuple[Outcome, float]:
        """Do work, and tell how many seconds the device took."""
        ...


class Captured:
    """Take steps: the first of each kind as usual, then compiled where that pays, then by replaying a recording.

    Steps are of one kind where batches have one shape and the same parameters are trained.

    Args:
        take: One step. It must do the same work for every step of a kind.
        network: Its parameters and buffers are what a step changes.
        recorder: Of the device.
        compiling: Decides whether the network is compiled; None where it is not.
        records: The step asks the device for no value, and draws nothing on the host: it can be recorded.

    Attributes:
        step_s: Seconds of a step by the way it is taken, "as usual", "compiled", "replayed", as far as they are known.
        trouble: Why recording or compiling did not work, where it was tried.
    """

    def __init__(
        self,
        take: Take,
        network: nn.Module,
        recorder: Recorder,
        compiling: Compiling | None = None,
        *,
        records: bool = True,
    ) -> None:
        self._take, self._network, self._recorder = take, network, recorder
        self._compiling, self._records = compiling, records
        self._used: Callable[..., Any] = network
        self._courses: dict[tuple[Any, ...], Iterator[Callable[[Batch], Outcome]]] = {}
        self._parameters = list(network.parameters())
        self._changed = [*self._parameters, *network.buffers()]
        self.step_s: dict[str, float] = {}
        self.trouble = ""

    def __call__(self, batch: Batch) -> Outcome:
        """Take one step."""
        # A stage that freezes or thaws on the way makes another step of it.
        key = (*_shape(batch), *(one.requires_grad for one in self._parameters))
        if key not in self._courses:
            self._courses[key] = self._course()
        return next(self._courses[key])(batch)

    def _course(self) -> Iterator[Callable[[Batch], Outcome]]:
        """Say how each step of one kind is taken, from the first to the last."""
        yield from repeat(self._as_usual, WARM_UP - 1)
        yield self._timed("as usual" if self._used is self._network else "compiled")
        # Decided once: the kinds of steps that come later have fewer steps left to gain from it.
        compiling, self._compiling = self._compiling, None
        if compiling is not None and compiling.pays(self.step_s["as usual"]):
            yield partial(self._compile, compiling)
            if self._used is not self._network:
                yield from repeat(self._as_usual, WARM_UP - 1)
                yield self._timed("compiled")
                compiling.remember(self.step_s)
        if self._records and not self.trouble:
            recording = _Recording(self._recorder)
            yield self._recorded(recording)
            if recording.is_made:
                yield self._timed("replayed", recording)
                if self.step_s["replayed"] <= self.step_s.get("compiled", self.step_s["as usual"]):
                    yield from repeat(self._replayed(recording))
        yield from repeat(self._as_usual)

    def _as_usual(self, batch: Batch) -> Outcome:
        return self._recorder.aside(lambda: self._take(self._used, batch))  # type: ignore[arg-type]

    def _timed(self, way: str, recording: _Recording | None = None) -> Callable[[Batch], Outcome]:
        take = self._as_usual if recording is None else self._replayed(recording)

        def step(batch: Batch) -> Outcome:
            outcome, self.step_s[way] = self._recorder.timed(lambda: take(batch))
            return outcome

        return step

    def _compile(self, compiling: Compiling, batch: Batch) -> Outcome:
        """Take the first compiled step, which compiles."""
        self._used = compiling.compiled(self._network)
        try:
            outcome, seconds = self._recorder.timed(lambda: self._as_usual(batch))
        except RuntimeError as error:
            self._give_up(error)
            self._used = self._network
            return self._as_usual(batch)
        compiling.took(seconds)
        return outcome

    def _recorded(self, recording: _Recording) -> Callable[[Batch], Outcome]:
        def step(batch: Batch) -> Outcome:
            try:
                recording.make(lambda given: self._take(self._used, given), batch)  # type: ignore[arg-type]
            except RuntimeError as error:
                # A network of the user's own may ask the device for a value: it is trained as it is, only slower.
                self._give_up(error)
                return self._as_usual(batch)
            return self._replayed(recording)(batch)

        return step

    def _replayed(self, recording: _Recording) -> Callable[[Batch], Outcome]:
        def step(batch: Batch) -> Outcome:
            outcome = recording.replay(batch)
            # A replay changes weights behind PyTorch's back; whoever keeps something made from them must hear of it.
            torch.autograd.graph.increment_version(self._changed)
            return outcome

        return step

    def _give_up(self, error: RuntimeError) -> None:
        """Keep the reason, and drop the gradients of a step that broke off: they may never have been computed."""
        # The end of a broken capture raises an error of its own, which says nothing of the cause.
        cause = error.__context__ or error
        self.trouble = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        for one in self._parameters:
            one.grad = None


class _Recording:
    """One recorded step, and the memory in which it looks for its batch."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._made: tuple[Batch, Callable[[], None], Outcome] | None = None

    @property
    def is_made(self) -> bool:
        return self._made is not None

    def make(self, take: Callable[[Batch], Outcome], batch: Batch) -> None:
        """Record a step for batches of this shape; nothing is computed yet."""
        taught = None if batch.taught is None else batch.taught.clone()
        given = replace(batch, pictures=batch.pictures.clone(), labels=batch.labels.clone(), taught=taught)
        self._made = given, *self._recorder.record(lambda: take(given))

    def replay(self, batch: Batch) -> Outcome:
        """Do the recorded step with a batch."""
        assert self._made is not None
        given, replays, found = self._made
        given.pictures.copy_(batch.pictures)
        given.labels.copy_(batch.labels)
        if given.taught is not None and batch.taught is not None:
            given.taught.copy_(batch.taught)
        replays()
        # The next replay writes over these, and they may be read many steps later.
        return replace(found, loss=found.loss.clone(), right=found.right.clone(), n=len(batch.labels))


def _shape(batch: Batch) -> tuple[Any, ...]:
    taught = None if batch.taught is None else tuple(batch.taught.shape)
    return tuple(batch.pictures.shape), batch.pictures.dtype, tuple(batch.labels.shape), taught


class Graphs:
    """Record with CUDA graphs."""

    def __init__(self) -> None:
        self._stream, self._pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()

    def aside(self, work: Callable[[], Outcome]) -> Outcome:
        """Do work on the stream that recordings are made on, after what was asked for before, and before what comes."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            outcome = work()
        torch.cuda.current_stream().wait_stream(self._stream)
        return outcome

    def record(self, work: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        """Record work. Recordings share memory: only one is replayed at a time, and what it found is copied at once."""
        graph = torch.cuda.CUDAGraph()
        # Other threads may be bringing pictures to the device meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            found = work()
        return graph.replay, found

    def timed(self, work: Callable[[], Outcome]) -> tuple[Outcome, float]:
        """Wait for the device before and after."""
        torch.cuda.synchronize()
        started = time.perf_counter()
        outcome = work()
        torch.cuda.synchronize()
        return outcome, time.perf_counter() - started


class Twin:
    """Stand in for `Graphs` without a GPU: a replay does the work again and leaves the outcome in the same memory."""

    def aside(self, work: Callable[[], Outcome]) -> Outcome:
        """Do work here: there is one place only."""
        return work()

    def record(self, work: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        """Do nothing yet, as a recording does nothing yet."""
        found = Outcome(torch.zeros(()), torch.zeros((), dtype=torch.int64), 0, torch.zeros(()))

        def replay() -> None:
            outcome = work()
            found.loss.copy_(outcome.loss)
            found.right.copy_(outcome.right)

        return replay, found

    def timed(self, work: Callable[[], Outcome]) -> tuple[Outcome, float]:
        """Do work, timed by the clock."""
        started = time.perf_counter()
        return work(), time.perf_counter() - started


def make_recordable(optimizer: Optimizer, device: torch.device) -> None:
    """Let the learning rates be tensors on the device, so that a recorded step sees them change."""
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), dtype=torch.float32, device=device)
        if "capturable" in group:
            group["capturable"] = device.type == "cuda"
