from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from linnaeus.metrics import by_column, by_row, clustered_order, worst_pairs


def blocks(K, size, seed=0):
    """Make a confusion matrix whose classes are confused within hidden groups of `size`; return it and the group of each."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(K) // size
    alike = group[:, None] == group[None, :]
    return np.diag(np.full(K, 30)) + rng.poisson(1.0, (K, K)) * alike + (rng.random((K, K)) < 0.002), group


def test_rows_and_columns_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 5, 200), rng.integers(0, 5, 200)
    counts = confusion_matrix(true, predicted)
    assert by_row(counts) == pytest.approx(confusion_matrix(true, predicted, normalize="true"), abs=1e-12)
    assert by_column(counts) == pytest.approx(confusion_matrix(true, predicted, normalize="pred"), abs=1e-12)


def test_a_class_without_pictures_has_a_row_of_zeros():
    assert by_row(np.array([[2, 2], [0, 0]])).tolist() == [[0.5, 0.5], [0, 0]]


@pytest.mark.parametrize("K", [20, 200])
def test_classes_that_are_confused_come_to_stand_side_by_side(K):
    counts, group = blocks(K, 5)
    found = group[clustered_order(counts)]
    assert np.mean(found[1:] == found[:-1]) > 0.7
    assert np.mean(group[1:] == group[:-1]) < 0.3


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10**6), st.floats(0, 1))
def test_every_class_is_in_the_order_once(K, seed, share):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 9, (K, K)) * (rng.random((K, K)) < share)
    assert sorted(clustered_order(counts)) == list(range(K))


def test_classes_that_are_never_confused_stay_where_they_are():
    assert clustered_order(np.diag([5, 0, 7, 1])).tolist() == [0, 1, 2, 3]


def test_the_worst_pairs_come_first_with_their_share_of_the_class():
    counts = np.array([[90, 6, 4], [0, 10, 0], [6, 0, 14]])
    found = worst_pairs(counts, ("a", "b", "c"))
    assert [(one.true, one.predicted, one.count) for one in found] == [("c", "a", 6), ("a", "b", 6), ("a", "c", 4)]
    assert found[0].share.value == 0.3
    assert found[0].share.n == 20
    assert len(worst_pairs(counts, ("a", "b", "c"), most=1)) == 1


def test_without_mistakes_there_is_no_worst_pair():
    assert worst_pairs(np.diag([3, 4]), ("a", "b")) == ()
