"""Explain a run's own pictures, and leave that in the run for its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from linnaeus.classifier import Classifier
from linnaeus.errors import RunError, SettingsError
from linnaeus.records import Place, Predictions
from linnaeus.run import Run
from linnaeus.talk import Talk
from linnaeus.verbs.explain.checks import Checks, check, readable_cases
from linnaeus.verbs.explain.explained import Desk, Explained
from linnaeus.verbs.explain.methods import DEFAULT, Method, choose, file_part
from linnaeus.verbs.explain.neighbours import Examples
from linnaeus.verbs.explain.pick import Picked, pick
from linnaeus.verbs.explain.subject import Subject


def explain_run(
    run: Run,
    talk: Talk | None = None,
    *,
    methods: Sequence[str] = DEFAULT,
    most: int | None = None,
    checks: bool = False,
    classifier: Classifier | None = None,
    trust_code: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Explain right, wrong and least certain test pictures of each class of a run, and store that in the run.

    Args:
        run: With predictions of its test part, or of its validation part where there is no test part.
        talk: Where words and progress go.
        methods: Names from METHODS, or "all" for those whose packages are installed.
        most: Pictures, at most; by default three of each class, but at least 24 and at most 60 in all.
        checks: Also test which method to believe.
        classifier: The run's, if it is loaded already; it is left as it is.
        trust_code: As for `Classifier.load`.
        seed: Of methods that draw, and of the random weights of the checks.

    Returns:
        The document "explain", as it stands in the run now.

    Raises:
        RunError: The run has no labelled predictions, or no model.
        SettingsError: No such method, or its package is missing.
        ModelError: The network has no feature map, and a method needs one.
    """
    talk = talk or Talk()
    chosen, left_out = choose(methods)
    if most is not None and most < 1:
        raise SettingsError("explain needs at least one picture.", got=str(most), fix="leave --most out.")
    part, predictions = _judged(run)
    most = most or max(24, min(60, 3 * len(predictions.classes)))
    subject = Subject.of(classifier or Classifier.load(run.folder, trust_code=trust_code))
    subject.refuse_unfit(chosen)
    split = run.split()
    places: dict[str, Place] = dict(zip(split["id"], split["place"], strict=True))
    desk = Desk(subject, chosen, Examples.of_run(subject, run, talk), seed)
    rows = _rows(run, desk, predictions, pick(predictions, most), places, talk)
    found = _checked(desk, rows, places, talk) if checks else None
    document = {
        "methods": [one.name for one in chosen],
        "about": {one.name: one.about for one in chosen},
        "left_out": list(left_out),
        "part": part,
        "believe": found.believe if found else None,
        "checks": found.document() if found else {},
        "chance": asdict(found.chance) if found else None,
        "pictures": rows,
    }
    run.write_result("explain", document)
    _remove_old(run, rows)
    for line in words(document, found):
        talk.say(line)
    return document


def words(document: dict[str, Any], found: Checks | None) -> list[str]:
    """Say what was done, in lines for a person."""
    rows = document["pictures"]
    lost = sum(bool(row["error"]) for row in rows)
    lines = [
        f"explained {len(rows) - lost} pictures of the {document['part']} part by {', '.join(document['methods'])}"
    ]
    if lost:
        lines.append(f"{lost} pictures can no longer be read; their rows say why.")
    if document["left_out"]:
        lines.append(f'not installed: {", ".join(document["left_out"])}; pip install "linnaeus[explain]" brings them.')
    return lines + (found.words() if found else [])


def _judged(run: Run) -> tuple[str, Predictions]:
    for part in ("test", "val"):
        if run.has_predictions(part):
            predictions = run.predictions(part).known()
            if len(predictions):
                return part, predictions
    raise RunError(
        f"{run.folder} should have predictions of labelled pictures to explain.",
        got="none in its test or validation part",
        fix=f"name pictures: linnaeus explain {run.folder} PICTURES",
    )


def _rows(
    run: Run, desk: Desk, predictions: Predictions, picked: list[Picked], places: dict[str, Place], talk: Talk
) -> list[dict[str, Any]]:
    rows = []
    for number, one in enumerate(picked):
        talk.progress("explaining", number, len(picked))
        files = {method.name: _path(run, number, one.kind, method) for method in desk.methods}
        id = predictions.ids[one.row]
        label = predictions.classes[predictions.labels[one.row]]
        rows.append(_row(run, predictions, one, desk.explain(id, places.get(id), files, true=label)))
    talk.progress("explaining", len(picked), len(picked))
    return rows


def _path(run: Run, number: int, kind: str, method: Method) -> Path:
    return run.picture_path(f"explain/{number:02}-{kind.replace(' ', '-')}-{file_part(method)}")


def _row(run: Run, predictions: Predictions, one: Picked, done: Explained) -> dict[str, Any]:
    return {
        "id": predictions.ids[one.row],
        "kind": one.kind,
        "label": predictions.classes[predictions.labels[one.row]],
        "predicted": predictions.classes[predictions.predicted[one.row]],
        "confidence": float(predictions.confidence[one.row]),
        "maps": {name: Path(path).relative_to(run.folder).as_posix() for name, path in done.files.items()},
        "neighbours": done.plain_neighbours(),
        "error": done.error,
    }


def _checked(desk: Desk, rows: list[dict[str, Any]], places: dict[str, Place], talk: Talk) -> Checks | None:
    """Check on right answers first: a curve tells most where the class is really there."""
    ordered = sorted((row for row in rows if not row["error"]), key=lambda row: row["kind"] != "right")
    cases = readable_cases(desk.subject, [places[row["id"]] for row in ordered])
    return check(desk.subject, cases, desk.methods, talk, desk.seed) if cases else None


def _remove_old(run: Run, rows: list[dict[str, Any]]) -> None:
    """Take away the pictures of an earlier explanation that this one does not name."""
    kept = {Path(path).name for row in rows for path in row["maps"].values()}
    for path in run.picture_path("explain/x").parent.glob("*.png"):
        if path.name not in kept:
            path.unlink()
