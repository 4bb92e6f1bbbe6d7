"""explain/likeness: how alike two heat maps are, against SciPy and scikit-image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from linnaeus.verbs.explain.likeness import rank_correlation, smaller, structural_similarity


def two_maps(seed, side=16):
    draw = np.random.default_rng(seed)
    one = np.maximum(draw.normal(size=(side, side)), 0)
    return one / one.max(), np.clip(0.5 * one / one.max() + 0.5 * draw.random((side, side)), 0, 1)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_rank_correlation_is_scipys(seed):
    one, other = two_maps(seed)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one.ravel(), other.ravel())[0], abs=1e-12)


@pytest.mark.parametrize("side", [9, 16, 64])
def test_structural_similarity_is_scikit_images(side):
    metrics = pytest.importorskip("skimage.metrics")
    one, other = two_maps(1, side)
    expected = metrics.structural_similarity(one, other, data_range=1.0)
    assert structural_similarity(one, other) == pytest.approx(expected, abs=1e-9)


def test_a_constant_map_is_like_constant_maps_only():
    flat, other = np.zeros((8, 8)), two_maps(0, 8)[0]
    assert rank_correlation(flat, flat + 1) == 1
    assert rank_correlation(flat, other) == rank_correlation(other, flat) == 0


def test_equal_maps_are_alike_and_opposite_ones_are_not():
    one = two_maps(2)[0]
    assert rank_correlation(one, one) == pytest.approx(1) and structural_similarity(one, one) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(-1)


def test_large_maps_are_compared_smaller_and_small_ones_as_they_are():
    assert smaller(np.ones((200, 200), np.float32)).shape == (64, 64)
    assert smaller(np.ones((32, 32), np.float32)).shape == (32, 32)
