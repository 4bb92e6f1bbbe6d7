"""OpenVINO: the fastest runtime on most processors of Intel and AMD."""

from __future__ import annotations

import threading
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from linnaeus.errors import ModelError
from linnaeus.machine import cores_here
from linnaeus.targets.card import INPUT, KEY, Card, checked
from linnaeus.targets.onnx import plain_onnx, quiet
from linnaeus.targets.quantize_openvino import PRECISIONS, hint, reduced
from linnaeus.targets.target import FLOAT32, Blueprint, Precision

COMPILED = "compiled.blob"
"""Beside a file that stays on this machine: what OpenVINO made of it, for this processor and this version."""
FALLS = ("Gelu", "Swish", "Mish", "HSwish")
"""Activations that do not rise throughout."""


class OpenVino:
    """An .xml file with its .bin beside it."""

    name: ClassVar[str] = "openvino"
    title: ClassVar[str] = "OpenVINO"
    file: ClassVar[str] = "model.xml"
    marker: ClassVar[str] = ""
    extra: ClassVar[str] = "openvino"
    needs: ClassVar[tuple[str, ...]] = ("openvino", "onnx", "onnxscript")
    runtime: ClassVar[tuple[str, ...]] = ("openvino",)
    precisions: ClassVar[tuple[str, ...]] = PRECISIONS
    any_size: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = False

    def write(self, blueprint: Blueprint, folder: Path, precision: Precision = FLOAT32) -> Path:
        """Write the two files; with what the processor makes of them where they are to stay here."""
        import openvino

        from linnaeus.targets.rounding import suited

        blueprint = suited(blueprint, precision)
        plain, card = plain_onnx(blueprint), blueprint.card
        with quiet():
            model = openvino.convert_model(str(plain))
            _pool_before_activation(model)
        if precision.name != FLOAT32.name:
            model, card = reduced(blueprint, model, plain, precision)
        model.set_rt_info(card.text(), [KEY])
        path = folder / self.file
        # By default the weights would be rounded to half precision.
        openvino.save_model(model, str(path), compress_to_fp16=precision.name == "float16")
        if blueprint.stays:
            path.with_name(COMPILED).write_bytes(OpenVinoRunner(path).compiled())
        return path

    def why_not_here(self) -> str:
        """Say why it cannot be run here: it always can."""
        return ""

    def open(self, path: Path, threads: int = 1) -> OpenVinoRunner:
        """Make a file ready to answer."""
        return OpenVinoRunner(path, threads)


class OpenVinoRunner:
    """A compiled model; each thread that calls gets a request and a stream of its own."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        import openvino

        core, streams = openvino.Core(), cores_here()
        settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads * streams,
            "NUM_STREAMS": streams,
            "ENABLE_CPU_PINNING": False,
        }
        try:
            model = core.read_model(str(path))
            self.card: Card = checked(_text(model), str(path))
            able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            settings["INFERENCE_PRECISION_HINT"] = hint(self.card.precision, able)
            if (made := path.with_name(COMPILED)).is_file():
                self._compiled = core.import_model(BytesIO(made.read_bytes()), "CPU", settings)
            else:
                self._compiled = core.compile_model(model, "CPU", settings)
        except (RuntimeError, OSError) as error:
            raise ModelError(f"{path} should be an OpenVINO model.", got=str(error)[:300]) from None
        self._own = threading.local()
        # Two threads whose first arrays meet inside the library wait for each other for ever: one goes ahead.
        size = self.card.preprocessing.size_px
        self.run(np.zeros((1, size, size, 3), dtype=np.uint8))

    def compiled(self) -> bytes:
        """Give what compiling made: OpenVINO of the same version takes it on the same kind of processor."""
        return self._compiled.export_model().getvalue()

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Answer pictures."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        found = self._own.request.infer({INPUT: self.card.shaped(pictures)})
        # The arrays of a request are written over by its next call.
        return {name: np.array(found[name]) for name in self.card.outputs}


def _pool_before_activation(model: Any) -> None:
    """Keep an activation that falls and rises (GELU, SiLU, Mish) from being moved before the pooling in front of it.

    OpenVINO 2026.4 does that on processors, which is right for rising ones only: a network of ours was wrong by 0.03.
    A maximum with the smallest number stands between them and changes nothing.
    """
    import openvino.opset13 as operations

    for node in model.get_ops():
        if node.get_type_name() in FALLS and node.input_value(0).get_node().get_type_name() == "MaxPool":
            lowest = operations.constant(np.float32(np.finfo(np.float32).min))
            node.input(0).replace_source_output(operations.maximum(node.input_value(0), lowest).output(0))
    model.validate_nodes_and_infer_types()


def _text(model: object) -> str | None:
    try:
        return str(model.get_rt_info([KEY]).astype(str))  # type: ignore[attr-defined]
    except (RuntimeError, KeyError):
        return None
