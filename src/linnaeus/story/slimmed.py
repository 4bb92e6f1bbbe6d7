"""Smaller networks of a run's classifier, trained on the run's pictures with the original as their teacher."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from linnaeus.classifier import Classifier
from linnaeus.config import Recipe
from linnaeus.errors import RunError
from linnaeus.learn.engine import one_blas_thread
from linnaeus.learn.material import Material
from linnaeus.learn.slim import DISTILLING, PRUNING, Slimmed, Slimming, slim
from linnaeus.records import Preprocessing, Split
from linnaeus.run import Run
from linnaeus.story.pictures import Looked, look_at_all, open_pictures
from linnaeus.story.planned import recipe_of
from linnaeus.talk import Talk
from linnaeus.verbs.compress import Variant
from linnaeus.verbs.evaluate import calibrate, seen_of

SLIMMING = ("prune", "distil", "sparse")
"""Means that make another network; all others are precisions of the file."""


@dataclass(frozen=True)
class Means:
    """By what to compress.

    Attributes:
        methods: "int8", "float16", "bfloat16", "weights", "prune", "distil", "sparse".
        keep: Share of the multiply-adds that pruning and distillation leave; "sparse" keeps that share of the weights.
        student: Network to distil into, by name; None takes the classifier's own, made smaller.
    """

    methods: Sequence[str] = ("int8", "prune", "distil")
    keep: float = 0.5
    student: str | None = None


def slimmed(run: Run, classifier: Classifier, means: Means, talk: Talk) -> list[Variant]:
    """List the smaller networks that are wanted; each is made when it is asked for.

    Args:
        run: Its pictures teach; its split says which.
        classifier: The original.
        means: By what.
        talk: Where words and progress go.
    """
    pictures = functools.lru_cache(maxsize=2)(functools.partial(_look, run, classifier.classes, talk=talk))
    return [
        Variant(name, (_planned(name, how),), functools.partial(_make, run, classifier, name, how, pictures, talk))
        for name, how in _asked(means).items()
    ]


def forget(run: Run, means: Means) -> None:
    """Remove what was kept of the work on smaller networks, so that it could go on after a stop."""
    for name, how in _asked(means).items():
        shutil.rmtree(_work_folder(run, name, how), ignore_errors=True)


def _asked(means: Means) -> Mapping[str, Slimming]:
    """Say how each network that is wanted is made, by its name."""
    ways = {
        "prune": ("pruned", Slimming(keep=means.keep, ways=PRUNING)),
        "distil": ("distilled", Slimming(keep=means.keep, ways=DISTILLING, student=means.student)),
        "sparse": ("sparse", Slimming(ways=(), zeros=1 - means.keep)),
    }
    return {name: how for method, (name, how) in ways.items() if method in means.methods}


def _work_folder(run: Run, name: str, how: Slimming) -> Path:
    """Say where a network is made: one for all that is asked, so that nothing else goes on from its checkpoint."""
    asked = json.dumps(asdict(how), sort_keys=True)
    return run.folder / "slimming" / f"{name}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"


def _planned(name: str, how: Slimming) -> str:
    if how.zeros:
        return f"{how.zeros:.0%} of the weights set to zero, with the original as teacher"
    if how.student:
        return f"{name} into {how.student}"
    return f"{name} to {how.keep:.0%} of the multiply-adds, with the original as teacher"


@dataclass(frozen=True)
class _Pictures:
    """All pictures of a run at one size."""

    looked: Looked
    split: Split
    material: Material


def _look(run: Run, classes: tuple[str, ...], how: Preprocessing, *, talk: Talk) -> _Pictures:
    """Read the run's pictures as a preprocessing wants them, in the parts and the groups in which they were.

    Raises:
        RunError: Pictures are missing that the run was trained on.
    """
    where, stored = run.source(), run.split()
    looked = look_at_all(open_pictures(where, talk), where, how, Recipe().data.cache_gb, talk)
    part_of = dict(zip(stored["hash"], stored["split"], strict=True))
    rows = np.array([row for row, one in enumerate(looked.scan.hashes) if one in part_of], dtype=np.int64)
    if len({looked.scan.hashes[row] for row in rows}) < len(part_of):
        raise RunError(
            f"{where['source']} should hold the pictures of {run.folder}.",
            got=f"{len(rows):,} of {len(part_of):,}",
            fix="train again on what is there now.",
        )
    dataset, scan = looked.dataset.take(rows), looked.scan.take(rows)
    group_of = dict(zip(stored["hash"], stored["group"], strict=True))
    examples = zip(dataset.examples, scan.hashes, strict=True)
    dataset = replace(dataset, examples=tuple(replace(one, group=group_of[hash]) for one, hash in examples))
    parts = np.array([part_of[one] for one in scan.hashes])
    split = Split(parts, np.array(["given"] * len(parts)))
    number = {name: k for k, name in enumerate(classes)}
    labels = np.array([number.get(one.label, -1) for one in dataset.examples], dtype=np.int64)
    material = Material(scan.pixels, labels, scan.hashes, split, classes, how)
    return _Pictures(replace(looked, dataset=dataset, scan=scan), split, material)


def _make(
    run: Run,
    classifier: Classifier,
    name: str,
    how: Slimming,
    pictures: Callable[[Preprocessing], _Pictures],
    talk: Talk,
) -> Classifier:
    """Make a smaller network and calibrate it. One that was stopped goes on where it was; see `forget`."""
    about = classifier.preprocessing
    recipe = recipe_of(run)
    folder = _work_folder(run, name, how)
    source = run.source() | {"slimming": asdict(how)}
    work = Run(folder) if (folder / "recipe.json").is_file() else Run.create(folder, name, recipe, source)
    found = slim(
        classifier.network,
        pictures(about).material,
        how,
        run=work,
        recipe=recipe,
        at_size=lambda size_px: pictures(_smaller(about, size_px)).material,
        talk=talk,
    )
    made = replace(
        classifier,
        network=found.network,
        architecture=found.architecture or classifier.architecture,
        options={} if found.architecture else classifier.options,
        preprocessing=found.preprocessing,
        pruned=not found.architecture
        and (classifier.pruned or any(one in found.way for one in ("channels", "blocks"))),
        about=dict(classifier.about) | {"compressed": _told(found)},
    )
    return _calibrated(made, pictures(found.preprocessing), recipe, _chosen_among(classifier, found, work), talk)


def _chosen_among(classifier: Classifier, found: Slimmed, work: Run) -> int:
    """Count the networks that the validation pictures chose among.

    They chose the original among its epochs, then the way in which it is made smaller, then an epoch of the training
    after that: each choice was made of as many, whatever those before it had been.
    """
    originals = classifier.judgement.candidates if classifier.judgement else 1
    return originals * max(1, len(found.tried)) * work.networks_judged()


def _told(found: Slimmed) -> dict[str, object]:
    return {
        "way": found.way,
        "multiply_adds": found.after,
        "multiply_adds_before": found.before,
        "removed": found.removed,
    }


def _smaller(about: Preprocessing, size_px: int) -> Preprocessing:
    resize_px = round(about.resize_px * size_px / about.size_px) if about.resize == "crop" else size_px
    return replace(about, size_px=size_px, resize_px=max(size_px, resize_px))


def _calibrated(classifier: Classifier, pictures: _Pictures, recipe: Recipe, candidates: int, talk: Talk) -> Classifier:
    """Calibrate as the run did: what it kept from being learned is not learned here either."""
    dataset, scan, split = pictures.looked.dataset, pictures.looked.scan, pictures.split
    with talk.stage("calibrate"), one_blas_thread():
        return calibrate(
            classifier,
            seen_of(classifier, scan, split.rows("val"), talk),
            replace(dataset, classes=classifier.classes),
            scan,
            split,
            fit=recipe.train.calibrate,
            keep_answers=recipe.train.helps_rare_classes,
            candidates=candidates,
            seed=recipe.seed,
            talk=talk,
        ).classifier
