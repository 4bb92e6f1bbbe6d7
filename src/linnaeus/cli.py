"""The command line: parse, call the verb, print. Data goes to stdout, talk to stderr."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from linnaeus import __version__
from linnaeus.errors import LinnaeusError, SettingsError
from linnaeus.terminal import talking

STARTED = time.monotonic()

app = App(
    name="linnaeus",
    version=__version__,
    help="From a folder of pictures to an image classifier that you can trust and ship.\n\n"
    "Example: linnaeus train photos/   then   linnaeus predict runs/LATEST new-photos/ --out answers.csv",
    help_format="plaintext",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
)
models = App(name="models", help="Networks: list them, or show one layer by layer.")
app.command(models)
app.register_install_completion_command(name="--install-completion")

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document on stdout.")]
Settings = Annotated[
    list[str] | None,
    Parameter(name="--set", negative="", help="Any setting by name, such as optim.lr=0.01. May be repeated."),
]
DataDir = Annotated[Path | None, Parameter(help="Folder that holds the data of a built-in name.")]
TrustCode = Annotated[
    bool, Parameter(negative="", help="Run a model's own network.py, which this machine did not make.")
]


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

    asked = (source, out, model, recipe, epochs, budget, seed, data_dir, set_)
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
            direct = {"model.name": model, "train.epochs": epochs, "seed": seed, "budget_s": _seconds(budget)}
            given = {name: value for name, value in direct.items() if value is not None} | _pairs(set_)
            settings = load_recipe(recipe or recipe_for(str(given.get("model.name", ""))), given)
            clock = Clock(settings.budget_s, STARTED)
            run = story.tell(source or "", settings, out=out, data_dir=data_dir, strict=strict, clock=clock, talk=talk)
    from linnaeus.run import scores_document

    part = "test" if run.has_scores("test") else "val" if run.has_scores("val") else None
    if json_:
        _print_json(
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


@app.command
def evaluate(
    run: Path,
    source: str,
    /,
    *,
    data_dir: DataDir = None,
    out: Path | None = None,
    trust_code: TrustCode = False,
    json_: Json = False,
) -> None:
    """Score a trained classifier on other labelled pictures.

    Example: linnaeus evaluate runs/flowers more-photos/

    Parameters
    ----------
    run
        A run or a model folder.
    source
        As for train; all its pictures are scored, whatever their split.
    out
        Also write the predictions to this .csv, .parquet or .jsonl file.
    """
    from linnaeus import story
    from linnaeus.run import prediction_columns, scores_document
    from linnaeus.tables import write_table

    with talking() as talk:
        done = story.examine(run, source, data_dir=data_dir, trust_code=trust_code, talk=talk)
    if out is not None:
        write_table(out, prediction_columns(done.predictions))
    if json_:
        _print_json({"accounted": done.accounted, "scores": scores_document(done.scores)})
    else:
        _print_scores(done.scores)


@app.command
def predict(
    run: Path,
    paths: Annotated[list[str] | None, Parameter(consume_multiple=True, allow_leading_hyphen=True)] = None,
    /,
    *,
    out: Path | None = None,
    trust_code: TrustCode = False,
    json_: Json = False,
) -> None:
    """Name the class of every picture; a row for every input, with an error where it could not be read.

    Example: linnaeus predict runs/flowers new-photos/ --out answers.csv

    Parameters
    ----------
    run
        A run or a model folder.
    paths
        Files, folders, globs, or - for a list on stdin.
    out
        Write to this .csv, .parquet or .jsonl file instead of printing a table.
    """
    from linnaeus.data.inputs import expand_inputs
    from linnaeus.tables import TableWriter

    if not paths:
        raise SettingsError(
            "predict needs pictures.", fix=f"linnaeus predict {run} photo.jpg   or   - for a list on stdin"
        )
    if unknown := [path for path in paths if path.startswith("-") and path != "-"]:
        raise SettingsError(f"{unknown[0]} is no option of predict.", fix=f"./{unknown[0]} if it is a file.")
    writer = TableWriter(out) if out is not None else None
    from linnaeus.classifier import Classifier
    from linnaeus.verbs.predict import predict as answers_of

    classifier = Classifier.load(run, trust_code=trust_code)
    rows: list[dict[str, Any]] = []
    count = unreadable = 0
    with talking() as talk:
        try:
            for answers in answers_of(classifier, expand_inputs(paths)):
                count += len(answers.paths)
                unreadable += sum(bool(error) for error in answers.errors)
                talk.progress("predicting", count, None)
                columns = answers.columns()
                if writer is not None:
                    writer.write(columns)
                elif json_:
                    rows += [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
                else:
                    _print_answers(columns)
        except BaseException as error:
            if writer is not None:
                writer.__exit__(type(error), error, None)
            raise
    if writer is not None:
        if not count:
            raise SettingsError(
                "predict should find pictures.", got="none under the paths given", fix="check the paths."
            )
        writer.close()
    if json_:
        _print_json({"out": str(out), "pictures": count, "unreadable": unreadable} if out else {"predictions": rows})
    print(
        f"{count:,} inputs, {unreadable} of them unreadable" + (f"; written to {out}" if out else ""), file=sys.stderr
    )


@app.command
def audit(source: str, /, *, data_dir: DataDir = None, set_: Settings = None, json_: Json = False) -> None:
    """Look at every picture before training: what cannot be used and why, copies, conflicts, class sizes.

    Example: linnaeus audit photos/
    """
    from linnaeus import story
    from linnaeus.config import load_recipe

    with talking() as talk:
        found = story.inspect(source, load_recipe(None, _pairs(set_)), data_dir=data_dir, talk=talk)
    if json_:
        _print_json(found)
        return
    print("  ".join(f"{name}: {count:,}" for name, count in found["accounted"].items()))
    for name, count in found["classes"].items():
        print(f"{count:8,}  {name}")
    for one in found["findings"]:
        print(f"[{one['severity']}] {one['kind']}: {one['evidence']}")


@app.command
def plan(
    source: str,
    /,
    *,
    model: str | None = None,
    recipe: str | None = None,
    data_dir: DataDir = None,
    set_: Settings = None,
    json_: Json = False,
) -> None:
    """Show what train would decide for these pictures, each with its reason; nothing is trained.

    Example: linnaeus plan photos/
    """
    from dataclasses import asdict

    from linnaeus import story
    from linnaeus.config import load_recipe, recipe_for

    given = _pairs(set_) | ({"model.name": model} if model else {})
    with talking() as talk:
        used, decisions = story.foresee(
            source, load_recipe(recipe or recipe_for(model or ""), given), data_dir=data_dir, talk=talk
        )
    if json_:
        _print_json({"used": used.model_dump(mode="json"), "decisions": [asdict(one) for one in decisions]})
        return
    for one in decisions:
        print(f"{one.setting} = {one.value}: {one.reason}")


@app.command
def report(run: Path, /, *, json_: Json = False) -> None:
    """Write a run's report and pictures again.

    Example: linnaeus report runs/flowers
    """
    from linnaeus.run import Run
    from linnaeus.verbs.report import report as write

    path = write(Run.open(run))
    _print_json({"report": str(path)}) if json_ else print(path)


@models.command(name="list")
def list_models(pattern: str = "*", /, *, json_: Json = False) -> None:
    """List networks by name.

    Example: linnaeus models list resnet
    """
    from linnaeus.verbs.models import list_models as names_of

    names = names_of(pattern)
    if not names:
        raise SettingsError(f"no network's name matches {pattern!r}.", fix="linnaeus models list")
    _print_json(names) if json_ else print("\n".join(names))


@models.command(name="show")
def show_model(name: str, /, *, classes: int | None = None, size_px: int | None = None, json_: Json = False) -> None:
    """Show a network layer by layer, with output shapes and parameters.

    Example: linnaeus models show keras-cifar10

    Parameters
    ----------
    name
        As for train --model.
    classes
        Number of classes; by default what the network was made for.
    size_px
        Height and width of the pictures; by default what the network was made for.
    """
    from dataclasses import asdict

    from linnaeus.verbs.models import show

    sheet = show(name, classes=classes, size_px=size_px)
    if json_:
        _print_json(asdict(sheet))
        return
    wide = max(len(row.name) for row in sheet.layers)
    kind = max(len(row.type) for row in sheet.layers)
    print(f"{'layer':{wide}}  {'type':{kind}}  {'output shape':>18}  {'parameters':>12}")
    for row in sheet.layers:
        shape = " x ".join(map(str, row.output_shape)) or "-"
        print(f"{row.name:{wide}}  {row.type:{kind}}  {shape:>18}  {row.parameters:>12,}")
    counts = sheet.parameters
    print(
        f"\ninput {' x '.join(map(str, sheet.input_size))}; {counts.total:,} parameters, {counts.trainable:,} of them trained"
    )


@app.command
def doctor(*, json_: Json = False) -> None:
    """Print the environment: processor, memory, packages, decoders, cache, and what is missing.

    Example: linnaeus doctor
    """
    from linnaeus.verbs.doctor import doctor as examine

    found = examine()
    if json_:
        _print_json(found)
        return
    for name, value in found.items():
        if isinstance(value, dict):
            print(f"{name}: " + ", ".join(f"{inner} {part}" for inner, part in value.items()))
        elif name != "problems":
            print(f"{name}: {value}")
    print("\n".join(f"problem: {one}" for one in found["problems"]) or "no problems found")


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 our bug, 2 the user's input, 3 a check failed, 130 stopped."""
    try:
        app(result_action="return_none")
    except LinnaeusError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has what it wanted; python would complain again when closing stdout.
        sys.stdout = None
        sys.exit(0)


