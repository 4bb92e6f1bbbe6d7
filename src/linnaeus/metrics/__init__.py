"""From predictions to estimates: every score with its interval, in numpy alone."""

from linnaeus.metrics.calibration import ReliabilityBin, apply_temperature, fit_temperature, reliability
from linnaeus.metrics.confusion import ConfusedPair, by_column, by_row, clustered_order, worst_pairs
from linnaeus.metrics.intervals import wilson
from linnaeus.metrics.ranking import ClassRanking, Ranking, rank
from linnaeus.metrics.scores import score

__all__ = [
    "ClassRanking",
    "ConfusedPair",
    "Ranking",
    "ReliabilityBin",
    "apply_temperature",
    "by_column",
    "by_row",
    "clustered_order",
    "fit_temperature",
    "rank",
    "reliability",
    "score",
    "wilson",
    "worst_pairs",
]
