from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from sklearn import metrics as reference

from linnaeus.errors import SourceError
from linnaeus.metrics import rank
from linnaeus.metrics.ranking import _Order, hanley_mcneil
from linnaeus.records import Predictions

SCORERS = (reference.roc_auc_score, reference.average_precision_score)


def of(probabilities, labels):
    N, K = probabilities.shape
    return Predictions(probabilities, labels, tuple(f"{i:05}.jpg" for i in range(N)), tuple(f"c{k}" for k in range(K)))


def make(N, K, *, seed=0, skill=1.5, digits=12):
    """Predict with a softmax; few digits make ties."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(K), rng.integers(0, K, N - K)])
    logits = rng.normal(size=(N, K))
    logits[np.arange(N), labels] += skill
    return of((np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).round(digits), labels)


def against_the_rest(m, n, skill, seed=0):
    """Draw probabilities of one class whose AUROC is that of two normal distributions."""
    true = np.arange(m + n) < m
    chance = ndtr(np.random.default_rng(seed).normal(size=m + n) + skill * true)
    return of(np.stack([1 - chance, chance], axis=1), true.astype(int))


@pytest.mark.parametrize("digits", [12, 2, 1, 0])
@pytest.mark.parametrize("K", [2, 3, 30])
def test_each_class_ranks_as_in_scikit_learn_ties_included(K, digits):
    predictions = make(300, K, digits=digits)
    for k, one in enumerate(rank(predictions).classes):
        true, chance = predictions.labels == k, predictions.probabilities[:, k]
        assert one.auroc.value == pytest.approx(reference.roc_auc_score(true, chance), abs=1e-12)
        assert one.average_precision.value == pytest.approx(reference.average_precision_score(true, chance), abs=1e-12)


def test_the_means_over_classes_equal_scikit_learn():
    predictions = make(400, 7, digits=16)
    found = rank(predictions)
    expected = reference.roc_auc_score(predictions.labels, predictions.probabilities, multi_class="ovr")
    assert found.macro_auroc.value == pytest.approx(expected, abs=1e-12)
    one_hot = np.eye(7)[predictions.labels]
    expected = reference.average_precision_score(one_hot, predictions.probabilities, average="macro")
    assert found.macro_average_precision.value == pytest.approx(expected, abs=1e-12)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 10**6), st.integers(0, 3), st.booleans())
def test_any_ranking_holds_its_values_and_equals_scikit_learn(N, K, seed, digits, grouped):
    rng = np.random.default_rng(seed)
    predictions = of(rng.random((N, K)).round(digits), rng.integers(0, rng.integers(1, K + 1), N))
    found = rank(predictions, groups=[f"g{i // 3}" for i in range(N)] if grouped else None)
    every = [found.macro_auroc, found.macro_average_precision]
    for one in found.classes:
        k = predictions.classes.index(one.name)
        true, chance = predictions.labels == k, predictions.probabilities[:, k]
        assert one.auroc.value == pytest.approx(reference.roc_auc_score(true, chance), abs=1e-12)
        assert one.average_precision.value == pytest.approx(reference.average_precision_score(true, chance), abs=1e-12)
        every += [one.auroc, one.average_precision]
    assert all(0 <= one.low <= one.value <= one.high <= 1 for one in every)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_pictures_changes_nothing(random, grouped):
    predictions, rows = make(60, 3, digits=1), list(range(60))
    random.shuffle(rows)
    groups = [f"g{i % 13}" for i in range(60)]
    ids = tuple(predictions.ids[row] for row in rows)
    shuffled = Predictions(predictions.probabilities[rows], predictions.labels[rows], ids, predictions.classes)
    moved = rank(shuffled, groups=[groups[row] for row in rows] if grouped else None)
    assert moved == rank(predictions, groups=groups if grouped else None)


@pytest.mark.parametrize("digits", [12, 1])
@pytest.mark.parametrize("N", [40, 3000])
def test_curves_have_few_points_and_keep_their_area(N, digits):
    for one in rank(make(N, 3, digits=digits)).classes:
        x, y = np.array(one.roc).T
        assert np.trapezoid(y, x) == pytest.approx(one.auroc.value, abs=3e-6)
        assert (np.diff(x) >= 0).all()
        assert (np.diff(y) >= 0).all()
        recall, precision = np.array(one.precision_recall).T
        assert (np.diff(recall) * precision[1:]).sum() == pytest.approx(one.average_precision.value, abs=3e-6)
        assert len(x) <= 100
        assert len(recall) <= 100


def test_a_short_roc_curve_has_the_corners_of_scikit_learns():
    predictions = make(60, 2, digits=1)
    x, y, _ = reference.roc_curve(predictions.labels == 1, predictions.probabilities[:, 1])
    found = rank(predictions).classes[1].roc
    assert set(found) <= set(zip(x.round(6).tolist(), y.round(6).tolist(), strict=True))
    assert len(found) == 6


def test_a_long_roc_curve_stays_close_to_the_whole_one():
    predictions = make(20_000, 2, skill=1.0)
    x, y = np.array(rank(predictions).classes[1].roc).T
    fpr, tpr, _ = reference.roc_curve(predictions.labels == 1, predictions.probabilities[:, 1])
    assert np.abs(np.interp(fpr, x, y) - tpr).max() < 0.02


def delong(true, chance):
    """Compute the variance of an AUROC as DeLong et al. write it, pair by pair."""
    above = chance[true][:, None] - chance[~true][None, :]
    pairs = (above > 0) + (above == 0) / 2
    m, n = pairs.shape
    return pairs.mean(axis=1).var(ddof=1) / m + pairs.mean(axis=0).var(ddof=1) / n


def test_the_spread_of_an_auroc_is_that_of_delong():
    predictions = against_the_rest(400, 3600, 1.0)
    found = rank(predictions).classes[1].auroc
    m, value = 400, found.value
    chance = predictions.probabilities[:, 1]
    mixed = (m * delong(predictions.labels == 1, chance) + 10 * hanley_mcneil(value, 400, 3600)) / (m + 10)
    assert found.high - found.low == pytest.approx(2 * 1.96 * mixed**0.5, rel=0.01)


def test_hanley_and_mcneils_variance_is_exact_for_exponential_distributions():
    rng = np.random.default_rng(0)
    true, other = rng.exponential(1.0, (8000, 9, 1)), rng.exponential(0.2, (8000, 1, 14))
    assert (true > other).mean(axis=(1, 2)).var() == pytest.approx(hanley_mcneil(5 / 6, 9, 14), rel=0.05)


@pytest.mark.parametrize("digits", [12, 1])
def test_the_influence_of_a_picture_is_what_a_little_more_of_it_changes(digits):
    predictions = make(50, 2, digits=digits)
    true, chance = predictions.labels == 1, predictions.probabilities[:, 1]

    def weighted(weights):
        balanced = np.where(true, weights / weights[true].mean(), weights / weights[~true].mean())
        return np.array([one(true, chance, sample_weight=balanced) for one in SCORERS])

    little = 1e-5 * np.eye(50)
    slopes = [(weighted(1 + one) - weighted(np.ones(50))) / 1e-5 for one in little]
    influences = _Order.of(chance, true).influences().T
    assert influences == pytest.approx(np.array(slopes), abs=1e-6)


def resampled(predictions, resamples):
    """Compute AUROC and average precision of class 1 for bootstrap samples of either side."""
    rng, true = np.random.default_rng(0), predictions.labels == 1
    for _ in range(resamples):
        rows = np.concatenate([rng.choice(np.flatnonzero(side), side.sum()) for side in (true, ~true)])
        both = predictions.labels[rows] == 1, predictions.probabilities[rows, 1]
        yield reference.roc_auc_score(*both), reference.average_precision_score(*both)


def test_intervals_are_as_wide_as_those_of_a_bootstrap():
    predictions = against_the_rest(150, 350, 1.2)
    found = rank(predictions).classes[1]
    wide = 4 * 0.98 * np.std(list(resampled(predictions, 400)), axis=0)
    assert found.auroc.high - found.auroc.low == pytest.approx(wide[0], rel=0.15)
    assert found.average_precision.high - found.average_precision.low == pytest.approx(wide[1], rel=0.15)


def test_the_mean_over_classes_knows_that_classes_share_their_pictures():
    # Of two classes, the second's AUROC is the first's: their mean is no surer than each.
    found = rank(make(300, 2))
    wide = found.classes[0].auroc.high - found.classes[0].auroc.low
    assert found.macro_auroc.high - found.macro_auroc.low == pytest.approx(wide, rel=0.1)


@pytest.mark.parametrize(("m", "n", "skill"), [(5, 60, 2.0), (20, 180, 2.5), (60, 240, 1.0)])
def test_intervals_cover_the_truth_about_95_times_of_100(m, n, skill):
    truth = rank(against_the_rest(300 * m, 300 * n, skill, seed=999)).classes[1]
    held = []
    for seed in range(150):
        found = rank(against_the_rest(m, n, skill, seed)).classes[1]
        pairs = ((found.auroc, truth.auroc), (found.average_precision, truth.average_precision))
        held.append([one.low <= true.value <= one.high for one, true in pairs])
    assert (np.mean(held, axis=0) >= 0.89).all()


def test_the_interval_of_the_mean_covers_the_truth_and_is_no_wider_than_it_must_be():
    truth = rank(make(40_000, 4, seed=999))
    found = [rank(make(150, 4, seed=seed)) for seed in range(150)]
    for name in ("macro_auroc", "macro_average_precision"):
        value = getattr(truth, name).value
        assert 0.89 <= np.mean([getattr(one, name).low <= value <= getattr(one, name).high for one in found]) <= 0.99


def test_groups_that_stand_and_fall_together_widen_the_interval():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(30) % 2, 10)
    chance = ndtr(np.repeat(rng.normal(size=30), 10) + labels)
    predictions = of(np.stack([1 - chance, chance], axis=1), labels)
    alone = rank(predictions).macro_auroc
    together = rank(predictions, groups=[f"g{i // 10}" for i in range(300)]).macro_auroc
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_a_perfect_ranking_is_not_certain_for_ever():
    found = rank(of(np.eye(2)[np.arange(20) % 2], np.arange(20) % 2))
    for one in (found.classes[0].auroc, found.classes[0].average_precision, found.macro_auroc):
        assert one.value == one.high == 1
        assert 0.6 < one.low < 0.8


def test_classes_without_pictures_are_left_out_and_named():
    found = rank(of(np.full((4, 3), 1 / 3), np.array([0, 0, 2, -1])))
    assert [one.name for one in found.classes] == ["c0", "c2"]
    assert found.notes == ("No picture of c1: left out of the ranking.",)
    assert found.macro_auroc.value == 0.5


def test_of_one_class_nothing_can_be_ranked():
    found = rank(of(np.full((4, 2), 0.5), np.zeros(4, dtype=int)))
    assert found.classes == ()
    assert (found.macro_auroc.n, found.macro_auroc.low, found.macro_auroc.high) == (0, 0, 1)
    assert "Only pictures of c0" in found.notes[1]


def test_a_ranking_of_nan_is_refused():
    with pytest.raises(SourceError, match="numbers from 0 to 1"):
        rank(of(np.full((4, 2), np.nan), np.arange(4) % 2))


def test_the_document_is_plain_json():
    found = rank(make(50, 3))
    again = json.loads(json.dumps(found.document()))
    assert again["classes"][2]["name"] == "c2"
    assert again["macro_auroc"]["value"] == found.macro_auroc.value
    assert again["classes"][0]["roc"][0] == [0, 0]
    assert again["classes"][0]["roc"][-1] == [1, 1]
