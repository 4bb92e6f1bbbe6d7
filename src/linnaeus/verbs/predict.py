"""predict: name the class of every picture; one row for every input, readable or not."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from threading import Semaphore
from typing import Any, Protocol

import numpy as np

from linnaeus.data.decode import read_bytes
from linnaeus.data.filenames import printable
from linnaeus.errors import CheckFailed, ModelError, PictureError, SettingsError
from linnaeus.machine import cores_here
from linnaeus.metrics.abstention import UNKNOWN, Judged, Judgement, keeps, rounded, together
from linnaeus.metrics.conformal import PredictionSets
from linnaeus.metrics.costs import cheapest
from linnaeus.metrics.selective import Promise
from linnaeus.records import Place

AT_ONCE = 128
UNSURE = "unsure"
"""What is said where an answer would break the promised share of errors."""
MAX_ERROR = 0.05
COVERAGE = 0.9
TRUTHS = ("unknown", "accepted")
"""The columns of truth values."""


class Model(Protocol):
    """Whatever answers pictures: a classifier, or an exported file."""

    @property
    def classes(self) -> tuple[str, ...]:
        """K names."""
        ...

    @property
    def portion(self) -> int:
        """So many pictures a call of `judge` takes best."""
        ...

    @property
    def calls(self) -> int:
        """So many calls of `judge` at once are best."""
        ...

    @property
    def judgement(self) -> Judgement | None:
        """What promises and sets rest on."""
        ...

    @property
    def tells_unknown(self) -> bool:
        """Whether `judge` says how strange pictures are."""
        ...

    def read(self, data: bytes) -> np.ndarray:
        """Bring the bytes of a file to what `judge` takes; PictureError where they are no picture."""
        ...

    def judge(self, pictures: np.ndarray) -> Judged:
        """Answer pictures that `read` gave, stacked."""
        ...


@dataclass(frozen=True)
class Demand:
    """How careful the answers should be.

    Attributes:
        unknown: Say "unknown" of pictures that look like none of the classes.
        max_error: Say "unsure" so often that at most this share of the other answers is wrong; None answers always.
        coverage: Probability with which the set of classes holds the true one; None is COVERAGE, of a model that can tell.
        costs: What it costs to call class i by the name of class j, [K, K]: the answer is what costs least. Not beside
            `max_error`.
    """

    unknown: bool = True
    max_error: float | None = None
    coverage: float | None = None
    costs: np.ndarray | None = None


@dataclass(frozen=True)
class Answers:
    """Some inputs in their order, with what the classifier says of each.

    Attributes:
        paths: As they were given.
        probabilities: float64 [N, K]; NaN in the rows of pictures that cannot be read.
        errors: "" or why the picture cannot be read, [N].
        classes: K names.
        strange: How strange each picture is, [N]; None of a model that cannot tell.
        unknown: Whether it counts as of no known class, bool [N].
        accepted: Whether an answer keeps the promised share of errors, bool [N]; None where nothing can be promised.
        sets: Classes among which the true one is, bool [N, K]; None of a model that cannot tell.
        demand: How careful the answers should be.
    """

    paths: tuple[str, ...]
    probabilities: np.ndarray
    errors: tuple[str, ...]
    classes: tuple[str, ...]
    strange: np.ndarray | None = None
    unknown: np.ndarray | None = None
    accepted: np.ndarray | None = None
    sets: np.ndarray | None = None
    demand: Demand = Demand()

    def columns(self) -> dict[str, Any]:
        """Lay the answers out as a table.

        path, answer (a class, "unknown", "unsure", or "" of a picture that cannot be read), predicted (always a class),
        confidence; of a model that can tell also unknown_score, unknown, accepted and set (classes joined by "|");
        p:CLASS for each class; error.
        """
        N, readable = len(self.paths), [not error for error in self.errors]
        all_readable = all(readable)
        best = np.where(readable, np.nan_to_num(self.probabilities).argmax(1), -1)
        table: dict[str, Any] = {"path": [printable(path) for path in self.paths]}
        table["answer"] = [self._answer(row, int(best[row])) for row in range(N)]
        table["predicted"] = [self.classes[k] if k >= 0 else "" for k in best]
        table["confidence"] = [float(self.probabilities[row, k]) if k >= 0 else None for row, k in enumerate(best)]
        if self.strange is not None and self.unknown is not None:
            table["unknown_score"] = [float(self.strange[row]) if readable[row] else None for row in range(N)]
            table["unknown"] = [bool(self.unknown[row]) if readable[row] else None for row in range(N)]
        if self.sets is not None:
            known = [bool(readable[row]) and self.accepted is not None for row in range(N)]
            table["accepted"] = [bool(self.accepted[row]) if known[row] else None for row in range(N)]  # type: ignore[index]
            table["set"] = [self._set(row) if readable[row] else "" for row in range(N)]
        for k, name in enumerate(self.classes):
            values = self.probabilities[:, k]
            table[f"p:{name}"] = (
                values
                if all_readable
                else [float(p) if fine else None for p, fine in zip(values, readable, strict=True)]
            )
        table["error"] = list(self.errors)
        return table

    def _answer(self, row: int, best: int) -> str:
        if best < 0:
            return ""
        if self.demand.unknown and self.unknown is not None and self.unknown[row]:
            return UNKNOWN
        unsure = self.demand.max_error is not None and self.accepted is not None and not self.accepted[row]
        if unsure or self.demand.costs is None:
            return UNSURE if unsure else self.classes[best]
        return self.classes[int(cheapest(self.probabilities[row : row + 1], self.demand.costs)[0])]

    def _set(self, row: int) -> str:
        assert self.sets is not None
        return "|".join(name for name, inside in zip(self.classes, self.sets[row], strict=True) if inside)


def predict(model: Model, paths: Iterable[str], demand: Demand = Demand(), *, workers: int = 0) -> Iterator[Answers]:
    """Classify files in bounded memory.

    Each worker decodes a portion of pictures and has it answered itself: then no thread waits for another one's
    pictures, and there are no more threads at work than cores (docs/predict.md has the measurements).

    Args:
        model: What answers.
        paths: Files; any number, taken as they come.
        demand: How careful the answers should be.
        workers: Threads; 0 is one for each core, 2 to 16.

    Yields:
        Answers for up to AT_ONCE inputs; all inputs appear once, in order.

    Raises:
        ModelError: The model cannot tell what is demanded.
        CheckFailed: The promised share of errors cannot be kept.
    """
    rules, waiting_paths = _Rules.of(model, demand), iter(paths)
    workers = workers or max(2, min(16, cores_here()))
    portion = min(model.portion, AT_ONCE)
    with _Workers(model, workers) as pool:
        waiting: deque[list[Future[_Portion]]] = deque()
        while True:
            # Enough for all workers while this thread writes the answers of one chunk.
            while len(waiting) < 2 + workers * portion // AT_ONCE and (chunk := list(islice(waiting_paths, AT_ONCE))):
                waiting.append([pool.submit(chunk[at : at + portion]) for at in range(0, len(chunk), portion)])
            if not waiting:
                return
            yield _answers(model, rules, [future.result() for future in waiting.popleft()])


@dataclass(frozen=True)
class _Portion:
    """Some inputs, read and answered.

    Attributes:
        paths: As they were given.
        errors: "" or why the picture cannot be read.
        judged: Of those that can be read, in their order.
    """

    paths: list[str]
    errors: list[str]
    judged: Judged


class _Workers:
    """Threads that read and answer; no more calls of the model at once than it likes."""

    def __init__(self, model: Model, count: int) -> None:
        self._model, self._calls = model, Semaphore(model.calls)
        self._pool = ThreadPoolExecutor(count, "predict")

    def submit(self, paths: list[str]) -> Future[_Portion]:
        return self._pool.submit(self._work, paths)

    def _work(self, paths: list[str]) -> _Portion:
        read = [_read(self._model, path) for path in paths]
        errors = [str(one) if isinstance(one, PictureError) else "" for one in read]
        pictures = [one for one in read if isinstance(one, np.ndarray)]
        with self._calls:
            return _Portion(paths, errors, _judge(self._model, pictures))

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        # Whoever stops early does not wait for what nobody will see.
        self._pool.shutdown(cancel_futures=True)


def _read(model: Model, path: str) -> np.ndarray | PictureError:
    try:
        return model.read(read_bytes(Place(path)))
    except PictureError as error:
        return error


@dataclass(frozen=True)
class _Rules:
    """The demand, turned once into a promise and a rule for sets; None of a model that cannot tell."""

    demand: Demand
    promise: Promise | None = None
    sets: PredictionSets | None = None

    @classmethod
    def of(cls, model: Model, demand: Demand) -> _Rules:
        if demand.max_error is not None and demand.costs is not None:
            raise SettingsError(
                "--max-error and --cost should not be asked for together.",
                got="a share of errors is promised for the most probable class, and costs may choose another",
                fix="leave one of them out.",
            )
        if model.judgement is None:
            _refuse_promises(demand)
            return cls(demand)
        promise = model.judgement.promise(MAX_ERROR if demand.max_error is None else demand.max_error)
        if demand.max_error is not None and not promise.possible:
            raise CheckFailed(
                f"at most {100 * demand.max_error:g} % errors should be promised.", got=promise.why, fix="ask for less."
            )
        return cls(demand, promise, model.judgement.rule(COVERAGE if demand.coverage is None else demand.coverage))


def _refuse_promises(demand: Demand) -> None:
    """Refuse what only a model can keep that had enough validation pictures."""
    asked = {
        "--max-error": ("promise a share of errors", demand.max_error),
        "--coverage": ("say how often a set holds the true class", demand.coverage),
    }
    for option, (deed, share) in asked.items():
        if share is not None:
            raise ModelError(
                f"the model cannot {deed}.",
                got="a model with too few validation pictures",
                fix=f"train with more pictures, or leave {option} out.",
            )


def _answers(model: Model, rules: _Rules, portions: list[_Portion]) -> Answers:
    paths = tuple(path for one in portions for path in one.paths)
    errors = tuple(error for one in portions for error in one.errors)
    judged = together([one.judged for one in portions])
    rows, N = [row for row, error in enumerate(errors) if not error], len(paths)
    answers = Answers(
        paths=paths,
        probabilities=_spread(judged.probabilities, rows, N, np.nan),
        errors=errors,
        classes=model.classes,
        strange=None if judged.strange is None else _spread(judged.strange, rows, N, np.nan),
        unknown=None if judged.unknown is None else _spread(judged.unknown, rows, N, False),
        demand=rules.demand,
    )
    if rules.sets is None:
        return answers
    accepted = None
    if rules.promise is not None and rules.promise.possible:
        accepted = _spread(keeps(rules.promise, judged.probabilities), rows, N, False)
    sets = rules.sets.sets(rounded(judged.probabilities)) if rows else np.zeros((0, len(model.classes)), bool)
    return replace(answers, accepted=accepted, sets=_spread(sets, rows, N, False))


def _judge(model: Model, pictures: list[np.ndarray]) -> Judged:
    """Answer pictures; those of one size together, which all are but for a model that resizes by itself."""
    sizes = {picture.shape for picture in pictures}
    if len(sizes) == 1:
        return model.judge(np.stack(pictures))
    if not sizes:
        strange = (np.zeros(0), np.zeros(0, bool)) if model.tells_unknown else (None, None)
        return Judged(np.zeros((0, len(model.classes))), *strange)
    return together([model.judge(picture[None]) for picture in pictures])


def _spread(values: np.ndarray, rows: list[int], N: int, empty: float | bool) -> np.ndarray:
    """Put values where their rows are among N."""
    found = np.full((N, *values.shape[1:]), empty, dtype=values.dtype)
    found[rows] = values
    return found
