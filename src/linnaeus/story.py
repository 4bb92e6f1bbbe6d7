"""The whole story of `linnaeus train`: open, audit, split, plan, train, evaluate, report; and how to go on after a stop."""

from __future__ import annotations

import hashlib
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.classifier import Classifier
from linnaeus.config import Recipe, validate
from linnaeus.data.cache import Scan, scan
from linnaeus.data.decode import glance, read_bytes
from linnaeus.data.folders import default_cache_dir
from linnaeus.data.sources import open_source
from linnaeus.errors import CheckFailed, PictureError, RunError, SourceError
from linnaeus.learn.engine import Machine
from linnaeus.records import Dataset, Decision, Finding, Predictions, Preprocessing, Scores, Split
from linnaeus.run import Run
from linnaeus.talk import Clock, Talk
from linnaeus.verbs.audit import account, audit
from linnaeus.verbs.evaluate import evaluate, evaluate_rows
from linnaeus.verbs.plan import Facts, plan, preprocessing
from linnaeus.verbs.report import report
from linnaeus.verbs.split import split
from linnaeus.verbs.train import Material, Trained, train

LOOK_AT = 200
"""Pictures whose header is read before anything is decided."""


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
    run = Run.create(out, dataset.name, recipe, where | {"command": shlex.join(sys.argv)})
    talk.say(f"run: {run.folder}")
    return _go_on(run, dataset, recipe, clock, talk)


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
    recipe = run.recipe()
    return _go_on(run, _open(run.source(), talk), recipe, clock or Clock(recipe.budget_s), talk)


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
    used, _ = plan(recipe, look(dataset, recipe), Machine.here())
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
    dataset = _open({"source": source, "data_dir": data_dir}, talk or Talk())
    return plan(recipe, look(dataset, recipe), Machine.here())


def prepare(dataset: Dataset, recipe: Recipe, *, strict: bool, talk: Talk, run: Run) -> Prepared:
    """Plan, look at every picture, set aside what cannot be used, and split."""
    used = _plan(dataset, recipe, run, talk)
    kept, found, findings = _look_at_all(dataset, preprocessing(used), used.data.cache_gb, talk)
    accounted = account(dataset, findings)
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


def _go_on(run: Run, dataset: Dataset, recipe: Recipe, clock: Clock, talk: Talk) -> Run:
    if dataset.multilabel:
        raise SourceError(
            f"{dataset.source} gives some pictures several labels.",
            got="labels separated by |",
            fix="training takes one label per picture for now: keep one in the label column.",
        )
    prepared = prepare(dataset, recipe, strict=bool(run.source().get("strict")), talk=talk, run=run)
    _check_same_data(run, prepared)
    run.write_provenance(_provenance(run, prepared))
    with talk.stage("train"):
        trained = train(run, prepared.material, prepared.used, clock=clock, talk=talk)
    with talk.stage("evaluate"):
        scores = _evaluate(run, prepared, trained.classifier, talk)
    classifier = replace(trained.classifier, about=_about(run, prepared, trained, scores))
    classifier.save(run.model_dir)
    _write_tensorboard(run)
    run.write_summary(_summary(run, prepared, trained, talk))
    with talk.stage("report"):
        report(run)
    run.write_summary(_summary(run, prepared, trained, talk))
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


def _plan(dataset: Dataset, recipe: Recipe, run: Run, talk: Talk) -> Recipe:
    """Decide what is open; a run that is resumed keeps what it decided."""
    if run.has_plan():
        return validate(run.plan()["used"])
    facts = look(dataset, recipe)
    used, decisions = plan(recipe, facts, Machine.here())
    run.write_plan(used, decisions, vars(facts))
    for one in decisions:
        talk.say(f"  {one.setting} = {one.value}: {one.reason}")
    return used


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


def _check_same_data(run: Run, prepared: Prepared) -> None:
    try:
        before = run.provenance()["data"]["fingerprint"]
    except RunError:
        return
    if before != fingerprint(prepared.dataset, prepared.scan.hashes):
        raise RunError(
            f"{run.folder} was begun with other pictures.",
            got="the source changed since",
            fix="start anew: linnaeus train " + shlex.quote(str(run.source()["source"])),
        )


def fingerprint(dataset: Dataset, hashes: tuple[str, ...]) -> str:
    """Identify a data set by the content and label of every picture, whatever the files are called."""
    lines = sorted(
        f"{digest} {example.label} {example.split}" for digest, example in zip(hashes, dataset.examples, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _evaluate(run: Run, prepared: Prepared, classifier: Classifier, talk: Talk) -> dict[str, Scores]:
    scores = {}
    for part in ("val", "test"):
        rows = prepared.split.rows(part)
        if len(rows):
            predictions, scores[part] = evaluate_rows(classifier, prepared.dataset, prepared.scan, rows, talk)
            run.write_predictions(part, predictions)
            run.write_scores(part, scores[part])
    return scores


def _provenance(run: Run, prepared: Prepared) -> dict[str, Any]:
    import platform

    names = ("linnaeus", "torch", "torchvision", "timm", "numpy", "pillow", "simplejpeg", "opencv-python-headless")
    return {
        "command": run.source().get("command", ""),
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in names}},
        "hardware": {**vars(Machine.here()), "system": platform.platform()},
        "seed": prepared.used.seed,
        "data": {
            "source": prepared.dataset.source,
            "name": prepared.dataset.name,
            "fingerprint": fingerprint(prepared.dataset, prepared.scan.hashes),
            "found": prepared.accounted["found"],
            "used": prepared.accounted["used"],
        },
    }


def _about(run: Run, prepared: Prepared, trained: Trained, scores: Mapping[str, Scores]) -> dict[str, Any]:
    """Say in the model what it was made from and how good it is."""
    stored = run.provenance()
    return {
        "data": stored["data"],
        "versions": stored["versions"],
        "seed": stored["seed"],
        "epochs": trained.epochs,
        "recipe": prepared.used.model_dump(mode="json"),
        "scores": {
            part: {name: [one.value, one.low, one.high, one.n] for name, one in found.overall.items()}
            for part, found in scores.items()
        },
    }


def _summary(run: Run, prepared: Prepared, trained: Trained, talk: Talk) -> dict[str, Any]:
    network = trained.classifier.network
    return {
        "stages": {name: round(seconds, 2) for name, seconds in talk.seconds.items()},
        "network": trained.classifier.architecture,
        "parameters": sum(value.numel() for value in network.parameters()),
        "epochs": round(trained.epochs, 3),
        "best_epoch": round(trained.best_epoch, 3),
        "stopped": trained.stopped,
        "decisions": [asdict(one) for one in trained.decisions],
        "temperature": trained.classifier.temperature,
    }


def _write_tensorboard(run: Run) -> None:
    """Write the journal's epochs as TensorBoard events."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for path in run.tensorboard_dir.glob("events.*"):
        path.unlink()
    writer = EventFileWriter(str(run.tensorboard_dir))
    for event in run.journal():
        if event["event"] == "epoch":
            values = [
                Summary.Value(tag=name.replace("_", "/", 1), simple_value=value)
                for name, value in event.items()
                if name.startswith(("train_", "val_")) or name == "lr"
            ]
            writer.add_event(Event(wall_time=event["time"], step=event["step"], summary=Summary(value=values)))
    writer.close()
