"""Resizing inside the graph: one picture of any size to the network's size, as the decoder's resizing does it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from linnaeus.data.decode import LONGEST
from linnaeus.errors import ModelError
from linnaeus.records import Preprocessing


class Resizing(nn.Module):
    """Resize and crop one upright picture, uint8 [1, H, W, 3], to float [1, S, S, 3] of whole numbers.

    Both directions are products with a matrix of weights that is computed from H and W: Pillow's antialiased filters,
    its order (columns, then rows) and its rounding in between. So it needs no resizing operation of the format's, of
    which no two are alike.

    Args:
        preprocessing: "crop", "squash" or "pad"; bilinear or bicubic.

    Raises:
        ModelError: The pictures are resized by picking the nearest pixel, which has no such matrix.
    """

    behind: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        if preprocessing.interpolation not in ("bilinear", "bicubic"):
            raise ModelError(
                "only bilinear and bicubic resizing can be put into the graph.", got=preprocessing.interpolation
            )
        self.about = preprocessing
        self.register_buffer("behind", torch.tensor(preprocessing.background, dtype=torch.float32))

    def forward(self, image: Tensor) -> Tensor:
        """Compute [1, S, S, 3]."""
        picture = image[0].float()
        y, x = torch.arange(image.shape[1]).float(), torch.arange(image.shape[2]).float()
        rows, columns = self._plan(y[-1] + 1, x[-1] + 1)
        across, inside_x = self._weights(x, *columns)
        down, inside_y = self._weights(y, *rows)
        narrow = _rounded(torch.matmul(across, picture))  # [H, S, 3]
        H, S = narrow.shape[0], self.about.size_px
        small = _rounded(torch.matmul(down, narrow.reshape(H, S * 3))).reshape(S, S, 3)
        if self.about.resize == "pad":
            inside = (inside_y.unsqueeze(1) * inside_x.unsqueeze(0)).unsqueeze(2)
            small = small * inside + self.behind * (1 - inside)
        return small.unsqueeze(0)

    def _plan(self, H: Tensor, W: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Say for rows and columns: first used pixel, number of used pixels, size after resizing, first kept place."""
        size = self.about.size_px
        zero, wanted = torch.zeros_like(H), torch.zeros_like(H) + size
        if self.about.resize == "squash":
            return (zero, H, wanted, zero), (zero, W, wanted, zero)
        longest = torch.maximum(H, W)
        if self.about.resize == "pad":
            h, w = (torch.round(size * one / longest).clamp_min(1) for one in (H, W))
            return (zero, H, h, -torch.floor((size - h) / 2)), (zero, W, w, -torch.floor((size - w) / 2))
        high, wide = torch.minimum(H, LONGEST * W), torch.minimum(W, LONGEST * H)
        short, resized = torch.minimum(high, wide), self.about.resize_px
        h, w = torch.floor(resized * high / short + 1e-4), torch.floor(resized * wide / short + 1e-4)
        return (
            (torch.floor((H - high) / 2), high, h, torch.round((h - size) / 2)),
            (torch.floor((W - wide) / 2), wide, w, torch.round((w - size) / 2)),
        )

    def _weights(
        self, place: Tensor, first: Tensor, used: Tensor, wanted: Tensor, begin: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute how much each pixel counts for each kept place, [S, pixels], and which places lie inside, [S]."""
        at = torch.arange(self.about.size_px).float() + begin
        scale = used / wanted
        wide = scale.clamp_min(1.0)
        centre = (at + 0.5) * scale
        gap = ((place - first + 0.5).unsqueeze(0) - centre.unsqueeze(1)) / wide
        weights = _bicubic(gap) if self.about.interpolation == "bicubic" else (1 - gap.abs()).clamp_min(0)
        there = ((place >= first) & (place < first + used)).float()
        weights = weights * there.unsqueeze(0)
        inside = ((at >= 0) & (at < wanted)).float()
        total = weights.sum(1, keepdim=True)
        return weights / torch.where(total == 0, torch.ones_like(total), total), inside


def _rounded(values: Tensor) -> Tensor:
    return torch.floor(values + 0.5).clamp(0, 255)


def _bicubic(gap: Tensor) -> Tensor:
    """Keys' cubic with a = -0.5, as Pillow's.

    Source:
        R. Keys (1981), Cubic convolution interpolation for digital image processing, IEEE TASSP 29, 1153-1160.
    """
    x = gap.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
