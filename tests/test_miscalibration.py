from __future__ import annotations

import json

import numpy as np
import pytest

from linnaeus.errors import SourceError
from linnaeus.metrics import apply_temperature, miscalibration, score
from linnaeus.metrics.calibration import equal_mass, fit_calibration
from linnaeus.metrics.miscalibration import calibration_document, calibration_errors, debiased_error
from linnaeus.records import Predictions


def of(p, labels):
    N, K = p.shape
    return Predictions(p, labels, tuple(f"{i:05}" for i in range(N)), tuple(f"c{k}" for k in range(K)))


def drawn(N, K, *, seed=0, temperature=1.0):
    """Predictions that are calibrated at temperature 1 and too sure below."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(N, K)) * 2
    p = apply_temperature(logits, 1.0)
    labels = (rng.random((N, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=K - 1)
    return of(apply_temperature(logits, temperature), labels)


def test_log_loss_and_ece_are_those_of_the_scores():
    predictions = drawn(200, 4, temperature=0.5)
    found, expected = calibration_errors(predictions), score(predictions).overall
    assert (found["log_loss"], found["ece"]) == (expected["log_loss"], expected["ece"])


def test_the_debiased_error_equals_the_mean_over_all_pairs_of_a_bin():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 160)
    gap = confidence - (rng.random(160) < confidence - 0.2)
    bins = equal_mass(confidence, 15)
    square = 0.0
    for one in np.unique(bins):
        own = gap[bins == one]
        pairs = [own[i] * own[j] for i in range(len(own)) for j in range(len(own)) if i != j]
        square += len(own) / 160 * np.mean(pairs)
    assert debiased_error(gap, confidence).value == pytest.approx(square**0.5, abs=1e-12)


def test_the_debiased_square_is_right_on_average_where_the_plain_ece_is_not():
    rng = np.random.default_rng(0)
    plain, debiased, held = [], [], []
    for _ in range(300):
        confidence = rng.uniform(0.5, 1, 300)
        gap = confidence - (rng.random(300) < confidence)
        bins = equal_mass(confidence, 15)
        plain.append(sum(abs(gap[bins == one].sum()) for one in range(15)) / 300)
        found = debiased_error(gap, confidence)
        debiased.append(found.value**2)
        held.append(found.low == 0)
    assert np.mean(plain) > 0.05
    assert np.mean(debiased) < 0.002
    assert np.mean(held) > 0.92


def test_the_interval_of_the_debiased_error_holds_the_truth():
    rng = np.random.default_rng(1)
    held = []
    for _ in range(300):
        confidence = rng.uniform(0.6, 1, 200)
        found = debiased_error(confidence - (rng.random(200) < confidence - 0.15), confidence)
        held.append(found.low <= 0.15 <= found.high)
    assert 0.92 < np.mean(held) < 0.995


def test_groups_widen_the_interval_of_the_debiased_error():
    rng = np.random.default_rng(0)
    confidence = np.full(200, 0.8)
    right = np.repeat(rng.random(20) < 0.8, 10)
    alone, grouped = (debiased_error(confidence - right, confidence, units) for units in (None, np.arange(200) // 10))
    assert grouped.high > alone.high


def test_the_classwise_error_of_many_classes_is_that_of_all_its_pieces(monkeypatch):
    predictions = drawn(200, 7, temperature=0.5)
    whole = calibration_errors(predictions)["classwise_ece"]
    monkeypatch.setattr(miscalibration, "NUMBERS_AT_ONCE", 400)
    pieces = calibration_errors(predictions)["classwise_ece"]
    assert [pieces.value, pieces.low, pieces.high] == pytest.approx([whole.value, whole.low, whole.high], rel=1e-12)


def test_the_classwise_error_of_hand_made_bins():
    p = np.repeat([[0.8, 0.2], [0.4, 0.6]], 10, axis=0)
    labels = np.repeat([0, 1, 0, 1], [5, 5, 5, 5])
    found = calibration_errors(of(p, labels))["classwise_ece"]
    assert found.value == pytest.approx((0.3 + 0.1) / 2)
    assert found.low <= found.value <= found.high


def test_too_sure_predictions_are_further_off_than_calibrated_ones():
    right, sure = (calibration_errors(drawn(2000, 5, temperature=one)) for one in (1.0, 0.3))
    for name in ("log_loss", "ece", "ece_debiased", "classwise_ece"):
        assert sure[name].low > right[name].high, name


@pytest.mark.parametrize("N", [1, 2, 5])
def test_errors_of_very_few_pictures_have_wide_intervals(N):
    found = calibration_errors(drawn(N, 3))
    assert all(one.low <= one.value <= one.high for one in found.values())
    assert found["ece_debiased"].high - found["ece_debiased"].low > 0.3


def test_errors_of_unlabelled_pictures_are_refused():
    with pytest.raises(SourceError, match="class is known"):
        calibration_errors(of(np.full((3, 2), 0.5), np.full(3, -1)))


def test_the_order_of_the_pictures_changes_nothing():
    one = drawn(100, 3)
    rows = np.random.default_rng(0).permutation(100)
    other = Predictions(one.probabilities[rows], one.labels[rows], tuple(one.ids[row] for row in rows), one.classes)
    first, second = calibration_errors(one), calibration_errors(other)
    for name in first:
        assert np.allclose(list(vars(first[name]).values())[:3], list(vars(second[name]).values())[:3])


def test_the_document_shows_before_and_after():
    before = drawn(600, 3, temperature=0.3)
    logits = np.log(before.probabilities)
    calibration = fit_calibration(logits[:300], before.labels[:300])
    after = of(calibration.probabilities(logits), before.labels)
    document = json.loads(json.dumps(calibration_document(before, after, calibration, part="val")))
    assert document["chosen"] == calibration.kind == "temperature"
    assert document["part"] == "val"
    assert document["after"]["ece"]["high"] < document["before"]["ece"]["low"]
    assert sum(one["count"] for one in document["bins_after"]) == 600
    assert set(document["bins_before"][0]["accuracy"]) == {"value", "low", "high", "n", "method"}
