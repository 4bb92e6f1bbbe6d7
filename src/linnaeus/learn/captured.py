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
from collections.abc import Callable, Generator, Iterator
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

Taken = Callable[[Batch], Outcome]
"""A step, taken in one way."""


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
    """Take steps: the first of each kind in one way after the other, the rest in the quickest.

    A step is taken as usual, and compiled where that pays; either is then recorded and replayed. Steps are of one kind
    where batches have one shape and the same parameters are trained.

    Args:
        take: One step. It must do the same work for every step of a kind.
        network: Its parameters and buffers are what a step changes.
        recorder: Of the device.
        compiling: Decides whether the network is compiled; None where it is not.
        records: The step asks the device for no value, and draws nothing on the host: it can be recorded.

    Attributes:
        step_s: Seconds of a step by the way it is taken, "as usual", "replayed", "compiled", "compiled and replayed", as
            far as they are known; of the first kind that was timed.
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
        self._compiling, self._undecided, self._records = compiling, compiling, records
        self._compiled: nn.Module | None = None
        self._courses: dict[tuple[Any, ...], Iterator[Taken]] = {}
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

    def _course(self) -> Iterator[Taken]:
        """Say how each step of one kind is taken, from the first to the last."""
        yield from repeat((yield from self._quickest()))

    def _quickest(self) -> Generator[Taken, None, Taken]:
        """Take the first steps of one kind in every way; give the quickest."""
        step_s: dict[str, float] = {}
        ways: dict[str, Taken] = {}
        if self._compiled is None:
            ways |= yield from self._tried(self._network, "as usual", "replayed", step_s)
            # Decided once: the kinds of steps that come later have fewer steps left to gain from it.
            compiling, self._undecided = self._undecided, None
            if compiling is not None and compiling.pays(min(step_s.values())):
                self._compiled = compiling.compiled(self._network)
        if self._compiled is not None:
            yield self._compile
        if self._compiled is not None:
            ways |= yield from self._tried(self._compiled, "compiled", "compiled and replayed", step_s)
            if self._compiling is not None and "as usual" in step_s:
                self._compiling.remember(step_s)
        elif not ways:
            ways |= yield from self._tried(self._network, "as usual", "replayed", step_s)
        return ways[min(reversed(step_s), key=step_s.__getitem__)]

    def _tried(
        self, used: nn.Module, way: str, replayed: str, step_s: dict[str, float]
    ) -> Generator[Taken, None, dict[str, Taken]]:
        """Take steps with a network, and replay one where that works; give both ways, and note their seconds."""
        ways: dict[str, Taken] = {way: partial(self._aside, used)}
        yield from repeat(ways[way], WARM_UP - 1)
        yield self._timed(ways[way], way, step_s)
        if self._records:
            recording = _Recording(self._recorder)
            yield self._recorded(recording, used)
            if recording.is_made:
                ways[replayed] = self._replayed(recording)
                yield self._timed(ways[replayed], replayed, step_s)
        return ways

    def _aside(self, used: nn.Module, batch: Batch) -> Outcome:
        return self._recorder.aside(lambda: self._take(used, batch))

    def _timed(self, take: Taken, way: str, step_s: dict[str, float]) -> Taken:
        def step(batch: Batch) -> Outcome:
            self.step_s = self.step_s or step_s
            outcome, step_s[way] = self._recorder.timed(lambda: take(batch))
            return outcome

        return step

    def _compile(self, batch: Batch) -> Outcome:
        """Take the first compiled step of a kind, which compiles."""
        assert self._compiling is not None
        assert self._compiled is not None
        compiled = self._compiled
        try:
            outcome, seconds = self._recorder.timed(lambda: self._aside(compiled, batch))
        except RuntimeError as error:
            self._give_up("compiling", error)
            self._compiled = None
        else:
            self._compiling.took(seconds)
            return outcome
        return self._aside(self._network, batch)

    def _recorded(self, recording: _Recording, used: nn.Module) -> Taken:
        def step(batch: Batch) -> Outcome:
            try:
                recording.make(lambda given: self._take(used, given), batch)
            except RuntimeError as error:
                # A network of the user's own may ask the device for a value: it is trained as it is, only slower.
                self._give_up("recording", error)
                self._records = False
            return self._replayed(recording)(batch) if recording.is_made else self._aside(used, batch)

        return step

    def _replayed(self, recording: _Recording) -> Taken:
        def step(batch: Batch) -> Outcome:
            outcome = recording.replay(batch)
            # A replay changes weights behind PyTorch's back; whoever keeps something made from them must hear of it.
            torch.autograd.graph.increment_version(self._changed)
            return outcome

        return step

    def _give_up(self, what: str, error: RuntimeError) -> None:
        """Keep the reason, and drop the gradients of a step that broke off: they may never have been computed."""
        # The end of a broken capture raises an error of its own, which says nothing of the cause.
        cause = error.__context__ or error
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        self.trouble += f"{'; ' if self.trouble else ''}{what} did not work: {reason}"
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
