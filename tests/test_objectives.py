import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from linnaeus.learn.objectives import Batch, Loss, inverse_frequency, mix, prior_shift, supervised


def batch(n=8, seed=(0, 1, 2)):
    draw = torch.Generator().manual_seed(0)
    return Batch(torch.rand(n, 3, 12, 12, generator=draw), torch.randint(4, (n,), generator=draw), seed)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 144, 4))


@pytest.mark.parametrize("smoothing", [0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_torchs_with_smoothing_and_class_weights(smoothing, weighted):
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0]) if weighted else None
    net, one = network(), batch()
    outcome = supervised(Loss(smoothing, weights))(net, one)
    theirs = nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)(net(one.pictures), one.labels)
    assert torch.equal(outcome.loss, theirs)


def test_it_counts_what_is_right():
    net, one = network(), batch()
    outcome = supervised()(net, one)
    assert int(outcome.right) == int((net(one.pictures).argmax(1) == one.labels).sum())
    assert outcome.n == 8


def test_a_bf16_network_is_judged_in_full_precision():
    net, one = network().bfloat16(), batch()
    loss = supervised()(net, Batch(one.pictures.bfloat16(), one.labels)).loss
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("seed", range(12))
def test_cutmix_takes_a_box_from_the_partner_and_its_share_is_that_of_the_pixels(seed):
    one = batch(seed=(seed,))
    pictures, partner, share = mix(one, 0, 1.0)
    own = (pictures == one.pictures).all(dim=1)
    other = (pictures == one.pictures[partner]).all(dim=1)
    assert (own | other).all()
    moved = [row for row in range(8) if partner[row] != row]
    assert all(own[row].float().mean().item() == pytest.approx(share) for row in moved)


def test_cutmix_boxes_are_rectangles():
    one = batch(seed=(5,))
    pictures, partner, share = mix(one, 0, 1.0)
    row = next(row for row in range(8) if partner[row] != row)
    y, x = (pictures[row] != one.pictures[row]).all(dim=0).nonzero(as_tuple=True)
    assert (y.max() - y.min() + 1) * (x.max() - x.min() + 1) == len(y) == round((1 - share) * 144)


def test_mixup_blends_each_picture_with_its_partner():
    one = batch()
    pictures, partner, share = mix(one, 0.4, 0)
    torch.testing.assert_close(pictures, share * one.pictures + (1 - share) * one.pictures[partner])
    assert 0 <= share <= 1


def test_mixing_leaves_the_batch_as_it_was():
    one = batch()
    before = one.pictures.clone()
    mix(one, 0.4, 0)
    mix(one, 0, 1.0)
    assert torch.equal(one.pictures, before)


def test_the_mixed_loss_weighs_both_labels_by_their_shares():
    net, one = network(), batch()
    pictures, partner, share = mix(one, 0.4, 0)
    logits = net(pictures)
    expected = share * functional.cross_entropy(logits, one.labels)
    expected += (1 - share) * functional.cross_entropy(logits, one.labels[partner])
    torch.testing.assert_close(supervised(mixup=0.4)(net, one).loss, expected)


def test_the_seed_alone_decides_the_mixture():
    first, again, other = (mix(batch(seed=seed), 0.4, 1.0) for seed in ((3, 1), (3, 1), (3, 2)))
    assert torch.equal(first[0], again[0])
    assert first[2] == again[2]
    assert not torch.equal(first[0], other[0])


def test_with_both_each_batch_gets_one_of_them():
    def is_cut(seed):
        one = batch(seed=(seed,))
        pictures, partner, _ = mix(one, 0.4, 1.0)
        return bool(((pictures == one.pictures) | (pictures == one.pictures[partner])).all())

    cuts = sum(is_cut(seed) for seed in range(40))
    assert 8 <= cuts <= 32


def test_inverse_frequency_gives_each_class_the_same_total():
    counts = np.array([10, 30, 0, 60])
    weights = inverse_frequency(counts).numpy()
    assert weights[2] == 0
    assert np.allclose((weights * counts)[[0, 1, 3]], 100 / 3)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)


def test_equal_classes_weigh_one():
    assert inverse_frequency(np.array([7, 7, 7])).tolist() == [1, 1, 1]


def two_sure_and_unsure():
    return torch.tensor([[2.0, 0.0, -1.0], [0.1, 0.2, 0.0], [-1.0, 3.0, 0.5]]), torch.tensor([0, 2, 0])


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_the_focal_loss_is_that_of_the_paper(gamma):
    logits, labels = two_sure_and_unsure()
    p = logits.softmax(1)[torch.arange(3), labels]
    expected = (-((1 - p) ** gamma) * p.log()).mean()
    torch.testing.assert_close(Loss(gamma=gamma).mean(logits, labels), expected)


def test_the_focal_loss_weighs_classes_and_falls_to_cross_entropy_as_gamma_falls_to_0():
    logits, labels = two_sure_and_unsure()
    weights = torch.tensor([0.5, 1.0, 2.0])
    near, plain = Loss(0.1, weights, gamma=1e-6), Loss(0.1, weights)
    torch.testing.assert_close(near.mean(logits, labels), plain.mean(logits, labels), atol=1e-4, rtol=1e-4)


def test_a_picture_that_is_surely_right_gives_the_focal_loss_a_finite_slope():
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    Loss(gamma=0.5).mean(logits, torch.tensor([0])).backward()
    assert torch.isfinite(logits.grad).all()


def test_the_logit_adjusted_loss_judges_logits_plus_tau_times_the_log_shares():
    logits, labels = two_sure_and_unsure()
    shares = torch.tensor([0.6, 0.3, 0.1])
    expected = functional.cross_entropy(logits + 0.5 * shares.log(), labels)
    shift = prior_shift(np.array([60, 30, 10]), 0.5)
    torch.testing.assert_close(Loss(shift=shift).mean(logits, labels), expected)


def test_a_class_without_pictures_is_shifted_like_the_largest():
    shift = prior_shift(np.array([60, 0, 40])).numpy()
    assert np.isfinite(shift).all()
    assert shift[1] == shift[0]


def test_equal_classes_shift_all_logits_alike():
    assert len(set(prior_shift(np.array([7, 7, 7])).tolist())) == 1


@pytest.mark.parametrize(
    "loss", [Loss(), Loss(0.1, torch.tensor([1.0, 2.0, 3.0])), Loss(gamma=2.0), Loss(shift=torch.arange(3.0))]
)
def test_the_total_is_the_mean_times_the_weight(loss):
    logits, labels = two_sure_and_unsure()
    torch.testing.assert_close(loss.total(logits, labels), loss.mean(logits, labels) * loss.weight(labels))
