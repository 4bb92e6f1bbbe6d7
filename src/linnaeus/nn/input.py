"""The first layer of every graph: bytes in, normalised numbers out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FromBytes(nn.Module):
    """Turn uint8 pictures [N, H, W, C] into normalised ones [N, C, H, W] (channels last in memory).

    Args:
        mean: Per channel, in units of 0..1.
        std: Per channel, in units of 0..1.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        deviation = 255 * torch.tensor(std, dtype=torch.float32)
        self.register_buffer("scale", 1 / deviation, persistent=False)
        self.register_buffer("shift", -255 * torch.tensor(mean, dtype=torch.float32) / deviation, persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Compute (byte / 255 - mean) / std."""
        assert isinstance(self.scale, Tensor)
        assert isinstance(self.shift, Tensor)
        return (pictures.float() * self.scale + self.shift).permute(0, 3, 1, 2)
