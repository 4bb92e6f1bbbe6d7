from __future__ import annotations

import json

import numpy as np
import pytest

from linnaeus.errors import ModelError, SourceError
from linnaeus.metrics import apply_temperature
from linnaeus.metrics.abstention import Judgement, abstention_document, divide
from linnaeus.metrics.selective import promise
from linnaeus.metrics.unknown import Seen, choose_detector, fit_detectors, measure_unknown
from linnaeus.records import Predictions


def drawn(N, K=3, *, seed=0, skill=3.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, N)
    logits = rng.normal(size=(N, K))
    logits[np.arange(N), labels] += skill
    p = apply_temperature(logits, 1.0)
    return Predictions(p, labels, tuple(map(str, range(N))), tuple(f"c{k}" for k in range(K)))


def seen(N, *, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return Seen(rng.normal(size=(N, 3)), rng.normal(size=(N, 4)) + shift)


@pytest.fixture(scope="module")
def judgement():
    detectors = fit_detectors(seen(200).features, np.zeros(200, dtype=int))
    choice = choose_detector(detectors, seen(200, seed=1), {"far": seen(50, seed=2, shift=9.0)})
    return Judgement.make(drawn(400), candidates=3, choice=choice)


def test_a_judgement_survives_a_safetensors_file(judgement, tmp_path):
    from safetensors.numpy import load_file, save_file

    save_file(judgement.arrays(), tmp_path / "judgement.safetensors")
    again = Judgement.of(load_file(tmp_path / "judgement.safetensors"), judgement.held.classes)
    test = drawn(50, seed=5).probabilities
    assert again.candidates == 3
    assert again.promise(0.05) == judgement.promise(0.05)
    assert (again.sets(test, 0.9, "RAPS") == judgement.sets(test, 0.9, "RAPS")).all()
    for one, other in zip(
        again.strange(np.zeros((5, 3)), np.eye(5, 4)), judgement.strange(np.zeros((5, 3)), np.eye(5, 4)), strict=True
    ):
        assert (one == other).all()


def test_a_judgement_without_a_detector_survives_too():
    made = Judgement.make(drawn(20))
    again = Judgement.of(made.arrays(), made.held.classes)
    assert again.detector is None
    with pytest.raises(ModelError, match="no detector"):
        again.strange(np.zeros((1, 3)))


def test_candidates_make_the_promise_harder():
    held = drawn(300)
    one, many = (Judgement.make(held, candidates=count).promise(0.05) for count in (1, 100))
    assert one.accepted > many.accepted


def test_the_threshold_is_that_of_the_promise_on_rounded_probabilities():
    held = drawn(300)
    found = Judgement.make(held).threshold(0.05)
    assert found == pytest.approx(promise(held, 0.05).threshold, abs=1e-6)


def test_what_is_accepted_is_what_reaches_the_threshold(judgement):
    test = drawn(200, seed=4).probabilities
    accepted = judgement.accepts(test, 0.03)
    assert 0 < accepted.sum() < 200
    assert test[accepted].max(axis=1).min() > test[~accepted].max(axis=1).max()


def test_nothing_is_accepted_where_nothing_can_be_promised(judgement):
    assert judgement.threshold(0.0001) is None
    assert not judgement.accepts(drawn(10).probabilities, 0.0001).any()


def test_probabilities_that_round_to_one_are_treated_alike():
    # In single precision all of these are 1: sets must not miss a new one for what rounding took from it.
    held = Predictions(np.tile([[1 - 1e-12, 1e-12]], (100, 1)), np.zeros(100, dtype=int), ("",) * 100, ("a", "b"))
    made = Judgement.make(held)
    new = np.array([[1 - 1e-9, 1e-9]])
    assert made.sets(new, 0.9).tolist() == [[True, False]]


def test_what_rounds_to_a_refused_confidence_is_refused():
    below = float(np.nextafter(np.float32(1), np.float32(0)))
    p = np.repeat([[1.0, 0.0], [below, 1 - below]], 100, axis=0)
    made = Judgement.make(Predictions(p, np.repeat([0, 1], 100), ("",) * 200, ("a", "b")))
    assert made.promise(0.05).accepted == 100
    new = np.array([[below + 1e-8, 1 - below - 1e-8], [1.0, 0.0]])
    assert made.accepts(new, 0.05).tolist() == [False, True]


@pytest.mark.parametrize("method", ["LAC", "APS", "RAPS"])
def test_sets_cover_as_asked(judgement, method):
    test = drawn(3000, seed=6, skill=3.0)
    sets = judgement.sets(test.probabilities, 0.95, method)
    assert sets.shape == (3000, 3)
    assert 0.92 < sets[np.arange(3000), test.labels].mean() <= 0.99


def test_a_coverage_of_95_percent_means_an_alpha_of_exactly_5(judgement):
    assert judgement.rule(0.95).alpha == 0.05


def test_strange_pictures_are_told(judgement):
    scores, strange = judgement.strange(seen(100, seed=8, shift=9.0).logits, seen(100, seed=8, shift=9.0).features)
    assert strange.all()
    assert (scores > judgement.strange_above).all()


def test_large_sets_of_held_pictures_are_sampled():
    N, K = 5000, 1000
    p = np.full((N, K), 1 / K)
    held = Predictions(p, np.arange(N) % K, tuple(map(str, range(N))), tuple(map(str, range(K))))
    made = Judgement.make(held)
    assert made.held.probabilities.shape == (2000, 1000)
    assert made.arrays()["held.probabilities"].nbytes == 8_000_000


def test_unlabelled_pictures_are_not_held():
    held = drawn(10)
    held.labels[:4] = -1
    assert len(Judgement.make(held).held) == 6


def test_held_pictures_that_are_no_numbers_are_refused():
    held = drawn(10)
    held.probabilities[3] = np.nan
    with pytest.raises(SourceError, match="NaN"):
        Judgement.make(held)


def test_a_judgement_for_other_classes_is_refused(judgement):
    with pytest.raises(ModelError, match="2 classes"):
        Judgement.of(judgement.arrays(), ("a", "b"))


def test_a_judgement_that_lost_an_array_is_refused(judgement):
    arrays = judgement.arrays()
    del arrays["candidates"]
    with pytest.raises(ModelError, match="candidates"):
        Judgement.of(arrays, judgement.held.classes)


def test_pictures_are_divided_in_two_halves_without_rest():
    labels = np.where(np.arange(101) % 10 == 0, -1, 1)
    calibrating, held = divide(labels)
    assert sorted([*calibrating, *held]) == np.flatnonzero(labels >= 0).tolist()
    assert (len(calibrating), len(held)) == (45, 45)


def test_groups_are_never_divided():
    groups = [f"patient {i // 7}" for i in range(100)]
    calibrating, held = divide(np.zeros(100, dtype=int), groups=groups)
    assert not {groups[row] for row in calibrating} & {groups[row] for row in held}
    assert len(calibrating) + len(held) == 100


def test_one_picture_of_each_group_is_held():
    pictures = drawn(90)
    groups = [f"patient {n // 4}" if n < 60 else "" for n in range(90)]
    made = Judgement.make(pictures, groups=groups)
    rows = [
        int((pictures.probabilities.astype(np.float32) == p.astype(np.float32)).all(1).argmax())
        for p in made.held.probabilities
    ]
    assert sorted(groups[row] for row in rows) == sorted([""] * 30 + [f"patient {n}" for n in range(15)])
    assert "one picture is held" in made.promise(0.1).why
    assert "one picture is held" in Judgement.of(made.arrays(), made.held.classes).promise(0.1).why
    assert "one picture is held" not in Judgement.make(pictures).promise(0.1).why


def test_a_promise_for_new_groups_is_kept_where_groups_stand_and_fall_together():
    rng, broken = np.random.default_rng(0), {"groups": 0, "alone": 0}
    labels, groups = np.zeros(1200, dtype=int), np.repeat([f"patient {n}" for n in range(60)], 20).tolist()
    for _ in range(200):
        # Twelve of a hundred patients are answered wrongly, in all of their pictures.
        wrong = np.repeat(rng.random(60) < 0.12, 20)
        p = np.where(wrong[:, None], [0.1, 0.9], [0.9, 0.1])
        held = Predictions(p, labels, tuple(map(str, range(1200))), ("a", "b"))
        for name, given in {"groups": groups, "alone": None}.items():
            broken[name] += Judgement.make(held, groups=given).promise(0.1).possible
    assert broken["groups"] / 200 <= 0.06
    assert broken["alone"] / 200 > 0.15, "else this test would show nothing"


def test_pictures_without_a_group_go_by_themselves():
    calibrating, held = divide(np.zeros(100, dtype=int), groups=["one"] * 2 + [""] * 98)
    assert min(len(calibrating), len(held)) > 40


@pytest.mark.parametrize("N", [0, 1, 2])
def test_very_few_pictures_are_divided_too(N):
    calibrating, held = divide(np.zeros(N, dtype=int))
    assert (len(calibrating), len(held)) == (N // 2, N - N // 2)


def test_the_document_has_every_promise_and_every_set(judgement):
    test = drawn(500, seed=3)
    document = json.loads(json.dumps(abstention_document(judgement, test), allow_nan=False))
    assert [one["max_error"] for one in document["promises"]] == [0.005, 0.01, 0.02, 0.05, 0.1]
    assert [(one["alpha"], one["method"]) for one in document["sets"]] == [
        (alpha, method) for alpha in (0.1, 0.05) for method in ("LAC", "APS", "RAPS")
    ]
    assert len(document["curve"]) <= 200
    assert document["unknown"] is None
    for one in document["promises"]:
        assert one["possible"] == (one["threshold"] is not None) == (one["coverage"] is not None)
        assert one["why"]


def test_the_document_measures_what_the_promise_does_to_other_pictures(judgement):
    test = drawn(500, seed=3)
    (one,) = [one for one in abstention_document(judgement, test)["promises"] if one["max_error"] == 0.05]
    accepted = judgement.accepts(test.probabilities, 0.05)
    assert one["coverage"]["value"] == accepted.mean()
    assert one["error"]["value"] == pytest.approx((test.predicted != test.labels)[accepted].mean())
    assert one["error"]["n"] == accepted.sum()


def test_the_document_tells_of_the_unknown(judgement):
    detectors = fit_detectors(seen(200).features, np.zeros(200, dtype=int))
    outliers = {"far": seen(50, seed=2, shift=9.0)}
    choice = choose_detector(detectors, seen(200, seed=1), outliers)
    scores = measure_unknown(detectors, choice, seen(200, seed=3), outliers)
    found = json.loads(json.dumps(abstention_document(judgement, drawn(50), scores)["unknown"], allow_nan=False))
    assert [one["name"] for one in found["detectors"]] == ["energy", "max logit", "mahalanobis", "nearest neighbours"]
    assert found["detected"]["far"]["value"] == 1
    assert found["false_alarms"]["n"] == 200


@pytest.mark.parametrize(("N", "K"), [(1, 2), (3, 2), (40, 1000)])
def test_the_document_works_at_the_edges(N, K):
    test = drawn(N, K)
    json.dumps(abstention_document(Judgement.make(drawn(N, K, seed=1)), test), allow_nan=False)


@pytest.mark.parametrize("wrong", [False, True])
def test_the_document_works_for_all_right_and_all_wrong(wrong):
    p = np.tile([[0.9, 0.1]], (60, 1))
    test = Predictions(p, np.full(60, int(wrong)), tuple(map(str, range(60))), ("a", "b"))
    document = abstention_document(Judgement.make(test), test)
    assert document["promises"][-1]["possible"] is not wrong
    assert document["aurc"]["value"] == float(wrong)


def test_without_held_pictures_nothing_is_promised_and_every_set_is_whole():
    test = drawn(30)
    document = json.loads(json.dumps(abstention_document(Judgement.make(drawn(0)), test), allow_nan=False))
    assert not any(one["possible"] for one in document["promises"])
    assert all(one["size"]["value"] == 3 and one["notes"] for one in document["sets"])


def test_a_document_without_labels_is_refused(judgement):
    test = drawn(5)
    test.labels[:] = -1
    with pytest.raises(SourceError, match="class is known"):
        abstention_document(judgement, test)
