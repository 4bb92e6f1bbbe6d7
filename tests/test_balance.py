import numpy as np
import pytest
import torch

from linnaeus.config import TrainSettings
from linnaeus.learn import balance
from linnaeus.learn.balance import (
    loss_of,
    ratio,
    sampling_of,
    settle_head,
    settle_without_head,
    smote,
    solve_balanced,
    undersample,
)
from linnaeus.learn.head import solve_head

ALL = ("none", "weights", "oversample", "undersample", "smote")


def clouds(counts, dimensions=8, spread=2.0, seed=0):
    """Overlapping clouds with so many rows of each class, and three folds."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.repeat(np.arange(len(counts)), counts))
    centres = np.random.default_rng(99).normal(size=(len(counts), dimensions))
    features = centres[labels] + draw.normal(size=(len(labels), dimensions)) * spread
    return torch.from_numpy(features).float(), torch.from_numpy(labels), draw.integers(3, size=len(labels))


def recalls(head, counts):
    features, labels, _ = clouds(counts, seed=1)
    right = (features @ head.weight.T + head.bias).argmax(1) == labels
    return np.array([right[labels == k].float().mean() for k in range(len(counts))])


def test_the_ratio_leaves_classes_without_pictures_out():
    assert ratio(np.array([50, 0, 10])) == 5
    assert ratio(np.array([0, 0])) == 1


def test_doing_nothing_gives_the_head_of_plain_cross_entropy_bit_by_bit():
    features, labels, folds = clouds([60, 50, 40])
    plain = solve_head(features, labels, 3, folds)
    for asked in (None, "none", "auto"):
        head, settled = settle_head(features, labels, 3, folds, TrainSettings(balance=asked, label_smoothing=0.1), 0)
        assert settled.balance == "none"
        assert torch.equal(head.weight, plain.weight)
        assert torch.equal(head.bias, plain.bias)


@pytest.mark.parametrize("how", ["weights", "oversample", "undersample", "smote"])
def test_each_way_finds_more_of_the_rare_class(how):
    features, labels, folds = clouds([300, 12])
    settings = TrainSettings()
    plain, other = (solve_balanced(features, labels, 2, folds, settings, 0, one) for one in ("none", how))
    assert recalls(other, [200, 200])[1] > recalls(plain, [200, 200])[1] + 0.1


@pytest.mark.parametrize("loss", ["focal", "logit-adjusted"])
def test_the_head_is_solved_with_the_loss_that_was_asked_for(loss):
    features, labels, folds = clouds([300, 12])
    plain, other = (
        settle_head(features, labels, 2, folds, TrainSettings(loss=one), 0)[0] for one in ("cross-entropy", loss)
    )
    assert not torch.equal(plain.weight, other.weight)
    if loss == "logit-adjusted":
        assert recalls(other, [200, 200])[1] > recalls(plain, [200, 200])[1] + 0.1


def test_smote_makes_all_classes_equally_large_between_neighbours_and_keeps_what_there_was():
    features, labels, _ = clouds([40, 8, 3, 2, 1])
    made, named = smote(features, labels, seed=0)
    assert torch.bincount(named).tolist() == [40] * 5
    assert torch.equal(made[: len(labels)], features)
    for k in (1, 2, 3):
        own, new = features[labels == k], made[len(labels) :][named[len(labels) :] == k]
        assert (new >= own.min(0).values - 1e-5).all()
        assert (new <= own.max(0).values + 1e-5).all()
        assert len(new.unique(dim=0)) > 20
    assert torch.equal(made[named == 4], features[labels == 4].expand(40, -1))


def test_smote_of_ten_neighbours_is_that_of_imbalanced_learn():
    from imblearn.over_sampling import SMOTE

    features, labels, _ = clouds([40, 12, 9])
    theirs, named = SMOTE(random_state=3).fit_resample(features.numpy(), labels.numpy())
    ours, own = smote(features, labels, seed=3)
    assert np.array_equal(theirs, ours.numpy())
    assert np.array_equal(named, own.numpy())


def test_smote_of_classes_that_are_equal_already_changes_nothing():
    features, labels, _ = clouds([9, 9])
    made, named = smote(features, labels, seed=0)
    assert torch.equal(made, features)
    assert torch.equal(named, labels)


def test_undersampling_keeps_real_rows_as_many_as_the_rarest_class_has():
    features, labels, _ = clouds([40, 8, 3])
    kept, named = undersample(features, labels, seed=0)
    assert torch.bincount(named).tolist() == [3, 3, 3]
    rows = {tuple(row) for row in features.tolist()}
    assert all(tuple(row) in rows for row in kept.tolist())


@pytest.mark.parametrize("how", ALL)
def test_the_same_seed_gives_the_same_head(how):
    features, labels, folds = clouds([60, 9, 1])
    one, two = (solve_balanced(features, labels, 3, folds, TrainSettings(), 5, how) for _ in range(2))
    assert torch.equal(one.weight, two.weight)
    assert torch.isfinite(one.weight).all()


@pytest.mark.parametrize("how", [*ALL, "auto"])
@pytest.mark.parametrize("counts", [[30, 1], [30, 0, 2], [2, 1], [1, 1], [20, 20]])
def test_classes_of_hardly_any_picture_are_no_error(how, counts):
    features, labels, folds = clouds(counts)
    head, _ = settle_head(features, labels, len(counts), folds, TrainSettings(balance=how), 0)
    assert head.weight.shape == (len(counts), 8)
    assert torch.isfinite(head.weight).all()


def test_auto_takes_what_helps_and_says_by_how_much():
    features, labels, folds = clouds([800, 40, 40])
    head, settled = settle_head(features, labels, 3, folds, TrainSettings(balance="auto"), 0)
    assert settled.balance in ("weights", "smote")
    assert "gains" in settled.reason
    chosen = solve_balanced(features, labels, 3, folds, TrainSettings(), 0, settled.balance)
    if settled.balance == "weights":
        assert torch.equal(head.weight, chosen.weight)


def test_auto_does_nothing_where_nothing_helps_beyond_chance():
    draw = torch.Generator().manual_seed(1)
    labels = torch.tensor([0] * 100 + [1] * 12)
    noise, folds = torch.randn(112, 5, generator=draw), np.arange(112) % 3
    head, settled = settle_head(noise, labels, 2, folds, TrainSettings(balance="auto"), 0)
    assert settled.balance == "none"
    assert "beyond chance" in settled.reason
    assert torch.equal(head.weight, solve_head(noise, labels, 2, folds).weight)


def test_auto_tries_nothing_where_it_makes_no_sense_and_says_why():
    features, labels, folds = clouds([30, 29])
    _, settled = settle_head(features, labels, 2, folds, TrainSettings(balance="auto"), 0)
    assert settled.balance == "none"
    assert "equally large" in settled.reason


@pytest.mark.parametrize(("counts", "settled"), [([300, 12], "weights"), ([30, 10], "none")])
@pytest.mark.parametrize("little", ["pictures", "memory"])
def test_where_nothing_can_be_tried_auto_goes_by_the_class_sizes(counts, settled, little):
    features, labels, folds = clouds(counts)
    auto, memory_gb = TrainSettings(balance="auto"), 1e-6 if little == "memory" else 5.0
    if little == "pictures":
        folds = np.zeros(len(labels), np.int64)
    head, found = settle_head(features, labels, 2, folds, auto, 0, memory_gb)
    assert found.balance == settled
    same = solve_balanced(features, labels, 2, folds, TrainSettings(), 0, settled, memory_gb=memory_gb)
    assert torch.equal(head.weight, same.weight)


def test_auto_leaves_smote_out_where_it_would_take_long(monkeypatch):
    monkeypatch.setattr(balance, "SMOTE_ROWS", 10)
    monkeypatch.setattr(balance, "smote", None)
    features, labels, folds = clouds([100, 12])
    _, settled = settle_head(features, labels, 2, folds, TrainSettings(balance="auto"), 0)
    assert settled.balance in ("none", "weights")


def test_auto_beside_the_logit_adjusted_loss_does_nothing_more():
    features, labels, folds = clouds([100, 12])
    settings = TrainSettings(balance="auto", loss="logit-adjusted")
    assert settle_head(features, labels, 2, folds, settings, 0)[1].balance == "none"
    assert settle_without_head(settings, np.array([100, 12])).balance == "none"


def test_without_a_head_auto_goes_by_the_class_sizes():
    auto = TrainSettings(balance="auto")
    assert settle_without_head(auto, np.array([100, 60])).balance == "none"
    assert "2.0 times" in settle_without_head(auto, np.array([100, 50, 0])).reason
    assert settle_without_head(TrainSettings(balance="oversample"), np.array([100, 1])).balance == "oversample"
    assert settle_without_head(TrainSettings(), np.array([100, 1])).balance == "none"


def test_weights_change_the_loss_and_samplers_the_epochs_and_nothing_does_both():
    counts = np.array([30, 10])
    weighted = [one for one in ALL if loss_of(TrainSettings(), counts, one).class_weights is not None]
    assert weighted == ["weights", "smote"]
    assert [sampling_of(one) for one in ALL] == ["all", "all", "oversample", "undersample", "all"]
