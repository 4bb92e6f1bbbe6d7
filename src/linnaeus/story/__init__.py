"""The whole story of `linnaeus train`: open, audit, split, plan, train, evaluate, report; and how to go on after a stop."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.classifier import Classifier
from linnaeus.config import Recipe, validate
from linnaeus.data.cache import Scan, scan
from linnaeus.data.decode import glance, read_bytes
from linnaeus.data.folders import default_cache_dir
from linnaeus.data.sources import open_source
from linnaeus.errors import CheckFailed, Interrupted, PictureError, RunError, SourceError
from linnaeus.learn.engine import Machine
from linnaeus.metrics import fit_temperature
from linnaeus.provenance import about, fingerprint, provenance, summary, write_tensorboard
from linnaeus.records import Dataset, Decision, Finding, Predictions, Preprocessing, Scores, Split
from linnaeus.run import Run
from linnaeus.talk import Clock, Talk
from linnaeus.verbs.audit import account, audit
from linnaeus.verbs.evaluate import evaluate, judge, logits_of
from linnaeus.verbs.plan import Facts, afford, plan, preprocessing
from linnaeus.verbs.report import report
from linnaeus.verbs.split import split
from linnaeus.verbs.train import Material, train

LOOK_AT = 200
"""Pictures whose header is read before anything is decided."""


@dataclass(frozen=True)
class Planned:
    """What was decided for some data, and from what."""

    used: Recipe
    decisions: list[Decision]
    facts: dict[str, Any]

    @classmethod
    def for_data(cls, dataset: Dataset, recipe: Recipe, clock: Clock | None = None) -> Planned:
        """Look at the data and decide what the recipe leaves open."""
        facts = look(dataset, recipe)
        used, decisions = plan(recipe, facts, Machine.here())
        used, more = afford(used, recipe, facts, (clock or Clock(recipe.budget_s)).left())
        return cls(used, decisions + more, {"name": dataset.name, **vars(facts)})

    def store(self, run: Run) -> Recipe:
        """Write the plan into the run."""
        run.write_plan(self.used, self.decisions, self.facts)
        return self.used


@dataclass(frozen=True)
class Prepared:
    """Pictures that were found, planned for, looked at and split."""

    dataset: Dataset
    scan: Scan
    split: Split
    used: Recipe
    accounted: Mapping[str, int]

    @property
    def material(self) -> Material:
        """What there is to learn from."""
        return Material(
            pixels=self.scan.pixels,
            labels=self.dataset.labels,
            hashes=self.scan.hashes,
            split=self.split,
            classes=self.dataset.classes,
            preprocessing=preprocessing(self.used),
        )


def tell(
    source: str,
    recipe: Recipe,
    *,
    out: Path | None = None,
    data_dir: Path | None = None,
    strict: bool = False,
    clock: Clock | None = None,
    talk: Talk | None = None,
) -> Run:
    """Train from pictures to a tested classifier, in a new run.

    Args:
        source: What `open_source` takes.
        recipe: What was asked for; open settings are decided from the data.
        out: Folder of the run; by default a new one under runs/.
        data_dir: Where the data of a built-in name are.
        strict: Stop if any picture must be set aside.
        clock: Started when the user pressed return.
        talk: Where words and progress go.

    Returns:
        The finished run.
    """
    where = {"source": str(source), "data_dir": str(data_dir) if data_dir else None, "strict": strict}
    talk = talk or Talk()
    clock = clock or Clock(recipe.budget_s)
    dataset = _open(where, talk)
    if dataset.multilabel:
        raise SourceError(
            f"{dataset.source} gives some pictures several labels.",
            got="labels separated by |",
            fix="training takes one label per picture: keep one in the label column.",
        )
    planned = Planned.for_data(dataset, recipe, clock)
    run = Run.create(out, dataset.name, recipe, where | {"command": shlex.join(sys.argv)})
    talk.say(f"run: {run.folder}")
    for one in planned.decisions:
        talk.say(f"  {one.setting} = {one.value}: {one.reason}")
    return _go_on(run, dataset, planned.store(run), clock, talk)


def resume(folder: str | Path, *, clock: Clock | None = None, talk: Talk | None = None) -> Run:
    """Go on with a run that was stopped, exactly where its last checkpoint is.

    Raises:
        RunError: The run is complete, or its pictures are no longer the same.
    """
    run, talk = Run.open(folder), talk or Talk()
    if run.is_complete():
        raise RunError(
            f"{run.folder} is complete.",
            got="a run that came to its end",
            fix=f"look at {run.report_path}, or start a new one.",
        )
    dataset = _open(run.source(), talk)
    used = validate(run.plan()["used"]) if run.has_plan() else Planned.for_data(dataset, run.recipe()).store(run)
    return _go_on(run, dataset, used, clock or Clock(used.budget_s), talk)


@dataclass(frozen=True)
class Examined:
    """What `examine` found: the account of every file, predictions and scores."""

    accounted: Mapping[str, int]
    predictions: Predictions
    scores: Scores


def examine(
    model: Path, source: str, *, data_dir: Path | None = None, trust_code: bool = False, talk: Talk | None = None
) -> Examined:
    """Score a trained classifier on all pictures of another source.

    Args:
        model: A run or a model folder.
        source: What `open_source` takes.
        data_dir: Where the data of a built-in name are.
        trust_code: See `Classifier.load`.
        talk: Where words and progress go.
    """
    talk = talk or Talk()
    classifier = Classifier.load(model, trust_code=trust_code)
    dataset = _open({"source": source, "data_dir": data_dir}, talk)
    kept, found, findings = _look_at_all(dataset, classifier.preprocessing, Recipe().data.cache_gb, talk)
    accounted = account(dataset, findings)
    _say_aside(accounted, talk)
    predictions, scores = evaluate(classifier, kept, found, talk)
    return Examined(accounted, predictions, scores)


def inspect(source: str, recipe: Recipe, *, data_dir: Path | None = None, talk: Talk | None = None) -> dict[str, Any]:
    """Audit a source without training: the account, the class sizes and all findings, as plain values."""
    talk = talk or Talk()
    dataset = _open({"source": source, "data_dir": data_dir}, talk)
    used = Planned.for_data(dataset, recipe).used
    kept, _, findings = _look_at_all(dataset, preprocessing(used), used.data.cache_gb, talk)
    return {
        "accounted": account(dataset, findings),
        "classes": kept.counts(),
        "findings": [asdict(one) for one in kept.findings],
    }


def foresee(
    source: str, recipe: Recipe, *, data_dir: Path | None = None, talk: Talk | None = None
) -> tuple[Recipe, list[Decision]]:
    """Decide what `tell` would decide, and stop there."""
    planned = Planned.for_data(_open({"source": source, "data_dir": data_dir}, talk or Talk()), recipe)
    return planned.used, planned.decisions


def prepare(dataset: Dataset, used: Recipe, *, strict: bool, talk: Talk, run: Run) -> Prepared:
    """Look at every picture, set aside what cannot be used, and split."""
    kept, found, findings = _look_at_all(dataset, preprocessing(used), used.data.cache_gb, talk)
    accounted = account(dataset, findings)
    _check_same_data(run, kept, found.hashes)
    parts = split(kept, found.hashes, used.split)
    everything = (*kept.findings, *parts.findings)
    run.write_findings(everything, accounted)
    _tell_findings(everything, accounted, run, talk)
    if strict and accounted["found"] > accounted["used"]:
        raise CheckFailed(
            "--strict: no file should have to be set aside.",
            got=_aside(accounted),
            fix=f"mend or remove the files listed in {run.set_aside_path}.",
        )
    _check_learnable(kept, parts)
    run.write_split(kept, parts, found.hashes)
    return Prepared(kept, found, parts, used, accounted)


def _go_on(run: Run, dataset: Dataset, used: Recipe, clock: Clock, talk: Talk) -> Run:
    """Do the rest of the story; whenever the user stops it, the run can be resumed."""
    try:
        return _rest_of_story(run, dataset, used, clock, talk)
    except KeyboardInterrupt:
        raise Interrupted(str(run.folder)) from None


def _rest_of_story(run: Run, dataset: Dataset, used: Recipe, clock: Clock, talk: Talk) -> Run:
    prepared = prepare(dataset, used, strict=bool(run.source().get("strict")), talk=talk, run=run)
    hashes, seed = prepared.scan.hashes, prepared.used.seed
    run.write_provenance(provenance(run, prepared.dataset, hashes, prepared.accounted, seed))
    with talk.stage("train"):
        trained = train(run, prepared.material, prepared.used, clock=clock, talk=talk)
    with talk.stage("evaluate"):
        classifier, scores = _evaluate(run, prepared, trained.classifier, talk)
    classifier = replace(classifier, about=about(run, prepared.used, trained.fitted.epochs, scores))
    classifier.save(run.model_dir)
    write_tensorboard(run)
    run.write_summary(summary(classifier, trained.fitted, talk))
    with talk.stage("report"):
        report(run)
    return run


def _open(where: Mapping[str, Any], talk: Talk) -> Dataset:
    with talk.stage("open"):
        data_dir = where.get("data_dir")
        dataset = open_source(
            where["source"],
            data_dir=Path(data_dir) if data_dir else None,
            cache_dir=default_cache_dir(),
            progress=talk.progress,
        )
    talk.say(f"{len(dataset):,} pictures in {len(dataset.classes)} classes")
    return dataset


def look(dataset: Dataset, recipe: Recipe) -> Facts:
    """Read the headers of some pictures, spread evenly, and count what matters for the plan."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, LOOK_AT).astype(int))
    sides, colourful = [], False
    for row in rows:
        place = dataset.examples[row].place
        try:
            seen = glance(read_bytes(place), place.layout)
        except PictureError:
            continue
        sides.append(min(seen.width, seen.height))
        colourful = colourful or seen.mode not in ("L", "1", "I", "I;16", "F")
    given = [example.split for example in dataset.examples]
    open_rows = given.count("") + given.count("train")
    share = 1 - ("val" not in given) * recipe.split.val - ("test" not in given) * recipe.split.test
    return Facts(
        pictures=len(dataset),
        train=round(open_rows * share),
        classes=len(dataset.classes),
        side_px=int(np.median(sides)) if sides else 224,
        grey=bool(sides) and not colourful,
    )


