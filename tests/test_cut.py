import pytest
import torch
from torch import nn

from linnaeus.nn import stages, zoo
from linnaeus.nn.cut import cut
from linnaeus.nn.depthwise import hold_depthwise


@pytest.mark.parametrize(
    ("name", "low", "size_px"),
    [("tf_efficientnet_lite0", 4, 64), ("resnet18", 3, 64), ("small-32", 2, 32), ("keras-cifar10", 2, 32)],
)
def test_both_halves_together_are_the_network(name, low, size_px):
    network = zoo.create(name, num_classes=3, weights="none")
    stages.freeze(network, low)
    stages.train_mode(network, keep_statistics=True)
    x = torch.randn(2, 3, size_px, size_px)
    lower, upper = cut(network, x)
    network.eval()
    torch.testing.assert_close(upper(lower(x)), network(x))
    assert lower(x).shape[1:] != x.shape[1:], "the lower half does something"


def test_training_the_upper_half_trains_the_network_and_leaves_the_frozen_part():
    network = zoo.create("resnet18", num_classes=3, weights="none", options={"zero_init_last": False})
    frozen = set(stages.freeze(network, 3))
    stages.train_mode(network)
    lower, upper = cut(network, torch.randn(2, 3, 64, 64))
    upper(lower(torch.randn(2, 3, 64, 64))).square().sum().backward()
    with_gradient = {name for name, value in network.named_parameters() if value.grad is not None}
    assert with_gradient == {name for name, _ in network.named_parameters()} - frozen


def test_a_norm_that_still_learns_its_statistics_is_not_in_the_lower_half():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.Flatten(), nn.Linear(4 * 36, 2))
    network[0].requires_grad_(False)
    network.train()
    lower, _ = cut(network, torch.randn(2, 3, 8, 8))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in lower.modules())


def test_code_that_looks_at_values_has_no_cut():
    class Moody(nn.Module):
        def __init__(self):
            super().__init__()
            self.low, self.high = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            x = self.low(x).mean((2, 3))
            return self.high(x if x.sum() > 0 else -x)

    network = Moody()
    network.low.requires_grad_(False)
    assert cut(network, torch.randn(2, 3, 8, 8)) is None


def test_held_depthwise_filters_do_not_hinder_the_cut():
    network = zoo.create("tf_efficientnet_lite0", num_classes=3, weights="none")
    stages.freeze(network, 4)
    hold_depthwise(network)
    stages.train_mode(network, keep_statistics=True)
    assert cut(network, torch.randn(2, 3, 64, 64)) is not None
