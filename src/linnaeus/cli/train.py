"""linnaeus train."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from linnaeus.cli.app import STARTED, Corrections, DataDir, Json, Settings, app, pairs, print_json, seconds_of
from linnaeus.errors import SettingsError
from linnaeus.terminal import talking


@app.command
def train(
    source: str | None = None,
    /,
    *,
    out: Path | None = None,
    model: str | None = None,
    recipe: str | None = None,
    epochs: float | None = None,
    budget: str | None = None,
    seed: int | None = None,
    data_dir: DataDir = None,
    corrections: Corrections = None,
    strict: Annotated[bool, Parameter(negative="")] = False,
    resume: Path | None = None,
    set_: Settings = None,
    json_: Json = False,
) -> None:
    """Learn a classifier from pictures: audit, split, train, calibrate, evaluate, report.

    Example: linnaeus train photos/ --budget 10m

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
    budget
        Wall-clock time for everything, report included: 90s, 10m, 2h.
    seed
        Same seed, same machine: the same weights.
    strict
        Stop with exit code 3 if any file must be set aside.
    resume
        Go on with this run after a stop, exactly where it was.
    """
    from linnaeus import story
    from linnaeus.config import load_recipe, recipe_for
    from linnaeus.talk import Clock

    asked = (source, out, model, recipe, epochs, budget, seed, data_dir, corrections, set_)
    if resume is not None and (any(value is not None for value in asked) or strict):
        raise SettingsError(
            "--resume takes everything from the run.", got="other options beside it", fix="leave them out."
        )
    if resume is None and source is None:
        raise SettingsError("train needs pictures.", fix="linnaeus train photos/   or   linnaeus train digits")
    with talking() as talk:
        if resume is not None:
            run = story.resume(resume, clock=Clock(_budget_of(resume), STARTED), talk=talk)
        else:
            direct = {"model.name": model, "train.epochs": epochs, "seed": seed, "budget_s": seconds_of(budget)}
            given = {name: value for name, value in direct.items() if value is not None} | pairs(set_)
            settings = load_recipe(recipe or recipe_for(str(given.get("model.name", ""))), given)
            clock = Clock(settings.budget_s, STARTED)
            where: dict[str, Any] = {"data_dir": data_dir, "corrections": corrections, "strict": strict}
            run = story.tell(source or "", settings, out=out, clock=clock, talk=talk, **where)
    from linnaeus.run import scores_document

    part = "test" if run.has_scores("test") else "val" if run.has_scores("val") else None
    if json_:
        print_json(
            {
                "run": str(run.folder),
                "report": str(run.report_path),
                "accounted": run.accounted(),
                "scores": {name: scores_document(run.scores(name)) for name in ("val", "test") if run.has_scores(name)},
                "summary": run.summary(),
            }
        )
        return
    print(_told(run, part))


def _budget_of(folder: Path) -> float | None:
    from linnaeus.run import Run

    return Run.open(folder).recipe().budget_s


def _told(run: Any, part: str | None) -> str:
    """Say what was learned, how good it is, and the next command."""
    summary = run.summary()
    seconds = time.monotonic() - STARTED
    lines = [f"learned {summary['network']} ({summary['parameters']:,} parameters) in {seconds:.0f} s"]
    if part is None:
        lines.append("not scored: no picture was left for validation or test")
    else:
        scores = run.scores(part)
        words = {"test": "test pictures", "val": "validation pictures (there is no test part)"}[part]
        lines.append(f"accuracy {scores.overall['accuracy'].percent()} on {scores.overall['accuracy'].n:,} {words}")
    lines.append(f"report: {run.report_path}")
    lines.append(f"next: linnaeus predict {run.folder} PICTURES --out answers.csv")
    return "\n".join(lines)
