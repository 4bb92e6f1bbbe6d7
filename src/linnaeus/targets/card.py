"""The card: what an exported file says of itself, in its own metadata. It needs numpy only."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from linnaeus.errors import ModelError
from linnaeus.metrics.abstention import Judgement
from linnaeus.records import Preprocessing

FORMAT = 1
KEY = "linnaeus"
"""Under this name the card stands in a file's metadata."""
INPUT = "image"
PROBABILITIES, FEATURES, UNKNOWN_SCORE = "probabilities", "features", "unknown_score"
OUTPUTS = (PROBABILITIES, FEATURES, UNKNOWN_SCORE)
LAYOUTS = ("nhwc", "nchw")
LABELS = "labels.txt"
"""Lies beside a file for those who cannot read its card: one class on each line, in the order of the probabilities."""


@dataclass(frozen=True)
class Card:
    """Everything that an exported graph does not compute itself, and how to call it.

    Attributes:
        classes: K names, in the order of the columns of `probabilities`.
        preprocessing: How a picture of any kind becomes the input; normalisation and calibration are in the graph.
        outputs: What the graph gives, in this order; some of OUTPUTS.
        layout: "nhwc": the input is uint8 [N, size_px, size_px, 3]; "nchw": uint8 [N, 3, size_px, size_px].
        any_size: The graph takes one upright picture of any size, uint8 [1, H, W, 3], and resizes it itself.
        precision: "float32", "float16", "int8" ...: what the network computes in.
        judgement: What promises and sets rest on, and from which `unknown_score` on a picture is of no class. Its
            detector is in the graph, not here.
        about: Data fingerprint, versions, seed, scores: provenance.
    """

    classes: tuple[str, ...]
    preprocessing: Preprocessing
    outputs: tuple[str, ...] = (PROBABILITIES,)
    layout: str = "nhwc"
    any_size: bool = False
    precision: str = "float32"
    judgement: Judgement | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def input_shape(self) -> tuple[int | str, ...]:
        """Shape of the input with the names of what may vary."""
        if self.any_size:
            return (1, "height", "width", 3)
        size = self.preprocessing.size_px
        return ("batch", size, size, 3) if self.layout == "nhwc" else ("batch", 3, size, size)

    def shaped(self, pictures: np.ndarray) -> np.ndarray:
        """Bring pictures, uint8 [N, H, W, 1 or 3], to the graph's input."""
        if pictures.shape[-1] == 1:
            pictures = np.repeat(pictures, 3, axis=-1)
        return np.ascontiguousarray(pictures if self.layout == "nhwc" else pictures.transpose(0, 3, 1, 2))

    @property
    def labels(self) -> str:
        """Text of LABELS; a class whose name has a line break does not shift those behind it."""
        return "".join(f"{' '.join(name.splitlines())}\n" for name in self.classes)

    def text(self) -> str:
        """Write as JSON."""
        document = {
            "format": FORMAT,
            "classes": list(self.classes),
            "input": {
                "name": INPUT,
                "dtype": "uint8",
                "shape": list(self.input_shape),
                "layout": self.layout,
                "colours": "RGB",
            },
            "outputs": list(self.outputs),
            "precision": self.precision,
            "preprocessing": asdict(self.preprocessing),
            "judgement": self.judgement and _written(self.judgement),
            "about": dict(self.about),
        }
        return json.dumps(document, ensure_ascii=False, default=str)

    @classmethod
    def of(cls, text: str, where: str) -> Card:
        """Read what `text` wrote.

        Args:
            text: JSON.
            where: The file, for the message.

        Raises:
            ModelError: It is no card, or of a newer version.
        """
        try:
            read = json.loads(text)
            newer = read["format"] > FORMAT
            if not newer:
                shape, classes = read["input"]["shape"], tuple(map(str, read["classes"]))
                about: dict[str, Any] = {
                    name: tuple(one) if isinstance(one, list) else one for name, one in read["preprocessing"].items()
                }
                return cls(
                    classes=classes,
                    preprocessing=Preprocessing(**about),
                    outputs=tuple(read["outputs"]),
                    layout=read["input"]["layout"],
                    any_size=shape[1] == "height",
                    precision=read["precision"],
                    judgement=_read(read["judgement"], classes) if read["judgement"] else None,
                    about=read["about"],
                )
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, AssertionError) as error:
            raise ModelError(f"{where} should say what it is.", got=f"{type(error).__name__}: {error}") from None
        raise ModelError(
            f"{where} should be of format {FORMAT}.", got=f"format {read['format']}", fix="install a newer linnaeus."
        )


def checked(text: str | None, where: str) -> Card:
    """Read the card of a file that may have none.

    Raises:
        ModelError: Another program wrote the file.
    """
    if not text:
        raise ModelError(
            f"{where} should hold a card of Linnaeus in its metadata.",
            got="a file of another program",
            fix="linnaeus export RUN --to ... writes one that does.",
        )
    return Card.of(text, where)


def _written(judgement: Judgement) -> dict[str, Any]:
    arrays = replace(judgement, detector=None).arrays()
    return {
        name: {
            "dtype": str(one.dtype),
            "shape": list(one.shape),
            "base64": base64.b64encode(np.ascontiguousarray(one).tobytes()).decode(),
        }
        for name, one in arrays.items()
    }


def _read(document: Mapping[str, Any], classes: tuple[str, ...]) -> Judgement:
    arrays = {
        name: np.frombuffer(base64.b64decode(one["base64"]), one["dtype"]).reshape(one["shape"])
        for name, one in document.items()
    }
    return Judgement.of(arrays, classes)
