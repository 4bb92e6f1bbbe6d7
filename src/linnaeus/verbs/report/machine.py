"""The same report for machines: one JSON document, described in docs/report.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from linnaeus.records import PARTS
from linnaeus.verbs.report.audited import Audited
from linnaeus.verbs.report.evidence import Evidence
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import as_plain, say
from linnaeus.verbs.report.sections.answer import next_steps, told, trusted, warnings, weakest
from linnaeus.verbs.report.sections.audit import audit_told, mend_first
from linnaeus.written import scores_document

FORMAT = 1
MOST_PAIRS = 100


def machine(evidence: Evidence, words: Words) -> dict[str, Any]:
    """Lay out what the report says and what it rests on; what there is not, and what is not finite, is null."""
    return _finite(_document(evidence, words))


def machine_audit(audited: Audited, evidence: Evidence, words: Words) -> dict[str, Any]:
    """Lay out what the page of an audit says, each kind of finding with its number, and the whole document."""
    kinds = [
        {
            "kind": one.name,
            "severity": one.severity,
            "findings": len(one.findings),
            "count": one.count,
            **dict(zip(("title", "means", "advice"), map(as_plain, map(say, words.finding(one.name))), strict=True)),
        }
        for one in audited.kinds
    ]
    said = {
        "sentences": [as_plain(one) for one in audit_told(audited, evidence, words)],
        "mend": [as_plain(one) for one in mend_first(audited, words)],
        "command": audited.command,
    }
    head = {"format": FORMAT, "name": evidence.name, "language": words.code}
    return _finite({**head, "answer": said, "kinds": kinds, "audit": dict(audited.document)})


def _document(evidence: Evidence, words: Words) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": evidence.name,
        "language": words.code,
        "classes": list(evidence.classes),
        "part": evidence.part or None,
        "answer": _answer(evidence, words),
        "data": _data(evidence) if evidence.run else None,
        "decisions": list(evidence.plan.get("decisions", [])),
        "epochs": [dict(one) for one in evidence.epochs],
        "best_epoch": evidence.summary.get("best_epoch"),
        "scores": scores_document(evidence.scores) if evidence.scores else None,
        "most_confused": [asdict(one) for one in evidence.confusions(MOST_PAIRS)] if evidence.scores else None,
        "reliability": [asdict(one) for one in evidence.bins],
        "results": {verb: dict(found) for verb, found in evidence.results.items()},
        "summary": dict(evidence.summary),
        "provenance": dict(evidence.provenance),
    }


def _answer(evidence: Evidence, words: Words) -> dict[str, Any]:
    said = {
        "sentences": [as_plain(one) for one in told(evidence, words)],
        "warnings": [as_plain(one) for one in warnings(evidence, words)],
        "next": [as_plain(one) for one in next_steps(evidence, words)],
    }
    if evidence.scores is None:
        return said | {"accuracy": None, "guessing": None, "probabilities": None, "weakest_class": None}
    ece, verdict = trusted(evidence)
    name, share = evidence.commonest()
    return said | {
        "accuracy": asdict(evidence.scores.overall["accuracy"]),
        "guessing": {"class": name, "accuracy": share},
        "probabilities": {"verdict": verdict, "ece": asdict(ece)},
        "weakest_class": weakest(evidence.scores.per_class)[0].name,
    }


def _data(evidence: Evidence) -> dict[str, Any]:
    return {
        "accounted": dict(evidence.accounted),
        "findings": [asdict(one) for one in evidence.findings],
        "counts": {name: dict(count) for name, count in evidence.counts.items()},
        "total": {part: evidence.total(part) for part in PARTS},
    }


def _finite(value: Any) -> Any:
    """JSON has no word for NaN and infinity."""
    if isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
