"""How fast this machine is at a piece of work: measured for a moment, on the work itself."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterable

import numpy as np
from torch import nn

from linnaeus.config import OptimSettings
from linnaeus.learn.engine import Engine
from linnaeus.learn.infer import infer
from linnaeus.learn.loop import train
from linnaeus.learn.objectives import Batch, Objective
from linnaeus.learn.optim import make_optimizer
from linnaeus.records import Preprocessing


def seconds_per_picture(network: nn.Module, sample: np.ndarray, preprocessing: Preprocessing, engine: Engine) -> float:
    """Time the network on a sample, uint8 [n, S, S, C], after a first pass that warms it up."""
    for _ in range(2):
        started = time.perf_counter()
        for _ in infer(network, [sample], preprocessing, engine):
            pass
    return (time.perf_counter() - started) / len(sample)


def seconds_per_step(
    network: nn.Module,
    batches: Iterable[Batch],
    objective: Objective,
    settings: OptimSettings,
    engine: Engine,
    pieces: int,
) -> float:
    """Time training steps on a copy of the network: the median, the first one left out.

    Args:
        network: In training mode; is left as it is.
        batches: A few.
        objective: As in the training.
        settings: Of the optimizer.
        engine: The machine and precision.
        pieces: Into which a batch is cut.
    """
    twin = copy.deepcopy(network)
    optimizer = make_optimizer(twin, settings, set(), {})
    with engine.sharing(twin, pieces):
        marks = []
        for _ in train(twin, batches, objective, optimizer, lambda _: 0.0, engine):
            engine.wait()
            marks.append(time.perf_counter())
    return statistics.median(np.diff(marks)) if len(marks) > 1 else 0.0
