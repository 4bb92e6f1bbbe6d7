"""The learning curve, and what twice the data would bring."""

from __future__ import annotations

import json

import numpy as np
import pytest

from linnaeus.verbs.audit.enough import SHARES, enough, fit_power_laws


def blobs(each, K=3, apart=1.0, D=40, seed=0):
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(K), each)
    centres = np.random.default_rng(9).normal(0, apart, (K, D))
    return (centres[labels] + draw.normal(0, 3, (len(labels), D))).astype(np.float32), labels


def keys(labels):
    return [str(row) for row in range(len(labels))]


@pytest.fixture(scope="module")
def measured():
    x, y = blobs(150)
    return enough(x, y, keys(y))


def test_a_known_power_law_is_found_again():
    sizes = np.array([100, 200, 400, 800, 1600.0])
    law = fit_power_laws(sizes, (0.05 + 0.3 * (sizes / 1600) ** -0.6)[None] * 1.0, np.ones(5))
    assert law.exponent[0] == pytest.approx(0.6, abs=0.013)
    assert law.error(3200)[0] == pytest.approx(0.05 + 0.3 * 2**-0.6, abs=1e-3)


def test_how_many_pictures_an_error_needs_is_the_inverse_of_the_error():
    sizes = np.array([100, 200, 400, 800.0])
    law = fit_power_laws(sizes, ((sizes / 800) ** -0.5)[None] * 0.1, np.ones(4))
    assert law.pictures_for(law.error(5000.0))[0] == pytest.approx(5000)
    assert law.pictures_for(np.array([-0.1]))[0] == np.inf


def test_a_curve_that_falls_is_taken_as_flat():
    law = fit_power_laws(np.array([100, 200, 400.0]), np.array([[0.1, 0.2, 0.3]]), np.ones(3))
    assert law.error(100)[0] == law.error(1e6)[0] == pytest.approx(0.2)


def test_there_is_a_point_for_every_share_and_more_data_help(measured):
    points = measured["points"]
    assert [point["share"] for point in points] == list(SHARES)
    assert points[-1]["accuracy"]["value"] > points[0]["accuracy"]["value"]
    assert all(point["accuracy"]["low"] <= point["accuracy"]["value"] <= point["accuracy"]["high"] for point in points)


def test_twice_the_data_brings_about_what_was_foretold():
    x, y = blobs(1000, apart=0.7)
    half = np.random.default_rng(0).permutation(len(y))[: len(y) // 2]
    before = enough(x[half], y[half], [str(row) for row in half])
    after = enough(x, y, keys(y))
    gain = after["points"][-1]["accuracy"]["value"] - before["points"][-1]["accuracy"]["value"]
    # Both accuracies are measured on a few thousand pictures, so their difference is known to about 1 point.
    assert before["twice"]["low"] - 0.015 < gain < before["twice"]["high"] + 0.015


def test_where_nothing_can_be_learned_more_data_bring_nothing():
    draw = np.random.default_rng(0)
    x, y = draw.normal(0, 1, (300, 10)).astype(np.float32), draw.integers(0, 2, 300)
    found = enough(x, y, keys(y))
    assert found["twice"]["value"] == pytest.approx(0, abs=0.03)
    assert found["half the error needs"] is None


def test_where_all_is_right_nothing_is_left_to_gain():
    x, y = blobs(60, apart=30)
    found = enough(x, y, keys(y))
    assert found["points"][-1]["accuracy"]["value"] == 1
    assert found["twice"]["value"] == pytest.approx(0, abs=1e-3)


def test_copies_are_never_on_both_sides():
    draw = np.random.default_rng(0)
    # Labels are chance, but every picture is there ten times: whoever tests on copies is right every time.
    x, y = np.repeat(draw.normal(0, 1, (60, 30)), 10, axis=0).astype(np.float32), np.repeat(draw.integers(0, 2, 60), 10)
    together = enough(x, y, [str(row // 10) for row in range(600)])
    torn = enough(x, y, keys(y))
    assert together["points"][-1]["accuracy"]["value"] < 0.7 < torn["points"][-1]["accuracy"]["value"]


def test_the_words_say_the_gain_and_its_interval(measured):
    twice = measured["twice"]
    assert (
        f"{100 * twice['value']:+.1f} points ({100 * twice['low']:.1f} to {100 * twice['high']:.1f})"
        in measured["words"]
    )


def test_the_document_is_json_and_the_same_each_time(measured):
    x, y = blobs(150)
    assert json.dumps(measured, allow_nan=False) == json.dumps(enough(x, y, keys(y)))


@pytest.mark.parametrize("n", [0, 1, 20])
def test_too_few_pictures_have_no_curve(n):
    x, y = blobs(20, K=2)
    assert enough(x[:n], y[:n], keys(y[:n])) is None


def test_one_class_has_no_curve():
    x, y = blobs(100, K=1)
    assert enough(x, y, keys(y)) is None


def test_many_classes_have_a_curve():
    x, y = blobs(8, K=60, apart=3)
    assert len(enough(x, y, keys(y))["points"]) == 10
