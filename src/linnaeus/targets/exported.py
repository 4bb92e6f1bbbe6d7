"""An exported file as something that answers pictures, like a classifier, without PyTorch where its runtime needs none."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from linnaeus.data.decode import decode, middle, prepare
from linnaeus.errors import ModelError
from linnaeus.machine import cores_here
from linnaeus.metrics.abstention import Judged, Judgement, together
from linnaeus.targets.card import PROBABILITIES, UNKNOWN_SCORE, Card
from linnaeus.targets.environment import said_to
from linnaeus.targets.opening import target_of
from linnaeus.targets.target import Runner, require

PIXELS_AT_ONCE = 2**18
"""Of one call: four pictures of 256 px. More fall out of a processor's caches and are up to twice as slow."""
MOST_AT_ONCE = 64


class Exported:
    """An exported file, ready to answer.

    Args:
        runner: Runs it.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._pool = ThreadPoolExecutor(cores_here(), "exported")
        self.card: Card = runner.card

    @classmethod
    def load(cls, path: str | Path, say: Callable[[str], None] = lambda _text: None) -> Exported:
        """Open a file by its name: .onnx, .xml, .tflite ..., or a folder with a SavedModel.

        Args:
            path: The file or folder.
            say: Takes a line for a person where an environment has to be made first.

        Raises:
            ModelError: It cannot be run here, is damaged, or another program's.
        """
        target = target_of(Path(path))
        if target is None:
            raise ModelError(f"{path} should be an exported model.", got="something else", fix="linnaeus export RUN")
        if why := target.why_not_here():
            raise ModelError(f"{path} cannot be run here.", got=why, fix="run it where it is meant to run.")
        require(target, writing=False)
        with said_to(say):
            return cls(target.open(Path(path)))

    @property
    def classes(self) -> tuple[str, ...]:
        """K names, in the order of the probabilities."""
        return self.card.classes

    @property
    def judgement(self) -> Judgement | None:
        """What promises and sets rest on; its detector is in the graph."""
        return self.card.judgement

    @property
    def tells_unknown(self) -> bool:
        """Whether `judge` says how strange pictures are."""
        return UNKNOWN_SCORE in self.card.outputs and self.judgement is not None

    def read(self, data: bytes) -> np.ndarray:
        """Bring the bytes of a file to what the graph takes: uint8 [size_px, size_px, C], or [H, W, 3] for any size.

        Raises:
            PictureError: With the reason.
        """
        about = self.card.preprocessing
        if self.card.any_size:
            return decode(data, max_pixels=about.max_pixels, background=about.background)
        return middle(prepare(data, "", about), about.size_px)

    @property
    def portion(self) -> int:
        """So many pictures a call of `judge` takes best."""
        return (
            1 if self.card.any_size else max(1, min(MOST_AT_ONCE, PIXELS_AT_ONCE // self.card.preprocessing.size_px**2))
        )

    @property
    def calls(self) -> int:
        """So many calls of `judge` at once are best: each computes with one thread."""
        return cores_here()

    def judge(self, pictures: np.ndarray) -> Judged:
        """Answer pictures that `read` gave, uint8 [N, S, S, C]: a portion in this thread, more on all cores."""
        size = self.portion
        if len(pictures) <= size:
            return self._judge(pictures)
        pieces = [pictures[first : first + size] for first in range(0, len(pictures), size)]
        return together(list(self._pool.map(self._judge, pieces)))

    def _judge(self, pictures: np.ndarray) -> Judged:
        if not len(pictures):
            return Judged(np.zeros((0, len(self.classes))))
        found = self._runner.run(pictures)
        probabilities = found[PROBABILITIES].astype(np.float64)
        if UNKNOWN_SCORE not in found or self.judgement is None:
            return Judged(probabilities)
        strange = found[UNKNOWN_SCORE].astype(np.float64)
        return Judged(probabilities, strange, strange > self.judgement.strange_above)
