import numpy as np
import pytest

from linnaeus.metrics.multiple import holm


def test_adjusted_p_values_are_those_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).random(50) ** 4
    np.testing.assert_allclose(holm(p), multitest.multipletests(p, method="holm")[1], atol=1e-14)


def test_three_p_values_worked_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])


def test_one_p_value_stays_and_none_stays_none():
    assert holm(np.array([0.03])).tolist() == [0.03]
    assert holm(np.array([])).tolist() == []


def test_no_adjusted_p_value_is_above_one():
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]


def test_even_weights_change_nothing():
    p = np.random.default_rng(1).random(20)
    np.testing.assert_allclose(holm(p, np.full(20, 0.3)), holm(p))


def test_a_test_with_nine_tenths_of_the_level_pays_a_ninth_more():
    assert holm(np.array([0.01, 0.5]), np.array([0.9, 0.1]))[0] == pytest.approx(0.01 / 0.9)


def test_false_alarms_among_all_stay_within_the_level():
    draw = np.random.default_rng(2)
    weights = np.r_[np.full(5, 1 / 5), np.full(45, 1 / 45)]
    alarms = [holm(draw.random(50), weights).min() <= 0.05 for _ in range(4000)]
    assert 0.04 < np.mean(alarms) < 0.06
