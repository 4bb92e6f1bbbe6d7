"""Judge a set that has grown a little by what was fitted before: ten new pictures cost ten.

Out of fold stays out of fold. A picture keeps the fold in which it was when the heads were fitted, and the answers of the
head that did not learn from it; a new one is judged by the head that did not learn from its copies or its group. Where no head
can be sure of that, or where the set has changed by more than a little, everything is fitted again.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.data.shards import mark_used
from linnaeus.learn.components import Components, finite_rows
from linnaeus.learn.crossfit import CrossFit, folds_of_keys, judgeable
from linnaeus.learn.discriminant import Centres, Heads
from linnaeus.metrics.labels import Noise, fit_noise
from linnaeus.records import Dataset
from linnaeus.verbs.audit.enough import enough
from linnaeus.verbs.audit.labels import Opinions, opinions_of
from linnaeus.verbs.audit.near import Near, nearest_with_new
from linnaeus.verbs.audit.remembered import MOST_NEW, latest, save

VERSION = 1
"""Raise it when the file is laid out otherwise, or other heads would be fitted to the same pictures."""
MOST_SEARCHED = 1_000
"""New pictures are compared with all others one by one: of more, a fit costs less."""


@dataclass(frozen=True)
class Growth:
    """How a set differs from the one to which heads were fitted, in pictures.

    Attributes:
        fitted: So many were fitted.
        new: Were not among them.
        gone: Of them are no longer there.
        relabelled: Had another label then, or none.
    """

    fitted: int
    new: int
    gone: int
    relabelled: int

    def words(self) -> str:
        """Say it in a sentence."""
        changes = [f"{count:,} {name}" for name in ("new", "gone", "relabelled") if (count := getattr(self, name))]
        return f"labels are judged by heads that were fitted to {self.fitted:,} pictures before: {', '.join(changes) or 'the same'}"


@dataclass(frozen=True)
class Fitted:
    """What was fitted to a set, and what it said of each picture.

    Attributes:
        hashes: Content of each picture with features, [n].
        labels: As given then, [n]; "" for none.
        folds: In which each was judged, [n]; -1 where it was not, and no head learned from it.
        logits: Out of fold, float32 [n, K]; NaN where it was not judged.
        strangeness: [n]; NaN where it was not judged.
        near: As `Near.similarities`, [n, NEIGHBOURS].
        turned: As `Near.turned`.
        classes: Names of the columns of `logits`.
        heads: What gave them.
        transition: Of the labels, [K, K], and the temperature: where fitting starts when labels change.
        temperature: See there.
        enough: The learning curve of this set.
    """

    hashes: Sequence[str]
    labels: Sequence[str]
    folds: np.ndarray
    logits: np.ndarray
    strangeness: np.ndarray
    near: np.ndarray
    turned: np.ndarray | None
    classes: tuple[str, ...]
    heads: Heads
    transition: np.ndarray
    temperature: float
    enough: dict[str, Any] | None

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        hashes: Sequence[str],
        keys: Sequence[str],
        opinions: Opinions,
        enough: dict[str, Any] | None,
    ) -> Fitted | None:
        """Keep what was found for a whole set; None where no heads were fitted."""
        found, rows = opinions.found, opinions.near.rows
        if found is None or not len(rows):
            return None
        folds = np.full(len(dataset), -1)
        folds[found.rows] = folds_of_keys(keys)[found.rows]
        logits = np.full((len(dataset), len(found.classes)), np.nan, np.float32)
        logits[found.rows] = found.logits
        strangeness = np.full(len(dataset), np.nan)
        strangeness[found.rows] = found.strangeness
        return cls(
            [hashes[row] for row in rows.tolist()],
            [dataset.examples[row].label for row in rows.tolist()],
            folds[rows],
            logits[rows],
            strangeness[rows],
            opinions.near.similarities[rows],
            opinions.near.turned,
            tuple(dataset.classes[k] for k in found.classes.tolist()),
            found.heads,
            found.noise.transition,
            found.noise.temperature,
            enough,
        )

    def judge(
        self, dataset: Dataset, hashes: Sequence[str], keys: Sequence[str], features: np.ndarray
    ) -> tuple[Opinions, Growth] | None:
        """Judge a set that is nearly the one that was fitted; None where it is not, or a head may know what it judges.

        Args:
            dataset: What is audited.
            hashes: Content of each picture, [N].
            keys: The same for all pictures that copies or a group tie together, [N].
            features: [N, D]; only those of new pictures enter the heads.
        """
        # Of several rows with the same content, one that was judged: its fold tells which head has not seen it.
        place = {self.hashes[row]: row for row in np.argsort(self.folds >= 0, kind="stable").tolist()}
        finite = finite_rows(features)
        known = np.array([place.get(content, -1) for content in hashes], np.int64)
        known[~finite] = -1
        growth = self._growth(dataset, hashes, finite, known)
        if growth is None:
            return None
        before = np.where(known >= 0, self.folds[known], -1)
        folds = _folds(keys, before)
        if folds is None:
            return None
        rows = judgeable(features, dataset.labels, folds)
        classes, numbers = np.unique(dataset.labels[rows], return_inverse=True)
        names = [dataset.classes[k] for k in classes.tolist()]
        if sorted(names) != sorted(self.classes):
            return None
        order = np.array([self.classes.index(name) for name in names])
        logits, strangeness = self._answers(features, rows, known[rows], before[rows], folds[rows])
        start = Noise(self.transition[order][:, order], self.temperature, logits[:0], logits[:0], 0.0)
        noise = fit_noise(logits[:, order], numbers, start)
        near = np.full((len(dataset), self.near.shape[1]), np.nan, np.float32)
        near[known >= 0] = self.near[known[known >= 0]]
        found = CrossFit(rows, numbers, classes, noise, 0, strangeness, logits[:, order], self.heads)
        return Opinions(found, nearest_with_new(features, keys, Near(near, self.turned))), growth

    def _growth(self, dataset: Dataset, hashes: Sequence[str], finite: np.ndarray, known: np.ndarray) -> Growth | None:
        """Count what has changed; None where it is too much."""
        told = set(zip(self.hashes, self.labels, strict=True))
        there = np.flatnonzero(known >= 0).tolist()
        relabelled = sum((hashes[row], dataset.examples[row].label) not in told for row in there)
        gone = len(set(self.hashes)) - len(set(known[known >= 0].tolist()))
        growth = Growth(len(self.hashes), int((finite & (known < 0)).sum()), gone, relabelled)
        if growth.new + gone + relabelled > MOST_NEW * len(self.hashes) or growth.new > MOST_SEARCHED:
            return None
        # What is new may be a copy of what is gone: the heads have learned from that, and nobody can tell which may judge.
        return None if growth.new and gone else growth

    def _answers(
        self, features: np.ndarray, rows: np.ndarray, known: np.ndarray, before: np.ndarray, folds: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Look up logits and strangeness of some rows, and judge those that were not judged before."""
        logits, strangeness, new = self.logits[known], self.strangeness[known], before < 0
        logits[new], strangeness[new] = self.heads.judge(features[rows[new]], folds[new])
        return logits, strangeness


