"""Cross-validation: the whole story once per fold, and what all folds say together."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linnaeus.atomic import write_text
from linnaeus.config import Recipe, validate
from linnaeus.errors import Interrupted, RunError, SourceError
from linnaeus.metrics.scores import LIMITS
from linnaeus.provenance import fingerprint
from linnaeus.records import Dataset, Estimate, Finding
from linnaeus.run import Run
from linnaeus.story.divided import fold_split, grouped
from linnaeus.story.pictures import look_at_all, open_pictures, say_aside, where_of
from linnaeus.story.planned import Planned
from linnaeus.story.telling import resume, tell
from linnaeus.tables import write_table
from linnaeus.talk import Talk
from linnaeus.verbs.folds import WORDS, Joined, check_folds, deal_folds, join, ties
from linnaeus.verbs.plan import preprocessing
from linnaeus.written import prediction_columns

POOLED = "out-of-fold"
SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece")


@dataclass(frozen=True)
class Folded:
    """A finished cross-validation.

    Attributes:
        folder: Holds fold-1 ..., predictions/out-of-fold.csv, scores/out-of-fold.json, folds.json and folds.md.
        runs: One for each fold.
        joined: What they found together.
    """

    folder: Path
    runs: tuple[Run, ...]
    joined: Joined

    @property
    def document(self) -> dict[str, Any]:
        """All of it as plain values: what folds.json holds."""
        return self.joined.document

    def tell(self) -> str:
        """Say how good it is, in a few lines for a terminal."""
        pooled, mean = self.joined.scores.overall["accuracy"], Estimate(**self.document["mean"]["accuracy"])
        each = " ".join(f"{100 * one['scores']['accuracy']['value']:.1f}" for one in self.document["each"])
        return "\n".join(
            [
                f"accuracy {pooled.percent()} on {pooled.n:,} pictures, each answered by a model that had not seen it",
                f"fold by fold: {each} %; mean {mean.percent()}, an interval that takes the folds for independent",
                f"answers: {self.folder / 'predictions' / f'{POOLED}.csv'}",
                f"more: {self.folder / 'folds.md'}",
            ]
        )


@dataclass(frozen=True)
class _Survey:
    """What is known before anything is trained."""

    tied: Mapping[str, str]
    fingerprint: str
    findings: tuple[Finding, ...]


def cross_validate(
    source: str,
    recipe: Recipe,
    folds: int,
    out: Path | None = None,
    *,
    data_dir: Path | None = None,
    strict: bool = False,
    corrections: str | Path | None = None,
    talk: Talk | None = None,
) -> Folded:
    """Train and test once per fold, so that every picture is tested by a model that has not seen it.

    Copies, near-duplicates and groups are in one fold. The plan is made once, for all folds.

    Args:
        source: What `open_source` takes.
        recipe: What was asked for; a budget is shared by the folds.
        folds: 2 or more.
        out: New folder; by default one under runs/.
        data_dir: Where the data of a built-in name are.
        strict: Stop if any picture must be set aside.
        corrections: File with the decisions of a review, or "none"; by default the one beside the source.
        talk: Where words and progress go.

    Raises:
        SettingsError: A fold would be empty, or `folds` does not fit the other settings.
        Interrupted: Ctrl-C; finished folds are kept, and `resume_folds` goes on.
    """
    talk = talk or Talk()
    where = where_of(source, data_dir=data_dir, corrections=corrections) | {"strict": strict}
    values = recipe.model_dump(mode="json")
    asked = validate({**values, "split": {**values["split"], "folds": folds, "fold": None}})
    dataset = _open(where, talk)
    planned = Planned.for_data(dataset, _shared(asked))
    parent = Run.create(out, dataset.name, asked, where | {"command": shlex.join(sys.argv)})
    talk.say(f"cross-validation: {parent.folder}")
    for one in planned.decisions:
        talk.say(f"  {one.setting} = {one.value}: {one.reason}")
    return _go_on(parent, dataset, planned.store(parent), talk)


def resume_folds(folder: str | Path, *, talk: Talk | None = None) -> Folded:
    """Go on with a cross-validation that was stopped: finished folds are kept, a fold under way goes on.

    Raises:
        RunError: It is none, or its pictures are no longer the same.
    """
    parent, talk = Run.open(folder), talk or Talk()
    if not is_cross_validation(parent):
        raise RunError(
            f"{parent.folder} should be the folder of a cross-validation.",
            got="a run of its own",
            fix=f"linnaeus train --resume {shlex.quote(str(parent.folder))}",
        )
    dataset = _open(parent.source(), talk)
    if parent.has_plan():
        return _go_on(parent, dataset, validate(parent.plan()["used"]), talk)
    return _go_on(parent, dataset, Planned.for_data(dataset, _shared(parent.recipe())).store(parent), talk)


def is_cross_validation(run: Run) -> bool:
    """Tell whether a folder holds folds, rather than one training."""
    asked = run.recipe().split
    return asked.folds is not None and asked.fold is None


def _open(where: Mapping[str, Any], talk: Talk) -> Dataset:
    dataset = open_pictures(where, talk)
    if dataset.multilabel:
        raise SourceError(
            f"{dataset.source} gives some pictures several labels.",
            got="labels separated by |",
            fix="training takes one label per picture: keep one in the label column.",
        )
    return dataset


def _shared(asked: Recipe) -> Recipe:
    """Make the recipe that is planned for: a fold's share of the pictures is its test part, and of the budget its own."""
    folds = asked.split.folds
    assert folds
    split = asked.split.model_copy(update={"fold": 1, "test": 1 / folds})
    budget_s = asked.budget_s / folds if asked.budget_s else None
    return asked.model_copy(update={"split": split, "budget_s": budget_s})


