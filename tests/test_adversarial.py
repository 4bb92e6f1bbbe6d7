import copy

import numpy as np
import pytest
import torch
from torch import nn

from linnaeus.config import load_recipe
from linnaeus.learn.adversarial import Ball, adversarial, to_bytes
from linnaeus.learn.objectives import Batch, supervised
from linnaeus.nn.input import FromBytes

FROM_BYTES = FromBytes((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4)).train()


def batch(seed=(0, 1, 2)):
    draw = np.random.default_rng(0)
    stored = torch.from_numpy(draw.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8))
    return Batch(FROM_BYTES(stored), torch.from_numpy(draw.integers(0, 4, 6)), seed)


def seen_by(inner_batches):
    """Make an objective that notes what it was given."""

    def inner(net, one):
        inner_batches.append(one)
        return supervised()(net, one)

    return inner


def test_undoing_the_normalisation_gives_the_bytes_back():
    stored = torch.arange(0, 192, dtype=torch.uint8).reshape(1, 8, 8, 3)
    assert torch.allclose(to_bytes(FROM_BYTES(stored), FROM_BYTES), stored.float(), atol=1e-3)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_network_learns_from_worse_pictures_within_the_radius(steps):
    net, one, given = network(), batch(), []
    before = supervised()(net, one).loss.item()
    outcome = adversarial(seen_by(given), FROM_BYTES, radius=8, steps=steps)(net, one)
    change = to_bytes(given[0].pictures, FROM_BYTES) - to_bytes(one.pictures, FROM_BYTES)
    assert 7.9 < float(change.abs().max()) <= 8.001
    assert outcome.loss.item() > before + 0.05
    assert outcome.n == 6


def test_more_steps_find_worse_pictures():
    losses = [
        adversarial(supervised(), FROM_BYTES, radius=8, steps=steps)(network(), batch()).loss.item()
        for steps in (1, 10)
    ]
    assert losses[1] > losses[0] - 1e-3


def test_the_attack_leaves_statistics_gradients_and_modes_alone():
    net, one = network(), batch()
    plain = copy.deepcopy(net)
    given = []
    adversarial(seen_by(given), FROM_BYTES, radius=8, steps=3)(net, one)
    supervised()(plain, given[0])
    for name, value in plain.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    assert all(parameter.grad is None for parameter in net.parameters())
    assert net.training


def test_the_seed_of_the_batch_decides_the_attack():
    given = []
    objective = adversarial(seen_by(given), FROM_BYTES, radius=8)
    for seed in ((1, 2), (1, 2), (1, 3)):
        objective(network(), batch(seed))
    assert torch.equal(given[0].pictures, given[1].pictures)
    assert not torch.equal(given[0].pictures, given[2].pictures)


def test_its_gradient_trains_the_network():
    net, one = network(), batch()
    adversarial(supervised(), FROM_BYTES, radius=8)(net, one).loss.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_training_against_the_worst_makes_the_worst_better():
    """Two features: a strong one that 8 bytes can turn, and a weak one that they cannot. Only the second is robust."""
    draw = np.random.default_rng(0)
    labels = torch.from_numpy(draw.integers(0, 2, 256))
    sign = (2 * labels - 1).float()
    stored = torch.full((256, 1, 1, 3), 128.0)
    stored[:, 0, 0, 0] += 4 * sign
    robust = torch.where(torch.from_numpy(draw.random(256) < 0.9), sign, -sign)
    stored[:, 0, 0, 1] += 60 * robust
    one = Batch(FROM_BYTES(stored), labels)

    def worst_accuracy(objective):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
        optimizer = torch.optim.Adam(net.parameters(), 0.05)
        for step in range(300):
            optimizer.zero_grad()
            objective(net, Batch(one.pictures, one.labels, (step,))).loss.backward()
            optimizer.step()
        return int(adversarial(supervised(), FROM_BYTES, radius=8, steps=10)(net, one).right) / 256

    hardened = worst_accuracy(adversarial(supervised(), FROM_BYTES, radius=8, steps=3))
    assert hardened > 0.8
    assert hardened > worst_accuracy(supervised()) + 0.1


def test_a_random_start_lies_inside_the_ball():
    linf = Ball("Linf", 3).draw((50, 50), np.random.default_rng(0))
    assert 2.9 < float(linf.abs().max()) <= 3
    lengths = [float(Ball("L2", 3).draw((10, 10), np.random.default_rng(seed)).norm()) for seed in range(200)]
    assert max(lengths) <= 3.0001
    assert 1.2 < np.mean(lengths) < 1.8


def test_the_recipe_freezes_nothing_and_keeps_the_last_weights():
    recipe = load_recipe("adversarial")
    assert recipe.train.adversarial == 8
    assert (recipe.model.freeze, recipe.train.views, recipe.train.keep) == ("none", 0, "last")
    assert recipe.augment.mixup == recipe.augment.cutmix == 0
