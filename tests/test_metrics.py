from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from linnaeus.errors import SourceError
from linnaeus.metrics import apply_temperature, fit_temperature, reliability, score, wilson
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


REFERENCES = {
    "accuracy": lambda y, y_, p: reference.accuracy_score(y, y_),
    "balanced_accuracy": lambda y, y_, p: reference.balanced_accuracy_score(y, y_),
    "weighted_accuracy": lambda y, y_, p: reference.recall_score(y, y_, average="weighted"),
    "top5_accuracy": lambda y, y_, p: reference.top_k_accuracy_score(y, p, k=5),
    "macro_f1": lambda y, y_, p: reference.f1_score(y, y_, average="macro"),
    "weighted_f1": lambda y, y_, p: reference.f1_score(y, y_, average="weighted"),
    "mcc": lambda y, y_, p: reference.matthews_corrcoef(y, y_),
    "log_loss": lambda y, y_, p: reference.log_loss(y, p),
    "brier": lambda y, y_, p: np.mean(np.sum((p - np.eye(p.shape[1])[y]) ** 2, axis=1)),
}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("K", [6, 31])
def test_every_score_equals_scikit_learn(name, K):
    predictions = make(700, K, skill=1.0)
    expected = REFERENCES[name](predictions.labels, predictions.predicted, predictions.probabilities)
    assert score(predictions, resamples=10).overall[name].value == pytest.approx(expected, abs=1e-12)


def test_the_classification_report_equals_scikit_learn():
    predictions = make(300, 4, skill=0.5)
    found = score(predictions, resamples=10)
    expected = reference.precision_recall_fscore_support(predictions.labels, predictions.predicted)
    for k, one in enumerate(found.per_class):
        values = (one.precision.value, one.recall.value, one.f1.value, one.support)
        assert values == pytest.approx([column[k] for column in expected], abs=1e-12)
    assert (found.confusion == reference.confusion_matrix(predictions.labels, predictions.predicted)).all()


def test_ece_of_hand_made_bins_is_the_mean_distance():
    confidence = np.repeat([0.6, 0.9], 50)
    labels = np.concatenate([np.repeat([0, 1], [40, 10]), np.repeat([0, 1], [40, 10])])
    predictions = of(np.stack([confidence, 1 - confidence], axis=1), labels)
    assert score(predictions, resamples=10).overall["ece"].value == pytest.approx((0.2 + 0.1) / 2)


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


@st.composite
def some_predictions(draw):
    N, K = draw(st.integers(1, 40)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    probabilities = apply_temperature(rng.normal(size=(N, K)) * draw(st.sampled_from([0.0, 1.0, 500.0])), 1.0)
    labels = rng.integers(-1, K, N)
    labels[0] = 0
    return of(probabilities, labels)


@settings(max_examples=60, deadline=None)
@given(some_predictions(), st.booleans())
def test_every_interval_is_finite_and_holds_its_value(predictions, grouped):
    groups = [f"g{i // 3}" for i in range(len(predictions))] if grouped else None
    found = score(predictions, resamples=20, groups=groups)
    every = list(found.overall.values()) + [e for one in found.per_class for e in (one.precision, one.recall, one.f1)]
    assert all(np.isfinite([e.low, e.value, e.high]).all() and e.low <= e.value <= e.high for e in every)


@settings(max_examples=30, deadline=None)
@given(some_predictions(), st.randoms(use_true_random=False))
def test_the_order_of_pictures_changes_nothing(predictions, random):
    rows = list(range(len(predictions)))
    random.shuffle(rows)
    ids = tuple(predictions.ids[row] for row in rows)
    shuffled = Predictions(predictions.probabilities[rows], predictions.labels[rows], ids, predictions.classes)
    assert score(shuffled, resamples=10).overall == score(predictions, resamples=10).overall


def test_unlabelled_pictures_are_left_out_and_counted():
    predictions = of(np.full((4, 2), 0.5), np.array([0, -1, 0, -1]))
    found = score(predictions, resamples=10)
    assert found.overall["accuracy"].n == 2
    assert found.notes[0].startswith("2 pictures have no known label")


def test_a_class_without_pictures_is_named_and_left_out_of_the_means():
    predictions = of(np.eye(3)[[0, 0, 1]], np.array([0, 0, 1]))
    found = score(predictions, resamples=10)
    assert found.overall["balanced_accuracy"].value == found.overall["macro_f1"].value == 1
    assert "c2" in found.notes[0]
    assert found.per_class[2].support == 0


def test_without_any_label_scoring_says_so():
    with pytest.raises(SourceError, match="class is known"):
        score(of(np.full((2, 2), 0.5), np.array([-1, -1])))


def test_answers_that_are_all_right_still_have_an_interval():
    predictions = of(np.eye(3)[np.arange(30) % 3], np.arange(30) % 3)
    found = score(predictions, resamples=50).overall
    assert all(found[name].low < 0.9 for name in ("balanced_accuracy", "macro_f1", "weighted_f1", "mcc"))


def test_among_equal_probabilities_the_first_five_classes_count_as_top_five():
    predictions = of(np.full((8, 8), 1 / 8), np.arange(8))
    assert score(predictions, resamples=10).overall["top5_accuracy"].value == 5 / 8


def test_top_five_of_five_classes_is_not_a_score():
    assert "top5_accuracy" not in score(make(20, 5), resamples=10).overall


def test_the_same_seed_gives_the_same_intervals():
    assert score(make(90, 7), seed=3).overall == score(make(90, 7), seed=3).overall
    assert score(make(90, 7), seed=3).overall != score(make(90, 7), seed=4).overall


def test_groups_make_intervals_wider():
    rng = np.random.default_rng(0)
    hard = np.repeat(rng.random(30) < 0.3, 20)
    labels = np.repeat(np.arange(30) % 2, 20)
    predictions = of(np.eye(2)[np.where(hard, 1 - labels, labels)], labels)
    alone = score(predictions).overall["accuracy"]
    together = score(predictions, groups=[f"patient {i // 20}" for i in range(600)]).overall["accuracy"]
    assert together.high - together.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_f1", "log_loss", "mcc", "ece"])
def test_ninety_five_percent_intervals_cover_the_truth_about_that_often(name):
    truth = score(make(60_000, 4, seed=999), resamples=2).overall[name].value
    trials = [score(make(250, 4, seed=seed), resamples=200).overall[name] for seed in range(200)]
    covered = np.mean([one.low <= truth <= one.high for one in trials])
    assert 0.89 <= covered <= 0.99


def test_ninety_five_percent_intervals_of_class_f1_cover_the_truth_about_that_often():
    truth = score(make(60_000, 4, seed=999), resamples=2).per_class
    trials = [score(make(250, 4, seed=seed), resamples=2).per_class for seed in range(200)]
    covered = [
        one.f1.low <= true.f1.value <= one.f1.high for trial in trials for one, true in zip(trial, truth, strict=True)
    ]
    assert 0.92 <= np.mean(covered) <= 0.98


def test_the_ece_interval_of_a_calibrated_model_reaches_down_to_almost_nothing():
    rng = np.random.default_rng(1)
    lows = []
    for _ in range(40):
        p = apply_temperature(rng.normal(size=(400, 3)) * 1.5, 1.0)
        labels = (rng.random((400, 1)) > p.cumsum(axis=1)).sum(axis=1)
        lows.append(score(of(p, labels), resamples=200).overall["ece"].low)
    assert np.mean(np.array(lows) < 0.03) > 0.9


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
