from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from linnaeus.data.decode import middle, resize
from linnaeus.errors import ModelError
from linnaeus.records import Preprocessing
from linnaeus.targets.any_size import Resizing

SIZES = [
    (64, 64),
    (97, 61),
    (61, 97),
    (240, 180),
    (300, 451),
    (20, 15),
    (31, 33),
    (32, 32),
    (40, 40),
    (33, 200),
    (200, 33),
    (7, 100),
    (3, 90),
    (90, 1),
    (1, 1),
    (2, 2),
    (150, 301),
]
"""Height and width: larger, smaller and equal, square and long, odd and even."""
WAYS = {
    "crop": Preprocessing(32, "crop", 40),
    "crop without margin": Preprocessing(32, "crop", 32),
    "squash": Preprocessing(32, "squash"),
    "pad": Preprocessing(32, "pad", background=(250, 3, 128)),
}


def scene(H, W, seed=0):
    """Edges, gradients and noise, so that every mistake shows."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:H, :W]
    waves = 128 + 100 * np.sin(x[..., None] / np.array([3.0, 7.0, 11.0]) + y[..., None] / np.array([5.0, 4.0, 9.0]))
    edge = 120 * ((x + 2 * y) % 23 > 11)[..., None]
    return np.clip(waves + edge - 60 + draw.normal(0, 25, (H, W, 3)), 0, 255).astype(np.uint8)


def both(picture, about):
    """What the graph makes of a picture, and what the decoder does."""
    with torch.inference_mode():
        found = Resizing(about)(torch.from_numpy(picture)[None])[0].numpy()
    return found, middle(resize(picture, about), about.size_px).astype(np.float32)


def way(name, interpolation):
    about = WAYS[name]
    return Preprocessing(
        about.size_px, about.resize, about.resize_px, interpolation=interpolation, background=about.background
    )


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_it_resizes_as_the_decoder_does_within_a_grey_level(size, name, interpolation):
    found, meant = both(scene(*size), way(name, interpolation))
    assert found.shape == meant.shape == (32, 32, 3)
    gap = np.abs(found - meant)
    # The decoder rounds its weights: a row that is one level off between the two directions can, with bicubic weights
    # below zero, end two levels off.
    assert gap.max() <= (1 if interpolation == "bilinear" else 2)
    assert (gap > 1).mean() < 2e-3


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("name", WAYS)
def test_nearly_all_pixels_are_equal(name, interpolation):
    pairs = [
        both(scene(*size, seed), way(name, interpolation)) for seed, size in enumerate([(240, 180), (61, 97), (20, 25)])
    ]
    assert np.mean([found == meant for found, meant in pairs]) > 0.99


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_it_is_pillows_resizing_too(interpolation):
    picture = scene(150, 111)
    kind = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
    meant = np.asarray(Image.fromarray(picture).resize((32, 32), kind), dtype=np.float32)
    found, _ = both(picture, way("squash", interpolation))
    assert np.abs(found - meant).max() <= 1
    assert (found == meant).mean() > 0.99


def test_the_answer_is_whole_numbers_of_a_byte():
    for seed, size in enumerate([(97, 61), (20, 15)]):
        noise = np.random.default_rng(seed).choice(np.array([0, 255], np.uint8), (*size, 3))
        found, _ = both(noise, way("squash", "bicubic"))
        assert (found == np.round(found)).all() and found.min() >= 0 and found.max() <= 255


def test_a_picture_of_the_right_size_stays_as_it_is():
    picture = scene(32, 32)
    for name in ("crop without margin", "squash", "pad"):
        assert (both(picture, way(name, "bicubic"))[0] == picture).all()


def test_padding_has_the_colour_of_the_background():
    found, _ = both(scene(8, 64), way("pad", "bilinear"))
    assert (found[0] == (250, 3, 128)).all() and (found[-1] == (250, 3, 128)).all()
    assert (found[16] != (250, 3, 128)).any()


def test_networks_of_many_sizes_are_served():
    for size_px in (1, 8, 33, 224):
        found, meant = both(scene(120, 77), Preprocessing(size_px, "crop", size_px + size_px // 7))
        assert found.shape == meant.shape and np.abs(found - meant).max() <= 1


@pytest.mark.parametrize("seed", range(6))
def test_sizes_drawn_at_random_are_met(seed):
    draw = np.random.default_rng(seed)
    for _ in range(10):
        H, W = draw.integers(1, 260, 2)
        about = Preprocessing(24, "crop", int(draw.integers(24, 40)))
        found, meant = both(scene(H, W, seed), about)
        assert np.abs(found - meant).max() <= 1, (H, W, about.resize_px)


def test_picking_the_nearest_pixel_is_refused():
    with pytest.raises(ModelError, match="bilinear and bicubic"):
        Resizing(Preprocessing(32, interpolation="nearest"))
