"""One picture explained: its heat maps, its nearest training pictures, and the files that show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.errors import PictureError
from linnaeus.records import Place
from linnaeus.verbs.explain.methods import Method
from linnaeus.verbs.explain.neighbours import Examples, Neighbour, pixels_at
from linnaeus.verbs.explain.overlay import write_pair, write_sheet
from linnaeus.verbs.explain.subject import Subject


@dataclass(frozen=True)
class Explained:
    """One picture with what its answer rests on.

    Attributes:
        path: As it was given, or the id of a run's picture.
        predicted: The classifier's answer; "" if the picture cannot be read.
        confidence: In that answer; None likewise.
        explained: The class whose evidence the maps show: the answer, or the one asked for.
        heat: Method -> float32 [S, S] in 0..1.
        files: Method -> the PNG with picture and overlay.
        sheet: The PNG with all methods and neighbours; "" if none was asked for.
        neighbours: The training pictures most like it, nearest first; none without a run.
        error: "" or why the picture cannot be read.
    """

    path: str
    predicted: str = ""
    confidence: float | None = None
    explained: str = ""
    heat: Mapping[str, np.ndarray] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    sheet: str = ""
    neighbours: tuple[Neighbour, ...] = ()
    error: str = ""

    def row(self) -> dict[str, Any]:
        """Write as plain values for JSON; the maps as the files that show them."""
        return {
            "path": self.path,
            "predicted": self.predicted,
            "confidence": self.confidence,
            "explained": self.explained,
            "maps": dict(self.files),
            "sheet": self.sheet,
            "neighbours": self.plain_neighbours(),
            "error": self.error,
        }

    def plain_neighbours(self) -> list[dict[str, Any]]:
        """Write the neighbours as plain values: id, label, similarity."""
        return [{"id": one.id, "label": one.label, "similarity": one.similarity} for one in self.neighbours]

    def words(self) -> str:
        """Say it to a person in one line."""
        if self.error:
            return f"{self.path}: {self.error}"
        about = f"{self.path}: {self.predicted} {self.confidence:.0%}"
        if self.explained != self.predicted:
            about += f", explained for {self.explained}"
        if self.neighbours:
            about += "; most like " + ", ".join(f"{one.label} {one.similarity:.2f}" for one in self.neighbours[:3])
        return about + (f"; {self.sheet}" if self.sheet else "")


@dataclass(frozen=True)
class Desk:
    """What is needed to explain one picture after the other.

    Attributes:
        subject: The classifier with a network of its own.
        methods: To be drawn.
        examples: Training pictures to compare with, if there are any.
        seed: Of methods that draw.
    """

    subject: Subject
    methods: Sequence[Method]
    examples: Examples | None
    seed: int

    def explain(
        self,
        name: str,
        place: Place | None,
        files: Mapping[str, Path],
        *,
        sheet: Path | None = None,
        k: int | None = None,
        true: str = "",
    ) -> Explained:
        """Explain one picture.

        Args:
            name: How it is called in the result.
            place: Where its bytes are; None if that is not known any more.
            files: Method -> PNG to write; may be empty.
            sheet: PNG to write with everything.
            k: Class to explain; the answer by default.
            true: Its class, where it is known.
        """
        pixels = pixels_at(place, self._about) if place is not None else PictureError("missing", "not in the split")
        if isinstance(pixels, PictureError):
            return Explained(name, error=str(pixels))
        probabilities = self.subject.probabilities(pixels[None])[0]
        answer = int(probabilities.argmax())
        wanted = answer if k is None else k
        heat = {one.name: one.draw(self.subject, pixels, wanted, self.seed) for one in self.methods}
        near = self.examples.nearest(self.subject.features(pixels[None])[0]) if self.examples is not None else ()
        for method, path in files.items():
            write_pair(path, pixels, heat[method])
        classes = self.subject.classifier.classes
        if sheet is not None:
            title = f"{classes[answer]} {probabilities[answer]:.0%}"
            title += f", explained for {classes[wanted]}" if wanted != answer else ""
            write_sheet(sheet, title, pixels, heat, near, [self._thumbnail(one) for one in near], true)
        return Explained(
            path=name,
            predicted=classes[answer],
            confidence=float(probabilities[answer]),
            explained=classes[wanted],
            heat=heat,
            files={method: str(path) for method, path in files.items()},
            sheet=str(sheet) if sheet is not None else "",
            neighbours=near,
        )

    @property
    def _about(self) -> Any:
        return self.subject.classifier.preprocessing

    def _thumbnail(self, one: Neighbour) -> np.ndarray | None:
        pixels = pixels_at(one.place, self._about)
        return pixels if isinstance(pixels, np.ndarray) else None
