import numpy as np
import pytest

from linnaeus.errors import SettingsError
from linnaeus.metrics.gate import non_inferior, pictures_for


def right(n, wrong):
    answers = np.ones(n, dtype=bool)
    answers[list(wrong)] = False
    return answers


def test_a_model_that_answers_alike_passes_on_many_pictures():
    assert non_inferior(right(1000, range(50)), right(1000, range(50)), 0.005).passed


def test_a_model_that_loses_much_is_called_worse():
    verdict = non_inferior(right(1000, []), right(1000, range(60)), 0.01)
    assert verdict.verdict == "worse"
    assert verdict.difference.value == pytest.approx(-0.06)


def test_few_pictures_show_nothing_and_say_how_many_would():
    verdict = non_inferior(right(100, []), right(100, []), 0.005)
    assert verdict.verdict == "not shown"
    assert f"{pictures_for(0.005)}" in verdict.why


@pytest.mark.parametrize("candidates", [1, 12])
@pytest.mark.parametrize("max_drop", [0.005, 0.01, 0.03])
def test_the_number_named_is_the_first_that_suffices(max_drop, candidates):
    n = pictures_for(max_drop, candidates=candidates)
    assert non_inferior(right(n, []), right(n, []), max_drop, candidates=candidates).passed
    assert not non_inferior(right(n - 1, []), right(n - 1, []), max_drop, candidates=candidates).passed


def test_a_model_exactly_at_the_margin_passes_in_at_most_five_of_a_hundred_cases():
    draw, passed = np.random.default_rng(0), 0
    for _ in range(600):
        before = draw.random(500) < 0.9
        after = before.copy()
        # It loses 4 points and gains 2: two points in all.
        after[before & (draw.random(500) < 0.04 / 0.9)] = False
        after[~before & (draw.random(500) < 0.02 / 0.1)] = True
        passed += non_inferior(before, after, 0.02).passed
    assert passed / 600 < 0.08


def test_of_twelve_models_at_the_margin_one_passes_in_at_most_five_of_a_hundred_cases():
    draw, passed = np.random.default_rng(0), 0
    before = np.ones(400, dtype=bool)
    for _ in range(200):
        passed += any(non_inferior(before, draw.random(400) > 0.03, 0.03, candidates=12).passed for _ in range(12))
    assert passed / 200 < 0.08


def test_pictures_that_stand_and_fall_with_their_group_are_no_more_than_groups():
    draw, passed = np.random.default_rng(0), {"groups": 0, "alone": 0}
    groups = np.repeat([f"patient {n}" for n in range(200)], 10)
    for _ in range(300):
        # One patient of ten loses half of the pictures, which is five points in all: exactly the margin.
        after = ~(np.repeat(draw.random(200) < 0.1, 10) & (draw.random(2000) < 0.5))
        for name, given in {"groups": groups.tolist(), "alone": None}.items():
            passed[name] += non_inferior(right(2000, []), after, 0.05, groups=given).passed
    assert passed["groups"] / 300 < 0.08
    assert passed["alone"] / 300 > 0.15, "else this test would show nothing"


def test_pictures_without_a_group_and_a_single_group_are_no_error():
    alone, without = (non_inferior(right(50, []), right(50, [3]), 0.1, groups=given) for given in (None, [""] * 50))
    assert alone == without
    assert non_inferior(right(50, []), right(50, [3]), 0.1, groups=["a"] * 50).difference.low == -1


def test_models_that_share_the_level_have_wider_intervals_that_say_so():
    one, many = (non_inferior(right(1000, []), right(1000, [1, 2]), 0.01, candidates=count) for count in (1, 10))
    assert one.passed
    assert many.difference.low < one.difference.low
    assert (one.confidence_level, many.confidence_level) == pytest.approx((0.9, 0.99))
    assert "99 % interval" in many.why


def test_changes_that_cancel_out_widen_the_interval():
    same = non_inferior(right(400, []), right(400, []), 0.02).difference
    swapped = non_inferior(right(400, range(8)), right(400, range(8, 16)), 0.02).difference
    assert swapped.value == same.value == 0
    assert swapped.low < same.low


@pytest.mark.parametrize("max_drop", [0, 1, -0.1])
def test_a_drop_out_of_range_is_refused(max_drop):
    with pytest.raises(SettingsError):
        non_inferior(right(10, []), right(10, []), max_drop)
