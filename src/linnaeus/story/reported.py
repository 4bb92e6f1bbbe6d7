"""Write a report with everything in it."""

from __future__ import annotations

from pathlib import Path

from linnaeus.run import Run
from linnaeus.story.stressed import put_under_stress
from linnaeus.talk import Talk
from linnaeus.verbs.explain import explain_run
from linnaeus.verbs.report import report


def report_in_full(folder: Path, language: str = "en", *, trust_code: bool = False, talk: Talk | None = None) -> Path:
    """Explain answers and put the run under stress where that was not done yet, then write its report.

    Args:
        folder: Of a run.
        language: "en" or "zh".
        trust_code: See `Classifier.load`.
        talk: Where words and progress go.

    Returns:
        The page.
    """
    talk, run = talk or Talk(), Run.open(folder)
    if not run.has_result("explain"):
        explain_run(run, talk, trust_code=trust_code)
    if not run.has_result("stress"):
        put_under_stress(folder, trust_code=trust_code, talk=talk)
    return report(run, language)