def _check_learnable(dataset: Dataset, parts: Split) -> None:
    counts = np.bincount(dataset.labels[parts.rows("train")], minlength=len(dataset.classes))
    if (counts > 0).sum() < 2:
        have = [name for name, count in zip(dataset.classes, counts, strict=True) if count]
        raise SourceError(
            f"{dataset.source} should have training pictures of two classes or more.",
            got=f"one class: {have[0]}" if have else "none",
            fix="add a folder with pictures that are not of this class.",
        )


def _look_at_all(
    dataset: Dataset, how: Preprocessing, cache_gb: float, talk: Talk
) -> tuple[Dataset, Scan, list[Finding]]:
    """Scan and audit; return what can be used, the scan of just that, and what was found."""
    with talk.stage("audit"):
        found = scan(
            dataset,
            how,
            cache_dir=default_cache_dir() / "pixels",
            cache_gb=cache_gb,
            progress=lambda done, total: talk.progress("reading pictures", done, total),
        )
        findings = audit(dataset, found)
    kept = dataset.without(findings)
    row_of = {example.id: row for row, example in enumerate(dataset.examples)}
    return kept, found.take([row_of[example.id] for example in kept.examples]), findings


def _aside(accounted: Mapping[str, int]) -> str:
    """Count what is not used, by reason; "" if nothing."""
    return ", ".join(f"{count} {reason}" for reason, count in accounted.items() if reason not in ("found", "used"))


