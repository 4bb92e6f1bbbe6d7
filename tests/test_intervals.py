from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.stats import binom, binomtest

from linnaeus.metrics import intervals
from linnaeus.metrics.intervals import (
    Bootstrap,
    basic_or_percentile,
    percentile,
    resample_sums,
    resample_weights,
    resamples_for,
    spread_ends,
    strata_of,
    units_of,
    wilson,
)


def test_wilson_gives_the_textbook_interval():
    # Newcombe (1998), Stat. Med. 17, 857-872, table I, method 3: 81 of 263.
    found = wilson(81, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


@given(st.integers(1, 5000), st.data())
def test_wilson_holds_its_value_and_stays_within_0_and_1(n, data):
    right = data.draw(st.integers(0, n))
    found = wilson(right, n)
    assert 0 <= found.low <= found.value == right / n <= found.high <= 1
    assert found.low < found.high


def test_wilson_of_nothing_knows_nothing():
    assert (wilson(0, 0).low, wilson(0, 0).high, wilson(0, 0).n) == (0, 1, 0)


@given(st.integers(1, 500), st.data())
def test_wilson_equals_scipy(n, data):
    right = data.draw(st.integers(0, n))
    expected = binomtest(right, n).proportion_ci(method="wilson")
    found = wilson(right, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
def test_wilson_covers_the_truth_about_95_times_of_100(share):
    ends = [wilson(right, 60) for right in range(61)]
    held = np.array([one.low <= share <= one.high for one in ends])
    assert 0.93 <= binom.pmf(np.arange(61), 60, share)[held].sum() <= 0.98


def test_resampled_means_spread_as_theory_says():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [2, 5, 40])
    values = rng.normal(size=47) + labels
    sums = np.concatenate(list(resample_sums(values[:, None], np.arange(47), labels, 0, 20_000)), axis=1)[0]
    expected = sum((labels == k).sum() * values[labels == k].var(ddof=1) for k in range(3))
    assert sums.mean() == pytest.approx(values.sum(), abs=0.3)
    assert sums.var() == pytest.approx(expected, rel=0.04)


def test_every_class_keeps_its_number_of_pictures():
    labels = np.repeat([0, 1, 2], [3, 5, 40])
    counts = next(resample_sums(np.eye(3)[labels], np.arange(48), labels, 0, 50))
    assert counts == pytest.approx(np.repeat([[3], [5], [40]], 50, axis=1), abs=1e-4)


def test_pictures_of_a_group_are_drawn_together():
    labels = np.repeat([0, 1], 12)
    units = units_of(len(labels), [f"g{i // 3}" for i in range(24)])
    weights = next(resample_weights(units, labels, 0, 20)).reshape(20, 8, 3)
    assert (weights == weights[:, :, :1]).all()
    assert weights.sum(axis=(1, 2)) == pytest.approx(np.full(20, 24))


def test_pictures_without_a_group_belong_to_nobody():
    assert units_of(5, ["a", "", "b", "a", ""]).tolist() == [0, 1, 2, 0, 3]
    assert units_of(3, None).tolist() == [0, 1, 2]


def test_sums_are_the_same_for_many_columns_and_for_few(monkeypatch):
    columns = csr_array(np.random.default_rng(0).random((50, 20)))
    labels = np.arange(50) % 4
    dense = next(resample_sums(columns, np.arange(50), labels, 0, 30))
    monkeypatch.setattr(intervals, "DENSE_COLUMNS", 1)
    assert next(resample_sums(columns, np.arange(50), labels, 0, 30)) == pytest.approx(dense, rel=1e-5)


def test_sums_and_weights_draw_alike():
    values, labels = np.random.default_rng(0).random(30), np.arange(30) % 3
    weights = next(resample_weights(np.arange(30), labels, 5, 40))
    assert next(resample_sums(values[:, None], np.arange(30), labels, 5, 40))[0] == pytest.approx(
        weights @ values, rel=1e-5
    )


def test_classes_of_one_picture_are_one_stratum():
    strata = strata_of(np.arange(7), np.array([0, 1, 2, 3, 3, 3, 2]))
    assert [one.tolist() for one in strata] == [[0, 1], [2, 6], [3, 4, 5]]


def test_a_lone_picture_joins_the_smallest_other_class():
    assert [one.tolist() for one in strata_of(np.arange(6), np.array([0, 1, 1, 1, 2, 2]))] == [[0, 4, 5], [1, 2, 3]]


def test_very_many_pictures_get_fewer_resamples():
    assert resamples_for(np.arange(100_000), 10_000) == 10_000
    assert resamples_for(np.arange(1_000_000), 10_000) == 2000
    assert resamples_for(np.arange(1_000_000) // 100, 10_000) == 10_000


@given(st.floats(0, 1), st.floats(0, 0.5), st.integers(1, 1000), st.floats(1, 1000))
def test_ends_of_any_spread_hold_the_value_within_its_limits(value, spread, few, freedom):
    low, high = spread_ends(value, spread, few=few, freedom=freedom)
    assert 0 <= low <= value <= high <= 1


def test_the_spread_of_a_proportion_gives_back_wilson():
    low, high = spread_ends(0.9, (0.9 * 0.1 / 80) ** 0.5, few=1)
    assert (low, high) == pytest.approx((wilson(72, 80).low, wilson(72, 80).high), abs=1e-12)


def test_few_groups_make_the_interval_wider():
    values = np.random.default_rng(0).normal(0.8, 0.02, 1000)
    few, many = (Bootstrap(n, n - 1, by_group=True).wilson(0.8, values, 500) for n in (4, 400))
    assert few.high - few.low > 1.5 * (many.high - many.low)


def test_the_middle_95_percent_of_resamples_are_found():
    found = percentile(0.5, np.linspace(0, 1, 1001), 10, (0.0, 1.0))
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))


def test_an_upward_bias_stretches_the_interval_downwards():
    found = basic_or_percentile(0.1, np.linspace(0.1, 0.2, 1001), 10, (0.0, 1.0))
    assert found.low == pytest.approx(0.0025)
    assert found.high > 0.19
