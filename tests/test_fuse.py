import copy

import pytest
import torch
from torch import nn

from linnaeus.nn import zoo
from linnaeus.nn.fold import folded
from linnaeus.nn.fuse import FusedConvolution, fused

NETWORKS = [
    "tf_efficientnet_lite0",
    "tf_efficientnet_b0",
    "resnet18",
    "mobilenetv3_small_050",
    "resnetv2_50",
    "densenet121",
    "regnety_002",
    "convnext_atto",
    "small-32",
]


def made(name, size_px=64):
    """A network for inference whose batch norms have statistics that matter."""
    torch.manual_seed(0)
    network = zoo.create(name, num_classes=3, channels=3, size_px=size_px, weights="none")
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.7, 1.3)
    network = network.eval().to(memory_format=torch.channels_last)
    return folded(network, torch.rand(2, 3, size_px, size_px))


def pictures(height=64, width=64):
    return torch.rand(3, 3, height, width).contiguous(memory_format=torch.channels_last)


def convolutions(network):
    return [layer for layer in network.modules() if isinstance(layer, FusedConvolution)]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_fused_network_gives_the_same_answers(name):
    network, some = made(name), pictures()
    quick = fused(network, some[:2])
    with torch.inference_mode():
        before = network(some)
        assert convolutions(quick)
        assert torch.allclose(quick(some), before, atol=1e-4 * before.abs().max().item())


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
def test_under_autocast_it_gives_what_the_network_gives_there(name):
    network, some = made(name), pictures()
    quick = fused(network, some[:2])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        before, after = network(some).float(), quick(some).float()
    assert (before - after).abs().max() <= 0.02 * before.abs().max()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 64), (65, 67), (96, 61)])
def test_padding_as_in_tensorflow_holds_for_every_size(height, width):
    network, some = made("tf_efficientnet_lite0"), pictures(height, width)
    quick = fused(network, pictures()[:2])
    with torch.inference_mode():
        before = network(some)
        assert torch.allclose(quick(some), before, atol=1e-4 * before.abs().max().item())


def test_no_activation_runs_by_itself_any_more():
    quick = fused(made("tf_efficientnet_lite0"), pictures()[:2])
    assert not [layer for layer in quick.modules() if isinstance(layer, nn.ReLU6)]


def test_the_network_itself_stays_as_it_is():
    network = made("resnet18")
    before = copy.deepcopy(network.state_dict())
    fused(network, pictures()[:2])
    assert not convolutions(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_copy_is_made_once_and_made_anew_when_the_weights_change():
    network, some = made("resnet18"), pictures()
    first = fused(network, some[:2])
    assert fused(network, some[:2]) is first
    with torch.no_grad():
        next(network.parameters()).mul_(2)
    assert fused(network, some[:2]) is not first


class Odd(nn.Module):
    """Its activation stands after the convolution, but is applied twice."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1)
        self.after = nn.Sequential(nn.Tanh())

    def forward(self, x):
        return self.after(self.after(self.convolution(x))).mean((2, 3))


def test_a_network_that_is_wired_otherwise_is_left_alone():
    network = Odd().eval()
    assert fused(network, pictures()) is network


def test_a_network_without_convolutions_is_left_alone():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2))
    assert fused(network, pictures()) is network
