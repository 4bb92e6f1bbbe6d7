"""The whole story of `linnaeus train`: open, audit, split, plan, train, evaluate, report; and how to go on after a stop."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.classifier import Classifier
from linnaeus.config import Recipe, validate
from linnaeus.data.cache import Scan
from linnaeus.data.traits import measure
from linnaeus.errors import CheckFailed, Interrupted, RunError, SourceError
from linnaeus.learn.effort import EFFORTS
from linnaeus.learn.engine import one_blas_thread
from linnaeus.metrics.unknown import measure_unknown
from linnaeus.provenance import about, fingerprint, provenance, summary, write_tensorboard
from linnaeus.records import Dataset, Finding, Scores, Split
from linnaeus.run import Run
from linnaeus.story.cleaned import cleaned
from linnaeus.story.divided import divide, grouped
from linnaeus.story.pictures import aside, look_at_all, open_pictures, tell_findings, where_of
from linnaeus.story.planned import Planned, as_trained
from linnaeus.story.taught import with_lesson
from linnaeus.talk import Clock, Talk
from linnaeus.verbs.evaluate import Calibrated, Judged, calibrate, judge, raw, results_of, seen_of, strangers
from linnaeus.verbs.plan import preprocessing
from linnaeus.verbs.report import report
from linnaeus.verbs.train import Material, train

NOT_LOOKED_FOR = Finding(
    "copies not looked for",
    (),
    "split.copies = false: pictures that are nearly the same may stand on both sides of the split",
    severity="note",
)


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
    corrections: str | Path | None = None,
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
        corrections: File with the decisions of a review, or "none"; by default the one beside the source.
        clock: Started when the user pressed return.
        talk: Where words and progress go.

    Returns:
        The finished run.
    """
    where = where_of(source, data_dir=data_dir, corrections=corrections) | {"strict": strict}
    talk = talk or Talk()
    clock = clock or Clock(recipe.budget_s)
    dataset = open_pictures(where, talk)
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
    talk.say(planned.promise())
    return _go_on(run, dataset, planned.store(run), clock, talk)


def resume(folder: str | Path, *, clock: Clock | None = None, talk: Talk | None = None) -> Run:
    """Go on with a run that was stopped, exactly where its last checkpoint is.

    Raises:
        RunError: The run is complete, its pictures are no longer the same, or it is a part of a compression.
    """
    run, talk = Run.open(folder), talk or Talk()
    if "slimming" in run.source():
        whole = shlex.quote(str(run.folder.absolute().parents[1]))
        raise RunError(
            f"{run.folder} should be the folder of a run.",
            got="a network that compress is making",
            fix=f"give the same command once more, which goes on: linnaeus compress {whole} ...",
        )
    if run.is_complete():
        raise RunError(
            f"{run.folder} is complete.",
            got="a run that came to its end",
            fix=f"look at {run.report_path}, or start a new one.",
        )
    dataset = open_pictures(run.source(), talk)
    used = validate(run.plan()["used"]) if run.has_plan() else Planned.for_data(dataset, run.recipe()).store(run)
    return _go_on(run, dataset, used, clock or Clock(used.budget_s), talk)


