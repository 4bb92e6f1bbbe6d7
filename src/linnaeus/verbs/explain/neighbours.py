"""Explanation by example: the training pictures that the network finds most like a picture."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import numpy as np

from linnaeus.data.decode import middle, prepare, read_bytes
from linnaeus.errors import ModelError, PictureError
from linnaeus.records import Place, Preprocessing

if TYPE_CHECKING:
    from linnaeus.run import Run
    from linnaeus.talk import Talk
    from linnaeus.verbs.explain.subject import Subject

MOST = 400
"""Training pictures that are compared: seconds of work on two cores for a small network."""
AT_ONCE = 64


@dataclass(frozen=True)
class Neighbour:
    """One training picture.

    Attributes:
        id: In the run's split.
        label: Its class.
        similarity: Cosine of the features of both, -1..1.
        place: Where its bytes are.
    """

    id: str
    label: str
    similarity: float
    place: Place


@dataclass(frozen=True)
class Examples:
    """A sample of the training pictures with their features.

    Attributes:
        ids: [N].
        labels: [N].
        places: [N].
        features: What the network's head reads, each of length 1, float32 [N, D].
        unreadable: Pictures of the sample that can no longer be read.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    places: tuple[Place, ...]
    features: np.ndarray
    unreadable: int = 0

    @classmethod
    def of_run(cls, subject: Subject, run: Run, talk: Talk, most: int = MOST) -> Examples | None:
        """Compute the features of at most `most` training pictures, as many of each class as there are.

        None where the network has no single linear head, so that there is nothing that could be called its features.
        """
        split = run.split()
        rows = balanced(
            [row for row, part in enumerate(split["split"]) if part == "train"], split["label"], split["id"], most
        )
        about = subject.classifier.preprocessing
        kept: list[int] = []
        parts: list[np.ndarray] = []
        with ThreadPoolExecutor(4, "explain") as pool:
            for first in range(0, len(rows), AT_ONCE):
                chunk = rows[first : first + AT_ONCE]
                read = list(pool.map(lambda row: pixels_at(split["place"][row], about), chunk))
                fine = [(row, one) for row, one in zip(chunk, read, strict=True) if isinstance(one, np.ndarray)]
                if fine:
                    try:
                        parts.append(subject.features(np.stack([one for _, one in fine])))
                    except ModelError as error:
                        talk.say(f"no nearest training pictures: {error.rule}")
                        return None
                    kept += [row for row, _ in fine]
                talk.progress("training pictures", first + len(chunk), len(rows))
        if not kept:
            return None
        if lost := len(rows) - len(kept):
            talk.say(f"{lost} of {len(rows)} training pictures can no longer be read; they cannot be neighbours.")
        return cls(
            ids=tuple(split["id"][row] for row in kept),
            labels=tuple(split["label"][row] for row in kept),
            places=tuple(split["place"][row] for row in kept),
            features=np.concatenate(parts),
            unreadable=len(rows) - len(kept),
        )

    def nearest(self, feature: np.ndarray, count: int = 5) -> tuple[Neighbour, ...]:
        """Find the pictures whose features point most in the same direction, nearest first.

        Args:
            feature: Of length 1, [D].
            count: How many.
        """
        cosine = self.features @ feature
        return tuple(
            Neighbour(self.ids[row], self.labels[row], float(np.clip(cosine[row], -1, 1)), self.places[row])
            for row in np.argsort(-cosine, kind="stable")[:count].tolist()
        )


def balanced(rows: list[int], labels: list[str], ids: list[str], most: int) -> list[int]:
    """Take at most `most` rows, in turns from every class, within a class by the hash of the id: always the same."""
    classes: dict[str, list[int]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: hashlib.sha256(ids[row].encode()).digest()):
        classes[labels[row]].append(row)
    turns = chain.from_iterable(zip_longest(*(classes[name] for name in sorted(classes))))
    return [row for row in turns if row is not None][:most]


def pixels_at(place: Place, preprocessing: Preprocessing) -> np.ndarray | PictureError:
    """Read a picture as the network sees it, uint8 [S, S, C], or return why that cannot be done."""
    try:
        stored = prepare(read_bytes(place), place.layout, preprocessing)
        return np.ascontiguousarray(middle(stored, preprocessing.size_px))
    except PictureError as error:
        return error
