from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from linnaeus.errors import ModelError, SettingsError, SourceError
from linnaeus.metrics.unknown import (
    Energy,
    Mahalanobis,
    MaxLogit,
    Neighbours,
    Seen,
    _sample,
    choose_detector,
    detector_auroc,
    fit_detectors,
    measure_unknown,
    read_detector,
    shrunk_covariance,
)


def clusters(n, *, seed=0, K=3, D=12, apart=4.0):
    """Pictures of K classes, each a cloud of features, with logits that follow."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(K, D)) * apart / D**0.5
    labels = rng.integers(0, K, n)
    features = centres[labels] + rng.normal(size=(n, D)) * 0.5
    return Seen(features @ centres.T, features), labels


def strangers(n, *, seed=0, K=3, D=12):
    rng = np.random.default_rng(seed + 100)
    features = rng.normal(size=(n, D)) * 2
    return Seen(rng.normal(size=(n, K)) * 0.3, features)


@pytest.fixture(scope="module")
def detectors():
    seen, labels = clusters(300)
    return fit_detectors(seen.features, labels)


def test_scores_that_are_all_equal_tell_little():
    found = detector_auroc(np.zeros(1000), np.zeros(40))
    assert found.value == 0.5
    assert found.low < 0.4
    assert found.high > 0.6


def test_energy_and_max_logit_are_their_formulas():
    logits = np.array([[1.0, 2.0, 3.0], [1000.0, 0.0, 0.0]])
    assert Energy().score(Seen(logits)) == pytest.approx([-np.log(np.exp([1, 2, 3]).sum()), -1000])
    assert MaxLogit().score(Seen(logits)).tolist() == [-3, -1000]


def test_the_shrunk_covariance_is_that_of_scikit_learn():
    for n, D in ((50, 8), (20, 40)):
        gaps = np.random.default_rng(0).normal(size=(n, D)) * np.linspace(1, 3, D)
        expected = LedoitWolf(assume_centered=True).fit(gaps).covariance_
        assert np.allclose(shrunk_covariance(gaps), expected, rtol=1e-5, atol=1e-5)


def test_mahalanobis_is_the_distance_that_scikit_learn_computes():
    seen, labels = clusters(300)
    means = np.stack([seen.features[labels == k].mean(axis=0) for k in range(3)])
    reference = LedoitWolf(assume_centered=True).fit(seen.features - means[labels])
    other = strangers(40)
    expected = np.min([reference.mahalanobis(other.features - mean) for mean in means], axis=0)
    assert np.allclose(Mahalanobis.fit(seen.features, labels).score(other), expected, rtol=1e-3)


def test_neighbours_are_those_that_scikit_learn_finds():
    seen, labels = clusters(300)
    found = Neighbours.fit(seen.features, labels)
    reference = NearestNeighbors(n_neighbors=10, metric="cosine").fit(seen.features)
    other = strangers(40)
    assert found.nearest == 10
    assert np.allclose(found.score(other), reference.kneighbors(other.features)[0][:, -1], atol=1e-3)


def test_every_detector_finds_strangers_stranger(detectors):
    known, strange = clusters(200, seed=1)[0], strangers(200)
    for detector in detectors:
        assert detector_auroc(detector.score(known), detector.score(strange)).low > 0.8, detector.name


def test_every_detector_survives_being_stored_as_arrays(detectors):
    seen = strangers(20)
    for detector in detectors:
        arrays = {name: np.array(one) for name, one in detector.arrays().items()}
        assert all(one.ndim and one.dtype != object for one in arrays.values())
        again = read_detector(arrays)
        assert again.name == detector.name
        assert (again.score(seen) == detector.score(seen)).all()


@pytest.mark.parametrize("arrays", [{}, {"kind": np.frombuffer(b"magic", dtype=np.uint8)}])
def test_a_damaged_detector_is_refused(arrays):
    with pytest.raises(ModelError, match="detector"):
        read_detector(arrays)


def test_a_detector_that_lost_an_array_is_refused(detectors):
    arrays = detectors[2].arrays()
    del arrays["whiten"]
    with pytest.raises(ModelError, match="whiten"):
        read_detector(arrays)


def test_scores_do_not_depend_on_the_company(detectors):
    seen = strangers(30)
    for detector in detectors:
        alone = [detector.score(Seen(seen.logits[[i]], seen.features[[i]]))[0] for i in range(30)]
        assert np.allclose(alone, detector.score(seen), rtol=1e-4)


def test_auroc_is_that_of_scikit_learn_with_ties_too():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(size=80).round(1), (rng.normal(size=50) + 0.7).round(1)
    expected = roc_auc_score(np.repeat([0, 1], [80, 50]), np.concatenate([inside, outside]))
    assert detector_auroc(inside, outside).value == pytest.approx(expected, abs=1e-12)


def test_the_interval_of_the_auroc_holds_the_truth():
    rng = np.random.default_rng(0)
    found = [detector_auroc(rng.normal(size=60), rng.normal(size=40) + 2**0.5) for _ in range(400)]
    held = [one.low <= 0.8413447 <= one.high for one in found]
    assert 0.92 < np.mean(held) < 0.98


@pytest.mark.parametrize(("shift", "value"), [(100, 1.0), (-100, 0.0)])
def test_a_perfect_separation_still_has_an_interval(shift, value):
    found = detector_auroc(np.arange(20.0), np.arange(10.0) + shift)
    assert found.value == value
    assert 0.1 < found.high - found.low < 0.5


def test_the_auroc_without_pictures_knows_nothing():
    found = detector_auroc(np.zeros(0), np.zeros(5))
    assert (found.low, found.high, found.n) == (0, 1, 0)


def test_the_best_detector_on_average_is_chosen(detectors):
    held, outliers = clusters(300, seed=2)[0], {"noise": strangers(100), "more": strangers(100, seed=5)}
    choice = choose_detector(detectors, held, outliers)
    mean = {name: np.mean([one.value for one in found.values()]) for name, found in choice.auroc.items()}
    assert mean[choice.detector.name] == max(mean.values())
    assert set(choice.auroc) == {"energy", "max logit", "mahalanobis", "nearest neighbours"}


def test_the_threshold_accepts_the_share_on_average():
    detector, accepted = [Energy()], []
    for seed in range(300):
        choice = choose_detector(detector, clusters(120, seed=seed)[0], {}, share=0.95)
        new = clusters(200, seed=seed + 1000)[0]
        accepted.append((choice.detector.score(new) <= choice.threshold).mean())
    # (121 x 0.95 = 114.95, so the 115th of 120: 115/121 are accepted on average.)
    assert np.mean(accepted) == pytest.approx(115 / 121, abs=0.004)


def test_too_few_held_pictures_are_told(detectors):
    held = clusters(50, seed=2)[0]
    choice = choose_detector(detectors, held, {})
    assert choice.share == 50 / 51
    assert choice.threshold == choice.detector.score(held).max()
    assert "50 held pictures are too few" in choice.notes[0]


def test_what_the_chosen_detector_does_is_measured(detectors):
    outliers = {"noise": strangers(100)}
    choice = choose_detector(detectors, clusters(300, seed=2)[0], outliers)
    found = measure_unknown(detectors, choice, clusters(300, seed=3)[0], {"noise": strangers(80, seed=9)})
    assert found.false_alarms.value < 0.05
    assert found.detected["noise"].value > 0.5
    assert found.detected["noise"].n == 80


def test_without_features_only_detectors_on_logits_are_fitted():
    assert [one.name for one in fit_detectors(None, clusters(30)[1])] == ["energy", "max logit"]


def test_a_detector_that_lacks_its_features_says_so(detectors):
    for features in (None, np.zeros((4, 5))):
        with pytest.raises(SourceError, match="needs 12 features"):
            detectors[3].score(Seen(np.zeros((4, 3)), features))


def test_features_that_are_no_numbers_are_refused(detectors):
    seen = strangers(5)
    seen.features[2, 3] = np.nan
    with pytest.raises(SourceError, match="in 1 of 5 rows"):
        detectors[2].score(seen)
    with pytest.raises(SourceError, match="logits should be finite"):
        Energy().score(Seen(np.array([[np.nan, 0.0]])))


def test_the_bank_holds_small_classes_whole_and_no_more_than_its_share():
    labels = np.repeat([0, 1, 2, -1], [5000, 300, 20, 50])
    kept = labels[_sample(labels, 2000, 0)]
    assert np.bincount(kept).tolist() == [1680, 300, 20]


def test_the_bank_is_small_and_half_precise():
    labels = np.zeros(3000, dtype=int)
    bank = Neighbours.fit(np.random.default_rng(0).normal(size=(3000, 8)), labels).arrays()["bank"]
    assert (bank.shape, bank.dtype) == ((2000, 8), np.float16)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_detectors_of_very_few_pictures_stay_finite(n):
    seen, labels = clusters(n)
    for detector in fit_detectors(seen.features, labels):
        assert np.isfinite(detector.score(strangers(3))).all(), detector.name


def test_features_that_never_vary_do_no_harm():
    seen, labels = clusters(50)
    features = np.concatenate([seen.features, np.zeros((50, 4))], axis=1)
    blank = Seen(np.zeros((2, 3)), np.zeros((2, 16)))
    for detector in fit_detectors(features, labels):
        assert np.isfinite(detector.score(blank)).all()


def test_bad_demands_are_refused(detectors):
    with pytest.raises(SettingsError, match="between 0 and 1"):
        choose_detector(detectors, strangers(5), {}, share=1.0)
    with pytest.raises(SourceError, match="known classes"):
        choose_detector(detectors, strangers(0), {})
