"""The reduced precisions of ONNX: INT8, half precision, 8-bit weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.errors import SettingsError
from linnaeus.machine import cores_here
from linnaeus.targets.card import INPUT, Card
from linnaeus.targets.layers import WEIGHTED, Layers
from linnaeus.targets.target import Blueprint, Precision, digest

PRECISIONS = ("float32", "float16", "int8", "weights")
INTEGER = (
    "Conv", "Gemm", "MatMul", "Add", "Mul", "Relu", "Clip", "LeakyRelu", "Sigmoid", "MaxPool", "AveragePool",
    "GlobalAveragePool", "Concat", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Split", "Pad", "Resize",
)  # fmt: skip
"""What ONNX Runtime computes on bytes. Normalisation and softmax stay in float: they are cheap, and lose most."""
AT_ONCE = 8
"""Calibration pictures in one call."""
STATIC = "static: the range of every tensor is fixed beforehand, weights have a scale per channel"
DYNAMIC = "dynamic: only products of matrices, the range of each picture is found while computing (it is a transformer)"
WEIGHTS = "8-bit weights with a scale per channel, computed in float"
SMALL = 1024
"""Tensors of fewer numbers are not worth 8 bits."""


def reduced(blueprint: Blueprint, plain: Path, precision: Precision) -> tuple[Any, Card]:
    """Bring a plain ONNX file to a lower precision.

    Args:
        blueprint: Keeps what several files share: the prepared graph and the ranges of its tensors.
        plain: What `plain_onnx` wrote.
        precision: "int8", "float16" or "weights".

    Returns:
        The onnx.ModelProto, and its card, which says how it was done.

    Raises:
        SettingsError: INT8 without pictures, or a layer to keep that does not exist.
    """
    layers = layers_of(blueprint, plain)
    check_kept(precision, layers)
    card, keep = blueprint.card, precision.keep
    if precision.name == "float16":
        return _half(plain, layers), reduced_card(card, precision, method="half precision; input and output in float32")
    if precision.name == "weights":
        return _only_weights(blueprint, plain, layers, keep), reduced_card(card, precision, method=WEIGHTS)
    if layers.is_transformer():
        return _dynamic(blueprint, plain, layers, keep), reduced_card(card, precision, method=DYNAMIC)
    model = _static(blueprint, plain, layers, calibration_pictures(precision), keep)
    return model, reduced_card(card, precision, method=STATIC)


def reduced_card(card: Card, precision: Precision, *, method: str) -> Card:
    """Say on the card what the file computes in, and how it came to that."""
    done: dict[str, Any] = {"method": method, "kept_in_float": list(precision.keep)}
    if precision.pictures is not None:
        done["calibration_pictures"] = len(precision.pictures)
    return replace(card, precision=precision.name, about={**card.about, "quantization": done})


def layers_of(blueprint: Blueprint, plain: Path) -> Layers:
    """Find the layers in the plain graph, once."""
    import onnx

    return blueprint.once("onnx-layers", lambda _: Layers.of(onnx.load(plain)))


def check_kept(precision: Precision, layers: Layers) -> None:
    """Check that the layers to keep in float exist.

    Raises:
        SettingsError: One does not.
    """
    strange = [name for name in precision.keep if name not in layers.kinds]
    if strange:
        raise SettingsError(
            "layers to keep in float should be layers of the network.",
            got=", ".join(strange[:5]),
            fix=f"some of: {', '.join(list(layers.kinds)[:5])} ...",
        )


def calibration_pictures(precision: Precision) -> np.ndarray:
    """Take the pictures that show the range of every layer.

    Raises:
        SettingsError: There are none.
    """
    if precision.pictures is None or len(precision.pictures) == 0:
        raise SettingsError(
            "INT8 should be given training pictures, which show the range of every layer.",
            got="none",
            fix="give some hundred.",
        )
    return precision.pictures


def slim(model: Any) -> None:
    """Take out what only the exporter needed: where each node stands in the source code, paths of this machine included."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]