def _pairs(settings: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in settings or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingsError("--set should look like name=value.", got=text, fix="for example --set optim.lr=0.01")
        pairs[name.strip()] = value.strip()
    return pairs


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|)", text.strip())
    if not match:
        raise SettingsError("--budget should be a time.", got=text, fix="90s, 10m or 2h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "": 1}[match[2]]


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


def _print_scores(scores: Any) -> None:
    for name, one in scores.overall.items():
        print(f"{name.replace('_', ' '):20} {one.value:8.4f}  ({one.low:.4f} to {one.high:.4f})  n = {one.n:,}")
    wide = max(len(one.name) for one in scores.per_class)
    print(f"\n{'class':{wide}}  precision  recall      f1  support")
    for one in scores.per_class:
        print(
            f"{one.name:{wide}}  {one.precision.value:9.3f}  {one.recall.value:6.3f}  {one.f1.value:6.3f}  {one.support:7,}"
        )
    for note in scores.notes:
        print(f"note: {note}")


def _print_answers(columns: dict[str, list[Any]]) -> None:
    for path, predicted, confidence, error in zip(
        columns["path"], columns["predicted"], columns["confidence"], columns["error"], strict=True
    ):
        print(f"{path}\t{predicted}\t{confidence:.4f}" if not error else f"{path}\t\t\t{error}")


def _print_json(document: Any) -> None:
    print(json.dumps(document, ensure_ascii=False, default=str))


if __name__ == "__main__":
    main()
