"""TensorRT: the fastest runtime on NVIDIA's GPUs. An engine is built on the GPU that it is for."""

from __future__ import annotations

import copy
import importlib.util
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from linnaeus.errors import ModelError
from linnaeus.targets.card import INPUT, KEY, Card, checked
from linnaeus.targets.onnx import plain_onnx, set_card
from linnaeus.targets.target import FLOAT32, Blueprint, Precision
from linnaeus.targets.torch_export import told

MODEL, ENGINE, BUILD = "model.onnx", "model.plan", "build.sh"
USUAL, MOST = 8, 64
"""The batch size that an engine is tuned for, and the largest that it takes."""


class TensorRt:
    """A folder with an ONNX file and the command that builds an engine of it; beside them the engine, once it is built.

    The ONNX file turns bytes into floats before all else, because TensorRT has no other operation on bytes.
    """

    name: ClassVar[str] = "tensorrt"
    title: ClassVar[str] = "TensorRT"
    file: ClassVar[str] = "tensorrt"
    marker: ClassVar[str] = BUILD
    extra: ClassVar[str] = "onnx"
    needs: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript")
    runtime: ClassVar[tuple[str, ...]] = ("onnx",)
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    any_size: ClassVar[bool] = False
    one_by_one: ClassVar[bool] = False

    def write(self, blueprint: Blueprint, folder: Path, precision: Precision = FLOAT32) -> Path:
        """Write the folder; the engine is built where it is first opened."""
        import onnx

        place, card = folder / self.file, replace(blueprint.card, precision=precision.name)
        floats = blueprint.once("tensorrt", lambda scratch: plain_onnx(_floats_first(blueprint, scratch)))
        model = onnx.load(floats)
        _ask_shapes_of_floats(model)
        set_card(model, card)
        place.mkdir()
        onnx.save(model, place / MODEL)
        (place / BUILD).write_text(f"#!/bin/sh\n{build_command(card)}\n", encoding="utf-8")
        (place / BUILD).chmod(0o755)
        return place

    def why_not_here(self) -> str:
        """Say why it cannot be run here."""
        if importlib.util.find_spec("tensorrt") is None:
            return "TensorRT is not installed: copy the folder to a machine with an NVIDIA GPU and TensorRT."
        import torch

        return "" if torch.cuda.is_available() else "TensorRT needs an NVIDIA GPU."

    def open(self, path: Path, threads: int = 1) -> TensorRtRunner:
        """Make a folder ready to answer; builds the engine first, which takes minutes, unless it is there."""
        return TensorRtRunner(path)


def _ask_shapes_of_floats(model: Any) -> None:
    """Let whoever asks for the shape of the bytes ask the floats instead: a cast is all that bytes may go into."""
    cast = next(node for node in model.graph.node if node.op_type == "Cast" and list(node.input) == [INPUT])
    askers = [node for node in model.graph.node if node.op_type == "Shape" and list(node.input) == [INPUT]]
    for node in askers:
        node.input[0] = cast.output[0]
    # Nodes stand in the order of their computation.
    rest = [node for node in model.graph.node if node is not cast]
    cast = copy.deepcopy(cast)
    del model.graph.node[:]
    model.graph.node.extend([cast, *rest])


class TensorRtRunner:
    """An engine on the first GPU. One call at a time computes."""

    def __init__(self, path: Path) -> None:
        self.card: Card = _card_in(path / MODEL)
        if reason := TensorRt().why_not_here():
            raise ModelError(f"{path} cannot be run here.", got=reason)
        import tensorrt

        self._runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
        kept = path / ENGINE
        engine = self._runtime.deserialize_cuda_engine(kept.read_bytes()) if kept.is_file() else None
        if engine is None:
            # None was built here, or one of another version or for another GPU.
            plan = _build(path / MODEL, self.card)
            kept.write_bytes(plan)
            engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise ModelError(f"{path} should hold a network that TensorRT can run.", got="no engine")
        self._engine, self._context, self._alone = engine, engine.create_execution_context(), threading.Lock()

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Answer pictures, at most 64 at once."""
        inputs = self.card.shaped(pictures)
        parts = [self._some(inputs[first : first + MOST]) for first in range(0, len(inputs), MOST)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.card.outputs}

    def _some(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        import torch

        with self._alone:
            image = torch.from_numpy(np.require(inputs, requirements=["C", "W"])).cuda()
            self._context.set_input_shape(INPUT, tuple(image.shape))
            shapes = {name: tuple(self._context.get_tensor_shape(name)) for name in self.card.outputs}
            found = {name: torch.empty(shape, dtype=torch.float32, device="cuda") for name, shape in shapes.items()}
            for name, tensor in {INPUT: image, **found}.items():
                self._context.set_tensor_address(name, tensor.data_ptr())
            stream = torch.cuda.current_stream()
            if not self._context.execute_async_v3(stream.cuda_stream):
                raise ModelError("TensorRT should answer.", got="an error, told on stderr")
            stream.synchronize()
            return {name: tensor.cpu().numpy() for name, tensor in found.items()}


def build_command(card: Card) -> str:
    """Write the command that builds the engine, for batches of 1 to 64.

    TF32 would round the factors of every product to 10 bits.
    """
    sizes = {name: "x".join(map(str, _shape(card, N))) for name, N in (("min", 1), ("opt", USUAL), ("max", MOST))}
    shapes = " ".join(f"--{name}Shapes={INPUT}:{shape}" for name, shape in sizes.items())
    return f"trtexec --onnx={MODEL} --saveEngine={ENGINE} {shapes} --noTF32"


def _build(model: Path, card: Card) -> bytes:
    import tensorrt

    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(model.read_bytes()):
        raise ModelError("TensorRT should read the network.", got=str(parser.get_error(0).desc())[:300])
    settings = builder.create_builder_config()
    settings.clear_flag(tensorrt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, _shape(card, 1), _shape(card, USUAL), _shape(card, MOST))
    settings.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, settings)
    if plan is None:
        raise ModelError("TensorRT should build an engine of the network.", got="an error, told on stderr")
    return bytes(plan)


def _shape(card: Card, N: int) -> tuple[int, ...]:
    return (N, *(int(one) for one in card.input_shape[1:]))


def _floats_first(blueprint: Blueprint, scratch: Path) -> Blueprint:
    from torch import Tensor, nn

    graph = blueprint.graph

    class FloatsFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # A layer of the name "graph" would hide torch.fx's own from the converter.
            self.whole, self.card, self.example = graph, graph.card, graph.example

        def forward(self, image: Tensor) -> Any:
            return self.whole(image.float())

    return Blueprint(FloatsFirst(), scratch)  # type: ignore[arg-type]


def _card_in(path: Path) -> Card:
    import onnx

    try:
        found = {one.key: one.value for one in onnx.load(path).metadata_props}
    except Exception as error:
        raise ModelError(f"{path} should be an ONNX model.", got=told(error)) from None
    return checked(found.get(KEY), str(path))
