"""The second executor of random changes; tests/test_augment.py compares the two on every setting."""

import numpy as np
import pytest
import torch

from linnaeus.config import AugmentSettings
from linnaeus.data.augment import draw, on_bytes
from linnaeus.data.gathered import Moves, Store, on_batch

CPU = torch.device("cpu")
SIZES = [(24, 31), (40, 24), (24, 24), (33, 29)]


def noise(sizes, channels=3):
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*size, channels), dtype=np.uint8) for size in sizes]


def store(pictures):
    sizes = np.array([picture.shape[:2] for picture in pictures])
    flat = [picture.reshape(-1, picture.shape[-1]) for picture in pictures]
    return Store.of(flat, sizes, pictures[0].shape[-1], CPU)


def drawn(pictures, seed=0, **wanted):
    settings = AugmentSettings(**{"flip": "none", "shift": 0, "color": 0, "fill": "reflect"} | wanted)
    sizes = np.array([picture.shape[:2] for picture in pictures])
    return draw(settings, sizes, 16, np.random.default_rng(seed), np.arange(len(pictures)), 0)


@pytest.mark.parametrize("fill", ["edge", "reflect", "black"])
@pytest.mark.parametrize("channels", [1, 3])
def test_mirrored_and_moved_pictures_of_any_size_are_the_same_bytes_on_both_executors(fill, channels):
    pictures = noise(SIZES * 5, channels)
    changes = drawn(pictures, flip="random", shift=0.5, fill=fill)
    moves = Moves.of([changes])
    assert moves.whole
    got = on_batch(store(pictures), torch.arange(len(pictures)), moves).numpy()
    assert np.array_equal(got, on_bytes(pictures, changes))


def test_pictures_are_chosen_by_their_number():
    pictures = noise(SIZES)
    chosen = [2, 0, 0, 3]
    changes = drawn([pictures[k] for k in chosen])
    got = on_batch(store(pictures), torch.tensor(chosen), Moves.of([changes])).numpy()
    assert np.array_equal(got, on_bytes([pictures[k] for k in chosen], changes))


def test_joined_changes_are_those_of_each_batch():
    pictures = noise(SIZES)
    both = [drawn(pictures, seed, rotate_deg=20, color=0.3, erase=0.5) for seed in (1, 2)]
    joined = Moves.of(both)
    for number, changes in enumerate(both):
        part, alone = joined.part(4 * number, 4 * number + 4), Moves.of([changes])
        for name in ("maps", "colors", "boxes"):
            assert torch.equal(getattr(part, name), getattr(alone, name))
    assert not joined.whole


def test_a_turn_beyond_the_edge_is_filled_with_black():
    white = [np.full((16, 16, 3), 255, np.uint8)]
    changes = drawn(white, rotate_deg=45, zoom=(0.4, 0.4), fill="black")
    got = on_batch(store(white), torch.tensor([0]), Moves.of([changes]))[0]
    assert got[0, 0].tolist() == got[15, 15].tolist() == [0, 0, 0]
    assert got[8, 8].tolist() == [255, 255, 255]


def test_a_picture_much_smaller_than_what_is_asked_for_is_mirrored_again_and_again():
    tiny = noise([(3, 5)])
    changes = drawn(tiny)
    got = on_batch(store(tiny), torch.tensor([0]), Moves.of([changes])).numpy()
    assert np.array_equal(got, on_bytes(tiny, changes))
