"""From an ONNX file to a function of TensorFlow."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.targets.tensorflow_ops.elementwise import ELEMENTWISE
from linnaeus.targets.tensorflow_ops.layers import LAYERS
from linnaeus.targets.tensorflow_ops.library import tf
from linnaeus.targets.tensorflow_ops.shapes import SHAPES
from linnaeus.targets.tensorflow_ops.value import Node, Operation, Value, narrow

OPERATIONS: Mapping[str, Operation] = {**ELEMENTWISE, **LAYERS, **SHAPES}
OUTSIDE = "outside"
"""The scope of operations that are not in the network: normalisation, calibration, the score of strangeness."""
FLOAT = "in_float"
"""A scope within the network's, of operations that 8 bits do not suit."""
_NETWORK = ("network", "head")


def tensorflow_function(path: Path, outputs: Sequence[str], batch: int | None = None) -> Any:
    """Write the graph of an ONNX file with TensorFlow's operations.

    Pictures are convolved with their channels last; operations on numbers that are known beforehand are done at once.

    Args:
        path: The file, with its weights inside and one input.
        outputs: Names of its outputs.
        batch: Number of pictures per call; None leaves free what the file leaves free.

    Returns:
        A tf.function: the input to a dictionary of outputs.

    Raises:
        ModelError: The network has an operation that is not known here; the message names it.
    """
    import onnx

    model = onnx.load(path)
    nodes, constants = [_node(one) for one in model.graph.node], _constants(model)
    _check(nodes)
    entry = model.graph.input[0]
    shape = [size.dim_value if size.HasField("dim_value") else None for size in entry.type.tensor_type.shape.dim]
    shape[0] = batch if shape[0] is None else shape[0]

    def answer(image: Any) -> dict[str, Any]:
        values = {entry.name: Value(image), **constants}
        for node in nodes:
            found = _computed(node, [values.get(name) if name else None for name in node.inputs])
            values.update(zip(node.outputs, found, strict=False))
        return {name: tf.identity(values[name].plain(), name=name) for name in outputs}

    specification = tf.TensorSpec(shape, tf.uint8, name=entry.name)
    return tf.function(answer, input_signature=[specification], autograph=False)


def attends(path: Path) -> bool:
    """Say whether a network multiplies what it computes with what it computes, as attention does."""
    import onnx

    model = onnx.load(path)
    fixed = set(_constants(model))
    return any(node.kind == "MatMul" and not fixed & set(node.inputs) for node in map(_node, model.graph.node))


def _computed(node: Node, inputs: list[Value | None]) -> tuple[Value, ...]:
    operation = OPERATIONS[node.kind]
    if all(one is None or one.constant for one in inputs):
        with tf.init_scope():
            found = operation(node, *inputs)
        several = found if isinstance(found, tuple) else (found,)
        return tuple(Value(np.asarray(one.held), one.channels_last) for one in several)
    with tf.name_scope(_scope(node)):
        found = operation(node, *inputs)
    return found if isinstance(found, tuple) else (found,)


def _scope(node: Node) -> str:
    first = node.scope.partition(".")[0]
    place = re.sub(r"[^A-Za-z0-9_.]", "_", node.scope) if first in _NETWORK else OUTSIDE
    return f"{place}/{FLOAT}" if node.kind == "LayerNormalization" else place


def _check(nodes: Sequence[Node]) -> None:
    for node in nodes:
        if node.kind not in OPERATIONS:
            raise node.refuse("an operation that is not known here")


def _node(one: Any) -> Node:
    import onnx

    told = {prop.key: prop.value for prop in one.metadata_props}.get("pkg.torch.onnx.name_scopes", "")
    # PyTorch writes a list of scopes from the outside to the inside, and last the operation's own name.
    scopes = ast.literal_eval(told)[:-1] if told.startswith("[") else []
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in one.attribute}
    return Node(one.op_type, tuple(one.input), tuple(one.output), attributes, scopes[-1] if scopes else "")


def _constants(model: Any) -> dict[str, Value]:
    import onnx

    found = {one.name: narrow(onnx.numpy_helper.to_array(one)) for one in model.graph.initializer}
    return {name: Value(held) for name, held in found.items()}
