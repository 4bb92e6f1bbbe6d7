"""LiteRT, which was TensorFlow Lite: phones, small computers, and the browser."""

from __future__ import annotations

import importlib
import re
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from linnaeus.errors import ModelError
from linnaeus.targets.card import INPUT, KEY, Card, checked
from linnaeus.targets.onnx import plain_onnx, quiet
from linnaeus.targets.quantize_onnx import STATIC, WEIGHTS, reduced_card
from linnaeus.targets.quantize_openvino import HALF
from linnaeus.targets.savedmodel import SIGNATURE, saved_model
from linnaeus.targets.target import FLOAT32, Blueprint, Precision, digest, in_turn
from linnaeus.targets.tensorflow_ops.hush import hushed

_INSIDE = re.compile(r"(network|head)[./]")
"""How names of tensors begin that the network computes; the rest is normalisation, calibration, the unknown score."""

METHODS = {"float16": HALF, "int8": STATIC, "weights": WEIGHTS}

_BY_KIND = ("TOPK_V2",)
"""Of the score of strangeness too, but the quantiser does not find it by its name, since it gives two tensors."""


class LiteRt:
    """A .tflite file."""

    name: ClassVar[str] = "litert"
    title: ClassVar[str] = "LiteRT (TensorFlow Lite)"
    file: ClassVar[str] = "model.tflite"
    marker: ClassVar[str] = ""
    extra: ClassVar[str] = "litert"
    needs: ClassVar[tuple[str, ...]] = ("tensorflow", "ai_edge_litert", "onnx", "onnxscript")
    runtime: ClassVar[tuple[str, ...]] = ("ai_edge_litert",)
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float16", "int8", "weights")
    any_size: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = False

    def write(self, blueprint: Blueprint, folder: Path, precision: Precision = FLOAT32) -> Path:
        """Write the file, for any number of pictures per call."""
        return write_tflite(blueprint, folder / self.file, precision=precision)

    def why_not_here(self) -> str:
        """Say why it cannot be run here: it always can."""
        return ""

    def open(self, path: Path, threads: int = 1) -> LiteRtRunner:
        """Make a file ready to answer."""
        return LiteRtRunner(path, threads)


class LiteRtRunner:
    """A model; each thread that calls gets an interpreter of its own. TensorFlow is not needed."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        try:
            self._content = path.read_bytes()
            self.card: Card = checked(_card_text(self._content), str(path))
        except (OSError, ValueError, IndexError, struct.error) as error:
            raise ModelError(f"{path} should be a LiteRT model.", got=str(error)[:300]) from None
        self._threads, self._own = threads, threading.local()
        self._own.interpreter = _Interpreter(self._content, threads, str(path))

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Answer pictures."""
        if not hasattr(self._own, "interpreter"):
            self._own.interpreter = _Interpreter(self._content, self._threads, "the model")
        interpreter, given, names = self._own.interpreter, self.card.shaped(pictures), self.card.outputs
        answer = (
            in_turn(lambda one: interpreter(one, names), given) if interpreter.single else interpreter(given, names)
        )
        return dict(zip(names, answer, strict=True))


class _Interpreter:
    """LiteRT's interpreter, which makes room anew when the number of pictures changes."""

    def __init__(self, content: bytes, threads: int, where: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with hushed():
            try:
                self._interpreter = Interpreter(model_content=content, num_threads=threads)
                signature = self._interpreter.get_signature_runner(SIGNATURE)
                entry, exits = signature.get_input_details()[INPUT], signature.get_output_details()
            except (ValueError, RuntimeError, KeyError) as error:
                raise ModelError(f"{where} should be a LiteRT model.", got=str(error)[:300]) from None
        self._entry, self._exits = entry["index"], {name: one["index"] for name, one in exits.items()}
        shape = list(entry["shape_signature"])
        self.single = shape[0] == 1 and -1 not in shape
        self._shape: tuple[int, ...] = ()

    def __call__(self, given: np.ndarray, names: tuple[str, ...]) -> list[np.ndarray]:
        if given.shape != self._shape:
            with hushed():
                self._interpreter.resize_tensor_input(self._entry, given.shape)
                self._interpreter.allocate_tensors()
            self._shape = given.shape
        self._interpreter.set_tensor(self._entry, given)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(self._exits[name]) for name in names]


def write_tflite(blueprint: Blueprint, path: Path, *, batch: int | None = None, precision: Precision = FLOAT32) -> Path:
    """Write a .tflite file.

    "int8" is 8-bit arithmetic, per channel, with ranges from `precision.pictures`; normalisation, the logits and what
    follows them stay in float, and so do the layers that `precision.keep` names. Of networks with attention, which that
    ruins, only the weights get 8 bits, and the card says so: "weights".

    Args:
        blueprint: What to write.
        path: The file.
        batch: Number of pictures per call; None leaves it free. LiteRT.js, in the browser, wants 1.
        precision: "float32", "float16", "int8" or "weights".

    Raises:
        ModelError: The network has something that the format cannot express, or pictures are missing for "int8".
    """
    from linnaeus.targets.rounding import suited

    kind = "weights" if precision.name == "int8" and attention(blueprint) else precision.name
    blueprint = suited(blueprint, precision)
    folder = saved_model(blueprint, batch)
    with quiet(), hushed():
        try:
            content = _quantized(blueprint, folder, batch, precision) if kind == "int8" else _converted(folder, kind)
        except ModelError:
            raise
        except Exception as error:
            told = " ".join(str(error).split())[:300]
            raise ModelError(
                "the network cannot be written for LiteRT.", got=f"{type(error).__name__}: {told}"
            ) from None
    card, method = blueprint.card, METHODS.get(kind)
    if method:
        card = reduced_card(card, replace(precision, name=kind), method=method)
    path.write_bytes(_with_card(content, card))
    return path


