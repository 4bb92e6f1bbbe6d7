"""The network as an attacker sees it: float bytes in, logits out, and many pictures at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from linnaeus.classifier import Classifier
from linnaeus.learn.engine import Engine
from linnaeus.learn.infer import PIXELS_AT_ONCE, one_thread_each
from linnaeus.nn.input import FromBytes
from linnaeus.verbs.stress.sample import Sample

Result = TypeVar("Result")
Batch = tuple[np.ndarray, Tensor, Tensor]
"""Places in the sample [n], pictures as float bytes [n, S, S, C], and labels [n]."""


class Target:
    """A network under attack.

    Args:
        classifier: Its network should be a copy that nobody else trains.

    Attributes:
        network: Gives logits [N, K] for float bytes [N, S, S, C]; vector scaling, which is plain arithmetic, is part of it.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.engine = Engine()
        how, self._calibration = classifier.preprocessing, classifier.calibration
        from_bytes = FromBytes(how.mean, how.std).to(self.engine.device)
        layers = [from_bytes, self.engine.place(classifier.network)]
        if self._calibration.kind == "vector":
            layers.append(_Scaled(self._calibration.scale, self._calibration.shift).to(self.engine.device))
        self.network: nn.Module = nn.Sequential(*layers).eval()
        self.at_once = max(1, min(256, PIXELS_AT_ONCE["fp32"] // how.size_px**2))
        self.classes = len(classifier.classes)

    def decide(self, logits: Tensor) -> np.ndarray:
        """Name the class numbers that the classifier would answer, int64 [N]; only isotonic regression reorders logits."""
        if self._calibration.kind == "isotonic":
            return self._calibration.probabilities(logits.double().cpu().numpy()).argmax(axis=1)
        return logits.argmax(1).cpu().numpy()

    def batches(self, sample: Sample, places: np.ndarray, at_once: int | None = None) -> Iterator[Batch]:
        """Yield some of the sample's pictures."""
        step = at_once or self.at_once
        for first in range(0, len(places), step):
            some = places[first : first + step]
            pictures = torch.from_numpy(sample.pictures(some)).to(self.engine.device).float()
            yield some, pictures, torch.from_numpy(sample.labels[some]).to(self.engine.device)

    def over(self, work: Callable[[np.ndarray, Tensor, Tensor], Result], batches: Iterable[Batch]) -> Iterator[Result]:
        """Do some work for every batch, on a CPU with one core each; results come in order."""
        if self.engine.device.type != "cpu":
            yield from (work(*batch) for batch in batches)
            return
        with one_thread_each(self.engine.cores) as pool:
            yield from pool.map(lambda batch: work(*batch), batches)


class _Scaled(nn.Module):
    """Vector scaling as a layer."""

    def __init__(self, scale: Sequence[float], shift: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32), persistent=False)
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float32), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        assert isinstance(self.scale, Tensor)
        assert isinstance(self.shift, Tensor)
        return logits.float() * self.scale + self.shift
