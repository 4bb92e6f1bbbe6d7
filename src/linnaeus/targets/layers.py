"""Where the network stands in the ONNX graph: its layers by the names that PyTorch gives them, and what lies around them."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operations that multiply with weights."""
PARTS = ("network", "head")
"""The parts of `Graph` that hold the network; all else is ours: preprocessing, calibration, the score of strangeness."""
FEW_CHANNELS = 4
"""A convolution that reads so few is the first one."""


@dataclass(frozen=True)
class Layers:
    """The layers of a network in its ONNX graph.

    Attributes:
        kinds: Layer ("blocks.1.0.conv_dw", as in `network.named_modules()`) to operation, in the order of computing.
        nodes: Node to the layer that it belongs to.
        tensors: Tensor to the layer that gives it.
        outside: Tensors before the first layer and behind the last: they are never quantised.
        stem: Layers that read the picture itself.
    """

    kinds: Mapping[str, str]
    nodes: Mapping[str, str]
    tensors: Mapping[str, str]
    outside: frozenset[str]
    stem: tuple[str, ...]

    @classmethod
    def of(cls, model: Any) -> Layers:
        """Find them in the graph as PyTorch's exporter wrote it, before anything optimised it.

        Args:
            model: An onnx.ModelProto.
        """
        nodes = list(model.graph.node)
        constant = _constants(model)
        layer_of = {node.output[0]: layer for node in nodes if (layer := _layer(node, constant))}
        ahead, behind = _reached(nodes, set(layer_of)), _reached_back(nodes, set(layer_of))
        inside = {node.output[0] for node in nodes if node.output[0] in ahead and node.output[0] in behind}
        kinds = {layer_of[node.output[0]]: node.op_type for node in nodes if node.output[0] in layer_of}
        owner = {node.output[0]: _within(_module(node), layer_of.get(node.output[0], ""), kinds) for node in nodes}
        return cls(
            kinds=kinds,
            nodes={node.name: owner[node.output[0]] for node in nodes if owner[node.output[0]]},
            tensors={name: layer for name, layer in owner.items() if layer},
            outside=frozenset(name for node in nodes for name in node.output) - frozenset(inside),
            stem=tuple(
                layer_of[node.output[0]] for node in nodes if node.output[0] in layer_of and _reads_pixels(node, model)
            ),
        )

    def is_transformer(self) -> bool:
        """Tell networks that mostly multiply matrices from those that mostly convolve."""
        count = Counter("matrix" if kind in ("MatMul", "Gemm") else "convolution" for kind in self.kinds.values())
        return count["matrix"] > count["convolution"]


def _constants(model: Any) -> set[str]:
    """Name what does not depend on the picture: weights, and what is computed from weights alone."""
    known = {one.name for one in model.graph.initializer}
    for node in model.graph.node:
        if all(name in known or not name for name in node.input):
            known.update(node.output)
    return known


def _module(node: Any) -> str:
    """Name the module that a node was traced in: "network.blocks.1.0.conv_dw"; "" if the exporter did not say."""
    told = {one.key: one.value for one in node.metadata_props}.get("pkg.torch.onnx.name_scopes", "[]")
    scopes = [scope for scope in ast.literal_eval(told)[:-1] if scope]
    return scopes[-1] if scopes else ""


def _layer(node: Any, constant: set[str]) -> str:
    """Name the layer whose weights a node multiplies with; "" of all other nodes."""
    weights = [name for name in node.input[:2] if name in constant]
    if node.op_type not in WEIGHTED or len(weights) != 1:
        return ""
    module = _module(node) or weights[0].rpartition(".")[0]
    part, _, inner = module.partition(".")
    return (inner or module) if part in PARTS else ""


def _within(module: str, layer: str, kinds: Mapping[str, str]) -> str:
    """Name the layer that a node belongs to: a bias that is added by itself belongs to the layer of the product."""
    part, _, inner = module.partition(".")
    inside = (inner or module) if part in PARTS else ""
    return layer or (inside if inside in kinds else "")


def _reached(nodes: list[Any], start: set[str]) -> set[str]:
    found = set(start)
    for node in nodes:
        if any(name in found for name in node.input):
            found.update(node.output)
    return found


def _reached_back(nodes: list[Any], start: set[str]) -> set[str]:
    """Name what the layers depend on, the layers included."""
    found = set(start)
    for node in reversed(nodes):
        if any(name in found for name in node.output):
            found.update(name for name in node.input if name)
    return found


def _reads_pixels(node: Any, model: Any) -> bool:
    if node.op_type != "Conv":
        return False
    shape = next((tuple(one.dims) for one in model.graph.initializer if one.name == node.input[1]), ())
    group = next((one.i for one in node.attribute if one.name == "group"), 1)
    return len(shape) == 4 and group == 1 and shape[1] <= FEW_CHANNELS
