"""export: write a classifier in other formats, and prove that each file answers as the classifier does."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnaeus.atomic import write_json
from linnaeus.errors import CheckFailed, SettingsError
from linnaeus.targets import FLOAT32, Blueprint, Precision, Target, require
from linnaeus.targets.card import PROBABILITIES
from linnaeus.targets.examples import write_examples
from linnaeus.targets.measure import BATCHES, Subject, measure
from linnaeus.targets.own_folder import put, refuse_foreign
from linnaeus.targets.proof import LIMIT, LIMIT_ROUGH, Shown, prove, write_evidence
from linnaeus.targets.sensitivity import written
from linnaeus.verbs.export.words import tell, told

if TYPE_CHECKING:
    from linnaeus.classifier import Classifier
    from linnaeus.talk import Talk

__all__ = ["Demand", "export", "refuse_failures", "tell"]

EVIDENCE, PROOF = "evidence.csv", "export.json"


@dataclass(frozen=True)
class Demand:
    """What to write, and what it must keep to.

    Attributes:
        outputs: As `Graph` takes them.
        layout: "nhwc" or "nchw".
        any_size: The graph resizes one picture of any size.
        precision: With training and held pictures where it needs them.
        max_drop: Most accuracy that a file of less than single precision may lose; None does not ask.
        threads: Of one call, while the speed is measured.
    """

    outputs: tuple[str, ...] | None = None
    layout: str = "nhwc"
    any_size: bool = False
    precision: Precision = FLOAT32
    max_drop: float | None = None
    threads: int = 1


def export(
    classifier: Classifier, targets: Sequence[Target], folder: Path, shown: Shown, demand: Demand, talk: Talk
) -> dict[str, Any]:
    """Write a classifier in other formats, and compare each file with it on real pictures.

    A file gets its place FOLDER/NAME/ when it has passed. One that fails goes to FOLDER/NAME.failed/, with what both
    said of every picture; a good file of an earlier time stays where it is.

    Args:
        classifier: Stays as it is.
        targets: Formats.
        folder: Is made.
        shown: Real pictures.
        demand: What to write.
        talk: Where words and progress go.

    Returns:
        The document "export".

    Raises:
        SettingsError: A format does not have what is demanded, or a place holds something that no export wrote.
        ModelError: What a format needs is not installed, or the network cannot be expressed in it.
    """
    for target in targets:
        _check(target, demand)
        for place in _places(folder, target):
            refuse_foreign(place, PROOF)
        require(target, writing=True)
    from linnaeus.targets.graph import Graph

    graph = Graph(classifier, outputs=demand.outputs, layout=demand.layout, any_size=demand.any_size)
    with talk.stage("pytorch"):
        before = _answers(classifier, shown, demand)
    files = {}
    with tempfile.TemporaryDirectory() as scratch:
        blueprint = Blueprint(graph, Path(scratch))
        for target in targets:
            talk.say(f"{target.title} ...")
            with talk.stage(target.name):
                files[target.name] = _export(target, blueprint, folder, shown, before, demand)
            talk.say(told(files[target.name]))
    return {"pictures": len(shown), "outputs": list(graph.card.outputs), "files": files}


def _places(folder: Path, target: Target) -> tuple[Path, Path]:
    """Say where a file goes that passes, and where one that fails."""
    return folder / target.name, folder / f"{target.name}.failed"


def _check(target: Target, demand: Demand) -> None:
    if demand.any_size and not target.any_size:
        raise SettingsError(f"{target.title} has no form for pictures of any size.", fix="leave --any-size out.")
    if demand.precision.name not in target.precisions:
        raise SettingsError(
            f"{target.title} has the precisions {', '.join(target.precisions)}.", got=demand.precision.name
        )


def _answers(classifier: Classifier, shown: Shown, demand: Demand) -> np.ndarray:
    """Ask the classifier itself; of whole pictures, as it would read them from files."""
    if demand.any_size:
        return classifier.predict_proba(list(shown.pictures))
    return np.concatenate([classifier.judge(one).probabilities for one in shown.portions(64)])


def _export(
    target: Target, blueprint: Blueprint, folder: Path, shown: Shown, before: np.ndarray, demand: Demand
) -> dict[str, Any]:
    unfinished = folder / f".{target.name}.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        path, _ = written(target, blueprint, unfinished, demand.precision)
        document: dict[str, Any] = {
            "target": target.name,
            "title": target.title,
            "precision": demand.precision.name,
            "why_not_here": target.why_not_here(),
        }
        passed = True
        if not document["why_not_here"]:
            runner = target.open(path)
            after = np.concatenate([runner.run(one)[PROBABILITIES].astype(np.float64) for one in shown.portions()])
            limit, max_drop = _bounds(blueprint, demand)
            proof = prove(shown, before, after, limit, max_drop)
            document |= {"precision": runner.card.precision, "proof": proof.document()}
            document["speed"] = _speed(target, path, shown, demand)
            passed = proof.passed
            if not passed:
                write_evidence(unfinished / EVIDENCE, shown, before, after, blueprint.card.classes)
        write_examples(target.name, unfinished, replace(blueprint.card, precision=demand.precision.name))
        passes, fails = _places(folder, target)
        place = passes if passed else fails
        document["path"] = str(place / path.relative_to(unfinished))
        # Beside the file, its name is enough: the folder may be copied, and should not tell where it was made.
        write_json(unfinished / PROOF, document | {"path": path.name})
        put(unfinished, place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return document


def _bounds(blueprint: Blueprint, demand: Demand) -> tuple[float | None, float | None]:
    """Say how far answers may differ, and how much accuracy may be lost."""
    if demand.precision.name != FLOAT32.name:
        return None, demand.max_drop
    rough = demand.any_size or blueprint.graph.calibrated.kind == "isotonic"
    return LIMIT_ROUGH if rough else LIMIT, None


def _speed(target: Target, path: Path, shown: Shown, demand: Demand) -> dict[str, Any]:
    subject = Subject(lambda: target.open(path, demand.threads), path)
    sizes = (1,) if demand.any_size or target.one_by_one else BATCHES
    return asdict(measure({target.name: subject}, next(shown.portions(32)), batches=sizes)[target.name])


def refuse_failures(document: Mapping[str, Any]) -> None:
    """Stop where a file did not pass.

    Raises:
        CheckFailed: Names each file and its reason.
    """
    failed = {name: one for name, one in document["files"].items() if "proof" in one and not one["proof"]["passed"]}
    if failed:
        raise CheckFailed(
            "an exported file should answer as the classifier does.",
            got="; ".join(f"{one['title']}: {one['proof']['why_failed']}" for one in failed.values()),
            fix=f"see {', '.join(str(Path(one['path']).parent / EVIDENCE) for one in failed.values())}",
        )
