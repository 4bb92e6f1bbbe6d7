"""Run a network over many pictures without learning: as fast as the machine allows, in order, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from linnaeus.learn.engine import Engine, one_torch_thread
from linnaeus.nn.fold import folded
from linnaeus.nn.fuse import fused
from linnaeus.nn.input import FromBytes
from linnaeus.records import Preprocessing

PIXELS_AT_ONCE = {"bf16": 2**19, "fp32": 2**17}
"""Pixels of one piece of work: more falls out of the processor's caches, less does not pay for the call
(benchmarks/machine.py)."""
PIXELS_ON_A_GPU = 2**24
"""There, few pictures at a time leave most of it idle."""


def infer(
    network: nn.Module, blocks: Iterable[np.ndarray], preprocessing: Preprocessing, engine: Engine
) -> Iterator[Tensor]:
    """Yield the network's outputs for all pictures, piece by piece and in order.

    On a CPU each core works on pieces of its own with one thread: threads that share one picture wait for each other
    at every layer, which costs half the speed on a quiet machine and nearly all of it on a busy one.

    Args:
        network: Is put into evaluation mode.
        blocks: Each uint8 [n, S, S, C].
        preprocessing: For the normalisation.
        engine: The machine and precision.
    """
    from_bytes = FromBytes(preprocessing.mean, preprocessing.std).to(engine.device)
    placed = engine.place(network).eval()
    at_once = PIXELS_AT_ONCE[engine.precision] if engine.device.type == "cpu" else PIXELS_ON_A_GPU
    pieces = _pieces(blocks, at_once // preprocessing.size_px**2)
    first = next(pieces, None)
    if first is None:
        return
    example = from_bytes(torch.from_numpy(np.array(first[:2])).to(engine.device))
    with one_torch_thread():
        quick = folded(placed, example)
        if engine.device.type == "cpu":
            quick = fused(quick, example)
    whole = nn.Sequential(from_bytes, quick).eval()
    tensors = (torch.from_numpy(np.ascontiguousarray(piece)) for piece in chain([first], pieces))
    yield from infer_tensors(whole, tensors, engine)


def infer_tensors(network: nn.Module, pieces: Iterable[Tensor], engine: Engine) -> Iterator[Tensor]:
    """Yield a network's outputs, float32, for pieces that are its input as they are, in order.

    Args:
        network: In evaluation mode, on the engine's device.
        pieces: Batches; their size is the caller's choice.
        engine: The machine and precision.
    """

    def answer(piece: Tensor) -> Tensor:
        with torch.inference_mode(), engine.autocast():
            return network(engine.send(piece)).float()

    if engine.device.type != "cpu":
        yield from _one_behind(map(answer, pieces))
        return
    with one_thread_each(engine.cores) as pool:
        waiting: deque[Future[Tensor]] = deque()
        for piece in pieces:
            waiting.append(pool.submit(answer, piece))
            if len(waiting) > 2 * engine.cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _one_behind(answers: Iterator[Tensor]) -> Iterator[Tensor]:
    """Fetch each answer from the device when the next one has been asked for, so that it is never idle."""
    waiting: deque[Tensor] = deque()
    for answer in answers:
        waiting.append(answer)
        if len(waiting) > 1:
            yield waiting.popleft().cpu()
    while waiting:
        yield waiting.popleft().cpu()


def _pieces(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    size = max(1, min(256, size))
    for block in blocks:
        for first in range(0, len(block), size):
            yield block[first : first + size]


@contextmanager
def one_thread_each(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Make a pool whose threads compute alone; what torch's other threads use is as before at the end."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, "infer", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)
