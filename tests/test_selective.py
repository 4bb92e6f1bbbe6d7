from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from linnaeus.errors import SettingsError, SourceError
from linnaeus.metrics.selective import (
    _fewest,
    aurc,
    excess_aurc,
    measure_promise,
    promise,
    risk_coverage,
)
from linnaeus.records import Predictions


def answers(confidence, wrong):
    """Predictions of two classes, each answered as often, with the given confidences."""
    confidence, n = np.asarray(confidence, dtype=float), len(confidence)
    answer = np.random.default_rng(5).integers(0, 2, n)
    p = np.stack([confidence, 1 - confidence], axis=1)
    p[answer == 1] = p[answer == 1, ::-1]
    return Predictions(p, answer ^ np.asarray(wrong).astype(int), tuple(map(str, range(n))), ("a", "b"))


def drawn(rng, n, error):
    """Confidences crowded at 1, as those of networks are, and errors of probability error(confidence)."""
    confidence = 1 - 0.5 * rng.beta(0.4, 2.0, n)
    return answers(confidence, rng.random(n) < error(confidence))


MANY = np.sort(1 - 0.5 * np.random.default_rng(99).beta(0.4, 2.0, 400_000))[::-1]


def true_errors(error):
    """The error among answered pictures, as the threshold falls through `MANY`."""
    return np.cumsum(error(MANY)) / np.arange(1, len(MANY) + 1)


ERRORS = {
    "calibrated": lambda c: 1 - c,
    "too sure": lambda c: 0.03 + 1.2 * (1 - c),
    "sharp": lambda c: np.where(c > 0.9, 0.01, 0.4),
}


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize(("n", "max_error"), [(150, 0.1), (600, 0.05)])
def test_the_promise_is_broken_in_at_most_five_percent_of_draws(name, n, max_error):
    rng = np.random.default_rng(0)
    thresholds = [promise(drawn(rng, n, ERRORS[name]), max_error).threshold for _ in range(1000)]
    made = np.array([one for one in thresholds if one is not None])
    answered = np.searchsorted(-MANY, -made, side="right")
    broken = (true_errors(ERRORS[name])[answered - 1] > max_error).sum() / 1000
    assert broken <= 0.05 + 2 * (0.05 * 0.95 / 1000) ** 0.5
    assert len(made) > 20, "a promise that is never made can't be broken"


def test_a_network_that_is_just_not_good_enough_is_rarely_promised():
    rng = np.random.default_rng(0)
    made = [promise(drawn(rng, 600, lambda c: 0.101 + 0 * c), 0.1).possible for _ in range(600)]
    assert np.mean(made) <= 0.05 + 2 * (0.05 * 0.95 / 600) ** 0.5


def test_a_promise_for_candidates_holds_for_the_best_of_them():
    rng, broken = np.random.default_rng(0), 0
    for _ in range(100):
        # Ten networks, all wrong in 6 %: the held pictures choose the luckiest.
        found = max(
            (
                promise(answers(rng.uniform(0.5, 1, 200), rng.random(200) < 0.06), 0.05, candidates=10)
                for _ in range(10)
            ),
            key=lambda one: one.accepted,
        )
        broken += found.possible
    assert broken / 100 <= 0.09


def test_the_most_is_answered_that_the_promise_allows():
    rng = np.random.default_rng(0)
    found = promise(drawn(rng, 20_000, ERRORS["sharp"]), 0.05)
    assert found.possible
    answered = np.searchsorted(-MANY, -found.threshold, side="right")
    assert true_errors(ERRORS["sharp"])[answered - 1] == pytest.approx(0.05, abs=0.01)


def test_a_network_that_is_good_enough_answers_everything():
    rng = np.random.default_rng(0)
    found = promise(drawn(rng, 1000, lambda c: 0.01 + 0 * c), 0.05)
    assert (found.threshold, found.accepted) == (0.0, 1000)
    assert found.why.startswith("all 1000 held pictures had")


@pytest.mark.parametrize(("max_error", "needed"), [(0.1, 29), (0.05, 59), (0.01, 299), (0.005, 598)])
def test_it_says_how_many_pictures_a_promise_takes_at_least(max_error, needed):
    few, enough = (promise(answers(np.linspace(0.6, 1, n), np.zeros(n)), max_error) for n in (needed - 1, needed))
    assert not few.possible
    assert f"{needed} held pictures are needed" in few.why
    assert enough.threshold == 0


def test_the_promise_is_that_of_clopper_and_pearson():
    for errors in range(6):
        n = int(_fewest(np.array([errors]), 0.05, 0.05)[0])
        assert binom.cdf(errors, n, 0.05) <= 0.05 < binom.cdf(errors, n - 1, 0.05)


def test_more_candidates_take_more_pictures():
    held = answers(np.linspace(0.6, 1, 100), np.zeros(100))
    assert promise(held, 0.05).possible
    assert not promise(held, 0.05, candidates=20).possible
    assert "chose among 3 networks" in promise(held, 0.05, candidates=3).why


def test_it_says_when_more_pictures_would_not_help():
    rng = np.random.default_rng(0)
    found = promise(answers(rng.uniform(0.5, 1, 500), rng.random(500) < 0.5), 0.01)
    assert not found.possible
    assert "has to become better" in found.why


def test_it_says_how_many_pictures_might_be_enough():
    wrong = np.zeros(100)
    wrong[::30] = 1
    found = promise(answers(np.linspace(1, 0.6, 100), wrong), 0.05)
    assert not found.possible
    more = int(found.why.split("about ")[1].split()[0])
    assert promise(answers(np.linspace(1, 0.6, 2 * more), np.arange(2 * more) % 30 == 0), 0.05).possible


