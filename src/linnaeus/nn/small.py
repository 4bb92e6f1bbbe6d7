"""A network of our own for small pictures (16 to 64 pixels): whitening stem, three blocks, fast to train from nothing.

Source:
    The parts and most constants are those of K. Jordan's airbench (2024, arXiv:2404.00498) after tysam-code's
    hlb-CIFAR10. Deviations: adaptive pooling at the end, so that any input size works; the whitening stem takes
    its statistics through `init_from`; GELU and BatchNorm are PyTorch's.
"""

from __future__ import annotations

import copy
import itertools
from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional


class _Norm(nn.BatchNorm2d):
    """BatchNorm with a bias and no scale: the next filters scale anyway."""

    def __init__(self, channels: int, momentum: float) -> None:
        super().__init__(channels, eps=1e-5, momentum=momentum)
        nn.init.ones_(self.weight)
        self.weight.requires_grad = False


class _Block(nn.Module):
    """Convolution, pooling, convolution; each with norm and GELU."""

    def __init__(self, channels_in: int, channels: int, norm_momentum: float) -> None:
        super().__init__()
        self.conv1 = _identity_conv(channels_in, channels)
        self.norm1 = _Norm(channels, norm_momentum)
        self.conv2 = _identity_conv(channels, channels)
        self.norm2 = _Norm(channels, norm_momentum)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, channels, H/2, W/2]."""
        # The stride is said although it is the usual one: Core ML's converter wants it.
        x = functional.gelu(self.norm1(functional.max_pool2d(self.conv1(x), 2, 2)))
        return functional.gelu(self.norm2(self.conv2(x)))


class _Head(nn.Linear):
    """Linear layer whose output is scaled down, so that it starts calmly at the learning rate of the biases."""

    scale = 1 / 72

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__(features, num_classes, bias=False)
        nn.init.normal_(self.weight, std=72 / 256)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, features] to logits [N, K]."""
        return super().forward(x) * self.scale


