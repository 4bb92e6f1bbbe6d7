"""linnaeus train."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from linnaeus.cli.app import STARTED, Corrections, DataDir, Json, Settings, app, pairs, print_json, seconds_of
from linnaeus.errors import SettingsError
from linnaeus.terminal import talking

if TYPE_CHECKING:
    from linnaeus.run import Run
    from linnaeus.story import Folded


@app.command
def train(
    source: str | None = None,
    /,
    *,
    out: Path | None = None,
    model: str | None = None,
    recipe: str | None = None,
    epochs: float | None = None,
    effort: str | None = None,
    budget: str | None = None,
    seed: int | None = None,
    folds: int | None = None,
    balance: str | None = None,
    clean: str | None = None,
    data_dir: DataDir = None,
    corrections: Corrections = None,
    strict: Annotated[bool, Parameter(negative="")] = False,
    resume: Path | None = None,
    set_: Settings = None,
    json_: Json = False,
) -> None:
    """Learn a classifier from pictures: audit, split, train, calibrate, evaluate, report.

    Example: linnaeus train photos/ --effort quick, then without it, or --budget 10m

    Parameters
    ----------
    source
        A folder with one sub-folder per class, a CSV, TSV or Parquet table, a zip or tar, or a built-in name (digits, cifar10 ...).
    out
        Folder of the run; by default a new one under runs/.
    model
        A lesson's network, any timm name, or path/to/file.py:function. See linnaeus models.
    recipe
        A recipe by name (keras-cifar10 ...) or a .toml file.
    epochs
        Passes over the training pictures.
    effort
        How far to go: quick (a solved head, soonest), balanced or best (some times as long).
    budget
        Wall-clock time for everything, report included: 90s, 10m, 2h.
    seed
        Same seed, same machine: the same weights.
    folds
        Cross-validation: so many models, each tested on a part that it has not seen.
    balance
        What to do about classes of unequal size: none, weights, oversample, undersample, smote or auto.
    clean
        What to do about labels that are likely wrong, of training pictures only: none or auto.
    strict
        Stop with exit code 3 if any file must be set aside.
    resume
        Go on with this run after a stop, exactly where it was.
    """
    direct = {
        "model.name": model,
        "train.epochs": epochs,
        "train.balance": balance,
        "train.clean": clean,
        "effort": effort,
        "seed": seed,
        "budget_s": seconds_of(budget),
    }
    given = {name: value for name, value in direct.items() if value is not None} | pairs(set_)
    if resume is not None:
        if given or strict or any(one is not None for one in (source, out, recipe, folds, data_dir, corrections)):
            raise SettingsError(
                "--resume takes everything from the run.", got="other options beside it", fix="leave them out."
            )
        done = _resume(resume)
    elif source is None:
        raise SettingsError("train needs pictures.", fix="linnaeus train photos/   or   linnaeus train digits")
    else:
        where = {"data_dir": data_dir, "corrections": corrections, "strict": strict}
        done = _train(source, out, recipe, given, folds, where)
    _show(done, json_)


def _train(
    source: str, out: Path | None, recipe: str | None, given: dict[str, Any], folds: int | None, where: dict[str, Any]
) -> Run | Folded:
    from linnaeus import story
    from linnaeus.config import load_recipe, recipe_for
    from linnaeus.talk import Clock

    settings = load_recipe(recipe or recipe_for(str(given.get("model.name", ""))), given)
    count = folds if folds is not None else (settings.split.folds if settings.split.fold is None else None)
    with talking() as talk:
        if count is not None:
            return story.cross_validate(source, settings, count, out, talk=talk, **where)
        return story.tell(source, settings, out=out, clock=Clock(settings.budget_s, STARTED), talk=talk, **where)


def _resume(folder: Path) -> Run | Folded:
    from linnaeus import story
    from linnaeus.run import Run
    from linnaeus.talk import Clock

    run = Run.open(folder)
    with talking() as talk:
        if story.is_cross_validation(run):
            return story.resume_folds(folder, talk=talk)
        return story.resume(folder, clock=Clock(run.recipe().budget_s, STARTED), talk=talk)


def _show(done: Run | Folded, as_json: bool) -> None:
    from linnaeus.run import Run
    from linnaeus.written import scores_document

    if not isinstance(done, Run):
        print_json(done.document) if as_json else print(done.tell())
        return
    if not as_json:
        print(_told(done))
        return
    print_json(
        {
            "run": str(done.folder),
            "report": str(done.report_path),
            "accounted": done.accounted(),
            "scores": {name: scores_document(done.scores(name)) for name in ("val", "test") if done.has_scores(name)},
            "summary": done.summary(),
        }
    )


def _told(run: Run) -> str:
    """Say what was learned, how good it is, and the next command."""
    summary = run.summary()
    seconds = time.monotonic() - STARTED
    expected = f" (expected: {summary['expected_s']:.0f} s)" if summary.get("expected_s") else ""
    lines = [f"learned {summary['network']} ({summary['parameters']:,} parameters) in {seconds:.0f} s{expected}"]
    part = "test" if run.has_scores("test") else "val" if run.has_scores("val") else None
    if part is None:
        lines.append("not scored: no picture was left for validation or test")
    else:
        scores = run.scores(part)
        words = {"test": "test pictures", "val": "validation pictures (there is no test part)"}[part]
        lines.append(f"accuracy {scores.overall['accuracy'].percent()} on {scores.overall['accuracy'].n:,} {words}")
    lines.append(f"report: {run.report_path}")
    lines.append(f"next: linnaeus predict {run.folder} PICTURES --out answers.csv")
    return "\n".join(lines)