def _folds(keys: Sequence[str], before: np.ndarray) -> np.ndarray | None:
    """Give every picture the fold in which what belongs to it was judged, else its own; None where there are several.

    Args:
        keys: The same for all pictures that belong together, [N].
        before: Fold in which each was judged, -1 for none, [N].
    """
    number = np.unique(np.asarray(keys, dtype=str), return_inverse=True)[1].reshape(-1)
    most = np.full(len(number), -1)
    np.maximum.at(most, number, before)
    if (before[before >= 0] != most[number][before >= 0]).any():
        return None
    return np.where(most[number] >= 0, most[number], folds_of_keys(keys))


def opinions_on(
    cache_dir: Path,
    about: object,
    dataset: Dataset,
    hashes: Sequence[str],
    keys: Sequence[str],
    features: np.ndarray,
) -> tuple[Opinions, dict[str, Any] | None, Growth | None]:
    """Judge a set by what was fitted to nearly the same one, or fit it and keep that.

    Args:
        cache_dir: The cache folder.
        about: What features depend on beside the pictures; written out by `repr`.
        dataset: What is audited.
        hashes: Content of each picture, [N].
        keys: The same for all pictures that copies or a group tie together, [N].
        features: [N, D].

    Returns:
        Opinions on each picture; the learning curve of the set that was fitted; how this set differs from that, None where
        it is that one.
    """
    own = set(hashes)
    for path in latest(*_named(cache_dir, about)):
        fitted = _load(path, own)
        judged = fitted.judge(dataset, hashes, keys, features) if fitted is not None else None
        if fitted is not None and judged is not None:
            mark_used(path)
            return judged[0], fitted.enough, judged[1]
    opinions, more = opinions_of(dataset, features, keys), enough(features, dataset.labels, keys)
    fitted = Fitted.of(dataset, hashes, keys, opinions, more)
    if fitted is not None:
        keep(cache_dir, about, fitted)
    return opinions, more, None