class SmallNet(nn.Module):
    """Classify small pictures: fixed whitening stem, three blocks, a linear head on the strongest responses.

    Args:
        num_classes: K.
        in_chans: 3 or 1.
        widths: Channels of the three blocks.
        norm_momentum: Share of the newest batch in the running statistics; high, since trainings are short.
        views: How often a picture is looked at once training is over; what the head reads is the mean. 1: as it is. 2:
            its mirror image as well. 6: both moved by a pixel down and right, and up and left, too. It is a part of the
            network, so that every export does the same; the work of an answer grows with it.

    Raises:
        ValueError: There is no such number of views.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        widths: tuple[int, int, int] = (64, 256, 256),
        norm_momentum: float = 0.4,
        views: int = 1,
    ) -> None:
        super().__init__()
        if views not in (1, 2, 6):
            raise ValueError(f"views should be 1, 2 or 6, not {views}")
        self.views = views
        self.num_classes, self.num_features, self.head_hidden_size = num_classes, widths[-1], widths[-1]
        stem = 2 * in_chans * 2 * 2
        self.stem = nn.Conv2d(in_chans, stem, kernel_size=2, bias=True)
        self.stem.weight.requires_grad = False
        sizes = (stem, *widths)
        self.blocks = nn.Sequential(*(_Block(a, b, norm_momentum) for a, b in itertools.pairwise(sizes)))
        self.head = _Head(widths[-1], num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map pictures [N, C, H, W] to responses [N, widths[-1], h, w]."""
        return self.blocks(functional.gelu(self.stem(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map responses to logits [N, K], or to their maxima [N, widths[-1]]."""
        # Of the sizes given: not every format to export to has a pooling that finds its own.
        x = functional.max_pool2d(x, x.shape[-2:], x.shape[-2:]).flatten(1)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures [N, C, H, W] to logits [N, K]."""
        if self.training or self.views == 1:
            return self.forward_head(self.forward_features(x))
        places = [x] if self.views == 2 else [x, *_moved(x)]
        seen = [self._strongest(view) for place in places for view in (place, place.flip(3))]
        # The head is linear: its answer for the mean of the features is the mean of its answers.
        return self.head(torch.stack(seen).mean(0))

    def _strongest(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x), pre_logits=True)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Tell timm which parameters stand together, from low to high."""
        return {"stem": r"^stem", "blocks": r"^blocks\.(\d+)"}

    def get_classifier(self) -> nn.Module:
        """Return the head."""
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        """Give the network a new head."""
        self.num_classes = num_classes
        self.head = _Head(self.num_features, num_classes)

    @torch.no_grad()
    def init_from(self, pictures: Tensor) -> None:
        """Set the stem to the whitening of 2x2 patches of some training pictures, positive and negated.

        Args:
            pictures: Normalised, [N, C, H, W]; a few thousand suffice.
        """
        C, size = pictures.shape[1], self.stem.kernel_size[0]
        patches = functional.unfold(pictures.float(), size).transpose(1, 2).reshape(-1, C * size * size)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / torch.sqrt(values.clamp_min(0) + 5e-4)).T.reshape(-1, C, size, size).flip(0)
        self.stem.weight.copy_(torch.cat([filters, -filters]))
        assert self.stem.bias is not None
        nn.init.zeros_(self.stem.bias)


def in_one_view(network: nn.Module) -> nn.Module:
    """Let a small network look at the picture as it is only, with the very same layers; another is given as it is."""
    if not isinstance(network, SmallNet):
        return network
    single = copy.copy(network)
    single.views = 1
    return single


def _moved(x: Tensor) -> tuple[Tensor, Tensor]:
    """Move pictures by a pixel down and right, and up and left; what comes in mirrors the picture at its edge.

    Of slices: not every format to export to has a padding that mirrors.
    """
    later, sooner = x, x
    for axis in (2, 3):
        size = x.shape[axis]
        later = torch.cat([later.narrow(axis, 1, 1), later.narrow(axis, 0, size - 1)], axis)
        sooner = torch.cat([sooner.narrow(axis, 1, size - 1), sooner.narrow(axis, size - 2, 1)], axis)
    return later, sooner


def _identity_conv(channels_in: int, channels: int) -> nn.Conv2d:
    """Make a 3x3 convolution whose first filters pass their channel on (Dirac), the others as PyTorch draws them."""
    conv = nn.Conv2d(channels_in, channels, kernel_size=3, padding="same", bias=False)
    nn.init.dirac_(conv.weight[: min(channels_in, channels)])
    return conv


def _cfg() -> dict[str, object]:
    return {
        "url": "",
        "num_classes": 10,
        "input_size": (3, 32, 32),
        "mean": (0.4914, 0.4822, 0.4465),
        "std": (0.2470, 0.2435, 0.2616),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "classifier": "head",
        "first_conv": "stem",
    }


default_cfgs = generate_default_cfgs({name: _cfg() for name in ("small_128", "small_64", "small_32")})


@register_model
def small_128(pretrained: bool = False, **options: Any) -> SmallNet:
    """Make a wider network for small pictures: blocks of 128, 384 and 384 channels, 2.5 times the work of `small_64`."""
    return build_model_with_cfg(SmallNet, "small_128", pretrained, widths=(128, 384, 384), **options)


@register_model
def small_64(pretrained: bool = False, **options: Any) -> SmallNet:
    """Make the network for small pictures: blocks of 64, 256 and 256 channels, 1.97 million parameters."""
    return build_model_with_cfg(SmallNet, "small_64", pretrained, widths=(64, 256, 256), **options)


@register_model
def small_32(pretrained: bool = False, **options: Any) -> SmallNet:
    """Make a slimmer network for few small pictures: blocks of 32, 64 and 128 channels."""
    return build_model_with_cfg(SmallNet, "small_32", pretrained, widths=(32, 64, 128), **options)