def test_equally_confident_pictures_are_never_parted():
    wrong = np.zeros(400)
    wrong[395:] = 1
    found = promise(answers(np.repeat([0.99, 0.9, 0.6], [120, 200, 80]), wrong), 0.01)
    assert found.accepted == 320
    held = answers(np.repeat([0.99, 0.9], [100, 100]), np.repeat([0, 1], [100, 100]))
    assert promise(held, 0.05).accepted == 100
    assert 0.9 < promise(held, 0.05).threshold <= 0.99


def test_a_few_surely_wrong_pictures_do_not_end_the_search():
    confidence, wrong = np.linspace(1, 0.6, 2000), np.zeros(2000)
    wrong[:8] = 1
    found = promise(answers(confidence, wrong), 0.05)
    assert found.accepted == 2000


def test_no_labelled_picture_promises_nothing():
    empty = answers(np.zeros(0), np.zeros(0))
    assert not promise(empty, 0.05).possible
    assert "there are 0" in promise(empty, 0.05).why
    assert risk_coverage(empty) == ()
    assert excess_aurc(empty) == 0


@pytest.mark.parametrize("bad", [{"max_error": 0.0}, {"max_error": 1.5}, {"confidence_level": 1.0}, {"candidates": 0}])
def test_promises_that_cannot_be_meant_are_refused(bad):
    with pytest.raises(SettingsError, match=r"should be"):
        promise(answers([0.9], [0]), **{"max_error": 0.05, **bad})


def test_probabilities_that_are_no_numbers_are_refused():
    with pytest.raises(SourceError, match="NaN in 1 rows"):
        promise(answers([0.9, np.nan], [0, 0]), 0.05)


def test_what_a_threshold_does_is_counted():
    test = answers([0.9, 0.8, 0.7, 0.6], [0, 1, 0, 1])
    coverage, error = measure_promise(0.7, test)
    assert (coverage.value, error.value, error.n) == (0.75, 1 / 3, 3)
    assert measure_promise(0.95, test)[1].n == 0


def test_the_curve_counts_wrong_answers_from_the_surest_on():
    curve = risk_coverage(answers([0.9, 0.8, 0.8, 0.6], [0, 1, 0, 1]))
    assert [(point.coverage, point.risk, point.threshold) for point in curve] == [
        (0.25, 0, 0.9),
        (0.75, 1 / 3, 0.8),
        (1, 0.5, 0.6),
    ]
    assert all(point.low <= point.risk <= point.high for point in curve)


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    rng = np.random.default_rng(0)
    curve = risk_coverage(drawn(rng, 5000, ERRORS["calibrated"]))
    assert len(curve) == 200
    assert curve[-1].coverage == 1
    assert curve[0].coverage == 1 / 5000


def test_the_area_is_the_mean_of_the_risks():
    rng = np.random.default_rng(0)
    wrong = rng.random(300) < 0.3
    confidence = rng.permutation(np.linspace(0.5, 1, 300))
    order = np.argsort(-confidence)
    expected = np.mean(np.cumsum(wrong[order]) / np.arange(1, 301))
    assert aurc(answers(confidence, wrong)).value == pytest.approx(expected, abs=1e-12)


def test_the_area_of_equal_confidences_is_the_mean_over_their_orders():
    rng = np.random.default_rng(0)
    confidence, wrong = np.repeat([0.9, 0.7], 4), np.array([0, 0, 1, 0, 1, 1, 0, 0])
    areas = []
    for _ in range(4000):
        order = np.lexsort((rng.random(8), -confidence))
        areas.append(np.mean(np.cumsum(wrong[order]) / np.arange(1, 9)))
    assert aurc(answers(confidence, wrong)).value == pytest.approx(np.mean(areas), abs=0.005)


def test_the_interval_of_the_area_holds_the_truth():
    rng = np.random.default_rng(0)
    truth = aurc(drawn(rng, 100_000, ERRORS["calibrated"])).value
    found = [aurc(drawn(rng, 200, ERRORS["calibrated"]), seed=seed) for seed in range(60)]
    assert np.mean([one.low <= truth <= one.high for one in found]) > 0.88


def test_answers_that_are_all_right_have_an_area_of_nothing_yet_an_interval():
    found = aurc(answers(np.linspace(0.55, 1, 20), np.zeros(20)))
    assert (found.value, found.low) == (0, 0)
    assert found.high > 0.1


def test_answers_that_are_all_wrong_have_an_area_of_one_and_an_interval():
    found = aurc(answers(np.linspace(0.55, 1, 20), np.ones(20)))
    assert (found.value, found.high) == (pytest.approx(1), 1)
    assert found.low < 0.9


def test_a_network_is_not_denied_the_promise_that_all_its_answers_keep():
    # Wrong just where the sequence of tests comes by, and nowhere else.
    wrong = np.zeros(400)
    wrong[150:160] = 1
    assert promise(answers(np.linspace(1, 0.6, 400), wrong), 0.05).accepted == 400


def test_the_excess_area_is_nothing_where_wrong_answers_come_last():
    confidence = np.linspace(1, 0.6, 50)
    assert excess_aurc(answers(confidence, np.arange(50) >= 40)) == pytest.approx(0, abs=1e-12)
    assert excess_aurc(answers(confidence, np.arange(50) < 10)) > 0.3
