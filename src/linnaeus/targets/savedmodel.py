"""SavedModel: TensorFlow's own format, which TensorFlow Serving serves as it is."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from linnaeus.errors import ModelError
from linnaeus.targets.card import INPUT, KEY, Card, checked
from linnaeus.targets.onnx import plain_onnx, quiet
from linnaeus.targets.target import FLOAT32, Blueprint, Precision
from linnaeus.targets.tensorflow_ops.hush import hushed

SIGNATURE = "serving_default"
CARD = f"assets.extra/{KEY}.json"
"""Inside the folder. TensorFlow keeps that place for what a program adds of its own."""


class SavedModel:
    """A folder with saved_model.pb; its signature takes `image` and gives the outputs by name."""

    name: ClassVar[str] = "savedmodel"
    title: ClassVar[str] = "TensorFlow SavedModel"
    file: ClassVar[str] = "saved_model"
    marker: ClassVar[str] = "saved_model.pb"
    extra: ClassVar[str] = "tensorflow"
    needs: ClassVar[tuple[str, ...]] = ("tensorflow", "onnx", "onnxscript")
    runtime: ClassVar[tuple[str, ...]] = ("tensorflow",)
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    any_size: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = False

    def write(self, blueprint: Blueprint, folder: Path, precision: Precision = FLOAT32) -> Path:
        """Write the folder."""
        path = folder / self.file
        shutil.copytree(saved_model(blueprint), path)
        card = path / CARD
        card.parent.mkdir()
        card.write_text(replace(blueprint.card, precision=precision.name).text(), encoding="utf-8")
        return path

    def why_not_here(self) -> str:
        """Say why it cannot be run here: it always can."""
        return ""

    def open(self, path: Path, threads: int = 1) -> SavedModelRunner:
        """Make a folder ready to answer. All of a process share the number of threads of the first that was opened."""
        return SavedModelRunner(path, threads)


class SavedModelRunner:
    """A loaded folder, on the CPU."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        card = path / CARD
        self.card: Card = checked(card.read_text(encoding="utf-8") if card.is_file() else None, str(path))
        from linnaeus.targets.tensorflow_ops.library import tf

        # It is too late where another part of the program has used TensorFlow already.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        with quiet(), hushed():
            try:
                # What is loaded must live as long as its signature.
                self._loaded = tf.saved_model.load(str(path))
                self._answer: Any = self._loaded.signatures[SIGNATURE]
            except Exception as error:
                raise ModelError(f"{path} should be a SavedModel.", got=str(error)[:300]) from None
        self._constant = tf.constant

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Answer pictures."""
        found = self._answer(**{INPUT: self._constant(self.card.shaped(pictures))})
        return {name: found[name].numpy() for name in self.card.outputs}


def saved_model(blueprint: Blueprint, batch: int | None = None) -> Path:
    """Write the float32 graph as a SavedModel without a card, once.

    Args:
        blueprint: What to write.
        batch: Number of pictures per call; None leaves it free.
    """

    def make(folder: Path) -> Path:
        source = plain_onnx(blueprint)
        from linnaeus.targets.tensorflow_ops.convert import tensorflow_function
        from linnaeus.targets.tensorflow_ops.library import tf

        with quiet(), hushed():
            function = tensorflow_function(source, blueprint.card.outputs, batch).get_concrete_function()
            tf.saved_model.save(tf.Module(), str(folder / "plain"), signatures={SIGNATURE: function})
        return folder / "plain"

    return blueprint.once(f"saved_model-{batch or 'any'}", make)
