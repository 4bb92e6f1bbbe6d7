"""The classifier in PyTorch itself, in the shape of an exported file: what every export is measured against."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import numpy as np
import torch

from linnaeus.machine import cores_here
from linnaeus.targets.card import Card
from linnaeus.targets.graph import Graph

if TYPE_CHECKING:
    from linnaeus.classifier import Classifier


class EagerRunner:
    """A classifier in eager float32 PyTorch on the CPU, layer by layer, batch norms folded as `predict` folds them.

    Args:
        classifier: Stays as it is; its network is copied.
        threads: For one call of `run`; several calls at once each have their own.
        outputs: As `Graph` takes them.
    """

    def __init__(self, classifier: Classifier, threads: int = 1, outputs: Sequence[str] | None = None) -> None:
        self._graph = Graph(classifier, outputs=outputs).eval()
        self.card: Card = self._graph.card
        self._pool = _pool_of(cores_here(), threads)

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Answer pictures, uint8 [N, S, S, 1 or 3]."""
        found = self._pool.submit(self._answer, self.card.shaped(pictures)).result()
        return dict(zip(self.card.outputs, found, strict=True))

    def _answer(self, pictures: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            found = self._graph(torch.from_numpy(pictures))
        return [one.numpy() for one in (found if isinstance(found, tuple) else (found,))]


def _pool_of(workers: int, threads: int) -> ThreadPoolExecutor:
    """Make workers of which each computes with so many threads; how many all other code uses stays as it was."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, "eager", initializer=_compute_with, initargs=(threads,))
    everybody = Barrier(workers + 1)
    for _ in range(workers):
        pool.submit(everybody.wait)
    # The setting is kept per thread, but threads that start later take the latest: put it back when all have theirs.
    everybody.wait()
    torch.set_num_threads(before)
    return pool


def _compute_with(threads: int) -> None:
    # A thread takes the common setting when it first asks; only after that its own one lasts.
    torch.get_num_threads()
    torch.set_num_threads(threads)