def _prepared(blueprint: Blueprint, plain: Path) -> Any:
    """Load the graph with all shapes known and all that is constant folded; every node has a name."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    def make(folder: Path) -> Path:
        from linnaeus.targets.onnx import quiet

        path = folder / "prepared.onnx"
        with quiet():
            try:
                quant_pre_process(str(plain), str(path))
            except Exception:
                # Its symbolic shapes do not know every operation; those of ONNX itself are enough.
                quant_pre_process(str(plain), str(path), skip_symbolic_shape=True)
        return path

    model = onnx.load(blueprint.once("onnx-prepared", make))
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"unnamed_{number}"
    return model


def _outside(model: Any, layers: Layers, keep: Sequence[str]) -> list[str]:
    """Name the nodes that stay in float: all of ours, and those of the kept layers."""
    kept = {name for name, layer in layers.tensors.items() if layer in keep}
    return [node.name for node in model.graph.node if set(node.output) & (layers.outside | kept)]


def _givers(model: Any, nodes: Sequence[str]) -> list[str]:
    """Name the nodes that give these nodes their input, activations in between included.

    ONNX Runtime rounds what an INT8 layer gives, whoever reads it. A layer that is kept because rounding its input does
    harm needs the layer before it in float, too.
    """
    maker = {name: node for node in model.graph.node for name in node.output}
    found = []
    for start in (node for node in model.graph.node if node.name in nodes):
        node = maker.get(start.input[0])
        while node is not None:
            found.append(node.name)
            several = sum(name in maker for name in node.input) > 1
            node = None if several or node.op_type in WEIGHTED else maker.get(node.input[0])
    return found


def _static(blueprint: Blueprint, plain: Path, layers: Layers, pictures: np.ndarray, keep: Sequence[str]) -> Any:
    """Fix the range of every tensor beforehand and let ONNX Runtime compute in bytes."""
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    from linnaeus.targets.onnx import quiet

    model = _prepared(blueprint, plain)
    ranges = blueprint.once(
        f"onnx-ranges-{digest(pictures)}", lambda _: tensor_ranges(model, layers, blueprint.card, pictures)
    )
    _widen(model, blueprint.card.preprocessing.size_px)
    kept = [name for name in _outside(model, layers, keep) if name not in _outside(model, layers, ())]
    outside = [*_outside(model, layers, (*keep, *layers.stem)), *_givers(model, kept)]
    found = TensorsData(CalibrationMethod.MinMax, ranges)
    with quiet():
        quantizer = QDQQuantizer(
            model, True, False, QuantType.QInt8, QuantType.QUInt8, found, [], outside, list(INTEGER), extra_options={}
        )
        quantizer.quantize_model()
    return quantizer.model.model


def tensor_ranges(
    model: Any, layers: Layers, card: Card, pictures: np.ndarray
) -> dict[str, tuple[np.float32, np.float32]]:
    """Find the smallest and the largest number in every tensor of the network, over all pictures.

    The minima and maxima are computed in the graph itself, by a session that may fuse operations, which is several times
    as fast as fetching the tensors.

    Args:
        model: The prepared onnx.ModelProto; stays as it is.
        layers: Where the network stands in it.
        card: Says how the input is laid out.
        pictures: uint8 [N, S, S, C].
    """
    names = _float_tensors(model, layers)
    session = _session(_with_extremes(model, names))
    low, high = np.full(len(names), np.inf, np.float32), np.full(len(names), -np.inf, np.float32)
    step = 1 if card.any_size else AT_ONCE
    for first in range(0, len(pictures), step):
        found = session.run(None, {INPUT: card.shaped(pictures[first : first + step])})
        values = np.array([float(one) for one in found[-2 * len(names) :]], np.float32)
        low, high = np.minimum(low, values[0::2]), np.maximum(high, values[1::2])
    return {name: (least, most) for name, least, most in zip(names, low, high, strict=True)}


def _float_tensors(model: Any, layers: Layers) -> list[str]:
    """Name the tensors of the network, and those that it reads."""
    from onnx import TensorProto

    floats = {one.name for one in model.graph.value_info if one.type.tensor_type.elem_type == TensorProto.FLOAT}
    floats |= {one.name for one in model.graph.output}
    inside = [node for node in model.graph.node if not set(node.output) & layers.outside]
    constant = {one.name for one in model.graph.initializer}
    seen = dict.fromkeys(name for node in inside for name in (*node.input, *node.output))
    return [name for name in seen if name in floats and name not in constant]


def _with_extremes(model: Any, names: Sequence[str]) -> Any:
    """Add outputs to a copy of a graph: the smallest and the largest number of each tensor."""
    import onnx
    from onnx import TensorProto, helper

    more = onnx.ModelProto()
    more.CopyFrom(model)
    for number, name in enumerate(names):
        for kind in ("ReduceMin", "ReduceMax"):
            output = f"extreme_{number}_{kind}"
            more.graph.node.append(helper.make_node(kind, [name], [output], name=output, keepdims=0))
            more.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    return more


def _session(model: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = cores_here(), 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _widen(model: Any, size_px: int) -> None:
    """Write the normalisation's three factors out for a whole row of the picture.

    Around an INT8 network ONNX Runtime keeps pictures as [N, H, W, 3]. There it multiplies by [1, 1, 1, 3] three numbers
    at a time, which takes as long as a fifth of the network; by [1, 1, W, 3] it is done in a moment.
    """
    from onnx import numpy_helper

    for one in model.graph.initializer:
        if one.name in ("scale", "shift") and list(one.dims) == [1, 3, 1, 1]:
            values = np.broadcast_to(numpy_helper.to_array(one), (1, 3, 1, size_px))
            one.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), one.name))


def _dynamic(blueprint: Blueprint, plain: Path, layers: Layers, keep: Sequence[str]) -> Any:
    """Find the range of each picture's tensors while computing; only products of matrices are done in bytes."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from linnaeus.targets.onnx import quiet

    model = _prepared(blueprint, plain)
    folder = blueprint.once("onnx-dynamic", lambda folder: folder)
    outside = _outside(model, layers, keep)
    source, result = folder / "named.onnx", folder / "dynamic.onnx"
    onnx.save(model, source)
    with quiet():
        quantize_dynamic(
            source,
            result,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            # Each Gemm is taken apart before it is looked for.
            nodes_to_exclude=[*outside, *(f"{name}_MatMul" for name in outside)],
        )
    return onnx.load(result)


