"""predict: name the class of every picture; one row for every input, readable or not."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from linnaeus.classifier import Classifier
from linnaeus.data.decode import middle, prepare, read_bytes
from linnaeus.errors import PictureError
from linnaeus.metrics import apply_temperature
from linnaeus.records import Place, Preprocessing

AT_ONCE = 128


@dataclass(frozen=True)
class Answers:
    """Some inputs in their order, with what the classifier says of each.

    Attributes:
        paths: As they were given.
        probabilities: float64 [N, K]; NaN in the rows of pictures that cannot be read.
        errors: "" or why the picture cannot be read, [N].
        classes: K names.
    """

    paths: tuple[str, ...]
    probabilities: np.ndarray
    errors: tuple[str, ...]
    classes: tuple[str, ...]

    def columns(self) -> dict[str, list[object]]:
        """Lay the answers out as a table: path, predicted, confidence, p:CLASS for each class, error."""
        readable = [not error for error in self.errors]
        best = np.where(readable, np.nan_to_num(self.probabilities).argmax(1), -1)
        table: dict[str, list[object]] = {
            "path": list(self.paths),
            "predicted": [self.classes[k] if k >= 0 else "" for k in best],
            "confidence": [float(row[k]) if k >= 0 else None for row, k in zip(self.probabilities, best, strict=True)],
        }
        for k, name in enumerate(self.classes):
            values = self.probabilities[:, k]
            table[f"p:{name}"] = [float(p) if fine else None for p, fine in zip(values, readable, strict=True)]
        table["error"] = list(self.errors)
        return table


def predict(classifier: Classifier, paths: Iterable[str], *, workers: int = 4) -> Iterator[Answers]:
    """Classify files in bounded memory, while the next ones are being decoded.

    Args:
        classifier: What answers.
        paths: Files; any number, taken as they come.
        workers: Decoding threads.

    Yields:
        Answers for up to AT_ONCE inputs; all inputs appear once, in order.
    """
    waiting_paths = iter(paths)
    with ThreadPoolExecutor(workers, "predict") as pool:
        waiting: deque[tuple[list[str], list[Future[np.ndarray | PictureError]]]] = deque()
        while True:
            while len(waiting) < 2 and (chunk := list(islice(waiting_paths, AT_ONCE))):
                waiting.append((chunk, [pool.submit(_read, path, classifier.preprocessing) for path in chunk]))
            if not waiting:
                return
            names, futures = waiting.popleft()
            yield _answer(classifier, names, [future.result() for future in futures])


def _read(path: str, preprocessing: Preprocessing) -> np.ndarray | PictureError:
    try:
        return middle(prepare(read_bytes(Place(path)), "", preprocessing), preprocessing.size_px)
    except PictureError as error:
        return error


def _answer(classifier: Classifier, paths: list[str], read: list[np.ndarray | PictureError]) -> Answers:
    probabilities = np.full((len(paths), len(classifier.classes)), np.nan)
    rows = [row for row, one in enumerate(read) if isinstance(one, np.ndarray)]
    if rows:
        logits = classifier.logits([np.stack([read[row] for row in rows])])  # type: ignore[misc]
        probabilities[rows] = apply_temperature(logits, classifier.temperature)
    errors = tuple(str(one) if isinstance(one, PictureError) else "" for one in read)
    return Answers(tuple(paths), probabilities, errors, classifier.classes)
