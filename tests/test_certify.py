import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from linnaeus.verbs.stress.certify import Certificate, certificate, lower_bound


@pytest.mark.parametrize(("hits", "n"), [(990, 1000), (600, 1000), (3, 5), (1, 400)])
def test_the_bound_is_that_of_clopper_and_pearson(hits, n):
    theirs = binomtest(hits, n, alternative="greater").proportion_ci(0.999, "exact").low
    assert lower_bound(hits, n, 0.001) == pytest.approx(theirs, abs=1e-9)


def test_no_hit_bounds_nothing_and_all_hits_leave_the_root_of_alpha():
    assert lower_bound(0, 100, 0.001) == 0
    assert lower_bound(100, 100, 0.001) == pytest.approx(0.001 ** (1 / 100))


def test_the_radius_follows_the_papers_formula():
    found = certificate(np.array([0, 32, 0]), np.array([1, 99_000, 999]), sigma=0.5)
    assert found.answer == 1
    assert found.radius == pytest.approx(0.5 * norm.ppf(lower_bound(99_000, 100_000, 0.001)))


def test_all_votes_for_one_class_give_the_largest_radius_that_so_few_can_show():
    found = certificate(np.array([32, 0]), np.array([400, 0]), sigma=0.25)
    assert found.radius == pytest.approx(0.25 * norm.ppf(0.001 ** (1 / 400)))


def test_it_abstains_where_the_majority_is_not_sure():
    assert certificate(np.array([20, 12]), np.array([210, 190]), sigma=0.25) == Certificate(-1, 0.0)


def test_the_class_is_chosen_by_other_copies_than_bound_it():
    assert certificate(np.array([0, 32]), np.array([400, 0]), sigma=0.25).answer == -1


def test_a_certificate_holds_for_a_network_that_is_known(monkeypatch):
    """For a linear border at distance d the smoothed answer turns at exactly d: no certificate may reach further."""
    from linnaeus.talk import Talk
    from linnaeus.verbs.stress.certify import certified
    from test_attacks import plain

    target, sample = plain([100, 120, 126, 140])
    found = certified(target, sample, 0.25, 0, Talk())
    distances = np.abs(np.array([100, 120, 126, 140]) - 127.5) / 255 * math.sqrt(8 * 8 * 3)
    for one in found:
        assert one["accuracy"]["value"] <= (distances >= one["radius"]).mean()
    assert found[0]["accuracy"]["value"] >= 0.75
    assert found[1]["accuracy"]["value"] >= 0.5
    again = certified(target, sample, 0.25, 0, Talk())
    assert found == again