def prepare(dataset: Dataset, used: Recipe, *, strict: bool, talk: Talk, run: Run) -> Prepared:
    """Look at every picture, set aside what cannot be used, and split."""
    listed = grouped(dataset, used.split, talk)
    looked = look_at_all(listed, run.source(), preprocessing(used), used.data.cache_gb, talk, copies=used.split.copies)
    divided = divide(looked.dataset, looked.scan, looked.accounted, used.split, clusters=looked.clusters, talk=talk)
    if used.train.clean == "auto":
        divided = cleaned(divided, looked, used, talk)
    kept, found, parts, accounted = divided.dataset, divided.scan, divided.split, divided.accounted
    _check_same_data(run, kept, found.hashes)
    unseen = () if used.split.copies else (NOT_LOOKED_FOR,)
    everything = (*kept.findings, *divided.findings, *parts.findings, *unseen)
    run.write_findings(everything, accounted)
    tell_findings(everything, accounted, run, talk)
    # What is set aside for the sake of what is held out is not the files' fault.
    if strict and looked.accounted["found"] > looked.accounted["used"]:
        raise CheckFailed(
            "--strict: no file should have to be set aside.",
            got=aside(looked.accounted),
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
    material = with_lesson(prepared.material, prepared.used, run, talk)
    with talk.stage("train"):
        trained = train(run, material, prepared.used, clock=clock, talk=talk)
    with talk.stage("evaluate"), one_blas_thread():
        settled = replace(prepared, used=as_trained(prepared.used, trained.fitted.decisions))
        classifier, scores = _evaluate(run, settled, trained.classifier, talk, trained.features)
    classifier = replace(classifier, about=about(run, prepared.used, trained.fitted.epochs, scores))
    classifier.save(run.model_dir)
    write_tensorboard(run)
    pace = {
        "effort": used.effort,
        "expected_s": run.plan()["facts"].get("expected_s"),
        "seconds": round(time.monotonic() - clock.started, 1),
    }
    run.write_summary(summary(classifier, trained.fitted, talk) | pace)
    with talk.stage("report"):
        report(run)
    return run


def _check_learnable(dataset: Dataset, parts: Split) -> None:
    counts = np.bincount(dataset.labels[parts.rows("train")], minlength=len(dataset.classes))
    if (counts > 0).sum() < 2:
        have = [name for name, count in zip(dataset.classes, counts, strict=True) if count]
        raise SourceError(
            f"{dataset.source} should have training pictures of two classes or more.",
            got=f"one class: {have[0]}" if have else "none",
            fix="add a folder with pictures that are not of this class.",
        )


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


def _evaluate(
    run: Run, prepared: Prepared, trained: Classifier, talk: Talk, known: np.ndarray | None = None
) -> tuple[Classifier, dict[str, Scores]]:
    """Calibrate on the validation part, score validation and test, and judge when to believe the answers."""
    rows = {part: prepared.split.rows(part) for part in ("val", "test") if len(prepared.split.rows(part))}
    seen = {part: seen_of(trained, prepared.scan, some, talk) for part, some in rows.items()}
    calibrated = Calibrated(trained)
    if "val" in rows:
        calibrated = calibrate(
            trained,
            seen["val"],
            prepared.dataset,
            prepared.scan,
            prepared.split,
            fit=prepared.used.train.calibrate,
            keep_answers=prepared.used.train.helps_rare_classes,
            candidates=run.networks_judged(),
            seed=prepared.used.seed,
            talk=talk,
            known=known,
            strange_each=EFFORTS[prepared.used.effort].strange_each,
        )
    scores = {}
    for part, some in rows.items():
        # Taken out: of very many classes the answers on a part are most of what is in memory.
        judged = judge(calibrated.classifier, seen.pop(part), prepared.dataset, some)
        scores[part] = judged.scores
        run.write_predictions(part, judged.predictions)
        run.write_scores(part, judged.scores)
        if part == "test" or "test" not in rows:
            for name, found in _results(judged, calibrated, prepared, part, talk).items():
                run.write_result(name, found)
    return calibrated.classifier, scores


def _results(
    judged: Judged, calibrated: Calibrated, prepared: Prepared, part: str, talk: Talk
) -> dict[str, dict[str, Any]]:
    """Judge the part that the report is about; strange pictures are made of it anew, since the first ones chose."""
    rows, classifier, unknown = prepared.split.rows(part), calibrated.classifier, None
    if calibrated.choice is not None and part == "test":
        each = EFFORTS[prepared.used.effort].strange_each
        made = strangers(classifier, prepared.scan, rows, prepared.used.seed + 1, talk, each)
        unknown = measure_unknown(calibrated.detectors, calibrated.choice, judged.seen, made)
    traits = measure(prepared.dataset.take(rows), prepared.scan.take(rows), classifier.preprocessing)
    return results_of(
        raw(judged),
        judged.predictions,
        classifier.calibration,
        classifier.judgement,
        part=part,
        columns=traits.columns(),
        unknown=unknown,
        groups=judged.groups,
    )
