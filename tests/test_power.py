import numpy as np
import pytest
from scipy.stats import binomtest

from linnaeus.errors import SourceError
from linnaeus.metrics.power import across_seeds, mcnemar_power, smallest_difference


def test_mean_and_interval_over_seeds_are_those_of_scipy():
    from scipy.stats import t

    values = [0.91, 0.93, 0.92, 0.95]
    found = across_seeds(values)
    low, high = t.interval(0.95, 3, loc=np.mean(values), scale=np.std(values, ddof=1) / 2)
    assert (found.mean.low, found.mean.high) == pytest.approx((low, high))
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    assert found.mean.n == 4


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_what_so_many_seeds_show_is_what_statsmodels_says(n):
    power = pytest.importorskip("statsmodels.stats.power")
    values = np.random.default_rng(n).normal(0.9, 0.01, n)
    effect = power.tt_ind_solve_power(nobs1=n, alpha=0.05, power=0.8)
    assert across_seeds(values).smallest_difference == pytest.approx(effect * values.std(ddof=1), rel=1e-5)


def test_the_tables_of_cohen_give_a_difference_of_0_8_for_26_in_each_group():
    values = np.tile([0.0, 1.0], 13)
    found = across_seeds(values)
    assert found.smallest_difference / found.sd == pytest.approx(0.8, abs=0.01)


def test_the_interval_ends_at_the_limits_of_the_score():
    found = across_seeds([0.99, 1.0, 0.95], limits=(0, 1))
    assert found.mean.high == 1
    assert found.mean.low > 0


def test_seeds_that_agree_have_no_spread():
    found = across_seeds([0.9, 0.9, 0.9])
    assert (found.sd, found.smallest_difference) == pytest.approx((0, 0), abs=1e-12)


@pytest.mark.parametrize("values", [[], [0.9], [0.9, np.nan]])
def test_a_spread_needs_two_numbers(values):
    with pytest.raises(SourceError, match="two numbers"):
        across_seeds(values)


def test_the_power_is_how_often_the_test_rejects():
    draw, n, difference, disagreement = np.random.default_rng(0), 200, 0.06, 0.12
    chances = [(disagreement + difference) / 2, (disagreement - difference) / 2, 1 - disagreement]
    drawn = draw.multinomial(n, chances, size=3000)
    rejects = [b + c > 0 and binomtest(int(b), int(b + c)).pvalue <= 0.05 for b, c, _ in drawn]
    assert mcnemar_power(n, difference, disagreement) == pytest.approx(np.mean(rejects), abs=0.025)


def test_without_a_difference_the_exact_test_rejects_at_most_at_its_level():
    assert 0.01 < mcnemar_power(300, 0.0, 0.2) <= 0.05


def test_for_many_pictures_the_difference_is_that_of_connors_formula():
    from scipy.stats import norm

    n, disagreement = 20_000, 0.1
    found = smallest_difference(n, disagreement)
    needed = (norm.ppf(0.975) * disagreement**0.5 + norm.ppf(0.8) * (disagreement - found**2) ** 0.5) ** 2 / found**2
    assert needed == pytest.approx(n, rel=0.03)


def test_the_difference_found_has_the_power_asked_for():
    found = smallest_difference(400, 0.1)
    assert mcnemar_power(400, found, 0.1) == pytest.approx(0.8, abs=1e-6)


def test_more_pictures_show_smaller_differences():
    found = [smallest_difference(n, 0.08) for n in (50, 100, 400, 1600, 10_000)]
    assert found == sorted(found, reverse=True)


def test_models_that_never_disagreed_need_a_few_pictures_all_one_way():
    found = smallest_difference(100, 0.0)
    assert 6 / 100 < found < 10 / 100


@pytest.mark.parametrize(("n", "possible"), [(0, False), (1, False), (5, False), (6, True)])
def test_fewer_than_six_pictures_show_nothing(n, possible):
    assert (smallest_difference(n, 0.5) is not None) == possible


def test_a_million_pictures_are_no_trouble():
    assert 0 < smallest_difference(1_000_000, 0.05) < 0.001
