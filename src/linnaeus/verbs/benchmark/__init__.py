"""benchmark: which runtime to take on this machine, for one picture at a time and for many."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnaeus.errors import LinnaeusError, ModelError, SettingsError
from linnaeus.machine import cores_here, processor_name
from linnaeus.talk import Talk
from linnaeus.targets import FLOAT32, Blueprint, Card, Precision, Runner, Target, require, target_of
from linnaeus.targets.card import PROBABILITIES
from linnaeus.targets.measure import BATCHES, LAP_S, ROUNDS, Speed, Subject, measure
from linnaeus.targets.proof import Proof, Shown, limit_of, prove
from linnaeus.targets.sensitivity import written
from linnaeus.verbs.benchmark.words import PYTORCH, advise, tell

if TYPE_CHECKING:
    from linnaeus.classifier import Classifier

__all__ = ["Row", "Trial", "benchmark", "benchmark_files", "noise", "tell"]


@dataclass(frozen=True)
class Trial:
    """How it is measured.

    Attributes:
        rounds: Timed calls with one picture.
        threads: Of one call.
        lap_s: Seconds for which each batch size is tried.
    """

    rounds: int = ROUNDS
    threads: int = 1
    lap_s: float = LAP_S

    def __post_init__(self) -> None:
        if not (self.rounds >= 1 and self.threads >= 1):
            raise SettingsError("rounds and threads should be 1 or more.", got=f"{self.rounds} and {self.threads}")


@dataclass(frozen=True)
class Row:
    """One runtime.

    Attributes:
        target: Name of the format; "pytorch" for the classifier itself.
        title: As people call it.
        precision: What it computes in.
        path: The file that was measured; "" of one that was written for the occasion.
        why_not: Why there is no speed; "" if there is one.
        proof: How its answers compare with PyTorch's; None where nothing was compared.
        speed: How fast it is.
        subject: What is measured.
    """

    target: str
    title: str
    precision: str = "float32"
    path: str = ""
    why_not: str = ""
    proof: Proof | None = None
    speed: Speed | None = None
    subject: Subject | None = field(default=None, compare=False, repr=False)

    def document(self) -> dict[str, Any]:
        """Write as plain values for JSON."""
        kept = {name: getattr(self, name) for name in ("target", "title", "precision", "path", "why_not")}
        compared: dict[str, Any] = {"difference": None, "agreement": None, "accuracy": None}
        if self.proof is not None:
            compared = {
                "difference": self.proof.largest_difference,
                "agreement": asdict(self.proof.agreement),
                "accuracy": self.proof.accuracy and asdict(self.proof.accuracy),
            }
        return {**kept, **compared, "speed": self.speed and asdict(self.speed)}


def benchmark(
    classifier: Classifier,
    targets: Sequence[Target],
    shown: Shown,
    *,
    model: Path,
    precisions: Sequence[Precision] = (FLOAT32,),
    trial: Trial | None = None,
    talk: Talk | None = None,
) -> dict[str, Any]:
    """Measure a classifier in every format that can be written and run here, side by side with PyTorch.

    Args:
        classifier: Stays as it is.
        targets: Formats.
        shown: Pictures for the comparison of answers, and for the measuring.
        model: The run or model folder: exports that are there are measured, others are written into a temporary folder.
        precisions: Each format is measured in those of them that it has.
        trial: How it is measured.
        talk: Where words and progress go.

    Returns:
        The document "benchmark".
    """
    talk, trial = talk or Talk(), trial or Trial()
    from linnaeus.targets.graph import Graph

    with talk.stage("pytorch"):
        before = np.concatenate([classifier.judge(one).probabilities for one in shown.portions(64)])
    with tempfile.TemporaryDirectory() as scratch:
        bench = _Bench(Blueprint(Graph(classifier), Path(scratch)), model, shown, before, trial, talk)
        rows = [_pytorch(classifier, bench)]
        for target in targets:
            with talk.stage(target.name):
                rows += bench.rows(target, precisions)
        return _document(rows, model, shown, BATCHES, trial, talk)


def benchmark_files(
    paths: Sequence[Path], pictures: np.ndarray | None = None, *, trial: Trial | None = None, talk: Talk | None = None
) -> dict[str, Any]:
    """Measure exported files side by side. Their answers are compared with those of the first.

    Args:
        paths: Files or folders, for pictures of one size.
        pictures: uint8 [N, S, S, C], of that size; by default noise.
        trial: How it is measured.
        talk: Where words and progress go.

    Raises:
        ModelError: A file cannot be run here, is damaged, or another program's.
        SettingsError: They take pictures of different sizes, or know different classes.
    """
    talk, trial = talk or Talk(), trial or Trial()
    targets = [_target_of(path) for path in paths]
    runners = [target.open(path) for target, path in zip(targets, paths, strict=True)]
    cards = [runner.card for runner in runners]
    if len({(one.input_shape[1:3] if one.layout == "nhwc" else one.input_shape[2:], one.classes) for one in cards}) > 1:
        raise SettingsError(
            "files that are measured together should take pictures of one size and know the same classes.",
            got=", ".join(f"{path}: {one.input_shape}" for path, one in zip(paths, cards, strict=True)),
        )
    shown = noise(cards[0]) if pictures is None else _unlabelled(pictures, "picture")
    before = _answers(runners[0], shown)
    rows = []
    for target, path, runner in zip(targets, paths, runners, strict=True):
        proof = prove(shown, before, _answers(runner, shown), None, None) if runner is not runners[0] else None
        subject = Subject.of(target, path, trial.threads)
        rows.append(Row(target.name, target.title, runner.card.precision, str(path), proof=proof, subject=subject))
    return _document(rows, None, shown, (1,) if cards[0].any_size else BATCHES, trial, talk)


def noise(card: Card, N: int = 16) -> Shown:
    """Make pictures of noise, for files whose pictures nobody has: they take as long, and show no real answers."""
    size = card.preprocessing.size_px
    shape = (1, 3 * size, 4 * size, 3) if card.any_size else (N, size, size, card.preprocessing.channels)
    return _unlabelled(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), "noise")


def _unlabelled(pictures: np.ndarray, kind: str) -> Shown:
    N = len(pictures)
    ids = tuple(f"{kind} {number}" for number in range(N))
    return Shown(ids, np.full(N, -1), np.zeros(N, dtype=bool), pictures)


@dataclass(frozen=True)
class _Bench:
    """What every format is brought to."""

    blueprint: Blueprint
    model: Path
    shown: Shown
    before: np.ndarray
    trial: Trial
    talk: Talk

    def rows(self, target: Target, precisions: Sequence[Precision]) -> list[Row]:
        """Prepare a format in all precisions that it has."""
        had = [one for one in precisions if one.name in target.precisions]
        if not had:
            wanted = " or ".join(one.name for one in precisions)
            return [Row(target.name, target.title, "-", why_not=f"it has no {wanted}")]
        return [self._row(target, one) for one in had]

    def _row(self, target: Target, precision: Precision) -> Row:
        row = Row(target.name, target.title, precision.name)
        try:
            if why := target.why_not_here():
                return replace(row, why_not=why)
            return self._kept(row, target) or self._written(row, target, precision)
        except LinnaeusError as error:
            return replace(row, why_not=_short(f"{error.rule} {error.got}"))
        except Exception as error:
            # One runtime that breaks down must not take the table of the others with it.
            return replace(row, why_not=_short(f"{type(error).__name__}: {error}"))

    def _kept(self, row: Row, target: Target) -> Row | None:
        """Take the file that was exported before, if it is of this precision and answers as the classifier does."""
        path = self.model / "exports" / target.name / target.file
        if not path.exists():
            return None
        require(target, writing=False)
        runner = target.open(path)
        if runner.card.any_size or runner.card.precision != row.precision:
            return None
        proof = self._proof(runner)
        if not proof.passed:
            self.talk.say(f"{path}: {proof.why_failed}; written anew for the measurement")
            return None
        subject = Subject.of(target, path, self.trial.threads)
        return replace(row, path=str(path), proof=proof, subject=subject)

    def _written(self, row: Row, target: Target, precision: Precision) -> Row:
        require(target, writing=True)
        require(target, writing=False)
        self.talk.say(f"writing {target.title}, {precision.name} ...")
        path = self.blueprint.once(
            f"benchmark-{target.name}-{precision.name}",
            lambda folder: written(target, self.blueprint, folder, precision)[0],
        )
        proof = self._proof(target.open(path))
        if not proof.passed:
            return replace(row, proof=proof, why_not=proof.why_failed)
        return replace(row, proof=proof, subject=Subject.of(target, path, self.trial.threads))

    def _proof(self, runner: Runner) -> Proof:
        limit = limit_of(runner.card.precision, calibration=self.blueprint.graph.calibrated.kind)
        return prove(self.shown, self.before, _answers(runner, self.shown), limit, None)


def _pytorch(classifier: Classifier, bench: _Bench) -> Row:
    """Prepare the classifier itself; its size is that of its weights."""
    from linnaeus.targets.eager import EagerRunner

    places = (bench.model / "model" / "model.safetensors", bench.model / "model.safetensors")
    weights = next((one for one in places if one.is_file()), None)
    runner = EagerRunner(classifier)
    return Row(
        PYTORCH,
        "PyTorch, eager",
        proof=prove(bench.shown, bench.before, _answers(runner, bench.shown), None, None),
        subject=Subject(lambda: EagerRunner(classifier, bench.trial.threads), weights),
    )


def _answers(runner: Runner, shown: Shown) -> np.ndarray:
    return np.concatenate([runner.run(one)[PROBABILITIES].astype(np.float64) for one in shown.portions()])


def _target_of(path: Path) -> Target:
    target = target_of(path)
    if target is None or not path.exists():
        raise ModelError(
            f"{path} should be an exported model.",
            got="something else" if path.exists() else "no such file",
            fix="make one: linnaeus export RUN",
        )
    if why := target.why_not_here():
        raise ModelError(f"{path} cannot be run here.", got=why)
    require(target, writing=False)
    return target


def _document(
    rows: Sequence[Row], model: Path | None, shown: Shown, batches: Sequence[int], trial: Trial, talk: Talk
) -> dict[str, Any]:
    """Measure what can be measured, and say what it means."""
    subjects = {str(number): row.subject for number, row in enumerate(rows) if row.subject is not None}
    some = np.asarray(shown.pictures[:16])
    with talk.stage("measure"):
        speeds = measure(
            subjects,
            some,
            rounds=trial.rounds,
            batches=batches,
            lap_s=trial.lap_s,
            threads=trial.threads,
            progress=talk.progress,
        )
    measured = [replace(row, speed=speeds.get(str(number))) for number, row in enumerate(rows)]
    documents = [row.document() for row in sorted(measured, key=_order)]
    kind = "noise" if shown.ids[0].startswith("noise ") else "test pictures" if shown.tested.any() else "pictures"
    return {
        "machine": {"processor": processor_name(), "cores": cores_here()},
        "threads": trial.threads,
        "pictures": {"n": len(shown), "kind": kind},
        "rows": documents,
        "advice": advise(documents, str(model) if model is not None else None),
    }


def _order(row: Row) -> float:
    """Sort the fastest first, and what was not measured last."""
    return row.speed.p50_ms if row.speed is not None else float("inf")


def _short(text: str) -> str:
    return " ".join(text.split())[:200].strip()
