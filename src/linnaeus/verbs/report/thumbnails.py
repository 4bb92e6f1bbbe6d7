"""Small pictures of what the model saw, chosen without favour."""

from __future__ import annotations

import base64
import hashlib
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from linnaeus.errors import PictureError
from linnaeus.records import Place, Preprocessing
from linnaeus.verbs.report.evidence import Evidence

EXAMPLES = 25
MISTAKES = 60
SUREST = 25
OF_A_PAIR = 3
SIDE_PX = 144
MAP_PX = 160
TINY_PX = 72


@dataclass(frozen=True)
class Shown:
    """One picture of the report.

    Attributes:
        id: Of the example.
        true: Its class.
        called: The model's answer.
        confidence: In that answer, 0..1.
        pixels: uint8 [H, W] or [H, W, 3]; None if it can no longer be read.
        trouble: Why not.
        pair: Numbers of both classes.
    """

    id: str
    true: str
    called: str
    confidence: float
    pixels: np.ndarray | None
    trouble: str = ""
    pair: tuple[int, int] = (-1, -1)

    @property
    def right(self) -> bool:
        """Tell whether the answer is the true class."""
        return self.true == self.called

    @property
    def tiny(self) -> bool:
        """Tell whether it has so few pixels that each should be seen as a square."""
        return self.pixels is not None and self.pixels.shape[0] <= TINY_PX

    def data_uri(self) -> str:
        """Encode for a page: PNG where each pixel counts, else JPEG."""
        from PIL import Image

        assert self.pixels is not None
        file = io.BytesIO()
        kind = "png" if self.tiny else "jpeg"
        Image.fromarray(self.pixels).save(file, kind, **({"optimize": True} if self.tiny else {"quality": 82}))
        return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def examples(evidence: Evidence) -> list[Shown]:
    """Choose pictures by the hash of their ids: always the same, with no regard to how they turned out."""
    if evidence.predictions is None:
        return []
    ids = evidence.predictions.ids
    labelled = (int(row) for row in np.flatnonzero(evidence.predictions.labels >= 0))
    return _show(evidence, sorted(labelled, key=lambda row: hashlib.sha256(ids[row].encode()).digest())[:EXAMPLES])


def mistakes(evidence: Evidence) -> list[Shown]:
    """Choose the wrong answers of which the model was most sure, and some of each frequent pair; the surest first."""
    if evidence.predictions is None:
        return []
    judged, named = evidence.predictions, evidence.predictions.predicted
    wrong = np.flatnonzero((judged.labels >= 0) & (named != judged.labels))
    confidence = judged.probabilities[wrong].max(axis=1) if len(wrong) else np.zeros(0)
    surest = [int(row) for row in wrong[np.argsort(-confidence, kind="stable")]]
    pairs = Counter((judged.labels[row], named[row]) for row in surest)
    taken, chosen = Counter[tuple[int, int]](), surest[:SUREST]
    for row in sorted(surest[SUREST:], key=lambda row: -pairs[judged.labels[row], named[row]]):
        pair = (judged.labels[row], named[row])
        if len(chosen) < MISTAKES and taken[pair] < OF_A_PAIR:
            chosen.append(row)
            taken[pair] += 1
    return _show(evidence, sorted(chosen, key=surest.index))


def within(shown: Iterable[Shown], budget: Budget) -> tuple[Shown, ...]:
    """Keep the pictures that there is room for; of the others stays a place with the reason."""
    return tuple(
        one if one.pixels is None or budget.spend(one.data_uri()) else replace(one, pixels=None, trouble="no room")
        for one in shown
    )


@dataclass
class Budget:
    """Bytes that the pictures of a page may take: a page stays small enough to be sent by mail."""

    left: int

    def spend(self, uri: str) -> bool:
        """Take the room for one picture, if there is enough."""
        if len(uri) > self.left:
            return False
        self.left -= len(uri)
        return True


def small_uri(path: Path) -> str:
    """Encode a stored picture, made smaller; "" if it can no longer be read."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
            small = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    small.thumbnail((MAP_PX, MAP_PX))
    file = io.BytesIO()
    small.save(file, "jpeg", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def thumbnail_uri(evidence: Evidence, id: str) -> str:
    """Encode one of the run's pictures by its id; "" if it cannot be read."""
    pixels, _ = _read(evidence.places.get(id), evidence.preprocessing)
    return Shown(id, "", "", 0.0, pixels).data_uri() if pixels is not None else ""


def whole_picture(place: Place | None) -> tuple[str, bool, str]:
    """Encode a picture upright and whole, however it is shaped: for a page, whether it is tiny, and why it cannot be shown."""
    from PIL import Image

    from linnaeus.data.decode import decode, read_bytes

    if place is None:
        return "", False, "missing"
    try:
        pixels = decode(read_bytes(place), place.layout, at_least_px=SIDE_PX)
    except PictureError as error:
        return "", False, error.reason
    small = Image.fromarray(np.ascontiguousarray(pixels))
    if tiny := max(small.size) <= TINY_PX:
        file, kind = io.BytesIO(), "png"
        small.save(file, kind, optimize=True)
    else:
        file, kind = io.BytesIO(), "jpeg"
        small.thumbnail((SIDE_PX, SIDE_PX), reducing_gap=2.0)
        small.save(file, kind, quality=80)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}", tiny, ""


def _show(evidence: Evidence, rows: Iterable[int]) -> list[Shown]:
    judged = evidence.predictions
    assert judged is not None
    predicted = judged.predicted
    shown = []
    for row in rows:
        pixels, trouble = _read(evidence.places.get(judged.ids[row]), evidence.preprocessing)
        shown.append(
            Shown(
                id=judged.ids[row],
                true=judged.classes[judged.labels[row]],
                called=judged.classes[predicted[row]],
                confidence=float(judged.probabilities[row, predicted[row]]),
                pixels=pixels,
                trouble=trouble,
                pair=(int(judged.labels[row]), int(predicted[row])),
            )
        )
    return shown


def _read(place: Place | None, seen: Preprocessing | None) -> tuple[np.ndarray | None, str]:
    from linnaeus.data.decode import glance, middle, prepare, read_bytes

    if place is None:
        return None, "not in the split"
    try:
        data = read_bytes(place)
        size = glance(data, place.layout)
        side = max(4, min(SIDE_PX, size.width, size.height))
        pixels = middle(prepare(data, place.layout, _small(seen, side)), side)
    except PictureError as error:
        return None, error.reason
    return np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels), ""


def _small(seen: Preprocessing | None, side_px: int) -> Preprocessing:
    """Follow the model's preprocessing at a thumbnail's size."""
    seen = seen or Preprocessing(size_px=side_px)
    return replace(seen, size_px=side_px, resize_px=side_px, interpolation="bilinear")
