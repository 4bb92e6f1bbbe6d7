"""Heat maps that can be looked at: laid over the picture, beside the picture, and all methods on one sheet."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnaeus.atomic import whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from linnaeus.verbs.explain.neighbours import Neighbour

COLOURS = "inferno"
"""Perceptually even, and told apart by all kinds of colour vision: more light is more heat."""
OPAQUE = 0.85
SIDE_PX = 224
GAP_PX = 6
INK, SOFT, GOOD, BAD = "#1f2421", "#5d655f", "#2e7d4f", "#b3402f"
FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "Noto Sans Arabic", "Noto Sans", "Arial")
COLUMNS = 4
Tile = tuple[np.ndarray | None, str, str]
"""Pixels (None where they cannot be read), words below them, and the colour of the words."""


def overlay(picture: np.ndarray, heat: np.ndarray, side_px: int | None = None) -> np.ndarray:
    """Lay a heat map over its picture, which is greyed so that only heat has colour.

    Args:
        picture: uint8 [S, S, C].
        heat: float [S, S] in 0..1; the stronger, the less of the picture shows through.
        side_px: Height and width of the result; S by default.

    Returns:
        uint8 [side, side, 3].
    """
    import matplotlib
    from PIL import Image

    side = side_px or picture.shape[0]
    shown = enlarge(picture, side).astype(np.float32)
    grey = shown @ np.array([0.299, 0.587, 0.114], np.float32)
    base = 0.8 * (0.25 * shown + 0.75 * grey[..., None])
    resized = Image.fromarray(np.asarray(heat, np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    strength = np.clip(np.asarray(resized), 0, 1)
    colour = matplotlib.colormaps[COLOURS](0.15 + 0.85 * strength)[..., :3] * 255
    alpha = OPAQUE * strength[..., None] ** 0.7
    return np.rint(base * (1 - alpha) + colour * alpha).astype(np.uint8)


def enlarge(picture: np.ndarray, side_px: int) -> np.ndarray:
    """Bring a picture to RGB of another size; small ones keep their square pixels."""
    from PIL import Image

    colour = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    way = Image.Resampling.NEAREST if picture.shape[0] <= side_px // 2 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(np.ascontiguousarray(colour)).resize((side_px, side_px), way))


def write_pair(path: Path, picture: np.ndarray, heat: np.ndarray) -> None:
    """Write one PNG: the picture, and beside it the picture under its heat map; between them nothing (transparent)."""
    from PIL import Image

    pair = Image.new("RGBA", (2 * SIDE_PX + GAP_PX, SIDE_PX))
    pair.paste(Image.fromarray(enlarge(picture, SIDE_PX)), (0, 0))
    pair.paste(Image.fromarray(overlay(picture, heat, SIDE_PX)), (SIDE_PX + GAP_PX, 0))
    with whole(path) as unfinished:
        pair.save(unfinished, "png", optimize=True)


def write_sheet(
    path: Path,
    title: str,
    picture: np.ndarray,
    maps: Mapping[str, np.ndarray],
    neighbours: Sequence[Neighbour] = (),
    thumbnails: Sequence[np.ndarray | None] = (),
    true: str = "",
) -> None:
    """Write one PNG with a picture under each of its heat maps, and the training pictures most like it.

    Args:
        path: Where.
        title: What the classifier answered.
        picture: uint8 [S, S, C].
        maps: Method -> heat map [S, S].
        neighbours: The training pictures, nearest first.
        thumbnails: Their pixels, uint8 [S, S, C]; None where one can no longer be read.
        true: The picture's class, where it is known: neighbours of it are written in green, others in red.
    """
    tiles: list[Tile] = [(enlarge(picture, SIDE_PX), "the picture", INK)]
    tiles += [
        (overlay(picture, heat, SIDE_PX), name if heat.any() else f"{name}: found nothing", INK)
        for name, heat in maps.items()
    ]
    rows = [tiles[first : first + COLUMNS] for first in range(0, len(tiles), COLUMNS)]
    near: list[Tile] = [
        (
            None if shown is None else enlarge(shown, SIDE_PX),
            f"{_short(one.label)}  {one.similarity:.2f}",
            SOFT if not true else GOOD if one.label == true else BAD,
        )
        for one, shown in zip(neighbours, thumbnails, strict=True)
    ]
    with _style(), whole(path) as unfinished:
        figure = _figure(title, rows, near)
        figure.savefig(unfinished, format="png", dpi=130, facecolor="white", bbox_inches="tight", pad_inches=0.15)


def _figure(title: str, rows: list[list[Tile]], near: list[Tile]) -> Figure:
    """Draw rows of large tiles and one row of small ones on one axes, in units of a large tile."""
    from matplotlib.figure import Figure

    step, small = 1.1, COLUMNS / max(5, len(near))
    height = step * len(rows) + ((small + 0.36) if near else 0)
    width = max(len(row) for row in rows) if not near else COLUMNS
    figure = Figure(figsize=(2.1 * width, 2.1 * height + 0.35))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            _tile(axes, tile, x, step * y, 0.96)
    if near:
        top = step * len(rows) + 0.16
        axes.text(0, top - 0.03, "Nearest training pictures, with their likeness (1 = same)", va="bottom", color=SOFT)
        for x, tile in enumerate(near):
            _tile(axes, tile, x * small, top, small - 0.04)
    axes.set(xlim=(0, width), ylim=(height, -0.02), aspect="equal")
    axes.set_title(_short(title, 24 * width), loc="left", fontweight="bold", color=INK, fontsize=11)
    return figure


def _tile(axes: Any, tile: Tile, x: float, y: float, side: float) -> None:
    pixels, words, colour = tile
    shown = np.full((1, 1, 3), 228, np.uint8) if pixels is None else pixels
    axes.imshow(shown, extent=(x, x + side, y + side, y), interpolation="antialiased")
    axes.text(x, y + side + 0.02, words, va="top", fontsize=8.5, color=colour)


def _short(text: str, most: int = 14) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _style() -> Any:
    """Set fonts for a while: class names may be in any script, and are no mathematics."""
    import matplotlib
    from matplotlib import font_manager

    known = set(font_manager.get_font_names())
    # A script without an installed font is drawn as boxes.
    warnings.filterwarnings("ignore", message="Glyph .* missing from")
    return matplotlib.rc_context(
        {"font.family": [name for name in FONTS if name in known], "font.size": 9, "text.parse_math": False}
    )