def _half(plain: Path, layers: Layers) -> Any:
    """Write weights and arithmetic of the network in half precision; what lies around it stays as it is."""
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    from linnaeus.targets.onnx import quiet

    model = onnx.load(plain)
    ours = [node.name for node in model.graph.node if set(node.output) & layers.outside]
    with quiet():
        return convert_float_to_float16(
            model, keep_io_types=True, node_block_list=ours, op_block_list=list(DEFAULT_OP_BLOCK_LIST)
        )


def _only_weights(blueprint: Blueprint, plain: Path, layers: Layers, keep: Sequence[str]) -> Any:
    """Store each layer's weights in 8 bits with a scale per output channel; the arithmetic stays in float."""
    from onnx import helper, numpy_helper

    model = _prepared(blueprint, plain)
    outside = set(_outside(model, layers, keep))
    weights = {one.name: one for one in model.graph.initializer}
    axes = {
        node.input[1]: axis
        for node in model.graph.node
        if node.name not in outside and (axis := _channel_axis(node)) is not None and node.input[1] in weights
    }
    for name, axis in axes.items():
        values = numpy_helper.to_array(weights[name])
        if values.size < SMALL:
            continue
        small, scale = eight_bits(values, axis)
        at = next(row for row, node in enumerate(model.graph.node) if name in node.input)
        model.graph.initializer.remove(weights[name])
        model.graph.initializer.append(numpy_helper.from_array(small, f"{name}_8"))
        model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        back = helper.make_node(
            "DequantizeLinear", [f"{name}_8", f"{name}_scale"], [name], name=f"{name}_back", axis=axis
        )
        model.graph.node.insert(at, back)
    return model


def _channel_axis(node: Any) -> int | None:
    """Say along which axis of a layer's weights its outputs lie."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "MatMul":
        return 1
    if node.op_type == "Gemm":
        return 0 if any(one.name == "transB" and one.i for one in node.attribute) else 1
    return None


def eight_bits(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Round weights to int8, symmetrically, with one scale for each place along an axis.

    Returns:
        int8 of the same shape, and the scales, float32 [shape[axis]].
    """
    others = tuple(one for one in range(values.ndim) if one != axis)
    scale = np.abs(values).max(axis=others) / 127
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    wide = scale.reshape([-1 if one == axis else 1 for one in range(values.ndim)])
    return np.clip(np.rint(values / wide), -127, 127).astype(np.int8), scale
