from __future__ import annotations

import json

import numpy as np
import pytest

from linnaeus.errors import ModelError, SourceError
from linnaeus.metrics import apply_temperature, fit_temperature, reliability
from linnaeus.metrics.calibration import (
    KINDS,
    Calibration,
    _fit_all,
    _fit_knots,
    _fit_vector,
    _folds,
    fit_calibration,
)
from linnaeus.records import Predictions


def make(N: int, K: int, *, seed: int = 0, skill: float = 2.0) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(K), rng.integers(0, K, N - K)]) if N >= K else rng.integers(0, K, N)
    logits = rng.normal(size=(N, K))
    logits[np.arange(N), labels] += skill
    return of(apply_temperature(logits, 1.0), labels)


def of(probabilities: np.ndarray, labels: np.ndarray) -> Predictions:
    N, K = probabilities.shape
    return Predictions(probabilities, labels, tuple(f"{i:05}.jpg" for i in range(N)), tuple(f"c{k}" for k in range(K)))


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found_again(true_temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 10)) * 3
    p = apply_temperature(logits, 1.0)
    labels = (rng.random((20_000, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=9)
    assert fit_temperature(logits * true_temperature, labels) == pytest.approx(true_temperature, rel=0.02)


def test_the_temperature_of_a_few_right_answers_stays_moderate():
    assert 0.2 < fit_temperature(np.log(np.full((6, 2), [0.99, 0.01])), np.zeros(6, dtype=int)) < 1.5


def test_temperature_survives_zero_probabilities_and_missing_labels():
    with np.errstate(divide="ignore"):
        log_p = np.log(np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]]))
    found = fit_temperature(log_p, np.array([0, 1, -1]))
    assert 0.05 <= found <= 20.01
    assert np.isfinite(apply_temperature(log_p, found)).all()
    assert fit_temperature(log_p, np.array([-1, -1, -1])) == 1


def test_temperature_never_changes_the_answer():
    predictions = make(200, 5)
    cooled = apply_temperature(np.log(predictions.probabilities), 2.5)
    assert (cooled.argmax(axis=1) == predictions.predicted).all()
    assert np.allclose(cooled.sum(axis=1), 1)


def test_reliability_bins_hold_equally_many_pictures_in_order_of_confidence():
    bins = reliability(make(1000, 5), bins=10)
    assert sum(one.count for one in bins) == 1000
    assert all(90 <= one.count <= 110 for one in bins)
    assert [one.confidence for one in bins] == sorted(one.confidence for one in bins)


def test_reliability_puts_equal_confidences_into_one_bin():
    bins = reliability(of(np.full((50, 2), 0.5), np.zeros(50, dtype=int)))
    assert [(one.count, one.confidence) for one in bins] == [(50, 0.5)]


