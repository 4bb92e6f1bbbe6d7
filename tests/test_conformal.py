from __future__ import annotations

import numpy as np
import pytest

from linnaeus.errors import SettingsError, SourceError
from linnaeus.metrics import apply_temperature, conformal
from linnaeus.metrics.conformal import (
    METHODS,
    PredictionSets,
    conformal_quantile,
    fit_sets,
    measure_sets,
    strangeness,
)
from linnaeus.records import Predictions


def of(p, labels):
    N, K = p.shape
    return Predictions(p, labels, tuple(map(str, range(N))), tuple(f"c{k}" for k in range(K)))


def drawn(rng, N, K, skill=1.5, shares=None):
    labels = rng.choice(K, N, p=shares)
    logits = rng.normal(size=(N, K))
    logits[np.arange(N), labels] += skill
    return of(apply_temperature(logits, 1.0), labels)


def by_hand(row, k, method):
    """How strange class k is for one picture, in plain Python."""
    if method == "LAC":
        return 1 - row[k]
    order = sorted(range(len(row)), key=lambda j: -row[j])
    rank = order.index(k)
    above = sum(row[j] for j in order[:rank])
    return above + (0.1 * max(0, rank + 1 - 2) if method == "RAPS" else 0)


@pytest.mark.parametrize("method", METHODS)
def test_strangeness_is_what_a_computation_by_hand_gives(method):
    p = drawn(np.random.default_rng(0), 50, 6).probabilities
    expected = [[by_hand(row, k, method) for k in range(6)] for row in p.tolist()]
    assert np.allclose(strangeness(p, method), expected, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_lac_sets_equal_those_of_mapie(alpha):
    classification = pytest.importorskip("mapie.classification", reason="needs MAPIE")
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Echo(ClassifierMixin, BaseEstimator):
        """A classifier whose input is already its answer."""

        def fit(self, X, y):
            return self

        def predict_proba(self, X):
            return X

        def predict(self, X):
            return X.argmax(axis=1)

    rng = np.random.default_rng(0)
    held, test = drawn(rng, 300, 4), drawn(rng, 200, 4)
    echo = Echo()
    echo.classes_, echo.n_features_in_, echo.fitted_ = np.arange(4), 4, True
    mapie = classification.SplitConformalClassifier(echo, confidence_level=1 - alpha, conformity_score="lac")
    expected = mapie.conformalize(held.probabilities, held.labels).predict_set(test.probabilities)[1][:, :, 0]
    expected[np.arange(200), test.predicted] = True
    assert (fit_sets(held, alpha, "LAC").sets(test.probabilities) == expected).all()


def test_aps_sets_are_those_that_first_reach_the_threshold():
    # As MAPIE's APS with include_last_label=True: classes are added until their sum exceeds the threshold.
    rule = PredictionSets("APS", 0.1, np.full(4, 0.6))
    rows = np.array([[0.7, 0.2, 0.05, 0.05], [0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
    assert rule.sets(rows).tolist() == [
        [True, False, False, False],
        [True, True, False, False],
        [False, False, True, True],
    ]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("class_conditional", [False, True])
def test_sets_hold_the_true_class_as_often_as_promised(method, class_conditional):
    rng = np.random.default_rng(0)
    shares = np.array([0.6, 0.3, 0.1])
    covered = []
    for _ in range(200):
        held, test = drawn(rng, 200, 3, 0.7, shares), drawn(rng, 500, 3, 0.7, shares)
        found = measure_sets(fit_sets(held, 0.2, method, class_conditional=class_conditional), test)
        covered.append([found.coverage.value, found.classwise["c2"].value])
    overall, rare = np.mean(covered, axis=0)
    assert 0.795 < overall < 0.84
    if class_conditional:
        assert 0.79 < rare < 0.87


def test_marginal_sets_of_lac_may_fail_a_rare_class():
    p = np.repeat([[0.9, 0.1], [0.6, 0.4]], [900, 100], axis=0)
    held = of(p, np.repeat([0, 1], [900, 100]))
    test = of(p, held.labels)
    assert measure_sets(fit_sets(held, 0.11), test).classwise["c1"].value == 0
    assert measure_sets(fit_sets(held, 0.11, class_conditional=True), test).classwise["c1"].value == 1


@pytest.mark.parametrize(
    ("n", "alpha", "k"), [(9, 0.1, 9), (19, 0.05, 19), (99, 0.1, 90), (10, 0.1, 10), (500, 0.1, 451)]
)
def test_the_quantile_is_the_one_for_finite_samples(n, alpha, k):
    values = np.random.default_rng(0).permutation(np.arange(1, n + 1)).astype(float)
    assert conformal_quantile(values, alpha) == k


@pytest.mark.parametrize(("n", "alpha"), [(0, 0.1), (8, 0.1), (18, 0.05)])
def test_too_few_pictures_give_no_finite_quantile(n, alpha):
    assert conformal_quantile(np.zeros(n), alpha) == np.inf


def test_a_class_with_too_few_pictures_is_in_every_set_and_said_so():
    rng = np.random.default_rng(0)
    held = drawn(rng, 200, 3, 4.0, [0.5, 0.48, 0.02])
    rule = fit_sets(held, 0.05, class_conditional=True)
    assert rule.sets(drawn(rng, 50, 3, 4.0).probabilities)[:, 2].all()
    assert rule.notes == ("In every set, since fewer than 19 held pictures show them: c2.",)


def test_too_few_pictures_overall_give_sets_of_all_classes_and_say_so():
    rng = np.random.default_rng(0)
    rule = fit_sets(drawn(rng, 5, 3), 0.1)
    assert rule.sets(drawn(rng, 4, 3).probabilities).all()
    assert "5 held pictures are too few: 9 are needed" in rule.notes[0]


@pytest.mark.parametrize("method", METHODS)
def test_no_set_is_empty_and_each_holds_the_answer(method):
    rng = np.random.default_rng(0)
    held, test = drawn(rng, 300, 5, 6.0), drawn(rng, 300, 5, 6.0)
    sets = fit_sets(held, 0.3, method).sets(test.probabilities)
    assert sets[np.arange(300), test.predicted].all()


def test_a_picture_gets_the_same_set_in_any_company():
    rng = np.random.default_rng(0)
    rule, p = fit_sets(drawn(rng, 300, 5), 0.1, "APS"), drawn(rng, 20, 5).probabilities
    assert (np.concatenate([rule.sets(row[None]) for row in p]) == rule.sets(p)).all()


@pytest.mark.parametrize("method", METHODS)
def test_sets_of_very_many_classes_are_found_in_pieces_and_are_the_same(method, monkeypatch):
    p = drawn(np.random.default_rng(0), 50, 6).probabilities
    rule = PredictionSets(method, 0.1, np.full(6, 0.6))
    whole = rule.sets(p)
    monkeypatch.setattr(conformal, "NUMBERS_AT_ONCE", 40)
    assert np.array_equal(rule.sets(p), whole)


def test_measured_sizes_are_counted_right():
    rule = PredictionSets("LAC", 0.1, np.full(3, 0.75))
    p = np.array([[0.9, 0.05, 0.05], [0.5, 0.3, 0.2], [0.34, 0.33, 0.33], [0.34, 0.33, 0.33]])
    found = measure_sets(rule, of(p, np.array([0, 2, 1, -1])))
    assert (found.size.value, found.singletons.value, found.coverage.value) == (2.0, 1 / 3, 2 / 3)
    assert [one.n for one in found.classwise.values()] == [1, 1, 1]
    assert found.size.low < 2 < found.size.high


def test_sets_that_are_all_alike_still_have_an_interval():
    p = np.tile([[0.98, 0.02]], (40, 1))
    found = measure_sets(PredictionSets("LAC", 0.1, np.full(2, 0.5)), of(p, np.zeros(40, dtype=int)))
    assert found.size.value == 1
    assert found.size.high > 1.05


def test_penalised_sets_have_shorter_tails():
    rng = np.random.default_rng(0)
    held, test = drawn(rng, 1000, 100, 2.0), drawn(rng, 1000, 100, 2.0)
    longest = [fit_sets(held, 0.1, method).sets(test.probabilities).sum(axis=1).max() for method in ("APS", "RAPS")]
    assert longest[1] < longest[0]


@pytest.mark.parametrize("K", [2, 1000])
def test_sets_work_from_two_to_a_thousand_classes(K):
    rng = np.random.default_rng(0)
    found = measure_sets(fit_sets(drawn(rng, 200, K, 5.0), 0.1, "RAPS"), drawn(rng, 200, K, 5.0))
    assert found.coverage.high >= 0.9
    assert len(found.classwise) == K


def test_bad_demands_are_refused():
    held = drawn(np.random.default_rng(0), 20, 3)
    with pytest.raises(SettingsError, match="LAC, APS, RAPS"):
        fit_sets(held, 0.1, "magic")
    with pytest.raises(SettingsError, match="between 0 and 1"):
        fit_sets(held, 1.0)
    with pytest.raises(SourceError, match="NaN in 1 rows"):
        fit_sets(of(np.array([[np.nan, 1.0]]), np.array([0])), 0.1)
    with pytest.raises(SourceError, match="class is known"):
        measure_sets(fit_sets(held, 0.1), of(held.probabilities, np.full(20, -1)))
