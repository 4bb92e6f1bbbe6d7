"""Write a run's report: pictures, and one self-contained page that begins with the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from linnaeus.verbs.report.evidence import Evidence
from linnaeus.verbs.report.page import page
from linnaeus.verbs.report.pictures import write_pictures
from linnaeus.verbs.report.thumbnails import Shown, examples, mistakes

if TYPE_CHECKING:
    from pathlib import Path

    from linnaeus.run import Run

__all__ = ["report"]


def report(run: Run) -> Path:
    """Write pictures/*.png and report.html from what the run's folder holds, and return the page's path.

    A part that the run lacks (no epochs, no test pictures, no scores yet) is left out of the page with a word on why.

    Raises:
        RunError: The folder holds no plan or no split: the run did not get far enough to tell anything.
    """
    from linnaeus.run import write_text

    evidence = Evidence.gather(run)
    sample: list[Shown] = examples(evidence)
    wrong: list[Shown] = mistakes(evidence)
    write_pictures(evidence, sample, wrong)
    write_text(run.report_path, page(evidence, sample, wrong))
    return run.report_path
