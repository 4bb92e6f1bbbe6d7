import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.config import AugmentSettings
from linnaeus.data.augment import draw, on_bytes
from linnaeus.data.gathered import Moves, Store, on_batch

NOTHING = AugmentSettings(flip="none", shift=0, color=0, fill="reflect")


def smooth(n=6, height=24, width=24, channels=3, seed=0):
    """Pictures of slow waves: what two ways of interpolating agree on."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [
        127 + 100 * np.sin(a * x / width + b * y / height + c)
        for a, b, c in random.uniform(0.5, 2.5, (n * channels, 3))
    ]
    return np.stack(waves).reshape(n, channels, height, width).transpose(0, 2, 3, 1).astype(np.uint8)


def noise(n=6, height=24, width=24, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def changes(wanted, pictures, size_px=24, seed=0, epoch=0):
    sizes = np.array([picture.shape[:2] for picture in pictures])
    return draw(wanted, sizes, size_px, np.random.default_rng(seed), np.arange(len(pictures)), epoch)


def both(wanted, pictures, size_px=24, seed=0):
    drawn = changes(wanted, pictures, size_px, seed)
    sizes = np.array([picture.shape[:2] for picture in pictures])
    store = Store.of(pictures, sizes, pictures[0].shape[2], torch.device("cpu"))
    return on_bytes(list(pictures), drawn), on_batch(store, torch.arange(len(pictures)), Moves.of([drawn])).numpy()


GEOMETRY = [
    {"flip": "random"},
    {"flip": "alternating"},
    {"flip_vertical": True},
    {"rotate_deg": 30},
    {"shift": 0.25},
    {"shift": 0.1, "shift_x": 0.4},
    {"zoom": (0.7, 1.6)},
    {"crop_area": (0.2, 1.0)},
    {"rotate_deg": 20, "shift": 0.2, "flip": "random", "zoom": (0.9, 1.1)},
]
OTHERS = [{"color": 0.4}, {"erase": 1.0}, {"color": 0.3, "erase": 0.7, "rotate_deg": 15, "flip": "random"}]


@pytest.mark.parametrize("fill", ["edge", "reflect", "black"])
@pytest.mark.parametrize("wanted", [{}, *GEOMETRY, *OTHERS], ids=str)
def test_both_executors_agree(wanted, fill):
    one, other = both(NOTHING.model_copy(update=wanted | {"fill": fill}), smooth())
    difference = np.abs(one.astype(int) - other.astype(int))
    assert one.shape == other.shape == (6, 24, 24, 3)
    assert difference.max() <= 2


@pytest.mark.parametrize("wanted", [*GEOMETRY, *OTHERS], ids=str)
def test_every_setting_changes_pictures(wanted):
    pictures = noise()
    changed = on_bytes(list(pictures), changes(NOTHING.model_copy(update=wanted), pictures, seed=1))
    assert (changed != pictures).any()


@pytest.mark.parametrize("channels", [1, 3])
def test_no_change_leaves_every_byte(channels):
    pictures = noise(channels=channels)
    for result in both(NOTHING, pictures):
        assert np.array_equal(result, pictures)


@pytest.mark.parametrize(("height", "width"), [(24, 30), (31, 24), (24, 31), (30, 30)])
def test_without_changes_the_middle_is_taken(height, width):
    pictures = noise(height=height, width=width)
    top, left = (height - 24) // 2, (width - 24) // 2
    for result in both(NOTHING, pictures):
        assert np.array_equal(result, pictures[:, top : top + 24, left : left + 24])


def test_flips_are_exact():
    pictures = noise(40)
    flipped, batch = both(NOTHING.model_copy(update={"flip": "random"}), pictures)
    mirrored = np.array([np.array_equal(a, b[:, ::-1]) for a, b in zip(flipped, pictures, strict=True)])
    same = np.array([np.array_equal(a, b) for a, b in zip(flipped, pictures, strict=True)])
    assert (mirrored ^ same).all()
    assert 8 < mirrored.sum() < 32
    assert np.array_equal(flipped, batch)


def test_vertical_flips_are_exact():
    pictures = noise(40)
    flipped, _ = both(NOTHING.model_copy(update={"flip_vertical": True}), pictures)
    turned = [np.array_equal(a, b[::-1]) for a, b in zip(flipped, pictures, strict=True)]
    assert 8 < sum(turned) < 32


@pytest.mark.parametrize(("fill", "mode"), [("edge", "edge"), ("reflect", "symmetric"), ("black", "constant")])
def test_shifts_move_whole_pixels_and_fill_as_told(fill, mode):
    pictures = noise(20)
    wanted = NOTHING.model_copy(update={"shift": 0.25, "fill": fill})
    drawn = changes(wanted, pictures)
    for shifted, picture, move in zip(on_bytes(list(pictures), drawn), pictures, drawn.maps, strict=True):
        x, y = move[:, 2].astype(int)
        padded = np.pad(picture, ((6, 6), (6, 6), (0, 0)), mode=mode)
        assert np.array_equal(shifted, padded[6 + y : 30 + y, 6 + x : 30 + x])


def test_shifts_reach_their_limit_on_both_axes_and_no_further():
    drawn = changes(NOTHING.model_copy(update={"shift": 0.125}), noise(400))
    moves = drawn.maps[:, :, 2]
    assert np.abs(moves).max() == 3
    assert set(moves.ravel()) == {-3, -2, -1, 0, 1, 2, 3}


def test_the_width_may_shift_alone():
    moves = changes(NOTHING.model_copy(update={"shift": 0.0, "shift_x": 0.25}), noise(100)).maps[:, :, 2]
    assert (moves[:, 1] == 0).all()
    assert np.abs(moves[:, 0]).max() == 6


def test_alternating_flip_mirrors_each_picture_every_second_epoch():
    wanted = NOTHING.model_copy(update={"flip": "alternating"})
    mirrored = np.stack([changes(wanted, noise(200), epoch=epoch).maps[:, 0, 0] < 0 for epoch in range(4)])
    assert (mirrored[0] != mirrored[1]).all()
    assert (mirrored[0] == mirrored[2]).all()
    assert 70 < mirrored[0].sum() < 130


def test_alternating_flip_follows_the_row_not_the_place_in_the_batch():
    wanted, sizes = NOTHING.model_copy(update={"flip": "alternating"}), np.full((5, 2), 24)
    rows = np.array([11, 4, 90, 7, 32])
    one = draw(wanted, sizes, 24, np.random.default_rng(0), rows, 3).maps
    other = draw(wanted, sizes, 24, np.random.default_rng(9), rows[::-1], 3).maps
    assert np.array_equal(one, other[::-1])


class Highest:
    """Draws the upper end of every range, so that one change can be had at a time."""

    def uniform(self, low, high, size):
        return np.full(size, float(high))

    def random(self, size):
        return np.full(size, 0.25)


def highest_map(**wanted):
    given = NOTHING.model_copy(update=wanted)
    made = draw(given, np.full((1, 2), 24), 24, Highest(), np.zeros(1, np.int64), 0).maps[0]
    return np.vstack([made, [0, 0, 1]])


def test_composed_changes_equal_single_changes_one_after_the_other():
    together = highest_map(rotate_deg=25, shift=0.2, shift_x=0.1, zoom=(1.3, 1.3), flip="random")
    turn, zoom, flip = highest_map(rotate_deg=25), highest_map(zoom=(1.3, 1.3)), highest_map(flip="random")
    shift = np.array([[1, 0, 2.4], [0, 1, 4.8], [0, 0, 1]])
    assert np.allclose(together, zoom @ shift @ turn @ flip, atol=1e-12)


def test_a_turn_is_about_the_middle_by_its_angle():
    turn = highest_map(rotate_deg=90)
    assert np.allclose(turn @ [12, 12, 1], [12, 12, 1])
    assert np.allclose(np.abs(turn @ [24, 12, 1] - [12, 12, 1]), [0, 12, 0])


def test_a_zoom_of_two_shows_the_middle_half():
    zoom = highest_map(zoom=(2.0, 2.0))
    assert np.allclose(zoom @ [0, 0, 1], [6, 6, 1])
    assert np.allclose(zoom @ [24, 24, 1], [18, 18, 1])


@given(
    height=st.integers(8, 200),
    width=st.integers(8, 200),
    low=st.floats(0.05, 1),
    span=st.floats(0, 1),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=100, deadline=None)
def test_crops_stay_inside_of_the_picture(height, width, low, span, seed):
    wanted = NOTHING.model_copy(update={"crop_area": (low, low + span * (1 - low)), "flip": "random"})
    sizes = np.tile([height, width], (8, 1))
    maps = draw(wanted, sizes, 16, np.random.default_rng(seed), np.arange(8), 0).maps
    corners = np.array([[x, y, 1] for x, y in itertools.product((0, 16), repeat=2)])
    places = np.einsum("nij,cj->nci", maps, corners)
    assert places.min() > -1e-6
    assert (places.max(axis=(0, 1)) <= np.array([width, height]) + 1e-6).all()


def test_crops_have_the_areas_and_shapes_asked_for():
    wanted = NOTHING.model_copy(update={"crop_area": (0.25, 0.5), "crop_ratio": (0.8, 1.25)})
    maps = changes(wanted, noise(300), size_px=16).maps
    width, height = maps[:, 0, 0] * 16, maps[:, 1, 1] * 16
    assert 0.249 < (width * height / 576).min() < 0.3
    assert 0.45 < (width * height / 576).max() < 0.501
    assert 0.79 < (width / height).min() < (width / height).max() < 1.26


def test_erased_rectangles_have_the_share_of_pictures_and_the_rest_stays():
    pictures = noise(200)
    wanted = NOTHING.model_copy(update={"erase": 0.5})
    changed = on_bytes(list(pictures), changes(wanted, pictures))
    touched = [row for row in range(200) if (changed[row] != pictures[row]).any()]
    assert 70 < len(touched) < 130
    y, x = (changed[touched[0]] != pictures[touched[0]]).any(axis=2).nonzero()
    box = changed[touched[0], y.min() : y.max() + 1, x.min() : x.max() + 1]
    assert (box == box[0, 0]).all()


def test_colour_jitter_keeps_the_geometry_and_grey_pictures_stay_grey():
    grey = np.repeat(noise(8, channels=1), 3, axis=3)
    wanted = NOTHING.model_copy(update={"color": 0.5})
    changed = on_bytes(list(grey), changes(wanted, grey))
    spread = changed.max(axis=3).astype(int) - changed.min(axis=3)
    assert (changed != grey).any()
    assert spread.max() <= 1


def test_one_channel_pictures_change_as_the_same_picture_in_three_channels_does():
    pictures, wanted = noise(8, channels=1), NOTHING.model_copy(update={"color": 0.5})
    one, other = both(wanted, pictures)
    three, _ = both(wanted, np.repeat(pictures, 3, axis=3))
    assert (one != pictures).mean() > 0.5
    for changed in (one, other):
        assert np.abs(changed.astype(int) - three[..., :1]).max() <= 1


def test_pictures_of_different_sizes_come_out_alike():
    pictures = [noise(1, 40, 30)[0], noise(1, 24, 64)[0]]
    wanted = NOTHING.model_copy(update={"crop_area": (0.3, 1.0)})
    assert on_bytes(pictures, changes(wanted, pictures)).shape == (2, 24, 24, 3)


def test_the_seed_decides_everything():
    wanted = AugmentSettings(flip="random", rotate_deg=20, shift=0.2, color=0.3, erase=0.5, crop_area=(0.3, 1.0))
    one, again, other = (changes(wanted, noise(), seed=seed) for seed in (4, 4, 5))
    for name in ("maps", "colors", "boxes"):
        assert np.array_equal(getattr(one, name), getattr(again, name))
        assert not np.array_equal(getattr(one, name), getattr(other, name))
