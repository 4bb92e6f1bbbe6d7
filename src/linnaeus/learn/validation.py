"""How good a network is on the validation part while it is trained: what chooses the weights that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from linnaeus.learn.engine import Engine
from linnaeus.learn.infer import infer, infer_tensors
from linnaeus.learn.material import Material
from linnaeus.metrics import apply_temperature, fit_temperature


@dataclass(frozen=True)
class Level:
    """What was measured: mean loss, accuracy, and the loss after calibration."""

    loss: float
    accuracy: float
    loss_calibrated: float


@dataclass
class Validation:
    """The validation part, and what frozen stages gave for it.

    Attributes:
        material: Where it lies; pictures without a label do not count.
        engine: The machine and precision.
        outputs: What the frozen part of the network gives for these pictures, where that is kept.
    """

    material: Material
    engine: Engine
    outputs: list[torch.Tensor] = field(default_factory=list)

    @property
    def rows(self) -> np.ndarray:
        """Row numbers of the pictures that count."""
        rows = self.material.split.rows("val")
        return rows[self.material.labels[rows] >= 0]

    def keep_outputs(self, lower: nn.Module, dtype: torch.dtype) -> None:
        """Compute once what the frozen part gives."""
        parts = infer(lower, self.material.blocks(self.rows), self.material.preprocessing, self.engine)
        self.outputs = [part.to(dtype) for part in parts]

    def logits(self, network: nn.Module, upper: nn.Module | None) -> Iterator[torch.Tensor]:
        """Yield the answers of a network, or of its upper part to the outputs that were kept."""
        if self.outputs and upper is not None:
            return infer_tensors(upper.eval(), self.outputs, self.engine)
        return infer(network, self.material.blocks(self.rows), self.material.preprocessing, self.engine)

    def level(self, logits: np.ndarray) -> Level:
        """Judge answers, float64 [n, K]: label smoothing makes the loss before calibration a poor judge."""
        labels = self.material.labels[self.rows]
        temperature = fit_temperature(logits, labels)
        plain, calibrated = (_log_loss(apply_temperature(logits, one), labels) for one in (1.0, temperature))
        return Level(plain, float((logits.argmax(1) == labels).mean()), calibrated)


def _log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(probabilities[np.arange(len(labels)), labels] + 1e-12).mean())
