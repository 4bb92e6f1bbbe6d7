"""Put the page together: everything a template needs, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linnaeus.records import PARTS, Estimate
from linnaeus.verbs.report import svg
from linnaeus.verbs.report.evidence import Evidence
from linnaeus.verbs.report.thumbnails import Shown
from linnaeus.verbs.report.words import MEANINGS, answer, counted, named, value_words, weakest

FULL_TABLE = 30
FULL_MATRIX = 20
WORST = 12
MOST_ASIDE = 200
PART_NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class ScoreRow:
    """One line of the table of scores."""

    name: str
    value: str
    interval: str
    n: int
    method: str
    meaning: str


def page(evidence: Evidence, sample: Sequence[Shown], wrong: Sequence[Shown]) -> str:
    """Write the whole report as one HTML document without scripts and without anything from elsewhere."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"named": named, "counted": counted, "width": _width}
    return environment.get_template("page.html.j2").render(_values(evidence, sample, wrong))


def _values(evidence: Evidence, sample: Sequence[Shown], wrong: Sequence[Shown]) -> dict[str, Any]:
    return {
        "css": (Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
        "evidence": evidence,
        "name": evidence.name,
        "subtitle": _subtitle(evidence),
        "answer": answer(evidence),
        "accuracy": evidence.scores.overall["accuracy"] if evidence.scores else None,
        "guess": evidence.commonest()[1] if evidence.scores else None,
        "part": PART_NAMES.get(evidence.part, ""),
        "sample": sample,
        "wrong": wrong,
        "language": "en",
        **_data(evidence),
        **_evidence_of_learning(evidence),
        **(_judgement(evidence) if evidence.scores else {}),
        **_provenance(evidence),
    }


def _subtitle(evidence: Evidence) -> list[str]:
    network = evidence.summary.get("network") or evidence.plan.get("used", {}).get("model", {}).get("name")
    when = str(evidence.provenance.get("time", ""))[:10]
    told = ["picture classifier", counted(len(evidence.classes), "class"), str(network or ""), when]
    return [one for one in told if one]


def _data(evidence: Evidence) -> dict[str, Any]:
    reasons = {key: count for key, count in evidence.accounted.items() if key not in ("found", "used") and count}
    largest = max((sum(count.values()) for count in evidence.counts.values()), default=1)
    aside = [(id, one) for one in evidence.set_aside for id in one.ids]
    return {
        "found": evidence.accounted.get("found", 0),
        "used": evidence.accounted.get("used", 0),
        "reasons": reasons,
        "parts": [(part, PART_NAMES[part], evidence.total(part)) for part in PARTS if evidence.total(part)],
        "largest": max(largest, 1),
        "fold_classes": len(evidence.classes) > FULL_TABLE,
        "aside": aside[:MOST_ASIDE],
        "aside_more": max(0, len(aside) - MOST_ASIDE),
        "noticed": [one for one in evidence.findings if one.severity != "set aside"],
        "set_aside_file": evidence.run.set_aside_path.name,
    }


def _evidence_of_learning(evidence: Evidence) -> dict[str, Any]:
    best = evidence.summary.get("best_epoch")
    best = float(best) if isinstance(best, int | float) else None
    charts = [
        (title, svg.learning_curve(evidence.epochs, what, title, best))
        for what, title in (("loss", "Loss"), ("accuracy", "Accuracy"))
    ]
    return {
        "decisions": evidence.plan.get("decisions", []),
        "curves": [(title, chart) for title, chart in charts if chart],
        "best_epoch": best,
        "stopped": evidence.summary.get("stopped") or "",
    }


def _judgement(evidence: Evidence) -> dict[str, Any]:
    scores = evidence.scores
    assert scores is not None
    K = len(scores.per_class)
    return {
        "score_rows": [_row(name, estimate) for name, estimate in scores.overall.items()],
        "classes": list(scores.per_class),
        "worst": weakest(scores.per_class)[:WORST] if K > FULL_TABLE else [],
        "fold_report": K > FULL_TABLE,
        "matrix": svg.confusion_matrix(scores.confusion, evidence.classes),
        "matrix_width": svg.CELL * K + 120 if K <= FULL_MATRIX else 0,
        "matrix_rows": scores.confusion.tolist() if K <= FULL_MATRIX else [],
        "pairs": evidence.confusions(WORST if K > FULL_MATRIX else 8),
        "diagram": svg.reliability_diagram(evidence.bins),
        "temperature": evidence.model.get("temperature"),
        "ece": scores.overall["ece"],
    }


def _row(name: str, estimate: Estimate) -> ScoreRow:
    title, meaning = MEANINGS.get(name, (name.replace("_", " ").capitalize(), ""))
    value, interval = value_words(name, estimate)
    return ScoreRow(title, value, interval, estimate.n, estimate.method, meaning)


def _provenance(evidence: Evidence) -> dict[str, Any]:
    total = evidence.summary.get("seconds") or sum(evidence.stages.values())
    network = {key: evidence.summary[key] for key in ("network", "parameters", "epochs") if key in evidence.summary}
    seen = dict(evidence.model.get("preprocessing") or {})
    return {
        "command": str(evidence.provenance.get("command", "")),
        "facts": _flat({key: value for key, value in evidence.provenance.items() if key != "command"}),
        "network": _flat(network),
        "seen": _flat(seen),
        "stages": [(name, seconds, seconds / max(total, 1e-9)) for name, seconds in evidence.stages.items()],
        "total_seconds": total,
        "settings": _flat(evidence.plan.get("used", {})),
    }


def _flat(values: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Lay nested values out as lines "versions.torch", "2.15.0"."""
    lines: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            lines += _flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            lines.append((name, ", ".join(str(one) for one in value)))
        elif value is not None:
            lines.append(
                (name, f"{value:,}" if isinstance(value, int) and value > 9999 and key != "seed" else str(value))
            )
    return lines


def _width(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"