def attention(blueprint: Blueprint) -> bool:
    """Say whether the network has attention, which arithmetic in 8 bits ruins."""
    from linnaeus.targets.tensorflow_ops.convert import attends

    return attends(plain_onnx(blueprint))


def _converter(folder: Path) -> Any:
    from linnaeus.targets.tensorflow_ops.library import tf

    return tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[SIGNATURE])


def _converted(folder: Path, kind: str) -> bytes:
    from linnaeus.targets.tensorflow_ops.library import tf

    converter = _converter(folder)
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


def _quantized(blueprint: Blueprint, folder: Path, batch: int | None, precision: Precision) -> bytes:
    from tensorflow.lite.python.convert import mlir_quantize  # type: ignore[import-not-found,import-untyped,unused-ignore]

    pictures = precision.pictures
    if pictures is None or not len(pictures):
        raise ModelError("int8 needs training pictures, to see the range of every layer.", got="none")
    name = f"measured-{batch or 'any'}-{digest(pictures)}"
    measured = blueprint.once(name, lambda _folder: _measured(folder, blueprint.card.shaped(pictures), batch or 1))
    keep = [*_kept(measured), *_of_layers(measured, precision.keep)]
    return bytes(mlir_quantize(measured, denylisted_nodes=keep, denylisted_ops=list(_BY_KIND)))


def _measured(folder: Path, pictures: np.ndarray, batch: int) -> bytes:
    """Write the float model with the range of every tensor in it."""
    from linnaeus.targets.tensorflow_ops.library import tf

    def shown() -> Iterator[dict[str, np.ndarray]]:
        for first in range(0, len(pictures) - batch + 1, batch):
            yield {INPUT: pictures[first : first + batch]}

    converter = _converter(folder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = shown
    converter._experimental_calibrate_only = True
    return bytes(converter.convert())


@dataclass(frozen=True)
class _Step:
    """One operation of a file: the name of the first tensor that it gives, its kind, what it takes and gives."""

    name: str
    kind: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def _kept(content: bytes) -> list[str]:
    """Name what 8 bits do not suit: all outside the network, norms over features, and the layer that gives the logits."""
    steps = _steps(content)
    kept = {step.name for step in steps if not _eight_bits(step)}
    for step in steps:
        users = {other.name for other in steps if set(step.outputs) & set(other.inputs)}
        if step.kind in _weighing() and users and users <= kept:
            kept.add(step.name)
    return sorted(kept)


def _of_layers(content: bytes, layers: tuple[str, ...]) -> list[str]:
    """Name what computes layers of the network, by the places where PyTorch traced it."""
    places = tuple(f"network.{one}/" for one in layers) + tuple("head/" for one in layers if one == "head")
    return [one.name for one in _steps(content) if any(part.startswith(places) for part in one.name.split(";"))]


def _eight_bits(step: _Step) -> bool:
    from linnaeus.targets.tensorflow_ops.convert import FLOAT, OUTSIDE

    if f"/{FLOAT}/" in step.name:
        return False
    # What gives an output has lost its name: of such only layers with weights are surely the network's.
    inside = any(_INSIDE.match(part) for part in step.name.split(";"))
    return inside or (step.kind in _weighing() and OUTSIDE not in step.name)


def _weighing() -> tuple[int, ...]:
    """List the kinds of layers with weights."""
    kinds = _schema().BuiltinOperator
    return kinds.FULLY_CONNECTED, kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D


def _steps(content: bytes) -> list[_Step]:
    """Read the operations of a file, in their order."""
    model = _schema().Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    kinds = [model.OperatorCodes(i).BuiltinCode() for i in range(model.OperatorCodesLength())]
    found = []
    for i in range(graph.OperatorsLength()):
        one = graph.Operators(i)
        outputs = tuple(one.Outputs(j) for j in range(one.OutputsLength()))
        inputs = tuple(one.Inputs(j) for j in range(one.InputsLength()))
        name = graph.Tensors(outputs[0]).Name().decode()
        found.append(_Step(name, kinds[one.OpcodeIndex()], inputs, outputs))
    return found


def _schema() -> Any:
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def _with_card(content: bytes, card: Card) -> bytes:
    """Add the card to a file, as metadata of the name "linnaeus"."""
    flatbuffers, schema = importlib.import_module("flatbuffers"), _schema()
    model = schema.ModelT.InitFromPackedBuf(content)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(card.text().encode(), np.uint8)
    entry.name, entry.buffer = KEY, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(len(content) + len(buffer.data) + 1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _card_text(content: bytes) -> str | None:
    """Read the card out of a file.

    Raises:
        ValueError: It is no LiteRT model.
    """
    if content[4:8] != b"TFL3":
        raise ValueError("a file of another kind")
    model = _schema().Model.GetRootAs(content)
    for i in range(model.MetadataLength()):
        one = model.Metadata(i)
        if one.Name() == KEY.encode():
            return bytes(model.Buffers(one.Buffer()).DataAsNumpy()).decode()
    return None
