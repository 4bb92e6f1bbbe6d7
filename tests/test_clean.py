"""What automatic cleaning leaves out of the training."""

from __future__ import annotations

import numpy as np
import pytest

from linnaeus.errors import SettingsError
from linnaeus.learn.clean import clean, clean_weights, likely_by_chance


def blobs(K=3, each=100, apart=1.2, seed=0):
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(K), each)
    centres = np.random.default_rng(9).normal(0, apart, (K, 12))
    return (centres[labels] + draw.normal(0, 1.5, (len(labels), 12))).astype(np.float32), labels


def flip(labels, share, K=3, seed=1):
    draw, dirty = np.random.default_rng(seed), labels.copy()
    rows = draw.permutation(len(labels))[: round(share * len(labels))]
    dirty[rows] = (labels[rows] + draw.integers(1, K, len(rows))) % K
    return dirty


def keys(labels):
    return [str(row) for row in range(len(labels))]


def certain(labels, K, sure=0.9):
    probabilities = np.full((len(labels), K), (1 - sure) / (K - 1))
    probabilities[np.arange(len(labels)), labels] = sure
    return probabilities


@pytest.mark.parametrize("seed", range(5))
def test_classes_that_overlap_lose_next_to_nothing_where_labels_are_right(seed):
    x, y = blobs(apart=0.5, seed=seed)
    assert (clean(x, y, keys(y)).weights == 0).mean() <= 0.01


def test_a_head_learns_more_from_what_is_left():
    from sklearn.linear_model import LogisticRegression

    x, y = blobs(each=150)
    test_x, test_y = blobs(each=600, seed=7)
    gains = []
    for seed in range(4):
        given = flip(y, 0.3, seed=seed)
        kept = clean(x, given, keys(y)).kept
        before = LogisticRegression(C=100, max_iter=1000).fit(x, given).score(test_x, test_y)
        gains.append(LogisticRegression(C=100, max_iter=1000).fit(x[kept], given[kept]).score(test_x, test_y) - before)
    assert np.mean(gains) > 0.02


def test_what_is_left_out_is_mostly_wrong_and_has_a_reason():
    x, y = blobs()
    given = flip(y, 0.2)
    found = clean(x, given, keys(y))
    gone = np.flatnonzero(found.weights == 0)
    assert ((given != y)[gone]).mean() > 0.85
    assert sorted(found.reasons) == gone.tolist()
    assert all("likely wrong label" in reason for reason in found.reasons.values())


def test_weighing_keeps_every_picture_with_some_weight():
    x, y = blobs()
    given = flip(y, 0.2)
    weights = clean(x, given, keys(y), how="weigh").weights
    assert (weights > 0).all()
    assert ((weights < 0.5) == (clean(x, given, keys(y)).weights == 0)).all()


def test_a_class_of_wrong_labels_only_keeps_half():
    given = np.repeat([0, 1, 2], [100, 100, 20])
    truth = np.repeat([0, 1, 1], [100, 100, 20])
    weights, _ = clean_weights(given, certain(truth, 3))
    assert (weights[given == 2] > 0).sum() >= 10
    assert (weights[given != 2] == 1).all()


def test_no_more_is_left_out_than_chance_does_not_explain():
    draw = np.random.default_rng(0)
    probabilities = draw.dirichlet((0.7, 0.7, 0.7), 1500)
    labels = (draw.random((1500, 1)) > probabilities.cumsum(1)).sum(1).clip(0, 2)
    weights, reasons = clean_weights(labels, probabilities)
    assert (weights == 0).sum() == len(reasons) <= 5


def test_chance_explains_more_where_classes_overlap_more():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 2000)
    sharp = likely_by_chance(np.log(certain(labels, 2, 0.999)), labels)
    assert sharp <= 2


def test_too_few_pictures_are_left_as_they_are():
    found = clean(np.ones((4, 3), np.float32), np.array([0, 0, 1, 1]), list("abcd"))
    assert (found.weights == 1).all()
    assert "could not be checked" in found.words()


def test_the_weights_are_the_same_each_time():
    x, y = blobs()
    given = flip(y, 0.2)
    assert np.array_equal(clean(x, given, keys(y)).weights, clean(x, given, keys(y)).weights)


def test_nan_is_refused():
    with pytest.raises(SettingsError, match="0 to 1"):
        clean_weights(np.array([0, 1]), np.full((2, 2), np.nan))


def test_the_words_say_how_many():
    x, y = blobs()
    found = clean(x, flip(y, 0.2), keys(y))
    assert found.words().startswith(f"{len(found.reasons)} of 300 training pictures left out")
