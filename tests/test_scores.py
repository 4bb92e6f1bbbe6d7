from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from linnaeus.errors import SettingsError, SourceError
from linnaeus.metrics import apply_temperature, score
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


def references(y, p):
    """Compute every score by scikit-learn; classes without pictures are left out of the means, as in Linnaeus."""
    y_, every, present = p.argmax(axis=1), np.arange(p.shape[1]), np.unique(y)
    report = reference.precision_recall_fscore_support
    macro = report(y, y_, labels=present, average="macro", zero_division=0)
    weighted = report(y, y_, labels=present, average="weighted", zero_division=0)
    found = {
        "accuracy": reference.accuracy_score(y, y_),
        "balanced_accuracy": macro[1],
        "weighted_accuracy": weighted[1],
        "macro_precision": macro[0],
        "weighted_precision": weighted[0],
        "macro_f1": macro[2],
        "micro_f1": reference.f1_score(y, y_, average="micro"),
        "weighted_f1": weighted[2],
        "mcc": reference.matthews_corrcoef(y, y_),
        "log_loss": reference.log_loss(y, p, labels=every),
        "brier": reference.brier_score_loss(y, p, labels=every, scale_by_half=False),
    }
    if len(np.union1d(y, y_)) > 1:
        found["cohen_kappa"] = reference.cohen_kappa_score(y, y_)
    for k in (1, 3, 5):
        if k < p.shape[1]:
            found[f"top{k}_accuracy"] = reference.top_k_accuracy_score(*two(y, p), k=k, labels=every)
    return found


def two(y, p):
    """Of two classes scikit-learn wants the scores of the second."""
    return (y, p[:, 1]) if p.shape[1] == 2 else (y, p)


@pytest.mark.parametrize("K", [2, 3, 6, 31, 300])
def test_every_score_equals_scikit_learn(K):
    predictions = make(700, K, skill=1.0)
    found = score(predictions, resamples=10, top=(1, 3, 5)).overall
    expected = references(predictions.labels, predictions.probabilities)
    assert {name: one.value for name, one in found.items() if name != "ece"} == pytest.approx(expected, abs=1e-12)


@settings(max_examples=80, deadline=None)
@given(st.integers(2, 9), st.integers(1, 40), st.integers(0, 10**6), st.sampled_from([0.0, 1.0, 30.0]))
def test_few_pictures_with_missing_classes_score_as_in_scikit_learn(K, N, seed, skill):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, rng.integers(1, K + 1), N)
    logits = rng.normal(size=(N, K))
    logits[np.arange(N), labels] += skill
    predictions = of(apply_temperature(logits, 1.0), labels)
    found = score(predictions, resamples=3, top=(1, 3, 5)).overall
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = references(labels, predictions.probabilities)
    assert {name: found[name].value for name in expected} == pytest.approx(expected, abs=1e-12)


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


def test_any_number_of_top_classes_can_be_asked_for():
    found = score(make(50, 12), resamples=10, top=(2, 10, 12)).overall
    assert [name for name in found if name.startswith("top")] == ["top2_accuracy", "top10_accuracy"]
    assert found["accuracy"].value <= found["top2_accuracy"].value <= found["top10_accuracy"].value


def test_the_top_none_is_refused():
    with pytest.raises(SettingsError, match="1 or more"):
        score(make(20, 5), top=0)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -0.1, 1.5])
def test_what_is_no_probability_is_refused_by_name(odd):
    probabilities = np.full((4, 2), 0.5)
    probabilities[2, 1] = odd
    with pytest.raises(SourceError, match=r"00002.jpg"):
        score(of(probabilities, np.array([0, 1, 0, 1])))


def test_one_picture_leaves_its_scores_wide_open():
    found = score(of(np.array([[0.9, 0.1]]), np.array([0])), resamples=10).overall
    assert all(one.high - one.low > 0.5 for name, one in found.items() if name not in ("ece", "mcc", "cohen_kappa"))


def test_classes_of_one_picture_each_still_spread():
    predictions = of(np.eye(8)[[0, 1, 2, 3, 0, 0, 0, 0]], np.arange(8))
    found = score(predictions, resamples=300).overall
    assert all(found[name].high - found[name].low > 0.3 for name in ("balanced_accuracy", "macro_f1", "mcc"))


def test_a_class_always_right_and_one_always_wrong_are_not_certain_for_ever():
    labels = np.repeat([0, 1], 10)
    found = score(of(np.eye(2)[np.zeros(20, dtype=int)], labels), resamples=50).overall["balanced_accuracy"]
    assert found.low < 0.35
    assert found.high > 0.65


