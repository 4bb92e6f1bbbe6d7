"""Convolution, pooling, normalisation, products of matrices, and sums over axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from linnaeus.targets.tensorflow_ops.library import tf
from linnaeus.targets.tensorflow_ops.value import HELD_AXIS, Node, Operation, Value, positive

_LOWEST = float(np.finfo(np.float32).min)
_Pads = list[tuple[int, int]]


def _conv(node: Node, x: Value, weights: Value, bias: Value | None = None) -> Value:
    if x.rank == 3:
        return _conv_of_rows(node, x, weights, bias)
    if x.rank != 4 or not weights.constant:
        raise node.refuse("only convolutions of pictures with fixed filters")
    held, kernel = x.last(), weights.held
    strides, spread = list(node.get("strides", [1, 1])), list(node.get("dilations", [1, 1]))
    pads = _pads(node, 2)
    mode = "VALID"
    if any(map(any, pads)):
        if pads == _same_pads(held, kernel.shape[2:], strides, spread):
            mode = "SAME"
        else:
            held = tf.pad(held, [(0, 0), *pads, (0, 0)])
    answer = _convolved(held, kernel, int(node.get("group", 1)), strides, mode, spread)
    return Value(answer if bias is None else tf.nn.bias_add(answer, bias.held), channels_last=True)


def _convolved(
    held: Any, kernel: np.ndarray, groups: int, strides: Sequence[int], mode: str, spread: Sequence[int]
) -> Any:
    """Convolve [N, H, W, C] with filters [K, C / groups, h, w]."""
    if groups > 1 and kernel.shape[1] == 1 and held.shape[-1] == groups and len({*strides}) == 1:
        each = kernel.reshape(groups, -1, *kernel.shape[2:]).transpose(2, 3, 0, 1)
        return tf.nn.depthwise_conv2d(held, each, [1, *strides, 1], mode, dilations=spread)
    if groups > 1:
        # Not every runtime has convolutions in groups.
        parts = zip(tf.split(held, groups, axis=-1), np.split(kernel, groups), strict=True)
        return tf.concat([_convolved(part, own, 1, strides, mode, spread) for part, own in parts], axis=-1)
    return tf.nn.conv2d(held, kernel.transpose(2, 3, 1, 0), strides, mode, dilations=spread)


def _conv_of_rows(node: Node, x: Value, weights: Value, bias: Value | None) -> Value:
    """Convolve [N, C, L] as a picture of height 1."""
    begin, end = node.get("pads", [0, 0])
    flat = {
        **node.attributes,
        "strides": [1, *node.get("strides", [1])],
        "dilations": [1, *node.get("dilations", [1])],
        "pads": [0, begin, 0, end],
    }
    picture = Value(tf.expand_dims(x.held, 2))
    filters = Value(np.expand_dims(weights.held, 2))
    answer = _conv(Node(node.kind, node.inputs, node.outputs, flat, node.scope), picture, filters, bias)
    return Value(tf.squeeze(answer.plain(), 2))


def _pads(node: Node, axes: int) -> _Pads:
    if node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise node.refuse(f"padding {node.get('auto_pad')}")
    pads = list(node.get("pads", [0] * (2 * axes)))
    return list(zip(pads[:axes], pads[axes:], strict=True))


def _same_pads(held: Any, kernel: Sequence[int], strides: Sequence[int], spread: Sequence[int]) -> _Pads | None:
    """Compute what TensorFlow pads for "SAME"; None if the size of the picture is not known."""
    found = []
    for size, width, stride, step in zip(held.shape[1:3], kernel, strides, spread, strict=True):
        if size is None:
            return None
        total = max((math.ceil(size / stride) - 1) * stride + (width - 1) * step + 1 - size, 0)
        found.append((total // 2, total - total // 2))
    return found


def _max_pool(node: Node, x: Value) -> Value:
    held, kernel, strides, pads = _pooling(node, x)
    mode = "VALID"
    if any(map(any, pads)):
        if pads == _same_pads(held, kernel, strides, (1, 1)):
            mode = "SAME"
        elif all(2 * max(pad) <= width for pad, width in zip(pads, kernel, strict=True)):
            # A mirror shows each window at the border only what it sees anyway. A border of -inf would do as well, but
            # would leave an 8-bit version no room for anything else.
            held = tf.pad(held, [(0, 0), *pads, (0, 0)], mode="SYMMETRIC")
        else:
            held = tf.pad(held, [(0, 0), *pads, (0, 0)], constant_values=_LOWEST)
    return Value(tf.nn.max_pool2d(held, kernel, strides, mode), channels_last=True)


def _average_pool(node: Node, x: Value) -> Value:
    held, kernel, strides, pads = _pooling(node, x)
    counted = bool(node.get("count_include_pad", 0))
    if not any(map(any, pads)):
        return Value(tf.nn.avg_pool2d(held, kernel, strides, "VALID"), channels_last=True)
    if not counted and pads == _same_pads(held, kernel, strides, (1, 1)):
        return Value(tf.nn.avg_pool2d(held, kernel, strides, "SAME"), channels_last=True)
    answer = tf.nn.avg_pool2d(tf.pad(held, [(0, 0), *pads, (0, 0)]), kernel, strides, "VALID")
    return Value(answer * _share(node, held, kernel, strides, pads, counted), channels_last=True)


def _pooling(node: Node, x: Value) -> tuple[Any, list[int], list[int], _Pads]:
    kernel = list(node.get("kernel_shape"))
    strides = list(node.get("strides", [1, 1]))
    if x.rank != 4 or any(step != 1 for step in node.get("dilations", [1, 1])):
        raise node.refuse("only pooling of pictures, without dilation")
    held, pads = x.last(), _pads(node, 2)
    if node.get("ceil_mode", 0):
        pads = [_ceiled(node, *one) for one in zip(held.shape[1:3], kernel, strides, pads, strict=True)]
    return held, kernel, strides, pads


def _ceiled(node: Node, size: int | None, width: int, stride: int, pads: tuple[int, int]) -> tuple[int, int]:
    """Pad the end so far that windows that hang over it count, unless they would begin beyond the picture."""
    if size is None:
        raise node.refuse("rounding up the size of a picture of any size")
    count = math.ceil((size + sum(pads) - width) / stride) + 1
    if (count - 1) * stride >= size + pads[0]:
        count -= 1
    return pads[0], max(pads[1], (count - 1) * stride + width - size - pads[0])


def _share(
    node: Node, held: Any, kernel: Sequence[int], strides: Sequence[int], pads: _Pads, counted: bool
) -> np.ndarray:
    """Compute by what to multiply averages over windows, of which a part lies where nothing counts, [H, W, 1]."""
    asked, factors = _pads(node, 2), []
    for axis in range(2):
        size = held.shape[1 + axis]
        if size is None:
            raise node.refuse("padded averages over a picture of any size")
        there = np.zeros(pads[axis][0] + size + pads[axis][1])
        begin, end = asked[axis] if counted else (0, 0)
        there[pads[axis][0] - begin : pads[axis][0] + size + end] = 1
        starts = range(0, len(there) - kernel[axis] + 1, strides[axis])
        factors.append(np.array([kernel[axis] / there[start : start + kernel[axis]].sum() for start in starts]))
    return np.multiply.outer(factors[0], factors[1])[..., None].astype(np.float32)


def _gemm(node: Node, a: Value, b: Value, c: Value | None = None) -> Value:
    left = tf.transpose(a.held) if node.get("transA", 0) else a.held
    # The matrix itself is turned: multiplying with a turned one goes wrong in the browser.
    right = (np.transpose(b.held) if b.constant else tf.transpose(b.held)) if node.get("transB", 0) else b.held
    answer = tf.matmul(left, right)
    if (alpha := node.get("alpha", 1.0)) != 1:
        answer = answer * alpha
    if c is None:
        return Value(answer)
    return Value(tf.add(answer, c.held if (beta := node.get("beta", 1.0)) == 1 else c.held * beta))


def _matmul(_node: Node, a: Value, b: Value) -> Value:
    left, right = a.plain(), b.plain()
    inner, columns = a.shape[1:], b.shape[-1:]
    if a.rank > 2 and b.rank == 2 and None not in inner + columns:
        flat = tf.matmul(tf.reshape(left, [-1, inner[-1]]), right)
        return Value(tf.reshape(flat, [-1, *inner[:-1], *columns]))
    return Value(tf.matmul(left, right))


def _layer_norm(node: Node, x: Value, scale: Value, shift: Value | None = None) -> Value:
    held = x.plain()
    axes = list(range(positive(node.get("axis", -1), x.rank), x.rank))
    answer = _normalised(held, axes, node.get("epsilon", 1e-5)) * scale.held
    return Value(answer if shift is None else answer + shift.held)


def _instance_norm(node: Node, x: Value, scale: Value, shift: Value) -> Value:
    ones = [1] * (x.rank - 2)
    answer = _normalised(x.plain(), list(range(2, x.rank)), node.get("epsilon", 1e-5))
    return Value(answer * scale.held.reshape(-1, *ones) + shift.held.reshape(-1, *ones))


def _normalised(held: Any, axes: list[int], epsilon: float) -> Any:
    centred = held - tf.reduce_mean(held, axes, keepdims=True)
    variance = tf.reduce_mean(centred * centred, axes, keepdims=True)
    return centred * tf.math.rsqrt(variance + epsilon)


def _batch_norm(node: Node, x: Value, scale: Value, shift: Value, mean: Value, variance: Value) -> Value:
    factor = scale.held / np.sqrt(variance.held + node.get("epsilon", 1e-5))
    plus = shift.held - mean.held * factor
    if x.rank == 2:
        return Value(x.held * factor + plus)
    if x.rank != 4:
        raise node.refuse("only normalisation of pictures and of features")
    return Value(x.last() * factor + plus, channels_last=True)


def _softmax(node: Node, x: Value) -> Value:
    axis = positive(node.get("axis", -1), x.rank)
    return Value(tf.nn.softmax(x.held, HELD_AXIS[axis] if x.channels_last else axis), x.channels_last)


def _log_softmax(node: Node, x: Value) -> Value:
    return Value(tf.nn.log_softmax(x.plain(), positive(node.get("axis", -1), x.rank)))


def _reduce(function: Callable[..., Any]) -> Operation:
    def operation(node: Node, x: Value, axes: Value | None = None) -> Value:
        along = node.get("axes") if axes is None else axes.numbers(node)
        if not along and node.get("noop_with_empty_axes", 0):
            return x
        keep, every = bool(node.get("keepdims", 1)), along or range(x.rank)
        found = sorted(positive(int(axis), x.rank) for axis in every)
        if x.channels_last and (keep or found == [2, 3]):
            return Value(function(x.held, [HELD_AXIS[axis] for axis in found], keep), channels_last=keep)
        return Value(function(x.plain(), found, keep))

    return operation


def _global(function: Callable[..., Any]) -> Operation:
    def operation(node: Node, x: Value) -> Value:
        if x.rank != 4:
            raise node.refuse("only pooling of pictures")
        return Value(function(x.last(), [1, 2], True), channels_last=True)

    return operation


def _norm_of(x: Any, axes: list[int], keep: bool) -> Any:
    return tf.sqrt(tf.reduce_sum(x * x, axes, keep))


def _top_k(node: Node, x: Value, k: Value) -> tuple[Value, Value]:
    if positive(node.get("axis", -1), x.rank) != x.rank - 1:
        raise node.refuse("only along the last axis")
    (count,), largest = k.numbers(node), bool(node.get("largest", 1))
    held = x.plain()
    values, places = tf.math.top_k(held if largest else -held, count)
    return Value(values if largest else -values), Value(places)


def _arg_max(node: Node, x: Value) -> Value:
    axis, keep = positive(node.get("axis", 0), x.rank), bool(node.get("keepdims", 1))
    found = tf.argmax(x.plain(), axis, output_type=tf.int32)
    return Value(tf.expand_dims(found, axis) if keep else found)


LAYERS: dict[str, Operation] = {
    "ArgMax": _arg_max,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "Gemm": _gemm,
    "GlobalAveragePool": _global(tf.reduce_mean),
    "GlobalMaxPool": _global(tf.reduce_max),
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _log_softmax,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "ReduceL2": _reduce(_norm_of),
    "ReduceMax": _reduce(tf.reduce_max),
    "ReduceMean": _reduce(tf.reduce_mean),
    "ReduceMin": _reduce(tf.reduce_min),
    "ReduceProd": _reduce(tf.reduce_prod),
    "ReduceSum": _reduce(tf.reduce_sum),
    "ReduceSumSquare": _reduce(lambda x, axes, keep: tf.reduce_sum(x * x, axes, keep)),
    "Softmax": _softmax,
    "TopK": _top_k,
}
