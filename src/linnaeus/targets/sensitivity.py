"""INT8 with the sensitive layers left in float: find as few of them as it takes to stay close to the float answers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from linnaeus.errors import SettingsError
from linnaeus.targets.target import Blueprint, Precision, Runner, Target, digest

BAR = 0.002
"""Nats. On the flowers one answer in two hundred changed at 0.001, one in seventy at 0.003."""
LOOKED_AT = 16
"""Held pictures on which the layers' damage is measured."""
AT_ONCE = 8


@dataclass(frozen=True)
class Step:
    """One attempt.

    Attributes:
        kept: How many layers stayed in float.
        divergence: Mean Kullback-Leibler divergence from the reference, in nats.
        agreement: Share of pictures with the same most probable class.
    """

    kept: int
    divergence: float
    agreement: float


@dataclass(frozen=True)
class Quantized:
    """An INT8 file, and why it is as it is.

    Attributes:
        path: The file.
        kept: Layers that stayed in float, the most harmful first.
        damage: Layer to the divergence that 8 bits in it alone would cause, estimated; the most harmful first.
        steps: The attempts, in order.
        met: The file's divergence is within the bar.
    """

    path: Path
    kept: tuple[str, ...]
    damage: Mapping[str, float]
    steps: tuple[Step, ...]
    met: bool


def written(target: Target, blueprint: Blueprint, folder: Path, precision: Precision) -> tuple[Path, Precision]:
    """Write a file; an INT8 one with its sensitive layers in float, if there are pictures to find them on.

    Args:
        target: Writes it.
        blueprint: What to write.
        folder: Exists; gets the file.
        precision: One that the target has; with layers to keep named, none are looked for.

    Returns:
        The file, and the precision with the layers that stayed in float.
    """
    held, pictures = precision.held, precision.pictures
    if precision.name != "int8" or precision.keep or pictures is None or held is None or not len(held):
        return target.write(blueprint, folder, precision), precision
    reference = blueprint.once(f"float-{digest(held)}", lambda _: float_answers(blueprint, held))
    made = quantized(target, blueprint, folder, pictures, held, reference)
    return made.path, replace(precision, keep=made.kept)


def float_answers(blueprint: Blueprint, pictures: np.ndarray) -> np.ndarray:
    """Compute the probabilities that PyTorch gives in single precision, [N, K]."""
    import torch

    step, found = 1 if blueprint.card.any_size else AT_ONCE, []
    with torch.inference_mode():
        for first in range(0, len(pictures), step):
            answer = blueprint.graph(torch.from_numpy(blueprint.card.shaped(pictures[first : first + step])))
            found.append((answer[0] if isinstance(answer, tuple) else answer).double().numpy())
    return np.concatenate(found)


def quantized(
    target: Target,
    blueprint: Blueprint,
    folder: Path,
    pictures: np.ndarray,
    held: np.ndarray,
    reference: np.ndarray,
    *,
    bar: float | None = None,
) -> Quantized:
    """Write an INT8 file whose answers stay close to the float ones.

    All layers are tried in INT8 first; then the most harmful one is kept in float, then two, four, eight ... up to half
    of them. If that does not do, the best of the attempts is given, and `met` is False.

    Args:
        target: Writes and opens the file; it has "int8".
        blueprint: What to write.
        folder: Exists; gets the file.
        pictures: For the ranges: training pictures, uint8 [N, S, S, C].
        held: Other pictures, not of the test part, uint8 [M, S, S, C].
        reference: The float model's probabilities for `held`, [M, K].
        bar: The mean divergence that is good enough, in nats; by default BAR.

    Raises:
        SettingsError: The format has no INT8, or there are no pictures.
    """
    _check(target, held, reference)
    bar = BAR if bar is None else bar
    from linnaeus.targets.damage import damages
    from linnaeus.targets.rounding import suited

    plain = Precision("int8", pictures)
    damage = damages(suited(blueprint, plain).graph, held[:: max(1, len(held) // LOOKED_AT)][:LOOKED_AT])
    worst = tuple(damage)
    steps: list[Step] = []
    best: tuple[Path, tuple[str, ...], Step] | None = None
    attempts = Path(tempfile.mkdtemp(dir=blueprint.scratch))
    for count in _counts(len(worst)):
        place = attempts / str(count)
        place.mkdir()
        written = target.write(blueprint, place, replace(plain, keep=worst[:count]))
        steps.append(_compare(target.open(written), held, reference, count))
        if best is None or steps[-1].divergence < best[2].divergence:
            best = written, worst[:count], steps[-1]
        if steps[-1].divergence <= bar:
            break
    assert best is not None, "at least one attempt"
    path = _moved(best[0], folder)
    shutil.rmtree(attempts)
    return Quantized(path, best[1], damage, tuple(steps), best[2].divergence <= bar)


def _check(target: Target, held: np.ndarray, reference: np.ndarray) -> None:
    if "int8" not in target.precisions:
        raise SettingsError(f"{target.title} has no INT8.", got=", ".join(target.precisions))
    if len(held) == 0 or len(held) != len(reference):
        raise SettingsError(
            "finding sensitive layers takes held pictures, each with its float answer.",
            got=f"{len(held)} pictures, {len(reference)} answers",
        )


def _counts(layers: int) -> Iterator[int]:
    """Give 0, 1, 2, 4, 8 ... up to half of the layers."""
    yield 0
    count = 1
    while count <= layers // 2:
        yield count
        count *= 2


def _compare(runner: Runner, held: np.ndarray, reference: np.ndarray, kept: int) -> Step:
    step = 1 if runner.card.any_size else AT_ONCE
    given = [runner.run(held[first : first + step])["probabilities"] for first in range(0, len(held), step)]
    answers = np.concatenate(given).astype(np.float64)
    agreement = float((answers.argmax(1) == reference.argmax(1)).mean())
    return Step(kept, divergence(reference, answers), agreement)


def divergence(reference: np.ndarray, answers: np.ndarray) -> float:
    """Compute the mean Kullback-Leibler divergence of answers from a reference, both [N, K], in nats.

    An answer of zero counts as one in a million; an answer that is no number is infinitely far.
    """
    if not np.isfinite(answers).all():
        return float("inf")
    p, q = (np.clip(one.astype(np.float64), 1e-6, None) for one in (reference, answers))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    return float((p * np.log(p / q)).sum(1).mean())


def _moved(path: Path, folder: Path) -> Path:
    """Bring what was written into the folder, in place of what has its name there."""
    for one in sorted(path.parent.iterdir()):
        there = folder / one.name
        if there.is_dir():
            shutil.rmtree(there)
        shutil.move(one, there)
    return folder / path.name
