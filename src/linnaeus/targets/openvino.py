"""OpenVINO: the fastest runtime on most processors of Intel and AMD."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from linnaeus.errors import ModelError
from linnaeus.targets.card import INPUT, KEY, Card, checked
from linnaeus.targets.onnx import plain_onnx, quiet
from linnaeus.targets.target import FLOAT32, Blueprint, Precision


class OpenVino:
    """An .xml file with its .bin beside it."""

    name: ClassVar[str] = "openvino"
    title: ClassVar[str] = "OpenVINO"
    file: ClassVar[str] = "model.xml"
    extra: ClassVar[str] = "openvino"
    needs: ClassVar[tuple[str, ...]] = ("openvino", "onnx", "onnxscript")
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    any_size: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = False

    def write(self, blueprint: Blueprint, folder: Path, precision: Precision = FLOAT32) -> Path:
        """Write the two files."""
        import openvino

        with quiet():
            model = openvino.convert_model(str(plain_onnx(blueprint)))
        model.set_rt_info(replace(blueprint.card, precision=precision.name).text(), [KEY])
        path = folder / self.file
        # By default the weights would be rounded to half precision.
        openvino.save_model(model, str(path), compress_to_fp16=False)
        return path

    def why_not_here(self) -> str:
        """Say why it cannot be run here: it always can."""
        return ""

    def open(self, path: Path, threads: int = 1) -> OpenVinoRunner:
        """Make a file ready to answer."""
        return OpenVinoRunner(path, threads)


class OpenVinoRunner:
    """A compiled model; each thread that calls gets a request and a stream of its own."""

    def __init__(self, path: Path, threads: int = 1, streams: int = 1) -> None:
        import openvino

        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads * streams,
            "NUM_STREAMS": streams,
            "ENABLE_CPU_PINNING": False,
        }
        try:
            model = core.read_model(str(path))
            self.card: Card = checked(_text(model), str(path))
            self._compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"{path} should be an OpenVINO model.", got=str(error)[:300]) from None
        self._own = threading.local()

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Answer pictures."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        found = self._own.request.infer({INPUT: self.card.shaped(pictures)})
        # The arrays of a request are written over by its next call.
        return {name: np.array(found[name]) for name in self.card.outputs}


def _text(model: object) -> str | None:
    try:
        return str(model.get_rt_info([KEY]).astype(str))  # type: ignore[attr-defined]
    except (RuntimeError, KeyError):
        return None
