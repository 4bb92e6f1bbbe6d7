"""models: which networks there are, and what one of them is made of."""

from __future__ import annotations

from dataclasses import dataclass

from linnaeus.nn import zoo
from linnaeus.nn.own_code import is_own_code
from linnaeus.nn.summary import LayerRow, ParameterCount, count_parameters, layer_table


@dataclass(frozen=True)
class Sheet:
    """A network on one page.

    Attributes:
        name: As it was asked for.
        input_size: Channels, height, width.
        layers: One row per layer, with output shape and parameters.
        parameters: In total, and how many of them are trained.
    """

    name: str
    input_size: tuple[int, int, int]
    layers: list[LayerRow]
    parameters: ParameterCount


def list_models(pattern: str = "*") -> list[str]:
    """Name the networks that match, our own and the lessons' first."""
    return zoo.names(pattern)


def show(name: str, *, classes: int | None = None, size_px: int | None = None) -> Sheet:
    """Lay out a network layer by layer, as the lessons print it.

    Args:
        name: As for `train --model`.
        classes: K; by default the number it was made for.
        size_px: Height and width of the pictures; by default what it was made for.

    Raises:
        ModelError: There is no such network.
    """
    native = {} if is_own_code(name) else zoo.published_cfg(name)
    channels, native_px, _ = native.get("input_size") or (3, 224, 224)
    size = size_px or native_px
    network = zoo.create(
        name, num_classes=classes or native.get("num_classes") or 10, channels=channels, size_px=size, weights="none"
    )
    shape = (channels, size, size)
    return Sheet(name, shape, layer_table(network, shape), count_parameters(network))
