"""A discriminant is blended into a regression where that makes held-out answers better."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

from linnaeus.learn import head as heads
from linnaeus.learn.blend import MOST, Blend, blend, change_of_prior
from linnaeus.learn.discriminant import FoldSums
from linnaeus.learn.head import solve_head
from linnaeus.learn.objectives import CROSS_ENTROPY, Loss


def clouds(n, seed):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    return labels[:, None].eq(torch.arange(12) % 4) + torch.randn(n, 12, generator=draw), labels, np.arange(n) // 4 % 3


def without_blend(monkeypatch, *asked, **more):
    def nothing(sums, labels, held_out, loss):
        return Blend(1.0, torch.zeros(1), torch.zeros(1), held_out)

    with monkeypatch.context() as patch:
        patch.setattr(heads, "blend", nothing)
        return solve_head(*asked, **more)


def test_new_pictures_are_answered_better_than_by_the_regression_alone(monkeypatch):
    pixels, labels = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
    losses = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(labels))
        known, new = order[:400], order[400:]
        asked = pixels[known].float(), labels[known], 10, np.arange(400) % 3
        answers = (
            pixels[new].float() @ one.weight.T + one.bias
            for one in (without_blend(monkeypatch, *asked), solve_head(*asked))
        )
        losses.append([cross_entropy(one, labels[new]).item() for one in answers])
    alone, both = np.mean(losses, 0)
    assert both < 0.98 * alone


def test_held_out_answers_are_never_worse_than_those_of_the_regression(monkeypatch):
    for seed in range(4):
        features, labels, folds = clouds(60, seed)
        alone, both = without_blend(monkeypatch, features, labels, 4, folds), solve_head(features, labels, 4, folds)
        assert cross_entropy(both.held_out, labels) <= cross_entropy(alone.held_out, labels) + 1e-6


def test_held_out_logits_come_from_heads_that_did_not_see_the_row():
    draw = torch.Generator().manual_seed(0)
    noise, labels = torch.randn(90, 60, generator=draw), torch.arange(90) % 3
    found = solve_head(noise, labels, 3, np.arange(90) // 3 % 3)
    right = [
        (some.argmax(1) == labels).float().mean() for some in (found.held_out, noise @ found.weight.T + found.bias)
    ]
    assert right[0] < 0.5 < right[1]


def test_answers_that_are_all_right_give_finite_factors():
    labels = torch.arange(30) % 3
    features = torch.nn.functional.one_hot(labels, 3).float() + 0.01 * torch.randn(30, 3)
    found = blend(FoldSums.of(features.numpy(), np.arange(30) // 3 % 3), labels, 10 * features, CROSS_ENTROPY)
    assert 0 <= found.share <= MOST
    assert torch.isfinite(found.weight).all()


@pytest.mark.parametrize("loss", [CROSS_ENTROPY, Loss(class_weights=torch.tensor([0.5, 5.0, 1.0]))])
def test_a_class_without_pictures_stays_improbable(loss):
    change = change_of_prior(np.array([90.0, 10.0, 0.0]), loss)
    assert change[2] == 0
    if loss.class_weights is not None:
        assert change[:2].tolist() == pytest.approx([-np.log(0.9), -np.log(0.1)], rel=1e-5)


def test_a_shift_that_the_loss_adds_is_taken_off():
    assert change_of_prior(np.array([9.0, 1.0]), Loss(shift=torch.tensor([1.0, 2.0]))).tolist() == [-1, -2]
