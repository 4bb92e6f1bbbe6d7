"""linnaeus explain."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from linnaeus.cli.app import Json, TrustCode, app, print_json
from linnaeus.errors import SettingsError
from linnaeus.terminal import talking


@app.command
def explain(
    run: Path,
    paths: Annotated[list[str] | None, Parameter(consume_multiple=True, allow_leading_hyphen=True)] = None,
    /,
    *,
    method: Annotated[list[str] | None, Parameter(negative="")] = None,
    out: Path | None = None,
    class_: Annotated[
        str, Parameter(name="--class", help="Explain what speaks for this class instead of for the answer.")
    ] = "",
    check: Annotated[bool, Parameter(negative="")] = False,
    most: int | None = None,
    seed: int = 0,
    trust_code: TrustCode = False,
    json_: Json = False,
) -> None:
    """Show what answers rest on: heat maps by several methods, and the nearest training pictures.

    Example: linnaeus explain runs/flowers photo.jpg --method all

    Parameters
    ----------
    run
        A run or a model folder.
    paths
        Files, folders, globs, or - for a list on stdin; without any, test pictures of the run itself.
    method
        grad-cam, grad-cam++, layer-cam, integrated-gradients, occlusion, lime, shap, or all. May be repeated.
    out
        Folder for the pictures; "explained" by default, and the run's own for its own pictures.
    check
        Test which method to believe: random weights, deletion and insertion.
    most
        Pictures of the run's own, at most; by default three of each class, 24 to 60 in all.
    seed
        Of methods that draw at random, and of the checks.
    """
    if paths and (strays := [path for path in paths if path.startswith("-") and path != "-"]):
        raise SettingsError(f"{strays[0]} is no option of explain.", fix=f"./{strays[0]} if it is a file.")
    if not paths and (out is not None or class_):
        raise SettingsError(
            "--out and --class are for pictures that are named.", fix=f"linnaeus explain {run} photo.jpg"
        )
    if paths and most is not None:
        raise SettingsError(
            "--most is for pictures of the run itself; those that are named are all explained.", fix="leave --most out."
        )
    from linnaeus.run import Run
    from linnaeus.verbs.explain import DEFAULT

    methods = tuple(method or DEFAULT)
    if not paths:
        from linnaeus.verbs.explain import explain_run
        from linnaeus.verbs.report import report

        with talking() as talk:
            document = explain_run(
                Run.open(run), talk, methods=methods, most=most, checks=check, trust_code=trust_code, seed=seed
            )
            report(Run.open(run))
        if json_:
            print_json(document)
            return
        for one in document["pictures"]:
            answer = one["error"] or f"{one['kind']}: {one['label']}, called {one['predicted']} {one['confidence']:.0%}"
            print(f"{one['id']}\t{answer}")
        return
    _explain_pictures(run, paths, methods, out, class_, check, seed, trust_code, json_)


def _explain_pictures(
    run: Path,
    paths: list[str],
    methods: tuple[str, ...],
    out: Path | None,
    class_name: str,
    check: bool,
    seed: int,
    trust_code: bool,
    as_json: bool,
) -> None:
    from dataclasses import asdict

    from linnaeus.classifier import Classifier
    from linnaeus.data.inputs import expand_inputs
    from linnaeus.run import Run
    from linnaeus.verbs.explain import check_methods
    from linnaeus.verbs.explain import explain as explained

    classifier = Classifier.load(run, trust_code=trust_code)
    own_run = Run.open(run) if (run / "recipe.json").is_file() else None
    rows: list[dict[str, Any]] = []
    with talking() as talk:
        for one in explained(
            classifier, expand_inputs(paths), methods, out or Path("explained"), talk,
            run=own_run, class_name=class_name, seed=seed,
        ):  # fmt: skip
            rows.append(one.row())
            if not as_json:
                print(one.words(), flush=True)
        checks = None
        readable = [row["path"] for row in rows if not row["error"]]
        if check and readable:
            checks = check_methods(classifier, readable, methods, talk, seed=seed)
            for line in checks.words():
                talk.say(line)
    if as_json:
        print_json(
            {
                "pictures": rows,
                "believe": checks.believe if checks else None,
                "checks": checks.document() if checks else {},
                "chance": asdict(checks.chance) if checks else None,
            }
        )
    lost = len(rows) - len(readable)
    print(f"{len(rows):,} inputs, {lost} of them unreadable; pictures in {out or 'explained'}", file=sys.stderr)
