"""Abstention: when to answer, when to name several classes, and when to say "I don't know"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from linnaeus.errors import ModelError, SourceError
from linnaeus.metrics.conformal import METHODS, PredictionSets, SetScores, fit_sets, measure_sets
from linnaeus.metrics.intervals import units_of
from linnaeus.metrics.selective import Promise, aurc, excess_aurc, measure_promise, promise, risk_coverage
from linnaeus.metrics.unknown import Choice, Detector, Seen, UnknownScores, read_detector
from linnaeus.records import Predictions

UNKNOWN = "unknown"
"""What is said of a picture that looks like none of the classes."""
NUMBERS_AT_MOST = 2_000_000
"""So many probabilities are kept, 8 MB: of 5 classes 400,000 pictures, of 1,000 classes 2,000."""
MAX_ERRORS = (0.005, 0.01, 0.02, 0.05, 0.1)
ALPHAS = (0.1, 0.05)


@dataclass(frozen=True, eq=False)
class Judged:
    """What a model says of some pictures, whatever runs it.

    Attributes:
        probabilities: Calibrated, float64 [N, K].
        strange: How strange each picture is, [N]; None of a model that cannot tell.
        unknown: Whether it counts as of no known class, bool [N]; None with `strange`.
    """

    probabilities: np.ndarray
    strange: np.ndarray | None = None
    unknown: np.ndarray | None = None


def together(parts: Sequence[Judged]) -> Judged:
    """Put together what was said of one portion of pictures after the other; at least one."""
    columns = ([getattr(part, name) for part in parts] for name in ("probabilities", "strange", "unknown"))
    probabilities, strange, unknown = (None if one[0] is None else np.concatenate(one) for one in columns)
    assert probabilities is not None
    return Judged(probabilities, strange, unknown)


@dataclass(frozen=True, eq=False)
class Judgement:
    """What it takes to say "I don't know" for any demand, later and elsewhere.

    It keeps the held pictures' probabilities themselves, so that every promise and every coverage can be asked for after
    the training. They are kept in single precision, and new probabilities are rounded alike before they are compared.

    What the guarantees assume: new pictures come from where the held ones come from (exchangeable); and the held ones
    took part neither in training nor in calibration. Pictures of one group (a patient, a batch) are not independent of
    each other, so one of each group is held, and the guarantees are for a picture of a new group. If the best of several
    networks, or of several epochs of one, was chosen by its results on the held pictures, all of these count as
    `candidates`, and promises are made for all of them together. Prediction sets do not know of `candidates`: a choice
    among a few networks moves their coverage little.

    Attributes:
        held: Calibrated predictions of labelled pictures that calibration did not see, at most 2 million numbers.
        candidates: Number of networks that the held pictures chose among.
        detector: Tells how strange a picture is; None if there is none.
        strange_above: A picture that scores more is of no known class.
        grouped: Some of the held pictures stand for a group of several.

    Source:
        R. Dunn, L. Wasserman, A. Ramdas (2022), Distribution-Free Prediction Sets for Two-Layer Hierarchical Models,
        J. Am. Stat. Assoc., arXiv:1809.07441 (one picture of each group).
    """

    held: Predictions
    candidates: int = 1
    detector: Detector | None = None
    strange_above: float = np.inf
    grouped: bool = False

    @classmethod
    def make(
        cls,
        held: Predictions,
        *,
        candidates: int = 1,
        choice: Choice | None = None,
        groups: Sequence[str] | None = None,
        seed: int = 0,
    ) -> Judgement:
        """Keep what is needed of the held pictures: one of each group, drawn at random; of too many an even random sample.

        Args:
            held: Rows with label -1 are left out.
            candidates: Number of networks that these pictures chose among, 1 or more.
            choice: The detector of strange pictures with its threshold.
            groups: A name per row; "" is no group.
            seed: Of the sample.

        Raises:
            SourceError: A probability is NaN.
        """
        known = held.known()
        if np.isnan(known.probabilities).any():
            raise SourceError("probabilities should be numbers.", got="NaN among the held pictures")
        most = max(1, NUMBERS_AT_MOST // len(held.classes))
        named = None if groups is None else [groups[row] for row in np.flatnonzero(held.labels >= 0).tolist()]
        units, drawn = units_of(len(known), named), np.random.default_rng(seed).permutation(len(known))
        alone = drawn[np.sort(np.unique(units[drawn], return_index=True)[1])]
        rows = np.sort(alone[:most])
        kept = _held(known.probabilities[rows], known.labels[rows], held.classes)
        made = cls(kept, candidates, grouped=len(alone) < len(known))
        return made if choice is None else replace(made, detector=choice.detector, strange_above=choice.threshold)

    def arrays(self) -> dict[str, np.ndarray]:
        """Give everything as arrays, for a safetensors file; the class names stand in the model's config."""
        detector = self.detector.arrays() if self.detector else {}
        own: dict[str, np.ndarray] = {
            "held.probabilities": self.held.probabilities.astype(np.float32),
            "held.labels": self.held.labels.astype(np.int64),
            "candidates": np.array([self.candidates], dtype=np.int64),
            "strange_above": np.array([self.strange_above], dtype=np.float64),
            "grouped": np.array([self.grouped], dtype=np.int64),
        }
        return own | {f"detector.{name}": np.ascontiguousarray(value) for name, value in detector.items()}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], classes: Sequence[str]) -> Judgement:
        """Read what `arrays` gave.

        Raises:
            ModelError: Something is missing, or it is for other classes.
        """
        detector = {name.removeprefix("detector."): one for name, one in arrays.items() if name.startswith("detector.")}
        try:
            p_NK, labels = arrays["held.probabilities"], arrays["held.labels"]
            candidates, above = int(arrays["candidates"][0]), float(arrays["strange_above"][0])
            # A model of before this was told says nothing of groups.
            grouped = bool(arrays.get("grouped", (0,))[0])
        except (KeyError, IndexError) as error:
            raise ModelError("the model should hold what its abstention rests on.", got=f"no {error}") from None
        if p_NK.shape != (len(labels), len(classes)):
            raise ModelError(f"the abstention should be for {len(classes)} classes.", got=f"shape {p_NK.shape}")
        held, found = _held(p_NK, labels, tuple(classes)), read_detector(detector) if detector else None
        return cls(held, candidates, found, above, grouped)

    def promise(self, max_error: float, *, confidence_level: float = 0.95) -> Promise:
        """Find the lowest confidence above which at most a share `max_error` of the answers is wrong; see `promise`."""
        made = promise(self.held, max_error, confidence_level=confidence_level, candidates=self.candidates)
        return replace(made, why=f"{made.why} Of each group one picture is held.") if self.grouped else made

    def threshold(self, max_error: float) -> float | None:
        """Give the confidence from which on to answer; None where nothing can be promised, and `promise` says why."""
        return self.promise(max_error).threshold

    def accepts(self, probabilities: np.ndarray, max_error: float) -> np.ndarray:
        """Tell which pictures to answer, bool [N]: none where nothing can be promised."""
        return keeps(self.promise(max_error), probabilities)

    def rule(self, coverage: float, method: str = "LAC", *, class_conditional: bool = False) -> PredictionSets:
        """Fit the rule of prediction sets that hold the true class with probability `coverage`; see `fit_sets`."""
        return fit_sets(self.held, round(1.0 - coverage, 12), method, class_conditional=class_conditional)

    def sets(
        self, probabilities: np.ndarray, coverage: float, method: str = "LAC", *, class_conditional: bool = False
    ) -> np.ndarray:
        """Choose for each picture the classes among which the true one is, bool [N, K]."""
        return self.rule(coverage, method, class_conditional=class_conditional).sets(rounded(probabilities))

    def strange(self, logits: np.ndarray, features: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Tell how strange each picture is, and whether it counts as of no known class: float64 [N], bool [N].

        Args:
            logits: [N, K], before calibration.
            features: [N, D]; only some detectors need them.

        Raises:
            ModelError: There is no detector.
        """
        if self.detector is None:
            raise ModelError(
                "the model has no detector of strange pictures.", fix="train again, or ask without unknown classes."
            )
        scores = self.detector.score(Seen(logits, features))
        return scores, scores > self.strange_above


def keeps(promise: Promise, probabilities: np.ndarray) -> np.ndarray:
    """Tell which answers keep a promise, bool [N]: none where nothing could be promised."""
    if promise.threshold is None:
        return np.zeros(len(probabilities), dtype=bool)
    return rounded(probabilities).max(axis=1, initial=0.0) >= promise.threshold


def divide(labels: np.ndarray, *, groups: Sequence[str] | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Divide pictures at random into those that calibrate and those that are held for judging, half and half.

    The draw does not look at the labels: so the held pictures stay exchangeable with new ones.

    Args:
        labels: [N]; rows with -1 go nowhere.
        groups: A name per row: rows of one group go to one side; "" is no group.
        seed: Of the draw.

    Returns:
        Two ascending lists of row numbers. Of an odd number the larger half is held.
    """
    rows = np.flatnonzero(np.asarray(labels) >= 0)
    units = units_of(len(rows), None if groups is None else [groups[int(row)] for row in rows])
    count = units.max(initial=-1) + 1
    calibrates = np.isin(units, np.random.default_rng(seed).permutation(count)[: count // 2])
    return rows[calibrates], rows[~calibrates]


def abstention_document(
    judgement: Judgement, test: Predictions, unknown: UnknownScores | None = None
) -> dict[str, Any]:
    """Write what abstaining would do to pictures that had no part in it: the document "abstention".

    Args:
        judgement: Of the model.
        test: Calibrated predictions; rows with label -1 are left out.
        unknown: What was measured of strange pictures, if it was.

    Raises:
        SourceError: No row has a label.
    """
    known = test.known()
    if not len(known):
        raise SourceError(
            "abstention is measured on pictures whose class is known.",
            got="no known label",
            fix="give labelled pictures.",
        )
    known = replace(known, probabilities=rounded(known.probabilities))
    return {
        "curve": [asdict(point) for point in risk_coverage(known)],
        "aurc": asdict(aurc(known)),
        "excess_aurc": excess_aurc(known),
        "candidates": judgement.candidates,
        "held": len(judgement.held),
        "promises": [_promise_document(judgement.promise(max_error), known) for max_error in MAX_ERRORS],
        "sets": [_sets_document(judgement, known, method, alpha) for alpha in ALPHAS for method in METHODS],
        "unknown": unknown and _unknown_document(unknown),
    }


def _promise_document(made: Promise, test: Predictions) -> dict[str, Any]:
    coverage, error = measure_promise(made.threshold, test) if made.threshold is not None else (None, None)
    return {
        "max_error": made.max_error,
        "threshold": made.threshold,
        "possible": made.possible,
        "coverage": coverage and asdict(coverage),
        "error": error and asdict(error),
        "confidence_level": made.confidence_level,
        "why": made.why,
    }


def _sets_document(judgement: Judgement, test: Predictions, method: str, alpha: float) -> dict[str, Any]:
    rule, by_class = (judgement.rule(1.0 - alpha, method, class_conditional=each) for each in (False, True))
    return {
        "method": method,
        "alpha": alpha,
        **_set_scores(measure_sets(rule, test)),
        "notes": list(rule.notes),
        "class_conditional": _set_scores(measure_sets(by_class, test)) | {"notes": list(by_class.notes)},
    }


def _set_scores(scores: SetScores) -> dict[str, Any]:
    return {
        "coverage": asdict(scores.coverage),
        "size": asdict(scores.size),
        "singletons": asdict(scores.singletons),
        "classwise": {name: asdict(one) for name, one in scores.classwise.items()},
    }


def _unknown_document(unknown: UnknownScores) -> dict[str, Any]:
    return {
        "detectors": [
            {"name": name, "auroc": {outliers: asdict(one) for outliers, one in found.items()}}
            for name, found in unknown.auroc.items()
        ],
        "chosen": unknown.chosen,
        "threshold": unknown.threshold,
        "false_alarms": asdict(unknown.false_alarms),
        "detected": {name: asdict(one) for name, one in unknown.detected.items()},
    }


def _held(probabilities: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> Predictions:
    ids = tuple(str(row) for row in range(len(labels)))
    return Predictions(rounded(probabilities), np.asarray(labels, dtype=np.int64), ids, classes)


def rounded(probabilities: np.ndarray) -> np.ndarray:
    """Round to the precision in which held probabilities are kept."""
    return np.asarray(probabilities).astype(np.float32).astype(np.float64)
