"""The reduced precisions of OpenVINO: INT8 and 8-bit weights through NNCF, half precision, bfloat16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.errors import ModelError
from linnaeus.targets.card import INPUT, Card
from linnaeus.targets.layers import Layers
from linnaeus.targets.quantize_onnx import (
    STATIC,
    WEIGHTS,
    calibration_pictures,
    check_kept,
    layers_of,
    reduced_card,
)
from linnaeus.targets.target import Blueprint, Precision

PRECISIONS = ("float32", "float16", "bfloat16", "int8", "weights")
TRANSFORMER = "static, with NNCF's rules for transformers (SmoothQuant)"
HALF = "weights stored in half precision"
BRAIN = "computed in bfloat16 where the processor has it; weights stored in float32"


def reduced(blueprint: Blueprint, model: Any, plain: Path, precision: Precision) -> tuple[Any, Card]:
    """Bring an OpenVINO model to a lower precision.

    Args:
        blueprint: Keeps what several files share: where the layers are.
        model: The float32 openvino.Model; may be changed.
        plain: The ONNX file that it was made of.
        precision: "int8", "float16", "bfloat16" or "weights".

    Returns:
        The model, and its card, which says how it was done.

    Raises:
        SettingsError: INT8 without pictures, or a layer to keep that does not exist.
        ModelError: 8-bit weights of a network that convolves.
    """
    card, layers = blueprint.card, layers_of(blueprint, plain)
    check_kept(precision, layers)
    if precision.name == "float16":
        return model, reduced_card(card, precision, method=HALF)
    if precision.name == "bfloat16":
        return model, reduced_card(card, precision, method=BRAIN)
    if precision.name == "weights":
        return _only_weights(model, layers, precision), reduced_card(card, precision, method=WEIGHTS)
    pictures = calibration_pictures(precision)
    method = TRANSFORMER if layers.is_transformer() else STATIC
    return _static(model, layers, card, pictures, precision.keep), reduced_card(card, precision, method=method)


def hint(name: str, able: list[str]) -> str:
    """Say what the processor should compute the float part of a file in.

    Args:
        name: The card's precision.
        able: OPTIMIZATION_CAPABILITIES of the device.
    """
    return "bf16" if name == "bfloat16" and "BF16" in able else "f32"


def _static(model: Any, layers: Layers, card: Card, pictures: np.ndarray, keep: tuple[str, ...]) -> Any:
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    from linnaeus.targets.onnx import quiet

    kind = nncf.ModelType.TRANSFORMER if layers.is_transformer() else None
    with quiet():
        dataset = nncf.Dataset([{INPUT: card.shaped(pictures[row : row + 1])} for row in range(len(pictures))])
        return nncf.quantize(
            model,
            dataset,
            preset=nncf.QuantizationPreset.MIXED,
            model_type=kind,
            subset_size=len(pictures),
            ignored_scope=_in_float(model, layers, (*keep, *layers.stem)),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                # Else the first INT8 layer gets 7 bits for processors that overflow where pictures are bright; here it
                # does not read the picture.
                overflow_fix=nncf.OverflowFix.DISABLE,
                # The default, the mean of each picture's extremes, cuts off what half of the pictures have.
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            ),
        )


def _only_weights(model: Any, layers: Layers, precision: Precision) -> Any:
    """Store the weights of products of matrices in 8 bits; convolutions stay in float.

    OpenVINO 2026.4 computes convolutions with packed weights wrongly as soon as it has more than one stream, and without
    a word. Products of matrices it computes rightly.
    """
    import nncf

    from linnaeus.targets.onnx import quiet

    if not layers.is_transformer():
        raise ModelError(
            "OpenVINO holds 8-bit weights of networks that mostly multiply matrices.",
            got="one that convolves: OpenVINO 2026.4 computes that wrongly with more than one stream",
            fix="take the precision int8 or float16, or weights for ONNX.",
        )
    convolutions = tuple(name for name, kind in layers.kinds.items() if kind in ("Conv", "ConvTranspose"))
    scope = _in_float(model, layers, (*precision.keep, *convolutions))
    with quiet():
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=scope)


def _in_float(model: Any, layers: Layers, keep: tuple[str, ...]) -> Any:
    """Name the operations that stay in float: all of ours around the network, and those of the kept layers."""
    import nncf

    operations = [
        one for one in model.get_ordered_ops() if one.get_type_name() not in ("Constant", "Parameter", "Result")
    ]
    layer_of = {one.get_friendly_name(): _layer(one, layers) for one in operations}
    ahead: set[str] = set()
    behind: set[str] = set()
    for one in operations:
        if layer_of[one.get_friendly_name()] or any(name in ahead for name in _sources(one)):
            ahead.add(one.get_friendly_name())
    for one in reversed(operations):
        if layer_of[one.get_friendly_name()] or one.get_friendly_name() in behind:
            behind.update((one.get_friendly_name(), *_sources(one)))
    names = [name for name, layer in layer_of.items() if layer in keep or name not in ahead or name not in behind]
    return nncf.IgnoredScope(names=names, validate=False)


def _sources(operation: Any) -> list[str]:
    return [one.get_node().get_friendly_name() for one in operation.input_values()]


def _layer(operation: Any, layers: Layers) -> str:
    """Name the layer that an operation belongs to; the bias stands apart under the node's own name."""
    node = operation.get_friendly_name().removesuffix("/WithoutBiases")
    if node in layers.nodes:
        return layers.nodes[node]
    given = {name for one in operation.outputs() for name in one.get_names()}
    return next((layers.tensors[name] for name in sorted(given) if name in layers.tensors), "")
