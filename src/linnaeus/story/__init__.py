"""What strings the verbs together: training, evaluating and auditing from the pictures to the end."""

from __future__ import annotations

from linnaeus.story.compressed import refuse_failure, squeeze
from linnaeus.story.examined import Examined, examine, examine_predictions
from linnaeus.story.exported import Wanted, ship
from linnaeus.story.folded import Folded, cross_validate, is_cross_validation, resume_folds
from linnaeus.story.inspected import Inspected, inspect, run_at
from linnaeus.story.planned import Planned, foresee
from linnaeus.story.reported import report_in_full
from linnaeus.story.reviewed import look_over
from linnaeus.story.slimmed import SLIMMING, Means
from linnaeus.story.stressed import put_under_stress
from linnaeus.story.telling import resume, tell

__all__ = [
    "SLIMMING",
    "Examined",
    "Folded",
    "Inspected",
    "Means",
    "Planned",
    "Wanted",
    "cross_validate",
    "examine",
    "examine_predictions",
    "foresee",
    "inspect",
    "is_cross_validation",
    "look_over",
    "put_under_stress",
    "refuse_failure",
    "report_in_full",
    "resume",
    "resume_folds",
    "run_at",
    "ship",
    "squeeze",
    "tell",
]
