"""The networks of five well-known lessons, layer by layer as their authors wrote them.

Each is registered with timm: `timm.create_model("keras_cifar10")` works once this module is imported. Users write
hyphens ("keras-cifar10"), Python functions have underscores.

Flattening goes by channel, row, column here and in PyTorch, by row, column, channel in Keras. That orders the inputs of
the first dense layer differently; training is not touched by it, only copying weights from one to the other would be.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from timm.layers import SqueezeExcite, to_2tuple
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from linnaeus.errors import ModelError


@dataclass(frozen=True)
class Stage:
    """Convolutions of 3x3, each followed by ReLU, then max pooling of 2x2.

    Attributes:
        filters: Channels of each convolution.
        paddings: Of each convolution: 1 keeps the size ("same"), 0 takes two pixels away ("valid").
        dropout: Share of responses dropped after the pooling.
    """

    filters: tuple[int, ...]
    paddings: tuple[int, ...] = (1,)
    dropout: float = 0.0


class TutorialNetwork(nn.Module):
    """Classify pictures with stages of convolutions, one dense layer and a linear head.

    Args:
        stages: The convolutions.
        dense: Width of the dense layer.
        dropout: After the dense layer, as the lesson has it; `drop_rate` overrides it.
        glorot: Start as Keras does (Glorot uniform, biases zero), else as PyTorch does.
        num_classes: K; 0 leaves the head out.
        in_chans: Channels of the pictures.
        img_size: Height and width of the pictures; the dense layer's size depends on it.
        drop_rate: See `dropout`.
        batch_norm: Normalise after each convolution, before its ReLU.
        squeeze_excite: Weigh the channels after each ReLU.

    Raises:
        ModelError: The pictures are too small for the stages.

    Source:
        S. Ioffe, C. Szegedy (2015), arXiv:1502.03167 (batch normalisation); J. Hu et al. (2018), arXiv:1709.01507
        (squeeze and excitation; timm's, with at least 8 inner channels).
    """

    def __init__(
        self,
        stages: tuple[Stage, ...],
        dense: int,
        dropout: float = 0.0,
        glorot: bool = True,
        num_classes: int = 10,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 32,
        drop_rate: float | None = None,
        batch_norm: bool = False,
        squeeze_excite: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes, self.in_chans, self.glorot = num_classes, in_chans, glorot
        self.num_features, self.head_hidden_size = stages[-1].filters[-1], dense
        widths = [in_chans, *(stage.filters[-1] for stage in stages)]
        self.features = nn.Sequential(
            *(_stage(stage, width, batch_norm, squeeze_excite) for stage, width in zip(stages, widths, strict=False))
        )
        self.pre_logits = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                dense=nn.Linear(self.num_features * math.prod(_size_after(stages, to_2tuple(img_size))), dense),
                act=nn.ReLU(),
                drop=nn.Dropout(dropout if drop_rate is None else drop_rate),
            )
        )
        self.head = self._new_head(num_classes)
        if glorot:
            self.apply(start_as_keras)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map pictures [N, C, H, W] to responses [N, num_features, h, w]."""
        return self.features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map responses to logits [N, K], or to the dense layer's output [N, head_hidden_size]."""
        x = self.pre_logits(x)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures [N, C, H, W] to logits [N, K]."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """Return the head."""
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        """Give the network a new head."""
        self.num_classes = num_classes
        self.head = self._new_head(num_classes).to(next(self.parameters()).device)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Tell timm which parameters stand together, from low to high."""
        return {"blocks": r"^features\.(\d+)"}

    def _new_head(self, num_classes: int) -> nn.Module:
        if not num_classes:
            return nn.Identity()
        head = nn.Linear(self.head_hidden_size, num_classes)
        if self.glorot:
            start_as_keras(head)
        return head


def start_as_keras(module: nn.Module) -> None:
    """Draw the weights of one layer as Keras does: Glorot uniform, biases zero.

    Source:
        X. Glorot, Y. Bengio (2010), AISTATS, 249-256.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _stage(stage: Stage, channels: int, batch_norm: bool, squeeze_excite: bool) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (filters, padding) in enumerate(zip(stage.filters, stage.paddings, strict=True), start=1):
        layers[f"conv{number}"] = nn.Conv2d(channels, filters, kernel_size=3, padding=padding)
        if batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm2d(filters)
        layers[f"act{number}"] = nn.ReLU()
        if squeeze_excite:
            layers[f"attention{number}"] = SqueezeExcite(filters)
        channels = filters
    layers["pool"] = nn.MaxPool2d(2)
    if stage.dropout:
        layers["drop"] = nn.Dropout(stage.dropout)
    return nn.Sequential(layers)


def _size_after(stages: tuple[Stage, ...], size: tuple[int, int]) -> tuple[int, int]:
    height, width = size
    for stage in stages:
        lost = sum(2 - 2 * padding for padding in stage.paddings)
        height, width = (height - lost) // 2, (width - lost) // 2
    if min(height, width) < 1:
        raise ModelError(
            f"this network needs larger pictures: its {len(stages)} stages leave nothing.",
            got=f"{size[0]} x {size[1]} pixels",
            fix="take a larger data.size_px.",
        )
    return height, width


def _cfg(size_px: int, **changed: Any) -> dict[str, Any]:
    """Describe the input as the Keras lessons have it: byte / 255, squashed to the size, nearest pixel."""
    keras = {
        "input_size": (3, size_px, size_px),
        "fixed_input_size": True,
        "num_classes": 10,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "interpolation": "nearest",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "first_conv": "features.0.conv1",
        "classifier": "head",
    }
    return {**keras, **changed}


default_cfgs = generate_default_cfgs(
    {
        "keras_cifar10": _cfg(32),
        "keras_basic_64": _cfg(64),
        "keras_folder_150": _cfg(150),
        "keras_cifar10_dropout": _cfg(32),
        "torch_simplecnn": _cfg(32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bilinear"),
    }
)


def _build(variant: str, pretrained: bool, layout: dict[str, Any], asked: dict[str, Any]) -> TutorialNetwork:
    return build_model_with_cfg(TutorialNetwork, variant, pretrained, **layout, **asked)


@register_model
def keras_cifar10(pretrained: bool = False, **options: Any) -> TutorialNetwork:
    """Make the first CIFAR-10 network of Keras: 32, 64, 128 filters, dense 128; 356,810 parameters."""
    stages = (Stage((32,)), Stage((64,)), Stage((128,)))
    return _build("keras_cifar10", pretrained, {"stages": stages, "dense": 128}, options)


@register_model
def keras_basic_64(pretrained: bool = False, **options: Any) -> TutorialNetwork:
    """Make the basic Keras network for 64x64: 32, 64 filters without padding, dense 128; 1,626,442 parameters."""
    stages = (Stage((32,), (0,)), Stage((64,), (0,)))
    return _build("keras_basic_64", pretrained, {"stages": stages, "dense": 128}, options)


@register_model
def keras_folder_150(pretrained: bool = False, **options: Any) -> TutorialNetwork:
    """Make the Keras network for a folder at 150x150: 32, 64 filters without padding, dense 512; 42,492,362."""
    stages = (Stage((32,), (0,)), Stage((64,), (0,)))
    return _build("keras_folder_150", pretrained, {"stages": stages, "dense": 512}, options)


@register_model
def keras_cifar10_dropout(pretrained: bool = False, **options: Any) -> TutorialNetwork:
    """Make the network of Keras' cifar10_cnn.py: 32, 32, 64, 64 filters, dropout, dense 512; 1,250,858 parameters."""
    stages = (Stage((32, 32), (1, 0), dropout=0.25), Stage((64, 64), (1, 0), dropout=0.25))
    return _build("keras_cifar10_dropout", pretrained, {"stages": stages, "dense": 512, "dropout": 0.5}, options)


@register_model
def torch_simplecnn(pretrained: bool = False, **options: Any) -> TutorialNetwork:
    """Make the SimpleCNN of PyTorch: 16, 32, 64 filters, dense 512; 553,514 parameters."""
    stages = (Stage((16,)), Stage((32,)), Stage((64,)))
    return _build("torch_simplecnn", pretrained, {"stages": stages, "dense": 512, "glorot": False}, options)
