"""Pictures that lie on a device are gathered and changed there, a whole batch at once: the second executor of `Changes`.

A pixel of the output is found by its number in the store of all pictures, so pictures of any size lie side by side
without padding, and no picture is ever turned into floating point as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from linnaeus.data.augment import Changes, for_channels, moves_whole_pixels

UPLOAD_BYTES = 2**26
"""Pictures go to the device in pieces of about this size."""


@dataclass(frozen=True)
class Store:
    """Pictures of any size, one after the other, on one device.

    Attributes:
        pixels: uint8 [P, C], the pixels of all pictures.
        first: Number of each picture's first pixel, int64 [N].
        sizes: Height and width of each picture, int64 [N, 2].
    """

    pixels: Tensor
    first: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, blocks: Iterable[np.ndarray], sizes: np.ndarray, channels: int, device: torch.device) -> Store:
        """Bring pictures to a device.

        Args:
            blocks: uint8 [..., C] each; together the pixels of the N pictures in their order.
            sizes: Height and width of each, [N, 2].
            channels: C.
            device: Where to.
        """
        ends = np.cumsum(sizes.prod(axis=1, dtype=np.int64))
        pixels = torch.empty((int(ends[-1]) if len(ends) else 0, channels), dtype=torch.uint8, device=device)
        done = 0
        for block in blocks:
            piece = torch.from_numpy(np.ascontiguousarray(block).reshape(-1, channels))
            pixels[done : done + len(piece)] = piece.to(device)
            done += len(piece)
        assert done == len(pixels), "as many pixels as the sizes tell"
        first = np.concatenate([np.zeros(1, np.int64), ends[:-1]])[: len(ends)]
        return cls(pixels, torch.from_numpy(first).to(device), torch.from_numpy(sizes.astype(np.int64)).to(device))


@dataclass(frozen=True)
class Moves:
    """`Changes` as tensors on a device.

    Attributes:
        maps: float32 [N, 2, 3].
        colors: float32 [N, 3, 4] or None.
        boxes: int64 [N, 4] or None.
        size_px: Height and width of the output.
        fill: As in `Changes`.
        whole: All maps only mirror and move by whole pixels: no interpolation is needed.
    """

    maps: Tensor
    colors: Tensor | None
    boxes: Tensor | None
    size_px: int
    fill: str
    whole: bool

    @classmethod
    def of(cls, changes: Sequence[Changes]) -> Moves:
        """Join changes, of which there is at least one, in main memory."""
        one = changes[0]

        def joined(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
            return None if parts[0] is None else np.concatenate([part for part in parts if part is not None])

        maps, colors, boxes = (
            joined([getattr(each, name) for each in changes]) for name in ("maps", "colors", "boxes")
        )
        assert maps is not None
        return cls(
            maps=torch.from_numpy(maps.astype(np.float32)),
            colors=None if colors is None else torch.from_numpy(colors),
            boxes=None if boxes is None else torch.from_numpy(boxes),
            size_px=one.size_px,
            fill=one.fill,
            whole=bool(moves_whole_pixels(maps).all()),
        )

    def to(self, device: torch.device) -> Moves:
        """Bring them to a device, without waiting until they are there."""

        def sent(tensor: Tensor | None) -> Tensor | None:
            if tensor is None:
                return None
            return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)

        maps = sent(self.maps)
        assert maps is not None
        return replace(self, maps=maps, colors=sent(self.colors), boxes=sent(self.boxes))

    def part(self, start: int, stop: int) -> Moves:
        """Take those of some pictures."""
        colors, boxes = self.colors, self.boxes
        return replace(
            self,
            maps=self.maps[start:stop],
            colors=None if colors is None else colors[start:stop],
            boxes=None if boxes is None else boxes[start:stop],
        )


def on_batch(store: Store, chosen: Tensor, moves: Moves) -> Tensor:
    """Gather pictures and carry out changes on the whole batch, on the store's device.

    Args:
        store: Pictures.
        chosen: Their numbers in the store, int64 [N].
        moves: For these N pictures.

    Returns:
        uint8 [N, size_px, size_px, C]: within two grey levels of what `on_bytes` gives, and the same bytes where
        pictures are only mirrored and moved by whole pixels.
    """
    first, sizes = store.first[chosen], store.sizes[chosen]
    x, y = _places(moves)
    if moves.whole:
        out = _taps(store.pixels, first, sizes, y.floor().long(), x.floor().long(), moves.fill)
    else:
        out = _between(store.pixels, first, sizes, y, x, moves.fill)
    if moves.colors is not None:
        colors = for_channels(moves.colors, out.shape[-1])
        mixed = torch.einsum("nij,nyxj->nyxi", colors[:, :, :-1], out.float())
        out = (mixed + colors[:, None, None, :, -1]).round().clamp(0, 255).to(torch.uint8)
    return out if moves.boxes is None else _erased(out, moves.boxes)


def _places(moves: Moves) -> tuple[Tensor, Tensor]:
    """Compute where in its picture each output pixel comes from: x and y, float32 [N, S, S]."""
    S, maps = moves.size_px, moves.maps[:, :, :, None, None]
    grid = torch.arange(S, dtype=torch.float32, device=maps.device) + 0.5
    x, y = (
        maps[:, axis, 0] * grid[None, None] + maps[:, axis, 1] * grid[None, :, None] + maps[:, axis, 2]
        for axis in (0, 1)
    )
    return x, y


def _taps(pixels: Tensor, first: Tensor, sizes: Tensor, y: Tensor, x: Tensor, fill: str) -> Tensor:
    """Read one pixel of its picture for each place, uint8 [N, S, S, C]; places outside are filled."""
    height, width = sizes[:, 0, None, None], sizes[:, 1, None, None]
    inside_y, inside_x = _inside(y, height, fill), _inside(x, width, fill)
    read = pixels[first[:, None, None] + inside_y * width + inside_x]
    if fill != "black":
        return read
    return read * ((inside_y == y) & (inside_x == x))[..., None]


def _inside(place: Tensor, length: Tensor, fill: str) -> Tensor:
    """Bring places into 0 .. length - 1: mirrored at the edge, or to the edge."""
    if fill == "reflect":
        turn = place % (2 * length)
        return torch.minimum(turn, 2 * length - 1 - turn)
    return torch.minimum(place.clamp_min(0), length - 1)


def _between(pixels: Tensor, first: Tensor, sizes: Tensor, y: Tensor, x: Tensor, fill: str) -> Tensor:
    """Interpolate between the four pixels around each place, uint8 [N, S, S, C]."""
    # Places count from a picture's edge; a pixel's value stands at its middle.
    y, x = y - 0.5, x - 0.5
    top, left = y.floor(), x.floor()
    low, right = (y - top)[..., None], (x - left)[..., None]
    rows, columns = top.long(), left.long()

    def row(down: int) -> Tensor:
        near, far = (_taps(pixels, first, sizes, rows + down, columns + across, fill).float() for across in (0, 1))
        return near + (far - near) * right

    above = row(0)
    return (above + (row(1) - above) * low).round().to(torch.uint8)


def _erased(pictures: Tensor, boxes: Tensor) -> Tensor:
    """Fill a rectangle of each picture with the picture's mean."""
    top, left, bottom, right = boxes.T[:, :, None, None]
    grid = torch.arange(pictures.shape[1], device=pictures.device)
    y, x = grid[None, :, None], grid[None, None]
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    mean = pictures.float().mean(dim=(1, 2), keepdim=True).floor().to(torch.uint8)
    return torch.where(inside[..., None], mean, pictures)
