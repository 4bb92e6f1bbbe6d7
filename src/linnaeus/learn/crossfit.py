"""Out-of-fold opinions on every label, from features, although the labels are partly wrong: seconds, not trainings.

A linear discriminant is solved in closed form for each fold from sums over the others, so solving it again with better
guesses of the labels costs next to nothing. That is what is done: guess each true class, solve with the guesses, and go
on while the labels that were given become more probable out of fold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linnaeus.errors import SettingsError
from linnaeus.learn.components import Components, finite_rows
from linnaeus.learn.discriminant import FoldSums, Heads
from linnaeus.metrics.labels import Noise, fit_noise, noise_free_temperature, softmax

FOLDS = 5
SHRINKAGE = (0.1, 0.2, 0.4, 0.6, 0.8)
ROUNDS = 12
FEWEST = 3
"""A picture is judged where so many others of its class are in the other folds."""


@dataclass(frozen=True)
class CrossFit:
    """What models say that did not learn from the picture.

    Attributes:
        rows: Rows that were judged: a label, features, and enough others of the class; int64 [n].
        labels: Their labels, numbered by `classes`, [n].
        classes: Class numbers that occur among them; the columns of `noise`.
        noise: Fitted on these rows.
        rounds: How often labels were guessed anew.
        strangeness: How unlike every class each picture is, [n].
        logits: Out-of-fold outputs that `noise` was fitted to, float32 [n, K].
        heads: What gave them; it can judge more pictures.
    """

    rows: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    noise: Noise
    rounds: int
    strangeness: np.ndarray
    logits: np.ndarray
    heads: Heads


def folds_of_keys(keys: Sequence[str], count: int = FOLDS) -> np.ndarray:
    """Deal rows into folds by a key (content hash, cluster of copies, group): equal keys stay together; int64 [N]."""
    numbers = (hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest() for key in keys)
    return np.array([int.from_bytes(number[:4], "big") % count for number in numbers], dtype=np.int64)


def cross_fit(features: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> CrossFit:
    """Judge every label by models that did not learn from the picture or its copies.

    Args:
        features: [N, D]; a row with NaN is left out.
        labels: Class numbers, int64 [N]; -1 is left out.
        folds: Fold number of each row, [N].

    Raises:
        SettingsError: Fewer than two classes have pictures enough.

    Source:
        Discriminant with shrunk covariance: J. H. Friedman (1989), J. Am. Stat. Assoc. 84, 165-175. Generative heads
        on features hold up under wrong labels: K. Lee et al. (2019), arXiv:1901.11300. Guessing labels and fitting in turn:
        A. P. Dempster, N. M. Laird, D. B. Rubin (1977), J. R. Stat. Soc. B 39, 1-22; stopped by out-of-fold
        likelihood, since after some rounds the models would only confirm each other.
    """
    rows = judgeable(features, labels, folds)
    classes, numbers = np.unique(labels[rows], return_inverse=True)
    if len(classes) < 2:
        raise SettingsError(
            "labels can be checked where two classes have pictures enough.",
            got=f"{len(classes)} class(es) with more than {FEWEST} pictures",
            fix="add pictures.",
        )
    turned = Components.of(features, rows=rows)
    sums = FoldSums.of(turned.apply(features, rows), folds[rows])
    guess = np.eye(len(classes), dtype=np.float32)[numbers]
    shrinkage = min(SHRINKAGE, key=lambda share: surprise(sums.out_of_fold(guess, share), numbers))
    logits = sums.out_of_fold(guess, shrinkage)
    best, rounds = fit_noise(logits, numbers), 1
    for rounds in range(1, ROUNDS):  # noqa: B007
        again = sums.out_of_fold(best.posterior, shrinkage)
        found = fit_noise(again, numbers, best)
        if found.log_likelihood <= best.log_likelihood:
            break
        best, guess, logits = found, best.posterior, again
    ones = np.ones((len(rows), 1), np.float32)
    centres = sums.centres(best.posterior, shrinkage), sums.centres(ones, shrinkage)
    heads = Heads(turned, sums.folds, *sums.discriminants(guess, shrinkage), *centres)
    strangeness = heads.strangeness(sums.features, folds[rows])
    return CrossFit(rows, numbers, classes, best, rounds, strangeness, logits, heads)


def judgeable(features: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """List the rows with a label, features, and enough others of the class in other folds."""
    good = (labels >= 0) & finite_rows(features)
    while good.any():
        counts = np.zeros((labels.max() + 1, folds.max() + 1), np.int64)
        np.add.at(counts, (labels[good], folds[good]), 1)
        others = counts.sum(axis=1, keepdims=True) - counts
        # A class counts as a whole or not at all, or its last pictures would be suspected for being its last.
        small = (others < FEWEST).any(axis=1)
        fewer = good & ~small[labels.clip(0)]
        if fewer.sum() == good.sum():
            break
        good = fewer
    return np.flatnonzero(good)


def surprise(logits: np.ndarray, labels: np.ndarray) -> float:
    """Compute the log loss at the best temperature."""
    probabilities = softmax(logits, noise_free_temperature(logits, labels))
    return -float(np.log(probabilities[np.arange(len(labels)), labels].astype(np.float64) + 1e-12).mean())
