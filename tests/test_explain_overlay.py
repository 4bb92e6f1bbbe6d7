"""explain/overlay: heat maps that can be looked at."""

import numpy as np
import pytest
from PIL import Image

from linnaeus.records import Place
from linnaeus.verbs.explain.neighbours import Neighbour
from linnaeus.verbs.explain.overlay import GAP_PX, SIDE_PX, overlay, write_pair, write_sheet

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)


def colourfulness(pixels):
    return float(np.ptp(pixels.astype(int), axis=-1).mean())


def test_without_heat_the_picture_shows_through_nearly_grey():
    shown = overlay(PICTURE, np.zeros((32, 32)))
    assert shown.shape == PICTURE.shape and shown.dtype == np.uint8
    assert colourfulness(shown) < 0.4 * colourfulness(PICTURE)
    grey = PICTURE @ np.array([0.299, 0.587, 0.114])
    assert np.corrcoef(shown.mean(axis=2).ravel(), grey.ravel())[0, 1] > 0.97


def test_more_heat_is_lighter_and_hides_more():
    black = np.zeros((8, 8, 3), np.uint8)
    light = [overlay(black, np.full((8, 8), heat)).mean() for heat in np.linspace(0, 1, 6)]
    assert light == sorted(light) and light[-1] > light[0] + 100


def test_grey_pictures_and_other_sizes_are_taken():
    assert overlay(PICTURE[..., :1], np.ones((32, 32)), 100).shape == (100, 100, 3)


def test_a_pair_is_the_picture_with_the_overlay_beside_it(tmp_path):
    heat = np.zeros((32, 32), np.float32)
    heat[:16] = 1
    write_pair(tmp_path / "deep" / "pair.png", PICTURE, heat)
    pair = np.asarray(Image.open(tmp_path / "deep" / "pair.png"))
    assert pair.shape == (SIDE_PX, 2 * SIDE_PX + GAP_PX, 4)
    assert not pair[:, SIDE_PX : SIDE_PX + GAP_PX, 3].any(), "the gap is transparent, for pages of any colour"
    first, second = pair[:, :SIDE_PX, :3], pair[:, SIDE_PX + GAP_PX :, :3]
    np.testing.assert_array_equal(first[::7, ::7], PICTURE)
    assert colourfulness(second[: SIDE_PX // 2]) > 2 * colourfulness(second[SIDE_PX // 2 + 20 :])
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["pair.png"]


@pytest.mark.parametrize("title", ["$x_1$ 50 %", "雏菊 97%", "a" * 200])
def test_a_sheet_takes_any_class_name(tmp_path, title, recwarn):
    near = [Neighbour("a", title[:20], 0.5, Place("a")), Neighbour("b", "b", -0.2, Place("b"))]
    write_sheet(tmp_path / "s.png", title, PICTURE, {"grad-cam": np.ones((32, 32))}, near, [PICTURE, None], "b")
    with Image.open(tmp_path / "s.png") as sheet:
        assert 500 < sheet.width < 2500 and sheet.height > 400
    assert not [one for one in recwarn if "Glyph" in str(one.message)]


def test_a_sheet_of_all_methods_has_two_rows(tmp_path):
    maps = {str(number): np.ones((32, 32)) for number in range(7)}
    write_sheet(tmp_path / "one.png", "x", PICTURE, {"0": maps["0"]})
    write_sheet(tmp_path / "all.png", "x", PICTURE, maps)
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "all.png") as two:
        assert two.height > 1.6 * one.height
