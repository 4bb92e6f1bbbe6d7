"""From predictions to estimates: every score with its interval, in numpy alone."""

from linnaeus.metrics.calibration import ReliabilityBin, apply_temperature, fit_temperature, reliability
from linnaeus.metrics.intervals import wilson
from linnaeus.metrics.scores import score

__all__ = ["ReliabilityBin", "apply_temperature", "fit_temperature", "reliability", "score", "wilson"]
