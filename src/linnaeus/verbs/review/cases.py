"""What there is to decide: one case for each picture that a finding is about."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnaeus.data.corrections import is_about_a_set
from linnaeus.records import Dataset, Finding, Place, Predictions

DISAGREEMENT = "model disagrees"


@dataclass(frozen=True, slots=True)
class Case:
    """One picture and one thing that was noticed about it.

    Attributes:
        id: Of the example.
        place: Where its bytes are.
        label: What the source says, before any correction.
        kind: Of the finding.
        evidence: What was seen, for a person.
        suggested: The label that the evidence speaks for; "" for none.
        score: How well the label fits, 0..1; the lowest are the most doubtful. None where it is not known.
        cluster: Cases of one cluster are shown side by side; "" for none.
        hash: Content hash as in `Scan.hashes`; "" to read it from the file when a decision is made.
    """

    id: str
    place: Place
    label: str
    kind: str
    evidence: str
    suggested: str = ""
    score: float | None = None
    cluster: str = ""
    hash: str = ""


def cases_of(
    findings: Sequence[Finding],
    dataset: Dataset,
    *,
    hashes: Sequence[str] = (),
    table: Mapping[str, Sequence[Any]] | None = None,
) -> list[Case]:
    """Lay findings out as cases.

    Args:
        findings: Of an audit or a run; those that are about no picture are left to `notes_of`.
        dataset: As listed by its source: before corrections, and before anything was set aside.
        hashes: Content hash of each example; without them files are read again when a decision is made.
        table: Columns "id" and any of "suggested", "score" and "cluster", one row per picture, as in `audit.csv`.
    """
    assert not hashes or len(hashes) == len(dataset), "one hash per example"
    row_of = {example.id: row for row, example in enumerate(dataset.examples)}
    marks = _marks(table or {})
    cases = []
    for number, finding in enumerate(findings):
        is_set = is_about_a_set(finding.kind)
        # A leak is one finding about many sets: without clusters its pictures do not belong together.
        own_set = f"set {number + 1}" if is_set and finding.kind != "leak" else ""
        for id in finding.ids:
            if (row := row_of.get(id)) is None:
                continue
            example, mark = dataset.examples[row], marks.get(id, _Mark())
            cases.append(
                Case(
                    id=id,
                    place=example.place,
                    label=example.label,
                    kind=finding.kind,
                    evidence=finding.evidence,
                    suggested=mark.suggested if mark.suggested != example.label else "",
                    score=mark.score,
                    cluster=(mark.cluster or own_set) if is_set else "",
                    hash=hashes[row] if hashes else "",
                )
            )
    return cases


def notes_of(findings: Sequence[Finding], dataset: Dataset) -> list[str]:
    """Tell the findings that are about no picture of the dataset, such as an empty class, as lines for a person."""
    ids = {example.id for example in dataset.examples}
    return [f"{one.kind}: {one.evidence}" for one in findings if ids.isdisjoint(one.ids)]


def disagreements(parts: Sequence[Predictions]) -> tuple[list[Finding], dict[str, list[Any]]]:
    """Find the pictures whose label a model does not believe, the most doubtful first.

    Only predictions for pictures that the model was not trained on say something about their labels.

    Args:
        parts: Predictions for the validation part, the test part ...

    Returns:
        Findings, one per picture, and a table of "id", "suggested" and "score" (the probability of the given label),
        both as `cases_of` takes them.
    """
    found = sorted(_wrong(parts))
    findings = [
        Finding(
            DISAGREEMENT,
            (id,),
            f"the model says {said!r} with {_percent(sure)}, and {_percent(score)} for {label!r}",
            "note",
        )
        for score, id, label, said, sure in found
    ]
    table: dict[str, list[Any]] = {
        "id": [id for _, id, *_ in found],
        "suggested": [said for *_, said, _ in found],
        "score": [score for score, *_ in found],
    }
    return findings, table


def _wrong(parts: Sequence[Predictions]) -> Iterator[tuple[float, str, str, str, float]]:
    for part in parts:
        predicted, confidence = part.predicted, part.confidence
        for row in np.flatnonzero((part.labels >= 0) & (predicted != part.labels)).tolist():
            label = int(part.labels[row])
            score = float(part.probabilities[row, label])
            said = part.classes[int(predicted[row])]
            yield score, part.ids[row], part.classes[label], said, float(confidence[row])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


@dataclass(frozen=True, slots=True)
class _Mark:
    suggested: str = ""
    score: float | None = None
    cluster: str = ""


def _marks(table: Mapping[str, Sequence[Any]]) -> dict[str, _Mark]:
    ids = table.get("id", ())
    nothing = [None] * len(ids)
    columns = [table.get(name, nothing) for name in ("suggested", "score", "cluster")]
    clusters = columns[2]
    sizes = Counter(str(cluster) for cluster in clusters)
    return {
        str(id): _Mark(
            suggested=_text(suggested),
            score=_score(score),
            # A cluster of one is none.
            cluster=_text(cluster) if sizes[str(cluster)] > 1 else "",
        )
        for id, suggested, score, cluster in zip(ids, *columns, strict=True)
    }


def _text(value: Any) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def _score(value: Any) -> float | None:
    if value is None or value == "":
        return None
    number = float(value)
    return number if math.isfinite(number) else None
