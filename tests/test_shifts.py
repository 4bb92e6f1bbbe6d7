import numpy as np
import pytest

from linnaeus.verbs.stress.shifts import SHIFTS, shift, translated

KINDS = {one.name: one for one in SHIFTS}


def picture(shape=(40, 40, 3), seed=0):
    import cv2

    noise = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2).reshape(shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(4, 4, 3), (16, 16, 1), (31, 40, 3)])
def test_every_shift_keeps_shape_and_type(kind, shape):
    one = KINDS[kind]
    for strength in one.strengths:
        moved = shift(picture(shape), one, strength, (0,))
        assert moved.shape == shape
        assert moved.dtype == np.uint8


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_every_byte(kind):
    one = KINDS[kind]
    first, again = (shift(picture(), one, one.strengths[-1], (3, 1)) for _ in range(2))
    assert np.array_equal(first, again)


@pytest.mark.parametrize("kind", ["translation", "rotation", "rescaling", "jpeg quality"])
def test_stronger_changes_more(kind):
    one = KINDS[kind]
    weak, strong = (
        shift(picture(), one, strength, (0,)).astype(float) for strength in (one.strengths[0], one.strengths[-1])
    )
    assert np.abs(strong - picture()).mean() > np.abs(weak - picture()).mean()


def test_a_translation_moves_every_byte_by_whole_pixels_in_eight_directions():
    here, found = picture(), set()
    for seed in range(60):
        moved = translated(here, 5, np.random.default_rng(seed))
        for down, right in [(y, x) for y in (-2, 0, 2) for x in (-2, 0, 2) if (y, x) != (0, 0)]:
            if np.array_equal(moved[4:-4, 4:-4], np.roll(here, (down, right), (0, 1))[4:-4, 4:-4]):
                found.add((down, right))
    assert len(found) == 8


def test_the_direction_is_the_same_at_all_strengths():
    one = KINDS["rotation"]
    small, large = (shift(picture(), one, degrees, (5,)) for degrees in (2, 3))
    other = shift(picture(), one, -3, (5,))
    assert np.abs(small.astype(int) - large).mean() < np.abs(small.astype(int) - other).mean()


def test_zooming_in_and_out_goes_both_ways():
    ring = np.zeros((64, 64, 1), np.uint8)
    ring[24:40, 24:40] = 255
    inside = {factor: shift(ring, KINDS["zoom"], factor, (0,)).mean() for factor in (1.2, 1.0, 0.8)}
    assert inside[1.2] > inside[1.0] > inside[0.8]