def keep(cache_dir: Path, about: object, fitted: Fitted) -> None:
    """Write what was fitted to where `opinions_on` looks for it."""
    folder, kind = _named(cache_dir, about)
    content = hashlib.sha256("\0".join(sorted(fitted.hashes)).encode()).hexdigest()[:32]
    heads, turned = fitted.heads, fitted.heads.components.turned
    arrays: dict[str, Any] = {
        "hashes": np.frombuffer(bytes.fromhex("".join(fitted.hashes)), np.uint8),
        "labels": _letters(fitted.labels),
        "folds": fitted.folds,
        "logits": fitted.logits,
        "strangeness": fitted.strangeness,
        "near": fitted.near,
        "directions": _or_nothing(fitted.turned),
        "classes": _letters(fitted.classes),
        "transition": fitted.transition,
        "temperature": np.array(fitted.temperature),
        "enough": _letters([json.dumps(fitted.enough)]),
        "middle": heads.components.middle,
        "spread": heads.components.spread,
        "turned": _or_nothing(turned),
        "head_folds": heads.folds,
        "weight": heads.weight,
        "bias": heads.bias,
        "means": heads.classes.means.astype(np.float32),
        "inverses": heads.classes.inverses.astype(np.float32),
        "all_means": heads.everything.means.astype(np.float32),
        "all_inverses": heads.everything.inverses.astype(np.float32),
    }
    save(folder / f"{kind}-{content}.shard", lambda file: np.savez(file, **arrays))


def _named(cache_dir: Path, about: object) -> tuple[Path, str]:
    return Path(cache_dir) / "fits", hashlib.sha256(repr((VERSION, about)).encode()).hexdigest()[:16]


def _load(path: Path, own: set[str]) -> Fitted | None:
    """Read what was fitted; None where it is of quite other pictures, where there is no such file, or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            joined = file["hashes"].tobytes().hex()
            hashes = [joined[begin : begin + 64] for begin in range(0, len(joined), 64)]
            if len(own.intersection(hashes)) < (1 - MOST_NEW) * len(set(hashes)):
                return None
            kept = {name: file[name] for name in file.files}
        heads = Heads(
            Components(kept["middle"], kept["spread"], _if_any(kept["turned"])),
            kept["head_folds"],
            kept["weight"],
            kept["bias"],
            Centres(kept["means"], kept["inverses"]),
            Centres(kept["all_means"], kept["all_inverses"]),
        )
        return Fitted(
            hashes,
            _words(kept["labels"]),
            kept["folds"],
            kept["logits"],
            kept["strangeness"],
            kept["near"],
            _if_any(kept["directions"]),
            tuple(_words(kept["classes"])),
            heads,
            kept["transition"],
            float(kept["temperature"]),
            json.loads(_words(kept["enough"])[0]),
        )
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def _letters(words: Sequence[str]) -> np.ndarray:
    """Store words as they are: arrays of words would drop a zero at the end, and take the length of the longest each."""
    return np.frombuffer(json.dumps(list(words)).encode(), np.uint8)


def _words(letters: np.ndarray) -> list[str]:
    words: list[str] = json.loads(letters.tobytes())
    return words


def _or_nothing(array: np.ndarray | None) -> np.ndarray:
    return np.zeros((0, 0), np.float32) if array is None else array


def _if_any(array: np.ndarray) -> np.ndarray | None:
    return array if array.size else None