def _of_fold(used: Recipe, fold: int) -> Recipe:
    return used.model_copy(update={"split": used.split.model_copy(update={"fold": fold})})


def _go_on(parent: Run, dataset: Dataset, used: Recipe, talk: Talk) -> Folded:
    try:
        survey = _survey(parent, dataset, used, talk)
        folds = used.split.folds or 0
        runs = tuple(_one_fold(parent, _of_fold(used, fold), survey, talk) for fold in range(1, folds + 1))
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(str(parent.folder)) from None
    return _finish(parent, runs, survey)


def _survey(parent: Run, dataset: Dataset, used: Recipe, talk: Talk) -> _Survey:
    """Deal the folds before anything is trained: what cannot work is told now. The folds deal them in the same way."""
    quiet = Talk(progress=talk.progress)
    listed = grouped(dataset, used.split, talk)
    looked = look_at_all(
        listed, parent.source(), preprocessing(used), used.data.cache_gb, quiet, copies=used.split.copies
    )
    kept, hashes, settings = looked.dataset, looked.scan.hashes, used.split
    say_aside(looked.accounted, talk)
    assert settings.folds
    keys = ties(kept, hashes, looked.clusters)
    dealt = deal_folds(kept, hashes, looked.clusters, folds=settings.folds, salt=settings.salt)
    findings = check_folds(kept, dealt, keys, settings.folds)
    for one in findings:
        talk.say(f"warning: {one.kind}: {one.evidence}")
    fold_split(kept, hashes, settings, clusters=looked.clusters)  # tells whether the shares hold
    tied = {example.id: key for example, key in zip(kept.examples, keys, strict=True)}
    return _Survey(tied, fingerprint(kept, hashes), tuple(findings))


def _one_fold(parent: Run, recipe: Recipe, survey: _Survey, talk: Talk) -> Run:
    """Train one fold, go on with it, or take it as it is."""
    fold, folds = recipe.split.fold, recipe.split.folds
    folder = parent.folder / f"fold-{fold}"
    # Seconds are counted for each fold on its own.
    own = Talk(say=talk.say, progress=talk.progress)
    if not (folder / "recipe.json").is_file():
        talk.say(f"fold {fold} of {folds}")
        where = parent.source()
        return tell(
            where["source"],
            recipe,
            out=folder,
            data_dir=Path(where["data_dir"]) if where["data_dir"] else None,
            strict=bool(where.get("strict")),
            corrections=where["corrections"],
            talk=own,
        )
    run = Run.open(folder)
    if not run.is_complete():
        talk.say(f"fold {fold} of {folds}: goes on")
        return resume(folder, talk=own)
    if run.provenance()["data"]["fingerprint"] != survey.fingerprint:
        raise RunError(
            f"{folder} was made from other pictures.",
            got="the source changed since",
            fix="begin the cross-validation anew, in another folder.",
        )
    talk.say(f"fold {fold} of {folds}: done before")
    return run


def _finish(parent: Run, runs: tuple[Run, ...], survey: _Survey) -> Folded:
    """Write what all folds found together."""
    joined = join(runs, survey.tied)
    joined.document["findings"] = [one.evidence for one in survey.findings]
    columns = prediction_columns(joined.predictions) | {"fold": joined.folds}
    write_table(parent.folder / "predictions" / f"{POOLED}.csv", columns)
    parent.write_scores(POOLED, joined.scores)
    write_text(parent.folder / "folds.md", _page(joined))
    write_text(parent.folder / "folds.json", json.dumps(joined.document, ensure_ascii=False, indent=1) + "\n")
    return Folded(parent.folder, runs, joined)


def _page(joined: Joined) -> str:
    """Write a summary for people, in Markdown."""
    document, pooled = joined.document, joined.scores.overall
    shown = [name for name in SHOWN if name in pooled and name in document["mean"]]
    lines = [
        f"# Cross-validation with {document['folds']} folds",
        "",
        f"{document['pictures']:,} pictures, {document['independent']:,} of them independent (what is tied together by "
        "copies, near-duplicates or groups counts once). Each was answered by the one model that had not seen it.",
        "",
        "| | pictures | " + " | ".join(name.replace("_", " ") for name in shown) + " |",
        "| --- | --- |" + " --- |" * len(shown),
    ]
    rows = [(f"fold {one['fold']}", one["test"], one["scores"]) for one in document["each"]]
    rows += [("mean of folds", "", document["mean"]), ("pooled", document["pictures"], document["pooled"]["overall"])]
    for name, n, scores in rows:
        cells = [_written(score, Estimate(**scores[score])) for score in shown]
        lines.append(f"| {name} | {n} | " + " | ".join(cells) + " |")
    lines += ["", *(f"* **{name}**: {text}" for name, text in WORDS.items()), "", f"Source: {document['source']}", ""]
    lines += [f"* {one}" for one in document["findings"]]
    return "\n".join(lines).rstrip() + "\n"


def _written(name: str, one: Estimate) -> str:
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})" if name in LIMITS else one.percent()
