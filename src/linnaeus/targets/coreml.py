"""Core ML: Apple's phones, tablets and computers."""

from __future__ import annotations

import copy
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from linnaeus.errors import ModelError
from linnaeus.targets.card import INPUT, KEY, Card, checked
from linnaeus.targets.side_by_side import before_tensorflow
from linnaeus.targets.target import FLOAT32, Blueprint, Precision, in_turn
from linnaeus.targets.torch_export import silent, told, traced


class CoreMl:
    """An .mlpackage folder, for iOS 16, macOS 13 and later.

    Core ML has no arrays of bytes. The input "image" is its image type, RGB, `size_px` high and wide, one at a time:
    Swift gives a CVPixelBuffer or a CGImage, Python a PIL picture, and the graph sees its bytes as floats 0..255.
    Normalisation, calibration and unknown score are inside, as everywhere. Resize as the card says before: Core ML's own
    scaling of images is another. The card is in the user-defined metadata under "linnaeus"; `layout` in it means nothing
    here.
    """

    name: ClassVar[str] = "coreml"
    title: ClassVar[str] = "Core ML"
    file: ClassVar[str] = "model.mlpackage"
    marker: ClassVar[str] = "Manifest.json"
    extra: ClassVar[str] = "coreml"
    needs: ClassVar[tuple[str, ...]] = ("coremltools",)
    runtime: ClassVar[tuple[str, ...]] = ("coremltools",)
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float16")
    any_size: ClassVar[bool] = False
    one_by_one: ClassVar[bool] = True

    def write(self, blueprint: Blueprint, folder: Path, precision: Precision = FLOAT32) -> Path:
        """Write the folder; "float16" is what the neural engine computes in."""
        path, card = folder / self.file, replace(blueprint.card, precision=precision.name)
        with silent():
            try:
                model = _converted(blueprint, precision.name)
            except ModelError:
                raise
            except Exception as error:
                raise ModelError("the network cannot be written for Core ML.", got=told(error)) from None
            model.user_defined_metadata[KEY] = card.text()
            model.short_description = f"Picture classifier: {', '.join(card.classes[:20])}"
            model.save(str(path))
            # A table for ExecuTorch's debugger, which is no part of the format.
            (path / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)
        return path

    def why_not_here(self) -> str:
        """Say why it cannot be run here."""
        return "" if sys.platform == "darwin" else "Core ML runs on macOS and iOS only."

    def open(self, path: Path, threads: int = 1) -> CoreMlRunner:
        """Make a folder ready to answer. Core ML chooses its threads and processors itself."""
        return CoreMlRunner(path)


class CoreMlRunner:
    """A loaded package; elsewhere than on macOS it tells its card and no more."""

    def __init__(self, path: Path) -> None:
        before_tensorflow()
        with silent():
            import coremltools

            try:
                here = sys.platform == "darwin"
                self._model = coremltools.models.MLModel(str(path), skip_model_load=not here)
                text = self._model.user_defined_metadata.get(KEY)
            except Exception as error:
                raise ModelError(f"{path} should be a Core ML package.", got=told(error)) from None
        self.card: Card = checked(text, str(path))
        self._alone = threading.Lock()

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Answer pictures, one by one.

        Raises:
            ModelError: This is no Mac.
        """
        if reason := CoreMl().why_not_here():
            raise ModelError(reason, fix="open the package on a Mac, or in Xcode.")
        found = in_turn(self._one, pictures if pictures.shape[-1] == 3 else np.repeat(pictures, 3, axis=-1))
        return dict(zip(self.card.outputs, found, strict=True))

    def _one(self, picture: np.ndarray) -> list[np.ndarray]:
        from PIL import Image

        with self._alone:
            answer = self._model.predict({INPUT: Image.fromarray(picture[0])})
        return [np.asarray(answer[name], dtype=np.float32) for name in self.card.outputs]


def _converted(blueprint: Blueprint, precision: str) -> Any:
    before_tensorflow()
    import coremltools as ct

    size = blueprint.card.preprocessing.size_px
    return ct.convert(
        blueprint.once("coreml", lambda _folder: _program(blueprint)),
        inputs=[ct.ImageType(name=INPUT, shape=(1, 3, size, size), color_layout=ct.colorlayout.RGB)],
        outputs=[ct.TensorType(name=name) for name in blueprint.card.outputs],
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT16 if precision == "float16" else ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS16,
    )


def _program(blueprint: Blueprint) -> Any:
    """Trace the graph as Core ML feeds it: one picture, a plane for each colour, floats."""
    import torch

    planes = copy.copy(blueprint.graph)
    planes.card = replace(blueprint.card, layout="nchw")
    return traced(Blueprint(planes, blueprint.scratch), (), N=1, kind=torch.float32).run_decompositions({})
