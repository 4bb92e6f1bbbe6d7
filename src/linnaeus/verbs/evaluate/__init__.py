"""evaluate: score a classifier on labelled pictures, and judge whether and when to believe it."""

from __future__ import annotations

from linnaeus.verbs.evaluate.judge import Judged, evaluate, judge, raw, seen_of
from linnaeus.verbs.evaluate.learn import Calibrated, calibrate, strangers
from linnaeus.verbs.evaluate.outliers import outliers
from linnaeus.verbs.evaluate.results import results_of

__all__ = [
    "Calibrated",
    "Judged",
    "calibrate",
    "evaluate",
    "judge",
    "outliers",
    "raw",
    "results_of",
    "seen_of",
    "strangers",
]
