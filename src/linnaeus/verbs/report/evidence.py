"""Gather all that a report tells of, from a run's folder or from predictions alone, with gaps where there is nothing."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.metrics import ReliabilityBin, reliability, score
from linnaeus.records import PARTS, Estimate, Finding, Place, Predictions, Preprocessing, Scores
from linnaeus.run import Run

RESULTS = ("calibration", "abstention", "ranking", "slices", "explain", "stress", "audit", "export", "compress")
"""What later verbs leave in results/VERB.json and a report draws."""


@dataclass(frozen=True)
class Confusion:
    """One kind of mistake: `count` of the `support` pictures of class `true` were called `called`."""

    true: str
    called: str
    count: int
    support: int


@dataclass(frozen=True)
class Evidence:
    """What a report rests on.

    Attributes:
        run: Where it came from; None for outside predictions.
        name: Short name of the data.
        classes: Every class name, in order.
        plan: Keys used, decisions, facts.
        provenance: Command, versions, hardware, seed, data.
        epochs: Journal events of epochs, in order; empty where the head was solved at once.
        stages: Seconds by stage.
        part: "test", or "val" where there is no test part, or "" without any labelled predictions.
        predictions: Of that part.
        scores: Of that part.
        bins: Its reliability.
        counts: Class name -> part -> number of pictures.
        places: Id -> where the picture's bytes are.
        findings: What was set aside or noticed.
        accounted: "found", "used", and one entry per reason.
        summary: How the run ended; empty while it goes on.
        model: What only Linnaeus knows of the model: calibration, preprocessing ...
        results: Verb -> what it found, for those of `RESULTS` that there are.
    """

    run: Run | None
    name: str
    classes: tuple[str, ...]
    plan: Mapping[str, Any]
    provenance: Mapping[str, Any]
    epochs: tuple[Mapping[str, Any], ...]
    stages: Mapping[str, float]
    part: str
    predictions: Predictions | None
    scores: Scores | None
    bins: tuple[ReliabilityBin, ...]
    counts: Mapping[str, Mapping[str, int]]
    places: Mapping[str, Place]
    findings: tuple[Finding, ...]
    accounted: Mapping[str, int]
    summary: Mapping[str, Any]
    model: Mapping[str, Any]
    results: Mapping[str, Mapping[str, Any]]

    @classmethod
    def gather(cls, run: Run) -> Evidence:
        """Read a run.

        Raises:
            RunError: It has no plan or no split yet.
        """
        plan, split, journal = run.plan(), run.split(), run.journal()
        provenance = run.provenance()
        summary = run.summary() if run.has_summary() else {}
        part, predictions, scores = _judged(run)
        counted = Counter(zip(split["label"], split["split"], strict=True))
        classes = predictions.classes if predictions else tuple(sorted({label for label, _ in counted}))
        return cls(
            run=run,
            name=_name(run, plan),
            classes=classes,
            plan=plan,
            provenance=provenance,
            epochs=tuple(event for event in journal if event.get("event") == "epoch"),
            stages=summary.get("stages") or _stages(journal),
            part=part,
            predictions=predictions,
            scores=scores,
            bins=reliability(predictions) if predictions else (),
            counts={name: {part: counted[name, part] for part in PARTS} for name in classes},
            places=dict(zip(split["id"], split["place"], strict=True)),
            findings=tuple(run.findings()),
            accounted=run.accounted(),
            summary=summary,
            model=_model(run),
            results={verb: run.result(verb) for verb in RESULTS if run.has_result(verb)},
        )

    @classmethod
    def outside(
        cls, predictions: Predictions, scores: Scores, results: Mapping[str, Mapping[str, Any]], name: str
    ) -> Evidence:
        """Take predictions of any model: no plan, no split, no pictures."""
        return cls(
            run=None,
            name=name,
            classes=predictions.classes,
            plan={},
            provenance={},
            epochs=(),
            stages={},
            part="outside",
            predictions=predictions,
            scores=scores,
            bins=reliability(predictions),
            counts={},
            places={},
            findings=(),
            accounted={},
            summary={},
            model={},
            results={verb: found for verb, found in results.items() if found},
        )

    @classmethod
    def of_audit(cls, document: Mapping[str, Any], places: Mapping[str, Place], name: str) -> Evidence:
        """Take what an audit found of a source: no model, no run."""
        classes = document.get("classes") or {}
        return cls(
            run=None,
            name=name,
            classes=tuple(str(one) for one in classes),
            plan={},
            provenance={},
            epochs=(),
            stages={str(stage): float(seconds) for stage, seconds in (document.get("seconds") or {}).items()},
            part="",
            predictions=None,
            scores=None,
            bins=(),
            counts={},
            places=places,
            findings=(),
            accounted={str(reason): int(n) for reason, n in (document.get("accounted") or {}).items()},
            summary={},
            model={},
            results={"audit": document},
        )

    @property
    def folder(self) -> str:
        """The run as one types it in a command."""
        return shlex.quote(str(self.run.folder)) if self.run else "RUN"

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How the network sees pictures, if the model folder says so."""
        stored = self.model.get("preprocessing")
        return Preprocessing(**{key: _tuple(value) for key, value in stored.items()}) if stored else None

    @property
    def set_aside(self) -> tuple[Finding, ...]:
        """Findings whose files are not used."""
        return tuple(one for one in self.findings if one.severity == "set aside")

    def total(self, part: str) -> int:
        """Count the pictures of one part."""
        return sum(count[part] for count in self.counts.values())

    def commonest(self) -> tuple[str, float]:
        """Tell which class a guesser would always name, and its share of the judged pictures."""
        assert self.scores is not None
        trained = np.array([self.counts.get(name, {}).get("train", 0) for name in self.classes])
        support = self.scores.confusion.sum(axis=1)
        k = int((trained if trained.any() else support).argmax())
        return self.classes[k], float(support[k] / support.sum())

    def confusions(self, most: int) -> list[Confusion]:
        """List the most frequent kinds of mistakes."""
        assert self.scores is not None
        counts, support = self.scores.confusion, self.scores.confusion.sum(axis=1)
        pairs = [(t, p) for t, p in np.argwhere(counts).tolist() if t != p]
        pairs.sort(key=lambda pair: -counts[pair])
        return [
            Confusion(self.classes[t], self.classes[p], int(counts[t, p]), int(support[t])) for t, p in pairs[:most]
        ]


