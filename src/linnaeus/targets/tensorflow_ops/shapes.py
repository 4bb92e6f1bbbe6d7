"""Operations that move numbers and change none: reshaping, cutting, joining."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from linnaeus.targets.tensorflow_ops.library import tf
from linnaeus.targets.tensorflow_ops.value import (
    HELD_AXIS,
    MOST,
    TO_FIRST,
    TO_LAST,
    Node,
    Operation,
    Value,
    narrow,
    positive,
    turned,
)


def _shape(node: Node, x: Value) -> Value:
    known = x.shape[slice(node.get("start", 0) or None, node.get("end"))]
    axes = list(range(x.rank))[slice(node.get("start", 0) or None, node.get("end"))]
    if None not in known:
        return Value(np.array(known, np.int32))
    held = tf.shape(x.held)
    at = [HELD_AXIS[axis] if x.channels_last else axis for axis in axes]
    parts = [held[place] if size is None else size for place, size in zip(at, known, strict=True)]
    return Value(tf.stack(parts), sizes=np.array(known, dtype=object))


def _reshape(node: Node, x: Value, wanted: Value) -> Value:
    target = _target(node, x, wanted)
    alone = x.channels_last and x.shape[2:] == [1, 1]
    return Value(tf.reshape(x.held if alone else x.plain(), target), sizes=_same_numbers(x, target))


def _target(node: Node, x: Value, wanted: Value) -> Any:
    """Say the new shape, with numbers as far as they are known and -1 for one that is not."""
    known = wanted.known()
    if known is None:
        return wanted.held
    sizes = list(known)
    if not node.get("allowzero", 0):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
        kept = [axis for axis, size in enumerate(known) if size == 0 and x.shape[axis] is None]
        if -1 in sizes and len(kept) == x.shape.count(None) == sizes.count(None) == 1:
            sizes[sizes.index(-1)] = _rest(x.shape, sizes)
    if sizes.count(None) == 1 and -1 not in sizes:
        sizes[sizes.index(None)] = -1
    if None in sizes:
        return wanted.held
    if None not in x.shape and -1 in sizes:
        sizes[sizes.index(-1)] = _rest(x.shape, sizes)
    return [int(size) for size in sizes]


def _rest(shape: list[int | None], sizes: list[int | None]) -> int:
    """Compute the size that makes up for all others; what is not known is the same on both sides."""
    have = math.prod(size for size in shape if size is not None)
    return have // max(1, math.prod(size for size in sizes if size is not None and size != -1))


def _same_numbers(x: Value, target: Any) -> np.ndarray | None:
    return None if x.sizes is None or not isinstance(target, list) else x.sizes.reshape(target)


def _flatten(node: Node, x: Value) -> Value:
    axis, shape = positive(node.get("axis", 1), x.rank), x.shape
    rest = shape[axis:]
    if axis != 1 or None in rest:
        raise node.refuse("only of all but the first axis")
    return _reshape(node, x, Value(np.array([-1, math.prod(size for size in rest if size is not None)])))


def _transpose(node: Node, x: Value) -> Value:
    order = tuple(node.get("perm", range(x.rank)[::-1]))
    if x.channels_last:
        return Value(x.held) if order == TO_LAST else Value(turned(x.held, [HELD_AXIS[axis] for axis in order]))
    return Value(x.held, channels_last=True) if order == TO_FIRST else Value(turned(x.held, order))


def _unsqueeze(node: Node, x: Value, axes: Value | None = None) -> Value:
    along = node.get("axes") if axes is None else axes.numbers(node)
    places = sorted(positive(axis, x.rank + len(along)) for axis in along)
    held, sizes = x.plain(), x.sizes
    for axis in places:
        held = tf.expand_dims(held, axis)
        sizes = None if sizes is None else np.expand_dims(sizes, axis)
    return Value(held, sizes=sizes)


def _squeeze(node: Node, x: Value, axes: Value | None = None) -> Value:
    along = node.get("axes") if axes is None else axes.numbers(node)
    if along is None:
        along = [axis for axis, size in enumerate(x.shape) if size == 1]
    along = sorted(positive(axis, x.rank) for axis in along)
    sizes = None if x.sizes is None else np.squeeze(x.sizes, tuple(along))
    if x.channels_last and along == [2, 3]:
        return Value(tf.squeeze(x.held, [1, 2]))
    return Value(tf.squeeze(x.plain(), along), sizes=None if sizes is None else np.asarray(sizes, dtype=object))


def _concat(node: Node, *values: Value) -> Value:
    axis = positive(node.get("axis"), values[0].rank)
    if any(one.channels_last for one in values):
        return Value(tf.concat([one.last() for one in values], HELD_AXIS[axis]), channels_last=True)
    known = [one.known() for one in values]
    sizes = None
    if values[0].rank == 1 and any(one.sizes is not None for one in values):
        sizes = None if any(one is None for one in known) else np.concatenate([one for one in known if one is not None])
    return Value(tf.concat([one.held for one in values], axis), sizes=sizes)


def _split(node: Node, x: Value, parts: Value | None = None) -> tuple[Value, ...]:
    axis = positive(node.get("axis", 0), x.rank)
    at = HELD_AXIS[axis] if x.channels_last else axis
    if parts is not None:
        sizes = parts.numbers(node)
    else:
        size, count = x.shape[axis], len(node.outputs)
        if size is None:
            raise node.refuse("along an axis of any size")
        each = math.ceil(size / count)
        sizes = [each] * (count - 1) + [size - each * (count - 1)]
    return tuple(Value(part, x.channels_last) for part in tf.split(x.held, sizes, at))


def _slice(
    node: Node, x: Value, starts: Value, ends: Value, axes: Value | None = None, steps: Value | None = None
) -> Value:
    begin, end = starts.numbers(node), ends.numbers(node)
    along = axes.numbers(node) if axes is not None else list(range(len(begin)))
    by = steps.numbers(node) if steps is not None else [1] * len(begin)
    cuts = [slice(None)] * x.rank
    for axis, first, last, step in zip(along, begin, end, by, strict=True):
        place = positive(axis, x.rank)
        cuts[HELD_AXIS[place] if x.channels_last else place] = _cut(node, first, last, step)
    sizes = None if x.sizes is None else x.sizes[tuple(cuts)]
    return Value(x.held[tuple(cuts)], x.channels_last, sizes)


def _cut(node: Node, first: int, last: int, step: int) -> slice:
    """Write a slice; ONNX says "from the beginning" and "to the end" with the largest numbers there are."""
    if step < 0:
        begins, ends = first >= MOST or first == -1, last <= -MOST
        return slice(None if begins else first, None if ends else last, step)
    return slice(None if first <= -MOST or first == 0 else first, None if last >= MOST else last, step)


def _gather(node: Node, x: Value, places: Value) -> Value:
    axis = positive(node.get("axis", 0), x.rank)
    if places.constant and places.held.ndim == 0:
        cuts: list[Any] = [slice(None)] * x.rank
        cuts[axis] = int(places.held)
        sizes = None if x.sizes is None else np.asarray(x.sizes[tuple(cuts)], dtype=object)
        return Value(x.plain()[tuple(cuts)], sizes=sizes)
    if places.constant and (size := x.shape[axis]) is not None:
        return Value(tf.gather(x.plain(), np.where(places.held < 0, places.held + size, places.held), axis=axis))
    return Value(tf.gather(x.plain(), places.held, axis=axis))


def _expand(_node: Node, x: Value, wanted: Value) -> Value:
    held, known = x.plain(), wanted.known()
    if known is None:
        return Value(held + tf.zeros(wanted.held, held.dtype))
    rank = max(x.rank, len(known))
    ours = [1] * (rank - x.rank) + x.shape
    sizes = [1] * (rank - len(known)) + list(known)
    if all(size in (own, 1) for own, size in zip(ours, sizes, strict=True)) and rank == x.rank:
        return Value(held)
    later = [None] * (rank - len(known)) + [wanted.held[i] for i in range(len(known))]
    now = [None] * (rank - x.rank) + [tf.shape(held)[axis] for axis in range(x.rank)]
    target = [_larger(*one) for one in zip(ours, sizes, now, later, strict=True)]
    return Value(tf.broadcast_to(held, tf.stack(target)))


def _larger(own: int | None, size: int | None, now: Any, later: Any) -> Any:
    """Say how large an axis becomes that is `own` and should be `size`; both may be known only when it runs."""
    if size == 1:
        return now if own is None else own
    return later if size is None else size


def _pad(node: Node, x: Value, pads: Value, filling: Value | None = None, axes: Value | None = None) -> Value:
    numbers = pads.numbers(node)
    along = axes.numbers(node) if axes is not None else list(range(x.rank))
    widths = [(0, 0)] * x.rank
    for axis, begin, end in zip(along, numbers[: len(along)], numbers[len(along) :], strict=True):
        place = positive(axis, x.rank)
        widths[HELD_AXIS[place] if x.channels_last else place] = (begin, end)
    mode, most = node.get("mode", "constant"), max(map(max, widths))
    if min(map(min, widths)) < 0 or mode not in ("constant", "reflect", "edge") or (mode == "edge" and most > 1):
        raise node.refuse(f"mode {mode} by {widths}")
    if mode != "constant":
        return Value(tf.pad(x.held, widths, "REFLECT" if mode == "reflect" else "SYMMETRIC"), x.channels_last)
    value = 0.0 if filling is None or filling.held.size == 0 else float(filling.held)
    return Value(tf.pad(x.held, widths, constant_values=value), x.channels_last)


def _range(_node: Node, first: Value, last: Value, step: Value) -> Value:
    return Value(tf.range(first.held, last.held, step.held))


def _tile(node: Node, x: Value, times: Value) -> Value:
    return Value(tf.tile(x.plain(), times.numbers(node)))


def _filled(node: Node, sizes: Value) -> Value:
    import onnx.numpy_helper

    one = node.get("value")
    value = np.zeros((), np.float32) if one is None else onnx.numpy_helper.to_array(one).reshape(())
    return Value(tf.fill(sizes.held, narrow(value)))


def _constant(node: Node) -> Value:
    import onnx.numpy_helper

    return Value(narrow(onnx.numpy_helper.to_array(node.get("value"))))


def _einsum(node: Node, *values: Value) -> Value:
    return Value(tf.einsum(node.get("equation"), *(one.plain() for one in values)))


def _space_to_depth(node: Node, x: Value) -> Value:
    return Value(tf.nn.space_to_depth(x.last(), node.get("blocksize")), channels_last=True)


SHAPES: dict[str, Operation] = {
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Einsum": _einsum,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
