"""Operations on each number by itself, or on numbers at the same place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from linnaeus.targets.tensorflow_ops.library import tf
from linnaeus.targets.tensorflow_ops.value import TO_LAST, Node, Operation, Value

_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int32", 9: "bool", 10: "float32", 11: "float32"}
"""ONNX's numbers of types; 64 bits become 32, since the browser has no more."""


def _each(function: Callable[[Any], Any]) -> Operation:
    def operation(_node: Node, x: Value) -> Value:
        return Value(function(x.held), x.channels_last)

    return operation


def _together(function: Callable[[Any, Any], Any], reckon: Callable[[Any, Any], Any] | None = None) -> Operation:
    """Make an operation on two or more values; `reckon` does it with what is known of sizes."""

    def operation(_node: Node, *values: Value) -> Value:
        held, last = _aligned(values)
        result = held[0]
        for other in held[1:]:
            result = function(result, other)
        return Value(result, last, _reckoned(values, reckon))

    return operation


def _aligned(values: tuple[Value, ...]) -> tuple[list[Any], bool]:
    """Hold values alike: channels last where one is held so and all can be."""
    last = any(one.channels_last for one in values)
    if not (last and all(one.channels_last or one.rank == 4 or one.constant for one in values)):
        return [one.plain() for one in values], False
    return [_constant_last(one.held) if one.constant and not one.channels_last else one.last() for one in values], True


def _constant_last(held: np.ndarray) -> np.ndarray:
    if held.size == 1:
        return held.reshape(())
    full = held.reshape((1,) * (4 - held.ndim) + held.shape).transpose(TO_LAST)
    while full.ndim > 1 and full.shape[0] == 1:
        full = full[0]
    return np.ascontiguousarray(full)


def _reckoned(values: tuple[Value, ...], reckon: Callable[[Any, Any], Any] | None) -> np.ndarray | None:
    if reckon is None or len(values) != 2 or all(one.sizes is None for one in values):
        return None
    a, b = (one.known() for one in values)
    if a is None or b is None:
        return None
    both = np.frompyfunc(lambda x, y: None if x is None or y is None else reckon(x, y), 2, 1)
    return np.asarray(both(a, b), dtype=object)


def _divide(a: Any, b: Any) -> Any:
    whole = np.issubdtype(np.dtype(getattr(a.dtype, "as_numpy_dtype", a.dtype)), np.integer)
    return tf.math.floordiv(a, b) if whole else tf.math.divide(a, b)


def _cast(node: Node, x: Value) -> Value:
    kind = _TYPES.get(node.get("to"))
    if kind is None:
        raise node.refuse(f"type {node.get('to')}")
    return Value(tf.cast(x.held, kind), x.channels_last, x.sizes)


def _clip(_node: Node, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    least = None if low is None else float(low.held)
    most = None if high is None else float(high.held)
    return Value(_between(x.held, least, most), x.channels_last)


def _between(x: Any, least: float | None, most: float | None) -> Any:
    # The runtimes fuse ReLU and ReLU6 into the operation before.
    if least == 0 and most == 6:
        return tf.nn.relu6(x)
    if least is not None:
        x = tf.nn.relu(x) if least == 0 else tf.maximum(x, tf.constant(least, x.dtype))
    return x if most is None else tf.minimum(x, tf.constant(most, x.dtype))


def _gelu(node: Node, x: Value) -> Value:
    held = x.held
    if node.get("approximate", "none") == "tanh":
        inner = math.sqrt(2 / math.pi) * (held + 0.044715 * held * held * held)
        return Value(0.5 * held * (1 + tf.tanh(inner)), x.channels_last)
    return Value(0.5 * held * (1 + tf.math.erf(held * math.sqrt(0.5))), x.channels_last)


def _hard_sigmoid(node: Node, x: Value) -> Value:
    slope, shift = node.get("alpha", 0.2), node.get("beta", 0.5)
    if math.isclose(slope, 1 / 6, rel_tol=1e-5) and shift == 0.5:
        return Value(tf.nn.relu6(x.held + 3.0) * (1 / 6), x.channels_last)
    return Value(_between(x.held * slope + shift, 0.0, 1.0), x.channels_last)


def _leaky_relu(node: Node, x: Value) -> Value:
    return Value(tf.nn.leaky_relu(x.held, node.get("alpha", 0.01)), x.channels_last)


def _elu(node: Node, x: Value) -> Value:
    slope = node.get("alpha", 1.0)
    held = (
        tf.nn.elu(x.held)
        if slope == 1
        else tf.nn.relu(x.held) - slope * tf.nn.relu(1 - tf.exp(tf.minimum(x.held, 0.0)))
    )
    return Value(held, x.channels_last)


def _where(_node: Node, which: Value, yes: Value, no: Value) -> Value:
    held, last = _aligned((which, yes, no))
    return Value(tf.where(*held), last)


ELEMENTWISE: dict[str, Operation] = {
    "Abs": _each(tf.abs),
    "Add": _together(tf.add, lambda a, b: a + b),
    "And": _together(tf.logical_and),
    "Cast": _cast,
    "Ceil": _each(tf.math.ceil),
    "Clip": _clip,
    "Cos": _each(tf.cos),
    "Div": _together(_divide, lambda a, b: a // b),
    "Dropout": lambda _node, x, *_: x,
    "Elu": _elu,
    "Equal": _together(tf.equal),
    "Erf": _each(tf.math.erf),
    "Exp": _each(tf.exp),
    "Floor": _each(tf.floor),
    "Gelu": _gelu,
    "Greater": _together(tf.greater),
    "GreaterOrEqual": _together(tf.greater_equal),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _each(lambda x: x * tf.nn.relu6(x + 3.0) * (1 / 6)),
    "Identity": lambda _node, x: x,
    "LeakyRelu": _leaky_relu,
    "Less": _together(tf.less),
    "LessOrEqual": _together(tf.less_equal),
    "Log": _each(tf.math.log),
    "Max": _together(tf.maximum),
    "Min": _together(tf.minimum),
    "Mish": _each(lambda x: x * tf.tanh(tf.math.softplus(x))),
    "Mod": _together(tf.math.floormod, lambda a, b: a % b),
    "Mul": _together(tf.multiply, lambda a, b: a * b),
    "Neg": _each(tf.negative),
    "Not": _each(tf.logical_not),
    "Or": _together(tf.logical_or),
    "PRelu": _together(lambda x, slope: tf.nn.relu(x) - slope * tf.nn.relu(-x)),
    "Pow": _together(tf.pow),
    "Reciprocal": _each(lambda x: 1.0 / x),
    "Relu": _each(tf.nn.relu),
    "Round": _each(tf.round),
    "Selu": _each(tf.nn.selu),
    "Sigmoid": _each(tf.sigmoid),
    "Sign": _each(tf.sign),
    "Sin": _each(tf.sin),
    "Softplus": _each(tf.math.softplus),
    "Sqrt": _each(tf.sqrt),
    "Sub": _together(tf.subtract, lambda a, b: a - b),
    "Sum": _together(tf.add),
    "Tanh": _each(tf.tanh),
    "Where": _where,
}