def estimate(stored: Mapping[str, Any]) -> Estimate:
    """Read an estimate as JSON has it."""
    value, low, high = (float(stored[key]) for key in ("value", "low", "high"))
    return Estimate(value, low, high, int(stored["n"]), str(stored["method"]))


def _judged(run: Run) -> tuple[str, Predictions | None, Scores | None]:
    for part in ("test", "val"):
        if run.has_predictions(part):
            predictions = run.predictions(part)
            if (predictions.labels >= 0).any():
                return part, predictions, run.scores(part) if run.has_scores(part) else score(predictions)
    return "", None, None


def _name(run: Run, plan: Mapping[str, Any]) -> str:
    source = str(run.source().get("source", ""))
    return str(plan.get("facts", {}).get("name") or Path(source).name or run.folder.name)


def _stages(journal: list[dict[str, Any]]) -> dict[str, float]:
    stages: Counter[str] = Counter()
    for event in journal:
        if event.get("event") == "stage" and "name" in event:
            stages[str(event["name"])] += event.get("seconds", 0.0)
    return dict(stages)


def _model(run: Run) -> Mapping[str, Any]:
    path = run.model_dir / "config.json"
    return json.loads(path.read_text(encoding="utf-8")).get("linnaeus", {}) if path.is_file() else {}


def _tuple(value: object) -> Any:
    return tuple(value) if isinstance(value, list) else value
