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
from linnaeus.data.decode import middle, picture_to_stored
from linnaeus.errors import CheckFailed, SettingsError
from linnaeus.targets import FLOAT32, Blueprint, Card, Precision, Runner, Target, require
from linnaeus.targets.card import FEATURES, PROBABILITIES, UNKNOWN_SCORE
from linnaeus.targets.examples import write_examples
from linnaeus.targets.measure import BATCHES, Subject, measure
from linnaeus.targets.own_folder import put, refuse_foreign
from linnaeus.targets.proof import Outputs, Proof, Shown, limit_of, prove, with_others, write_evidence
from linnaeus.targets.sensitivity import written
from linnaeus.verbs.export.words import tell, told

if TYPE_CHECKING:
    from linnaeus.classifier import Classifier
    from linnaeus.talk import Talk

__all__ = ["Demand", "export", "refuse_failures", "tell"]

FEW = 256
"""Of fewer pictures a proof says how many they were."""
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
        before = _answers(classifier, shown, graph.card)
    if len(shown) < FEW:
        talk.say(f"proved on {len(shown)} pictures only; {FEW} or more would show more.")
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


def _answers(classifier: Classifier, shown: Shown, card: Card) -> dict[str, np.ndarray]:
    """Ask the classifier itself for all that the graph gives; of whole pictures, as it would read them from files."""
    about = classifier.preprocessing
    blocks = shown.portions(64)
    if card.any_size:
        blocks = (middle(picture_to_stored(one[0], about), about.size_px)[None] for one in blocks)
    seen = classifier.embed(blocks)
    found = {PROBABILITIES: classifier.calibration.probabilities(seen.logits)}
    if FEATURES in card.outputs:
        assert seen.features is not None, "the graph has found them"
        found[FEATURES] = seen.features.astype(np.float64)
    if UNKNOWN_SCORE in card.outputs:
        assert classifier.judgement is not None, "the graph has its detector"
        found[UNKNOWN_SCORE] = classifier.judgement.strange(seen.logits, seen.features)[0]
    return found


def _told(runner: Runner, shown: Shown) -> dict[str, np.ndarray]:
    """Ask a file for all that it gives."""
    parts = [runner.run(one) for one in shown.portions()]
    return {name: np.concatenate([part[name].astype(np.float64) for part in parts]) for name in runner.card.outputs}


def _export(
    target: Target, blueprint: Blueprint, folder: Path, shown: Shown, before: Outputs, demand: Demand
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
            after = _told(runner, shown)
            proof = _prove(blueprint, shown, before, after, demand)
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


def _prove(blueprint: Blueprint, shown: Shown, before: Outputs, after: Outputs, demand: Demand) -> Proof:
    """Compare all outputs; a file of single precision, which has to be equal, needs no test of its accuracy."""
    precision, any_size, kept = demand.precision.name, demand.any_size, blueprint.card.judgement
    limit = limit_of(precision, calibration=blueprint.graph.calibrated.kind, any_size=any_size)
    max_drop = demand.max_drop if limit is None else None
    proof = prove(shown, before[PROBABILITIES], after[PROBABILITIES], limit, max_drop)
    strange_above = kept.strange_above if kept is not None else None
    return with_others(proof, before, after, limit_of(precision, any_size=any_size), strange_above)


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
