"""Calibration: probabilities that mean what they say, and how to see whether they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from linnaeus.metrics.intervals import wilson
from linnaeus.records import Estimate, Predictions


@dataclass(frozen=True)
class ReliabilityBin:
    """Pictures of similar confidence: how sure the model was, and how often it was right.

    Attributes:
        confidence: Mean confidence, 0..1.
        accuracy: Share that was right.
        count: Number of pictures.
    """

    confidence: float
    accuracy: Estimate
    count: int


def reliability(predictions: Predictions, bins: int = 10) -> tuple[ReliabilityBin, ...]:
    """Compare confidence with accuracy in bins of equally many labelled pictures, from least to most confident."""
    rows = np.flatnonzero(predictions.labels >= 0)
    if not len(rows):
        return ()
    confidence = predictions.probabilities[rows].max(axis=1)
    right = predictions.predicted[rows] == predictions.labels[rows]
    number = equal_mass(confidence, bins)
    found = []
    for one in np.unique(number):
        inside = number == one
        count = int(inside.sum())
        found.append(ReliabilityBin(float(confidence[inside].mean()), wilson(int(right[inside].sum()), count), count))
    return tuple(found)


def fit_temperature(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Find the temperature T at which softmax(log p / T) fits the labels best.

    The negative log-likelihood is convex in 1/T. A log-normal prior of unit width, worth one picture, keeps T moderate
    where all of a few pictures are right; it doesn't show from some hundred pictures on.

    Args:
        log_probabilities: [N, K], or logits.
        labels: [N]; rows with -1 are left out, and without any row T is 1.

    Returns:
        T within 0.05..20; above 1 the model was too sure of itself.

    Source:
        C. Guo et al. (2017), On Calibration of Modern Neural Networks, ICML, arXiv:1706.04599. The prior is ours.
    """
    from scipy.optimize import minimize_scalar

    known = labels >= 0
    scores = _finite(np.asarray(log_probabilities, dtype=np.float64)[known])
    if not len(scores):
        return 1.0
    true = labels[known][:, None]

    def cost(log_temperature: float) -> float:
        scaled = scores * np.exp(-log_temperature)
        top = scaled.max(axis=1, keepdims=True)
        log_sum = top[:, 0] + np.log(np.exp(scaled - top).sum(axis=1))
        return float((log_sum - np.take_along_axis(scaled, true, axis=1)[:, 0]).sum() + 0.5 * log_temperature**2)

    best: Any = minimize_scalar(cost, bounds=(np.log(0.05), np.log(20.0)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x))


def apply_temperature(log_probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Turn log probabilities or logits [N, K] into calibrated probabilities, float64 [N, K]."""
    scaled = _finite(np.asarray(log_probabilities, dtype=np.float64)) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def equal_mass(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Number the bin of each picture, 0..bins-1; equal confidences share one, so that order is nothing."""
    edges = np.quantile(confidence, np.arange(1, bins) / bins, method="lower")
    return np.searchsorted(edges, confidence, side="right")


def _finite(scores: np.ndarray) -> np.ndarray:
    return np.maximum(scores, -1e4)