def drawn(N, K, *, seed=0, scale=1.0, shift=0.0):
    """Logits, and labels drawn from the probabilities that they mean after scaling and shifting."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(N, K)) * 2
    p = apply_temperature(logits * scale + shift, 1.0)
    return logits, (rng.random((N, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=K - 1)


def test_calibrated_logits_are_left_as_they_are():
    assert fit_calibration(*drawn(3000, 5)).kind == "none"


def test_too_sure_logits_get_a_temperature_and_nothing_more():
    found = fit_calibration(*drawn(3000, 5, scale=0.4))
    assert found.kind == "temperature"
    assert found.temperature == pytest.approx(1 / 0.4, rel=0.1)


def test_logits_with_an_offset_for_each_class_get_vector_scaling():
    scale, shift = np.array([0.5, 1.0, 1.5]), np.array([1.0, 0.0, -1.0])
    found = fit_calibration(*drawn(20_000, 3, scale=scale, shift=shift))
    assert found.kind == "vector"
    assert np.allclose(found.scale, scale, atol=0.1)
    assert np.allclose(np.diff(found.shift), np.diff(shift), atol=0.1)


def test_vector_scaling_equals_a_penalised_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    logits, labels = drawn(400, 2, scale=0.7, shift=np.array([0.5, 0.0]))
    logits[:, 1] = 0
    wide = 1e6
    found = _fit_vector(logits, labels, 1.0, None)
    reference = LogisticRegression(C=wide).fit(logits[:, :1], labels)
    # The penalty, worth one picture per number, draws a little.
    assert found.scale[0] == pytest.approx(-reference.coef_[0, 0], rel=0.02)
    assert found.shift[0] - found.shift[1] == pytest.approx(-reference.intercept_[0], rel=0.05)


def test_a_bent_reliability_curve_gets_isotonic_regression():
    rng = np.random.default_rng(0)
    logits = np.stack([rng.uniform(-4, 4, 4000), np.zeros(4000)], axis=1)
    first = np.select([logits[:, 0] < -1, logits[:, 0] < 2], [0.3, 0.35], 0.95)
    found = fit_calibration(logits, (rng.random(4000) > first).astype(int))
    assert found.kind == "isotonic"
    assert np.abs(found.probabilities(logits)[:, 0] - first).mean() < 0.03


def test_isotonic_steps_are_those_of_scikit_learn_with_one_picture_more():
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(0)
    p = rng.random(500)
    hit = rng.random(500) < p**2
    place, level = np.array(_fit_knots(p, hit)).T
    steps = IsotonicRegression().fit(p, hit).predict(p)
    for x, y in zip(place, level, strict=True):
        block = steps == steps[np.argmin(np.abs(p - x))]
        assert y == pytest.approx((hit[block].sum() + p[block].mean()) / (block.sum() + 1), abs=1e-12)
    assert len(np.unique(level)) == len(np.unique(steps)) > 5


def test_isotonic_probabilities_are_never_near_zero_and_sum_to_one():
    logits = 5000 * drawn(300, 4)[0]
    assert (apply_temperature(logits, 1.0) == 0).any()
    p = _fit_all(KINDS, logits, logits.argmax(axis=1))["isotonic"].probabilities(logits)
    assert p.min() > 1e-7
    assert np.allclose(p.sum(axis=1), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_calibration_survives_json(kind):
    logits, labels = drawn(200, 3)
    found = _fit_all(KINDS, logits, labels)[kind]
    again = Calibration.of(json.loads(json.dumps(found.document())))
    assert again == found
    assert (again.probabilities(logits) == found.probabilities(logits)).all()


@pytest.mark.parametrize(
    "wrong", [{"kind": "magic"}, {"kind": "vector"}, {"kind": "isotonic"}, {"scale": [1.0]}, {"temperature": "warm"}]
)
def test_a_damaged_calibration_is_refused(wrong):
    with pytest.raises(ModelError, match="calibration"):
        Calibration.of(Calibration().document() | wrong)


@pytest.mark.parametrize("N", [0, 1])
def test_nothing_is_learned_from_less_than_two_pictures(N):
    logits, labels = drawn(5, 3)
    labels[N:] = -1
    assert fit_calibration(logits, labels) == Calibration()
    assert Calibration().probabilities(logits[:0]).shape == (0, 3)


@pytest.mark.parametrize("N", [2, 3, 7, 49])
def test_few_pictures_give_no_more_than_a_temperature(N):
    found = fit_calibration(*drawn(N, 3))
    assert set(found.tried) == {"none", "temperature"}
    assert found.kind in found.tried


def test_a_class_without_pictures_is_left_alone():
    logits, labels = drawn(2000, 4, shift=np.array([2.0, 0.0, 0.0, 0.0]))
    logits, labels = logits[labels != 3], labels[labels != 3]
    fitted = _fit_all(KINDS, logits, labels)
    assert fitted["vector"].shift[3] == 0
    assert fitted["vector"].scale[3] == pytest.approx(1 / fitted["vector"].temperature)
    assert fitted["isotonic"].knots[3] == ((0.0, 0.0), (1.0, 1.0))
    assert np.isfinite(np.log(fit_calibration(logits, labels).probabilities(logits))).all()


def test_all_right_and_all_wrong_stay_finite():
    logits = np.tile([[5.0, -5.0]], (60, 1))
    for label in (0, 1):
        p = fit_calibration(logits, np.full(60, label)).probabilities(logits)
        assert np.isfinite(p).all() and (p > 0).all()


def test_calibration_does_not_depend_on_the_order_of_unlabelled_rows():
    logits, labels = drawn(300, 3, scale=0.3)
    mixed = np.concatenate([logits[:100], np.full((50, 3), 9.0), logits[100:]])
    unknown = np.concatenate([labels[:100], np.full(50, -1), labels[100:]])
    assert fit_calibration(mixed, unknown) == fit_calibration(logits, labels)


def test_the_tried_losses_are_those_of_unseen_pictures():
    logits, labels = drawn(60, 20)
    found = fit_calibration(logits, labels)
    isotonic = _fit_all(KINDS, logits, labels)["isotonic"].probabilities(logits)
    seen = -np.log(isotonic[np.arange(60), labels]).mean()
    assert found.tried["isotonic"] > 2 * seen


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(bad):
    logits, labels = drawn(10, 3)
    logits[4, 1] = bad
    for ask in (lambda: fit_calibration(logits, labels), lambda: Calibration().probabilities(logits)):
        with pytest.raises(SourceError, match=r"1 of 10 rows, first 4"):
            ask()


def test_logits_of_another_number_of_classes_are_refused():
    found = _fit_all(KINDS, *drawn(100, 3))["vector"]
    with pytest.raises(SourceError, match="3 classes"):
        found.probabilities(np.zeros((2, 4)))


def test_each_fold_holds_as_many_of_each_class():
    labels = np.repeat([0, 1, 2], [50, 25, 5])
    fold = _folds(labels, 5, 0)
    counts = [np.bincount(labels[fold == one], minlength=3).tolist() for one in range(5)]
    assert counts == [[10, 5, 1]] * 5


def test_a_thousand_classes_are_calibrated():
    found = fit_calibration(*drawn(200, 1000, scale=0.5))
    assert found.probabilities(np.zeros((2, 1000))).shape == (2, 1000)


def test_with_less_than_two_pictures_for_each_class_no_class_gets_numbers_of_its_own():
    logits, labels = drawn(199, 100)
    assert set(fit_calibration(logits, labels).tried) == {"none", "temperature"}
    assert set(fit_calibration(np.pad(logits, ((0, 1), (0, 0))), np.append(labels, 0)).tried) == set(KINDS)


def test_answers_are_kept_where_that_is_asked_for():
    """The rare class is named too often for its frequency, on purpose."""
    rng = np.random.default_rng(0)
    labels = (rng.random(600) < 0.1).astype(int)
    logits = rng.normal(0, 1, (600, 2))
    logits[np.arange(600), labels] += 1.5
    logits[:, 1] += 2
    free, kept = (fit_calibration(logits, labels, keep_answers=one) for one in (False, True))
    assert free.kind in ("vector", "isotonic")
    assert (kept.probabilities(logits).argmax(1) == logits.argmax(1)).all()


def test_pictures_that_are_alike_do_not_judge_what_they_taught():
    """Thirty bursts of ten: softmax is right as it is, and what a burst teaches holds for itself alone."""
    chosen = {"alone": [], "tied": []}
    for seed in range(6):
        rng = np.random.default_rng(seed)
        own = rng.normal(0, 1.5, (30, 3))
        labels = np.array([rng.choice(3, p=p) for p in np.exp(own) / np.exp(own).sum(1, keepdims=True)]).repeat(10)
        logits, groups = own.repeat(10, axis=0) + rng.normal(0, 0.05, (300, 3)), [f"g{k // 10}" for k in range(300)]
        chosen["alone"].append(fit_calibration(logits, labels).kind)
        chosen["tied"].append(fit_calibration(logits, labels, groups=groups).kind)
    assert set(chosen["alone"]) & {"vector", "isotonic"}
    assert set(chosen["tied"]) <= {"none", "temperature"}


def test_groups_of_one_are_no_groups():
    logits, labels = drawn(300, 3, scale=0.5)
    plain = fit_calibration(logits, labels)
    assert plain == fit_calibration(logits, labels, groups=[""] * 300)
    assert plain == fit_calibration(logits, labels, groups=[f"g{k}" for k in range(300)])


def test_one_group_teaches_nothing():
    logits, labels = drawn(60, 3)
    assert fit_calibration(logits, labels, groups=["g"] * 60) == Calibration()
