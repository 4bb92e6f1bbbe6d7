"""The plain weights: the network's tensors by name, for code that builds the network itself."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from linnaeus.errors import LinnaeusError, ModelError
from linnaeus.targets.card import Card, checked
from linnaeus.targets.target import FLOAT32, Blueprint, Precision
from linnaeus.targets.torch_export import told

CARD, TENSORS = "card.json", "model.pt"


class StateDict:
    """A folder with the network's tensors twice, as `model.safetensors` and as `model.pt`, and what they belong to.

    `config.json` follows timm's schema, so that `timm.create_model("local-dir:FOLDER", pretrained=True)` reads the folder.
    `model.pt` holds tensors only: `torch.load("model.pt", weights_only=True)` gives a state_dict. Nothing is folded or
    rounded; normalisation and calibration are not in the tensors but in `config.json`, and `card.json` says what the
    other exports say. It is a model folder: `linnaeus.load` reads it too.
    """

    name: ClassVar[str] = "state-dict"
    title: ClassVar[str] = "PyTorch (state_dict)"
    file: ClassVar[str] = "state_dict"
    marker: ClassVar[str] = TENSORS
    extra: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ("torch",)
    runtime: ClassVar[tuple[str, ...]] = ("torch",)
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    any_size: ClassVar[bool] = False
    one_by_one: ClassVar[bool] = False

    def write(self, blueprint: Blueprint, folder: Path, precision: Precision = FLOAT32) -> Path:
        """Write the folder."""
        import torch

        place, classifier = folder / self.file, blueprint.graph.classifier
        replace(classifier, about=blueprint.card.about).save(place)
        tensors = {name: one.detach().cpu().contiguous() for name, one in classifier.network.state_dict().items()}
        torch.save(tensors, place / TENSORS)
        card = replace(blueprint.card, precision=precision.name)
        (place / CARD).write_text(card.text(), encoding="utf-8")
        return place

    def why_not_here(self) -> str:
        """Say why it cannot be run here: it always can."""
        return ""

    def open(self, path: Path, threads: int = 1) -> StateDictRunner:
        """Make a folder ready to answer."""
        return StateDictRunner(path, threads)


class StateDictRunner:
    """The classifier that the folder holds, in PyTorch."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        from linnaeus.classifier import Classifier
        from linnaeus.targets.eager import EagerRunner

        self.card: Card = checked(_read(path / CARD), str(path))
        if not zipfile.is_zipfile(path / TENSORS):
            raise ModelError(f"{path / TENSORS} should hold the network's tensors.", got="a file that is not whole")
        try:
            classifier = Classifier.load(path)
        except ModelError:
            raise
        except LinnaeusError as error:
            raise ModelError(error.rule, got=error.got, fix=error.fix) from None
        self._eager = EagerRunner(classifier, threads, self.card.outputs)

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Answer pictures."""
        return self._eager.run(pictures)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} should be a card of Linnaeus.", got=told(error)) from None