def test_predictions_that_cost_the_same_for_every_picture_have_a_known_brier_score():
    found = score(of(np.full((40, 4), 0.25), np.arange(40) % 4), resamples=50).overall["brier"]
    assert (found.low, found.value, found.high) == pytest.approx((0.75, 0.75, 0.75), abs=1e-6)


def test_the_method_says_how_many_resamples_were_taken():
    assert score(make(20, 3)).overall["macro_f1"].method.endswith("10,000 resamples")


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


def coverage(N, K, skill, trials=150):
    """Tell how often each interval holds the score of very many pictures."""
    truth = score(make(60_000, K, seed=999, skill=skill), resamples=2).overall
    found = [score(make(N, K, seed=seed, skill=skill), resamples=200).overall for seed in range(trials)]
    return {
        name: np.mean([one[name].low <= true.value <= one[name].high for one in found]) for name, true in truth.items()
    }


@pytest.mark.parametrize(("N", "K", "skill"), [(250, 4, 2.0), (60, 15, 3.0)])
def test_ninety_five_percent_intervals_cover_the_truth_about_that_often(N, K, skill):
    found = coverage(N, K, skill)
    assert {name for name, share in found.items() if not 0.88 <= share <= 0.995} <= ({"ece"} if K == 15 else set())


def test_intervals_hold_near_perfection_too():
    found = coverage(40, 2, 3.5)
    of_answers = ("balanced_accuracy", "macro_precision", "macro_f1", "weighted_f1", "mcc", "cohen_kappa")
    # The quantiles of a bootstrap hold the truth in less than half of the trials here.
    assert min(found[name] for name in of_answers) >= 0.9


def clustered(seed, groups=25, size=8):
    """Predict groups of pictures that are easy or hard together."""
    rng = np.random.default_rng(seed)
    right = rng.random((groups, size)) < rng.beta(2, 0.5, groups)[:, None]
    labels = np.repeat(np.arange(groups) % 2, size)
    return of(np.eye(2)[np.where(right.ravel(), labels, 1 - labels)], labels), [
        f"g{i // size}" for i in range(groups * size)
    ]


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_f1", "cohen_kappa", "brier"])
def test_intervals_by_group_cover_the_truth_where_those_of_single_pictures_do_not(name):
    truth = score(clustered(0, 20_000)[0], resamples=2).overall[name].value
    together, alone = [], []
    for seed in range(1, 120):
        predictions, groups = clustered(seed)
        for found, known in ((together, groups), (alone, None)):
            one = score(predictions, groups=known, resamples=150).overall[name]
            found.append(one.low <= truth <= one.high)
    assert np.mean(together) >= 0.89
    assert np.mean(alone) < 0.85


def test_three_patients_all_right_prove_less_than_their_thirty_pictures():
    predictions = of(np.eye(2)[np.arange(30) % 2], np.arange(30) % 2)
    groups = [f"patient {i // 10}" for i in range(30)]
    together, alone = (score(predictions, groups=given, resamples=50) for given in (groups, None))
    assert together.overall["accuracy"].low < alone.overall["accuracy"].low - 0.2
    assert together.per_class[0].recall.low < alone.per_class[0].recall.low - 0.2


def test_groups_named_in_another_order_than_their_pictures_change_nothing():
    predictions = make(60, 3)
    names = [f"g{(7 * i) % 60:02}" for i in range(60)]
    one, other = (score(predictions, groups=given, resamples=400).overall["mcc"] for given in (names, sorted(names)))
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.02)


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


def test_a_class_of_few_pictures_leaves_means_over_the_classes_open():
    labels = np.array([0] * 1000 + [1] * 2)
    found = score(Predictions(np.eye(2)[labels], labels, tuple(map(str, range(1002))), ("a", "b")), resamples=300)
    recall = found.per_class[1].recall
    for name in ("balanced_accuracy", "macro_precision", "macro_f1"):
        assert found.overall[name].value == 1
        assert found.overall[name].low < 1 - (1 - recall.low) / 3
    assert found.overall["accuracy"].low > 0.99


def test_a_mean_over_classes_holds_the_truth_where_one_is_small():
    rng, held = np.random.default_rng(0), 0
    for _ in range(150):
        labels = np.array([0] * 300 + [1] * 5)
        answers = np.where(rng.random(305) < np.where(labels == 0, 0.98, 0.9), labels, 1 - labels)
        found = score(Predictions(np.eye(2)[answers], labels, tuple(map(str, range(305))), ("a", "b")), resamples=200)
        held += found.overall["balanced_accuracy"].low <= 0.94 <= found.overall["balanced_accuracy"].high
    assert held / 150 > 0.87
