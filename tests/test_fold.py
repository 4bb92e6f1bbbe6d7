import copy

import pytest
import torch
from torch import nn

from linnaeus.nn import zoo
from linnaeus.nn.fold import folded

NETWORKS = ["tf_efficientnet_lite0", "resnet18", "mobilenetv3_small_050", "resnetv2_50", "densenet121", "small-32"]


def made(name, size_px=64):
    """A network whose batch norms have statistics that matter."""
    torch.manual_seed(0)
    network = zoo.create(name, num_classes=3, channels=3, size_px=size_px, weights="none")
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.7, 1.3)
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_gives_the_same_answers(name):
    network, pictures = made(name), torch.rand(3, 3, 64, 64)
    with torch.inference_mode():
        before = network(pictures)
        assert torch.allclose(folded(network, pictures[:2])(pictures), before, atol=1e-4 * before.abs().max().item())


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
def test_no_batch_norm_is_left(name):
    assert not [
        layer for layer in folded(made(name), torch.rand(2, 3, 64, 64)).modules() if isinstance(layer, nn.BatchNorm2d)
    ]


def test_the_network_itself_stays_as_it_is():
    network = made("resnet18")
    before = copy.deepcopy(network.state_dict())
    folded(network, torch.rand(2, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Crossed(nn.Module):
    """Its norm stands after the convolution, but is applied before it."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.convolution(self.norm(x).relu())


def test_a_network_that_is_wired_otherwise_is_left_alone():
    network = Crossed().eval()
    network.norm.running_mean.fill_(0.3)
    assert folded(network, torch.rand(2, 3, 8, 8)) is network


def test_weights_that_changed_are_folded_anew():
    network, pictures = made("resnet18"), torch.rand(2, 3, 64, 64)
    first = folded(network, pictures)
    assert folded(network, pictures) is first
    with torch.no_grad():
        network.conv1.weight.mul_(2)
    with torch.inference_mode():
        assert torch.allclose(folded(network, pictures)(pictures), network(pictures), atol=1e-4)
    assert folded(network, pictures) is not first
