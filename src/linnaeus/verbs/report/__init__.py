"""Write a report: one self-contained page that begins with the answer, the same as Markdown, and JSON for machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from linnaeus.records import Place, Predictions, Scores
    from linnaeus.run import Run
    from linnaeus.verbs.report.document import Section
    from linnaeus.verbs.report.evidence import Evidence
    from linnaeus.verbs.report.language import Words
    from linnaeus.verbs.report.thumbnails import Budget, Shown

__all__ = ["check_page", "finding_kinds", "front_svg", "report", "report_audit", "report_predictions"]

MOST_BYTES = 4_900_000
"""A page that can be sent by mail: under 5 MB."""
ROOMS = (2_400_000, 1_200_000, 400_000, 0)
"""Bytes for pictures; the next one is tried where names and tables take more of the page than they usually do."""


def finding_kinds() -> list[str]:
    """List every kind of finding that there is."""
    from linnaeus.verbs.report.language import speak

    return list(speak("en").findings)


def report(run: Run, language: str | None = None) -> Path:
    """Write pictures/*.png, report.html, report.md and report.json from a run's folder, and return the page's path.

    A part that the run lacks (no epochs, no test pictures, no scores yet) is left out with a word on why; a section
    that a later verb fills says which command does it.

    Args:
        run: With a plan and a split at least.
        language: "en" or "zh"; by default that of the report that is there, else English.

    Raises:
        RunError: The folder holds no plan or no split: the run did not get far enough to tell anything.
        SettingsError: The language is not one of them.
    """
    from linnaeus.verbs.report.evidence import Evidence
    from linnaeus.verbs.report.language import speak
    from linnaeus.verbs.report.pictures import write_pictures
    from linnaeus.verbs.report.thumbnails import examples, mistakes

    words = speak(language or (_made_by_us(run.report_path) or {}).get("language", "en"))
    evidence = Evidence.gather(run)
    sample, wrong = examples(evidence), mistakes(evidence)
    write_pictures(evidence, sample, wrong, words)
    return _write(evidence, words, sample, wrong, run.report_path)


def report_predictions(
    predictions: Predictions,
    scores: Scores,
    results: Mapping[str, dict[str, Any]],
    out: Path,
    name: str,
    language: str = "en",
) -> Path:
    """Write a report of predictions alone, of whatever model: no plan, no split, no pictures.

    Args:
        predictions: Some of them with a known label.
        scores: Of these predictions.
        results: Verb -> what it found: "calibration", "abstention", "ranking", "slices".
        out: The page; OUT.md and OUT.json are written beside it.
        name: What to call it.
        language: "en" or "zh".

    Raises:
        SettingsError: The language is not one of them, or `check_page` refuses the place.
    """
    from linnaeus.verbs.report.evidence import Evidence
    from linnaeus.verbs.report.language import speak

    out = Path(out)
    check_page(out)
    return _write(Evidence.outside(predictions, scores, results, name), speak(language), [], [], out)


def check_page(out: Path) -> None:
    """Refuse a page that is no .html file, or beside which somebody else's .md or .json would be written over.

    Raises:
        SettingsError: It is one of these.
    """
    from linnaeus.errors import SettingsError

    if out.suffix != ".html":
        raise SettingsError("a report should be written to an .html file.", got=str(out), fix=f"{out.stem}.html")
    beside = [one for ending in (".md", ".json") if (one := out.with_suffix(ending)).exists()]
    if beside and _made_by_us(out) is None:
        raise SettingsError(
            f"beside {out.name}, {out.stem}.md and {out.stem}.json are written: these places should be free.",
            got=f"{beside[0]}, which no report made",
            fix="take another name for the report.",
        )


def _made_by_us(page: Path) -> dict[str, Any] | None:
    """Read the report.json beside a page; None if it is none of ours."""
    import json

    from linnaeus.verbs.report.machine import FORMAT

    try:
        found = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("format") == FORMAT and "language" in found else None


def front_svg(compressed: Mapping[str, Any], language: str = "en") -> str:
    """Draw accuracy against time for all that a compression tried, as an SVG file of its own.

    Args:
        compressed: The document "compress", with one candidate at least.
        language: "en" or "zh".
    """
    from linnaeus.verbs.report.language import speak
    from linnaeus.verbs.report.page import alone
    from linnaeus.verbs.report.sections.shipping import compression_front

    return alone(str(compression_front(compressed, speak(language)).svg))


def report_audit(
    document: Mapping[str, Any], places: Mapping[str, Place], out: Path, name: str, language: str = "en"
) -> Path:
    """Write a page of what an audit found, for a source without a run.

    Args:
        document: As an audit writes it; whatever it lacks is left out.
        places: Id -> where the picture's bytes are, for the thumbnails; also of those that were set aside.
        out: The page; OUT.md and OUT.json are written beside it.
        name: What to call the data.
        language: "en" or "zh".

    Raises:
        SettingsError: The language is not one of them.
    """
    from linnaeus.verbs.report.audited import Audited
    from linnaeus.verbs.report.evidence import Evidence
    from linnaeus.verbs.report.language import speak
    from linnaeus.verbs.report.machine import machine_audit
    from linnaeus.verbs.report.sections.audit import audit_story

    words = speak(language)
    evidence, audited = Evidence.of_audit(document, places, name), Audited.read(document)

    def tell(budget: Budget) -> list[Section]:
        return audit_story(audited, evidence, words, budget)

    return _write_out(evidence, words, tell, machine_audit(audited, evidence, words), Path(out))


def _write(evidence: Evidence, words: Words, sample: list[Shown], wrong: list[Shown], out: Path) -> Path:
    from linnaeus.verbs.report.machine import machine
    from linnaeus.verbs.report.sections import story

    def tell(budget: Budget) -> list[Section]:
        return story(evidence, words, sample, wrong, budget)

    return _write_out(evidence, words, tell, machine(evidence, words), out)


def _write_out(
    evidence: Evidence,
    words: Words,
    tell: Callable[[Budget], list[Section]],
    document: Mapping[str, Any],
    out: Path,
) -> Path:
    import json

    from linnaeus.atomic import write_text
    from linnaeus.verbs.report.markdown import markdown
    from linnaeus.verbs.report.page import page
    from linnaeus.verbs.report.thumbnails import Budget

    for room in ROOMS:
        sections = tell(Budget(room))
        text = page(evidence, sections, words)
        if len(text.encode(errors="backslashreplace")) <= MOST_BYTES:
            break
    # The first one tells that the others are ours to replace.
    write_text(out.with_suffix(".json"), json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(out.with_suffix(".md"), markdown(evidence, sections, words))
    write_text(out, text)
    return out
