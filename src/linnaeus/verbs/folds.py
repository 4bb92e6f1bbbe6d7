"""folds: deal pictures for cross-validation, and join what the folds found.

Every picture is tested once, by a model that has seen neither it nor anything tied to it. As with `split`, a picture's
fold follows from its content (or its cluster, or its group) and nothing else, so adding pictures moves none of the old
ones; folds are equally large, and classes evenly spread over them, in expectation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from linnaeus.data.ties import even_number, unite
from linnaeus.errors import RunError, SettingsError
from linnaeus.metrics import score
from linnaeus.metrics.power import across_seeds
from linnaeus.metrics.scores import LIMITS
from linnaeus.records import Dataset, Estimate, Finding, Predictions, Scores
from linnaeus.run import Run
from linnaeus.written import scores_document

WORDS = {
    "fold": "How one model did on the pictures of its fold, which it had not seen; the interval is about these pictures "
    "alone.",
    "mean": "The mean over the folds: what such a training gives on average, with so many pictures. Student's interval "
    "takes the folds for independent. They are not, since any two share most of their training pictures, and no unbiased "
    "estimate of the variance exists (Bengio & Grandvalet 2004): the true interval is likely to be wider.",
    "pooled": "All pictures together, each answered by the one model that had not seen it. What is tied together (copies, "
    "near-duplicates, groups) is drawn together. The interval is about the pictures: it says how the score would vary "
    "with other pictures of the same kind, not with other trainings.",
}
"""What each kind of score means, for a person."""
SOURCE = "Y. Bengio, Y. Grandvalet (2004), J. Mach. Learn. Res. 5, 1089-1105, https://www.jmlr.org/papers/v5/grandvalet04a.html"


def ties(dataset: Dataset, hashes: Sequence[str], clusters: Sequence[str] = ()) -> list[str]:
    """Name what stays together with each picture: its group, its cluster of near-duplicates, or its content alone.

    Args:
        dataset: With groups, where there are any.
        hashes: Content of each example.
        clusters: Key that near-duplicates share; "" or nothing for none.
    """
    keys = [digest or example.id for digest, example in zip(hashes, dataset.examples, strict=True)]
    return unite([example.group for example in dataset.examples], keys, clusters or [""] * len(dataset))


def deal_folds(
    dataset: Dataset, hashes: Sequence[str], clusters: Sequence[str] = (), *, folds: int, salt: str = "linnaeus"
) -> np.ndarray:
    """Deal the pictures into folds of about the same size.

    Args:
        dataset: What is used; what its source says of a split counts for nothing here.
        hashes: Content of each example.
        clusters: Key that near-duplicates share; "" or nothing for none.
        folds: How many.
        salt: Another word gives other folds.

    Returns:
        The fold of each example, 0..folds - 1, int64 [N].
    """
    keys = ties(dataset, hashes, clusters)
    fold_of = {key: min(folds - 1, int(even_number(salt, key) * folds)) for key in set(keys)}
    return np.array([fold_of[key] for key in keys], dtype=np.int64)


def check_folds(dataset: Dataset, dealt: np.ndarray, keys: Sequence[str], folds: int) -> list[Finding]:
    """Tell what cross-validation cannot do with these pictures.

    Args:
        dataset: What was dealt.
        dealt: Fold of each example, [N].
        keys: What is tied together, [N]; see `ties`.
        folds: How many.

    Returns:
        Classes that are in one fold alone: nobody learns them who is asked for them.

    Raises:
        SettingsError: A fold has no picture, or all pictures of two classes or more.
    """
    sizes = np.bincount(dealt, minlength=folds)
    if not sizes.all():
        raise SettingsError(
            f"{folds} folds should have a picture each.",
            got=f"{len(dataset):,} pictures, {len(set(keys)):,} of them independent; {int((sizes == 0).sum())} fold(s) "
            "are empty",
            fix="take fewer folds, or smaller groups.",
        )
    findings = []
    for k, name in enumerate(dataset.classes):
        where = np.unique(dealt[dataset.labels == k])
        if len(where) == 1:
            evidence = f"class {name!r} is in fold {where[0] + 1} alone: no model that is tested on it has learned it"
            findings.append(Finding("unknown class", (name,), evidence))
    if len(dataset.classes) - len(findings) < 2:
        raise SettingsError(
            f"{folds} folds should leave two classes to learn.",
            got=findings[0].evidence if findings else f"{len(dataset.classes)} class(es)",
            fix="take smaller groups: a class needs two of them or more.",
        )
    return findings


def mark_fold(dataset: Dataset, dealt: np.ndarray, fold: int) -> Dataset:
    """Write into each example that the pictures of one fold are the test part, and that all else is free.

    Args:
        dataset: What was dealt.
        dealt: Fold of each example, 0..folds - 1, [N].
        fold: 1..folds.
    """
    return replace(
        dataset,
        examples=tuple(
            replace(example, split="test" if its == fold - 1 else "")
            for example, its in zip(dataset.examples, dealt.tolist(), strict=True)
        ),
    )


@dataclass(frozen=True)
class Joined:
    """What all folds found together.

    Attributes:
        predictions: Out of fold: one row per picture, by id.
        folds: Which fold tested it, 1..folds, int64 [N].
        scores: Of the pooled predictions.
        document: All of it as plain values for JSON.
    """

    predictions: Predictions
    folds: np.ndarray
    scores: Scores
    document: dict[str, Any]


def join(runs: Sequence[Run], tied: Mapping[str, str]) -> Joined:
    """Put the test predictions of all folds together, and score them in three ways.

    Args:
        runs: One finished run per fold, in their order.
        tied: Id -> what each picture is tied to, of all pictures that are used; see `ties`.

    Raises:
        RunError: A fold is missing, knows other classes, or a picture was tested twice or never.

    Source:
        Y. Bengio, Y. Grandvalet (2004), J. Mach. Learn. Res. 5, 1089-1105: no unbiased estimator of the variance of
        K-fold cross-validation exists, https://www.jmlr.org/papers/v5/grandvalet04a.html.
    """
    parts = [run.predictions("test") for run in runs]
    predictions, folds = _pool(runs, parts, set(tied))
    scores = _score(predictions, [tied[id] for id in predictions.ids])
    by_fold = [run.scores("test") for run in runs]
    document = {
        "folds": len(runs),
        "pictures": len(predictions),
        "independent": len(set(tied.values())),
        "classes": list(predictions.classes),
        "each": [_told(number, run, one) for number, (run, one) in enumerate(zip(runs, by_fold, strict=True), start=1)],
        "mean": {name: asdict(one) for name, one in _means(by_fold).items()},
        "pooled": scores_document(scores),
        "words": WORDS,
        "source": SOURCE,
    }
    return Joined(predictions, folds, scores, document)


def _pool(runs: Sequence[Run], parts: Sequence[Predictions], used: set[str]) -> tuple[Predictions, np.ndarray]:
    for run, one in zip(runs, parts, strict=True):
        if one.classes != parts[0].classes:
            raise RunError(
                f"{run.folder} should know the classes of {runs[0].folder}.",
                got=f"{len(one.classes)} classes and {len(parts[0].classes)}",
                fix="begin the cross-validation anew, in another folder.",
            )
    ids = [id for one in parts for id in one.ids]
    if len(ids) != len(used) or set(ids) != used:
        raise RunError(
            f"{runs[0].folder.parent} should have tested every picture once.",
            got=f"{len(ids):,} answers for {len(set(ids)):,} pictures, of {len(used):,} that are used",
            fix="the pictures changed meanwhile: begin the cross-validation anew, in another folder.",
        )
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__))
    folds = np.concatenate([np.full(len(one), number, dtype=np.int64) for number, one in enumerate(parts, start=1)])
    pooled = Predictions(
        probabilities=np.concatenate([one.probabilities for one in parts])[order],
        labels=np.concatenate([one.labels for one in parts])[order],
        ids=tuple(ids[row] for row in order),
        classes=parts[0].classes,
    )
    return pooled, folds[order]


def _score(predictions: Predictions, tied: Sequence[str]) -> Scores:
    """Draw together what is tied together, where anything is."""
    return score(predictions, groups=tied if len(set(tied)) < len(tied) else None)


def _means(by_fold: Sequence[Scores]) -> dict[str, Estimate]:
    """Average each score that all folds have."""
    found = {}
    for name in by_fold[0].overall:
        if all(name in one.overall for one in by_fold):
            limits = LIMITS.get(name, (-1.0, 1.0) if name in ("mcc", "cohen_kappa") else (0.0, 1.0))
            mean = across_seeds([one.overall[name].value for one in by_fold], limits=limits).mean
            found[name] = replace(mean, method="Student's t over folds, as if they were independent")
    return found


def _told(number: int, run: Run, scores: Scores) -> dict[str, Any]:
    parts = run.split()["split"]
    return {
        "fold": number,
        "run": run.folder.name,
        **{part: parts.count(part) for part in ("train", "val", "test")},
        "seconds": round(sum(run.summary()["stages"].values()), 1),
        "scores": {name: asdict(one) for name, one in scores.overall.items()},
        "notes": list(scores.notes),
    }
