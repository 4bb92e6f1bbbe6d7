"""How near others are: to all pictures at once, and to some that came later."""

from __future__ import annotations

import numpy as np
import pytest

from linnaeus.verbs.audit import near
from linnaeus.verbs.audit.near import NEIGHBOURS, Near, nearest_others, nearest_with_new

N, NEW = 300, 12


@pytest.fixture(scope="module")
def features():
    draw = np.random.default_rng(0)
    return (draw.normal(size=(N, 6)) @ draw.normal(size=(6, 40)) + 2 + 0.1 * draw.normal(size=(N, 40))).astype("f")


def keys(n=N):
    """Every third picture is a copy of the one before."""
    return [f"key {row - (row % 3 == 2)}" for row in range(n)]


def grown(features, keys):
    first = nearest_others(features[:-NEW], keys[:-NEW])
    known = np.full((len(features), NEIGHBOURS), np.nan, np.float32)
    known[:-NEW] = first.similarities
    return nearest_with_new(features, keys, Near(known, first.turned))


def test_new_pictures_and_old_ones_have_the_neighbours_that_all_together_have(features):
    np.testing.assert_allclose(
        grown(features, keys()).similarities, nearest_others(features, keys()).similarities, rtol=1e-5
    )


def test_it_does_not_depend_on_the_size_of_blocks(features, monkeypatch):
    whole = grown(features, keys()).similarities
    monkeypatch.setattr("linnaeus.learn.components.BLOCK", 7)
    np.testing.assert_allclose(grown(features, keys()).similarities, whole, rtol=1e-5)


def test_new_pictures_are_compared_by_the_main_directions_of_the_set_before(features, monkeypatch):
    monkeypatch.setattr(near, "DIRECTIONS", 7)
    monkeypatch.setattr(near, "EXACT_UP_TO", 100)
    found = grown(features, keys())
    assert found.turned.shape == (40, 7)
    np.testing.assert_allclose(found.similarities, nearest_others(features, keys()).similarities, atol=2e-2)


def test_a_picture_without_features_has_no_neighbours_and_is_none(features):
    broken = features.copy()
    broken[[3, N - 1]] = np.nan
    found = grown(broken, keys())
    assert np.flatnonzero(np.isnan(found.similarities).any(axis=1)).tolist() == [3, N - 1]
    assert 3 not in found.rows


def test_where_others_are_few_the_farthest_stands_for_those_that_are_not_there(features):
    one_group = ["a"] * (N - NEW - 2) + ["b", "c"] + ["a"] * NEW
    found = grown(features, one_group).similarities[-1]
    assert (np.diff(found) <= 0).all()
    assert (found[1:] == found[1]).all()


def test_of_a_handful_of_pictures_nothing_is_told(features):
    assert not len(nearest_others(features[:NEIGHBOURS], keys(NEIGHBOURS)).rows)
