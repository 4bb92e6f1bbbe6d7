"""One candidate as plain values: what it costs, what it is worth, what the gate says."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from linnaeus.metrics.gate import Verdict
from linnaeus.metrics.scores import score
from linnaeus.records import Predictions
from linnaeus.targets.measure import Speed
from linnaeus.targets.proof import Shown
from linnaeus.verbs.compress.files import Candidate


def row_of(
    one: Candidate, speed: Speed, original: Candidate, before: Speed, test: Shown, verdict: Verdict
) -> dict[str, Any]:
    """Write a candidate as plain values.

    Args:
        one: The candidate.
        speed: Of it.
        original: What it is compared with; it may be the same.
        before: Speed of that.
        test: Pictures that judge.
        verdict: Of the gate.
    """
    rows = np.flatnonzero(test.labelled)
    classes = tuple(f"{k}" for k in range(one.test.shape[1]))
    tested = Predictions(one.test[rows], test.labels[rows], tuple(test.ids[row] for row in rows), classes)
    scores = score(tested).overall
    itself = one is original
    return {
        "name": one.name,
        "steps": list(one.steps),
        "runtime": one.target.name,
        "title": one.target.title,
        "precision": one.precision,
        "path": str(one.path),
        "multiply_adds": one.multiply_adds,
        "parameters": one.parameters,
        "calibration": one.calibration,
        "size_bytes": speed.size_bytes,
        "p50_ms": speed.p50_ms,
        "p95_ms": speed.p95_ms,
        "p99_ms": speed.p99_ms,
        "per_second": speed.per_second,
        "faster": before.p50_ms / speed.p50_ms,
        "smaller": (before.size_bytes or 0) / max(1, speed.size_bytes or 0),
        "accuracy": asdict(scores["accuracy"]),
        "log_loss": asdict(scores["log_loss"]),
        "ece": asdict(scores["ece"]),
        "difference": None if itself else asdict(verdict.difference),
        "verdict": "original" if itself else verdict.verdict,
        "why": "" if itself else verdict.why,
    }
