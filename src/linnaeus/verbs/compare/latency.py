"""How long one picture takes: all models side by side, in turns, so that a busy machine slows each of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from linnaeus.errors import PictureError

if TYPE_CHECKING:
    from linnaeus.classifier import Classifier
    from linnaeus.records import Place, Preprocessing

ROUNDS = 60
FEWEST_ROUNDS = 10
WARM_UP = 3
ENOUGH_S = 20.0
"""After so many seconds the fewest rounds will do."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds from one picture at the network's size to its answer, batch of one.

    Attributes:
        median_ms: Half of the rounds took no longer.
        p95_ms: 95 % of the rounds took no longer.
        rounds: How often it was measured.
    """

    median_ms: float
    p95_ms: float
    rounds: int


def time_in_turns(tasks: Sequence[Callable[[], object]], rounds: int = ROUNDS) -> list[Latency]:
    """Time several tasks alternately; who begins changes from round to round."""
    for task in tasks:
        for _ in range(WARM_UP):
            task()
    seconds: list[list[float]] = [[] for _ in tasks]
    began = time.perf_counter()
    for turn in range(rounds):
        for step in range(len(tasks)):
            number = (turn + step) % len(tasks)
            started = time.perf_counter()
            tasks[number]()
            seconds[number].append(time.perf_counter() - started)
        if turn + 1 >= FEWEST_ROUNDS and time.perf_counter() - began > ENOUGH_S:
            break
    return [Latency(float(np.median(one)) * 1000, float(np.quantile(one, 0.95)) * 1000, len(one)) for one in seconds]


def one_picture(classifier: Classifier, places: Sequence[Place]) -> Callable[[], object]:
    """Make the task of answering one picture: the first that can be read, or noise where none can."""
    block = _block(places, classifier.preprocessing)
    return lambda: classifier.logits([block])


def _block(places: Sequence[Place], preprocessing: Preprocessing) -> np.ndarray:
    from linnaeus.data.decode import middle, prepare, read_bytes

    for place in places:
        try:
            stored = prepare(read_bytes(place), place.layout, preprocessing)
        except PictureError:
            continue
        return np.ascontiguousarray(middle(stored, preprocessing.size_px))[None]
    shape = (1, preprocessing.size_px, preprocessing.size_px, preprocessing.channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
