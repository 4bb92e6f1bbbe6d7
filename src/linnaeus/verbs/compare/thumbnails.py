"""Pictures on which two models disagree: small, each with both answers."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from linnaeus.errors import PictureError
from linnaeus.metrics.paired import Pair
from linnaeus.records import Place, Predictions, Preprocessing
from linnaeus.verbs.compare.comparison import Comparison

MOST_PICTURES = 240
MOST_ON_A_SIDE = 12
SIDE_PX = 144
TINY_PX = 72


@dataclass(frozen=True)
class Answer:
    """What one model says of a picture."""

    run: str
    called: str
    confidence: float
    right: bool


@dataclass(frozen=True)
class Disagreement:
    """One picture that one model has right and the other wrong.

    Attributes:
        id: Of the example.
        true: Its class.
        answers: Of the first model and of the second.
        image: A data URI; "" where the picture can no longer be read.
        tiny: It has so few pixels that each should be seen as a square.
        trouble: Why it cannot be shown.
    """

    id: str
    true: str
    answers: tuple[Answer, Answer]
    image: str
    tiny: bool
    trouble: str = ""


class Thumbnails:
    """Shows pictures of a comparison; each is read once, however many pairs disagree on it."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._row = {id: row for row, id in enumerate(comparison.matched.predictions[0].ids)}
        self._read: dict[str, tuple[str, bool, str]] = {}
        self.each = max(3, min(MOST_ON_A_SIDE, MOST_PICTURES // (2 * len(comparison.pairs))))

    def of(self, pair: Pair, side: str) -> list[Disagreement]:
        """Show what only "first" or "second" has right: those of which the wrong one was most sure."""
        ids, wrong = (pair.only_first, pair.second) if side == "first" else (pair.only_second, pair.first)
        confidence = self._comparison.matched.predictions[wrong].confidence
        chosen = sorted(ids, key=lambda id: -confidence[self._row[id]])[: self.each]
        return [self._show(id, pair) for id in chosen]

    def _show(self, id: str, pair: Pair) -> Disagreement:
        row = self._row[id]
        first, second = (
            _answer(self._comparison.runs[number].name, self._comparison.matched.predictions[number], row)
            for number in (pair.first, pair.second)
        )
        if id not in self._read:
            self._read[id] = _thumbnail(self._comparison.places, id)
        judged = self._comparison.matched.predictions[0]
        image, tiny, trouble = self._read[id]
        return Disagreement(id, judged.classes[judged.labels[row]], (first, second), image, tiny, trouble)


def _answer(name: str, judged: Predictions, row: int) -> Answer:
    k = int(judged.probabilities[row].argmax())
    return Answer(name, judged.classes[k], float(judged.probabilities[row, k]), k == judged.labels[row])


def _thumbnail(places: Mapping[str, Place], id: str) -> tuple[str, bool, str]:
    from PIL import Image

    from linnaeus.data.decode import glance, middle, prepare, read_bytes

    if id not in places:
        return "", False, "not in the split"
    place = places[id]
    try:
        data = read_bytes(place)
        size = glance(data, place.layout)
        side = max(4, min(SIDE_PX, size.width, size.height))
        pixels = middle(prepare(data, place.layout, Preprocessing(size_px=side)), side)
    except PictureError as error:
        return "", False, error.reason
    tiny = side <= TINY_PX
    file = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.save(file, "png", optimize=True) if tiny else image.save(file, "jpeg", quality=80)
    return f"data:image/{'png' if tiny else 'jpeg'};base64,{base64.b64encode(file.getvalue()).decode()}", tiny, ""
