"""What flows between operations: a tensor, and how its axes lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnaeus.errors import ModelError
from linnaeus.targets.tensorflow_ops.library import tf

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
HELD_AXIS = (0, 3, 1, 2)
"""Where the axes of [N, C, H, W] are in [N, H, W, C]."""
MOST = 2**31 - 1


@dataclass(frozen=True)
class Node:
    """One operation of the ONNX graph.

    Attributes:
        kind: "Conv", "Relu" ...
        inputs: Names; "" where an optional one is left out.
        outputs: Names.
        attributes: By name.
        scope: The module of the network that it came from: "network.layer1.0.conv1"; "" of the graph itself.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    scope: str

    def get(self, name: str, default: Any = None) -> Any:
        """Read an attribute."""
        found = self.attributes.get(name, default)
        return found.decode() if isinstance(found, bytes) else found

    def refuse(self, why: str) -> ModelError:
        """Make the error that says what cannot be expressed."""
        place = f" in {self.scope}" if self.scope else ""
        return ModelError(
            "the network cannot be written with TensorFlow's operations.",
            got=f"{self.kind}{place}: {why}",
            fix="export to onnx or openvino.",
        )


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor.

    ONNX counts the axes of a picture as N, C, H, W; TensorFlow's kernels want N, H, W, C. So a value may be held the
    other way round than it is counted; it is turned only where an operation cannot do without.

    Attributes:
        held: A NumPy array if it is known beforehand, else TensorFlow's.
        channels_last: It is counted as [N, C, H, W] and held as [N, H, W, C].
        sizes: Of numbers that describe shapes, what is known of them: an array of int, or None for unknown.
    """

    held: Any
    channels_last: bool = False
    sizes: np.ndarray | None = None

    @property
    def constant(self) -> bool:
        """Say whether it is known beforehand."""
        return isinstance(self.held, np.ndarray)

    @property
    def shape(self) -> list[int | None]:
        """Sizes of the axes as ONNX counts them; None for what is known only when it runs."""
        held = list(self.held.shape)
        return [held[axis] for axis in HELD_AXIS] if self.channels_last else held

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.held.shape)

    def plain(self) -> Any:
        """Give the tensor with its axes as ONNX counts them."""
        return turned(self.held, TO_FIRST) if self.channels_last else self.held

    def last(self) -> Any:
        """Give a tensor of four axes as [N, H, W, C]."""
        return self.held if self.channels_last else turned(self.held, TO_LAST)

    def known(self) -> np.ndarray | None:
        """Give what is known of numbers that describe shapes."""
        return self.held.astype(object) if self.constant else self.sizes

    def numbers(self, node: Node) -> list[int]:
        """Give whole numbers that must be known beforehand.

        Raises:
            ModelError: They are not.
        """
        found = self.known()
        if found is None or any(one is None for one in found.reshape(-1)):
            raise node.refuse("depends on numbers that the network computes")
        return [int(one) for one in found.reshape(-1)]


Operation = Callable[..., Value | tuple[Value, ...]]
"""Takes the node and its inputs, a Value or None each."""


def turned(held: Any, order: Sequence[int]) -> Any:
    """Bring axes into another order."""
    return np.transpose(held, order) if isinstance(held, np.ndarray) else tf.transpose(held, order)


def positive(axis: int, rank: int) -> int:
    """Count an axis from the front."""
    return axis + rank if axis < 0 else axis


def narrow(array: np.ndarray) -> np.ndarray:
    """Bring 64 bits to 32: the browser has no more."""
    if array.dtype == np.int64:
        return np.asarray(np.clip(array, -MOST, MOST).astype(np.int32))
    return np.asarray(array.astype(np.float32)) if array.dtype == np.float64 else np.asarray(array)
