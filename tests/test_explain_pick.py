"""explain/pick: right, wrong and least certain pictures of each class."""

from collections import Counter

import numpy as np
import pytest

from linnaeus.records import Predictions
from linnaeus.verbs.explain.pick import pick


def predictions(N, K, seed=0, right=False):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, K, N)
    probabilities = draw.dirichlet(np.ones(K), N)
    if right:
        probabilities[np.arange(N), labels] += 1
    return Predictions(
        probabilities / probabilities.sum(1, keepdims=True), labels, tuple(f"p{n}" for n in range(N)),
        tuple(f"c{k}" for k in range(K)),
    )  # fmt: skip


@pytest.mark.parametrize(("N", "K", "most"), [(200, 2, 24), (300, 5, 24), (3000, 1000, 24), (1, 3, 24), (50, 3, 1)])
def test_no_picture_is_chosen_twice_and_never_too_many(N, K, most):
    rows = [one.row for one in pick(predictions(N, K), most)]
    assert len(rows) == len(set(rows)) and 1 <= len(rows) <= min(N, most)


def test_each_class_gets_each_kind_alike():
    made = predictions(300, 4)
    count = Counter((int(made.labels[one.row]), one.kind) for one in pick(made, 24))
    assert set(count.values()) == {2} and len(count) == 12


def test_the_kinds_mean_what_they_say():
    made = predictions(300, 3)
    wrong = made.predicted != made.labels
    for one in pick(made, 9):
        mine = made.labels == made.labels[one.row]
        if one.kind == "wrong":
            assert made.confidence[one.row] == made.confidence[mine & wrong].max()
        elif one.kind == "right":
            assert not wrong[one.row]
        else:
            assert made.confidence[one.row] == made.confidence[mine].min()


def test_where_all_are_right_there_is_no_wrong_kind():
    assert {one.kind for one in pick(predictions(100, 3, right=True), 24)} == {"right", "least certain"}


def test_with_many_classes_those_with_most_mistakes_come():
    made = predictions(400, 40, right=True)
    spoilt = made.probabilities.copy()
    spoilt[made.labels == 7] = np.eye(40)[8]
    made = Predictions(spoilt, made.labels, made.ids, made.classes)
    assert 7 in {int(made.labels[one.row]) for one in pick(made, 6)}


def test_pictures_without_a_known_class_are_not_chosen():
    made = predictions(30, 3)
    made = Predictions(made.probabilities, np.where(np.arange(30) < 20, -1, made.labels), made.ids, made.classes)
    assert min(one.row for one in pick(made, 24)) >= 20