def _say_aside(accounted: Mapping[str, int], talk: Talk, listed: Path | None = None) -> None:
    aside = accounted["found"] - accounted["used"]
    if aside:
        where = f"; listed in {listed}" if listed else ""
        talk.say(f"{aside} of {accounted['found']:,} files set aside ({_aside(accounted)}){where}")


def _tell_findings(findings: tuple[Finding, ...], accounted: Mapping[str, int], run: Run, talk: Talk) -> None:
    _say_aside(accounted, talk, run.set_aside_path)
    for one in findings:
        if one.severity == "warning":
            talk.say(f"warning: {one.kind}: {one.evidence}")


def _check_same_data(run: Run, dataset: Dataset, hashes: tuple[str, ...]) -> None:
    try:
        before = run.provenance()["data"]["fingerprint"]
    except RunError:
        return
    if before != fingerprint(dataset, hashes):
        raise RunError(
            f"{run.folder} was begun with other pictures.",
            got="the source changed since",
            fix="start anew: linnaeus train " + shlex.quote(str(run.source()["source"])),
        )


def _evaluate(run: Run, prepared: Prepared, trained: Classifier, talk: Talk) -> tuple[Classifier, dict[str, Scores]]:
    """Calibrate on the validation part, then score validation and test."""
    rows = {part: prepared.split.rows(part) for part in ("val", "test") if len(prepared.split.rows(part))}
    logits = {part: logits_of(trained, prepared.scan, some, talk) for part, some in rows.items()}
    classifier = trained
    if prepared.used.train.calibrate and "val" in rows:
        labels = prepared.dataset.labels[rows["val"]]
        classifier = replace(trained, temperature=fit_temperature(logits["val"], labels))
    scores = {}
    for part, some in rows.items():
        predictions, scores[part] = judge(logits[part], classifier.temperature, prepared.dataset, some)
        run.write_predictions(part, predictions)
        run.write_scores(part, scores[part])
    return classifier, scores
