import csv

import numpy as np
import pytest

from linnaeus.targets.proof import LIMIT, LIMIT_ROUGH, Shown, limit_of, prove, why_apart, with_others, write_evidence

CLASSES = ("a", "b")


def shown(labels=(0, 1, 0, -1), tested=(True, True, False, True)):
    N = len(labels)
    return Shown(
        tuple(f"{k}.jpg" for k in range(N)), np.array(labels), np.array(tested), np.zeros((N, 4, 4, 3), np.uint8)
    )


BEFORE = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]])


def test_equal_answers_pass_and_accuracy_is_that_of_labelled_test_pictures():
    proof = prove(shown(), BEFORE, BEFORE + 1e-6, LIMIT, None)
    assert proof.passed
    assert (proof.pictures, proof.tested) == (4, 2)
    assert proof.accuracy.value == proof.accuracy_before.value == 1.0
    assert proof.largest_difference == pytest.approx(1e-6)


def test_a_difference_above_the_limit_fails():
    after = BEFORE.copy()
    after[2] += [2e-4, -2e-4]
    proof = prove(shown(), BEFORE, after, LIMIT, None)
    assert "differs by 0.0002" in proof.why_failed


def test_another_class_fails_unless_the_two_best_are_equal_in_single_precision():
    before = np.array([[0.50002, 0.49998]] * 4)
    assert "4 of 4 pictures get another class" in prove(shown(), before, before[:, ::-1], LIMIT, None).why_failed
    before = np.array([[0.5000002, 0.4999998]] * 4)
    assert prove(shown(), before, before[:, ::-1], LIMIT, None).passed


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_fails_in_any_precision(bad):
    after = BEFORE.copy()
    after[0, 0] = bad
    assert "NaN or infinity for 1 of 4" in prove(shown(), BEFORE, after, None, None).why_failed


def test_fewer_bits_may_differ_but_not_lose_more_than_allowed():
    labels, N = np.zeros(400, int), 400
    before = np.tile([0.9, 0.1], (N, 1))
    after = before.copy()
    after[:40] = [0.2, 0.8]
    pictures = shown(labels, np.ones(N, bool))
    assert prove(pictures, before, after, None, None).passed
    assert "may lose more than 5 points" in prove(pictures, before, after, None, 0.05).why_failed
    assert prove(pictures, before, after, None, 0.2).passed


def test_without_labels_no_accuracy_is_made_up():
    proof = prove(shown(labels=(-1, -1, -1, -1)), BEFORE, BEFORE, LIMIT, None)
    assert (proof.accuracy, proof.accuracy_before, proof.difference) == (None, None, None)


def test_a_loss_that_no_picture_can_tell_is_not_passed_over():
    for pictures in (shown(labels=(-1, -1, -1, -1)), shown(tested=(False,) * 4)):
        why = prove(pictures, BEFORE, BEFORE, None, 0.01).why_failed
        assert "none of the 4 pictures is a test picture with one of the model's classes" in why


def test_isotonic_calibration_and_resizing_are_given_room_where_single_precision_has_to_be_equal():
    assert limit_of("float32", calibration="temperature") == limit_of("float32") == LIMIT
    assert limit_of("float32", calibration="isotonic") == limit_of("float32", any_size=True) == LIMIT_ROUGH
    assert limit_of("int8", calibration="isotonic", any_size=True) is None


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ([0.5, 300.0, -2.0], ""),
        ([0.5, 300.02, -2.0], ""),
        ([0.5, 300.04, -2.0], "unknown score differs by 0.04; 0.03 is allowed"),
        ([0.5002, 300.0, -2.0], "unknown score differs by 0.0002; 0.0001 is allowed"),
        ([0.5, np.nan, -2.0], "unknown score: NaN or infinity for 1 of 3 pictures"),
        ([0.5, 300.0], r"unknown score: [2] instead of [3]"),
        (None, "unknown score: nothing instead of [3]"),
    ],
)
def test_an_unknown_score_may_differ_by_what_single_precision_explains(after, told):
    given = None if after is None else np.array(after)
    assert why_apart("unknown_score", np.array([0.5, 300.0, -2.0]), given, LIMIT) == told


def test_features_are_compared_with_the_largest_of_their_picture():
    before = np.array([[0.1, 50.0], [0.1, 0.5]])
    assert why_apart("features", before, before + np.array([[0.004, 0], [0, 0]]), LIMIT) == ""
    assert "features differs by 0.004" in why_apart("features", before, before + np.array([[0, 0], [0.004, 0]]), LIMIT)


def test_fewer_bits_give_numbers_and_the_share_called_unknown_is_told():
    before = {"probabilities": BEFORE, "unknown_score": np.array([0.0, 1.0, 2.0, 3.0])}
    after = before | {"unknown_score": np.array([0.0, 0.0, 0.0, 3.0])}
    plain = prove(shown(), BEFORE, BEFORE, None, None)
    proof = with_others(plain, before, after, None, 0.5)
    assert proof.passed
    assert (proof.unknown.value, proof.unknown_before.value) == (0.25, 0.75)
    assert proof.differences == {"unknown_score": 2.0}
    broken = with_others(plain, before, before | {"unknown_score": np.full(4, np.inf)}, None, 0.5)
    assert "NaN or infinity for 4 of 4" in broken.why_failed
    assert broken.differences == {"unknown_score": None}


def test_evidence_tells_of_the_other_outputs_too(tmp_path):
    before = {"probabilities": BEFORE, "unknown_score": np.zeros(4), "features": np.ones((4, 3))}
    after = before | {"unknown_score": np.array([0.0, 0.0, 0.5, 0.0])}
    write_evidence(tmp_path / "evidence.csv", shown(), before, after, CLASSES)
    with (tmp_path / "evidence.csv").open() as file:
        first = next(csv.DictReader(file))
    assert (first["id"], first["unknown_score before"], first["unknown_score after"]) == ("2.jpg", "0", "0.5")
    assert (first["difference of unknown_score"], first["difference of features"]) == ("0.5", "0")


def test_evidence_names_the_worst_picture_first(tmp_path):
    after = BEFORE.copy()
    after[1] = [0.7, 0.3]
    write_evidence(tmp_path / "evidence.csv", shown(), {"probabilities": BEFORE}, {"probabilities": after}, CLASSES)
    with (tmp_path / "evidence.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["id"] == "1.jpg"
    assert (rows[0]["predicted before"], rows[0]["predicted after"]) == ("b", "a")
    assert len(rows) == 4


def test_pictures_of_many_sizes_come_one_by_one():
    pictures = [np.zeros((4, 5, 3), np.uint8), np.zeros((7, 3, 3), np.uint8)]
    portions = [one.shape for one in Shown(("a", "b"), np.zeros(2, int), np.ones(2, bool), pictures).portions()]
    assert portions == [(1, 4, 5, 3), (1, 7, 3, 3)]
