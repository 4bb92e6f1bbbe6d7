import copy

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from linnaeus.nn.depthwise import ease_depthwise, hold_depthwise, is_depthwise, release_depthwise


def gradient(layer, x):
    x = x.clone().requires_grad_()
    layer(x).square().sum().backward()
    return x.grad


@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
@pytest.mark.parametrize(("kernel", "side"), [(3, 14), (3, 15), (5, 14), (5, 7)])
def test_the_gradient_of_a_strided_layer_is_that_of_pytorch(kind, kernel, side):
    torch.manual_seed(0)
    ours = kind(8, 8, kernel, 2, kernel // 2, groups=8, bias=True).to(torch.bfloat16)
    theirs, x = copy.deepcopy(ours).requires_grad_(False), torch.randn(2, 8, side, side).to(torch.bfloat16)
    assert hold_depthwise(ours) == 0 or ours.weight.requires_grad is False
    holder = nn.Sequential(ours)
    assert hold_depthwise(holder) == 1
    torch.testing.assert_close(holder(x), theirs(x))
    torch.testing.assert_close(gradient(holder, x), gradient(theirs, x), rtol=0.05, atol=0.3)


def test_only_convolutions_with_one_filter_per_channel_are_held():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, groups=2))
    assert [is_depthwise(layer) for layer in network] == [False, True, False]
    hold_depthwise(network)
    assert [layer.weight.requires_grad for layer in network] == [True, False, True]


def test_release_gives_the_layers_back_as_they_were():
    network = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1, groups=4))
    hold_depthwise(network)
    release_depthwise(network)
    assert network[0].weight.requires_grad
    assert "forward" not in vars(network[0])


def test_in_fp32_and_without_gradient_the_layer_is_pytorchs_own():
    layer = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1, groups=4))
    x = torch.randn(1, 4, 8, 8)
    before = layer(x)
    hold_depthwise(layer)
    assert torch.equal(layer(x), before)
    with torch.no_grad():
        assert torch.equal(layer(x), before)


def test_a_layer_that_learns_is_computed_in_float32_inside_bf16_autocast():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1, groups=8), nn.Conv2d(8, 4, 1))
    x, seen = torch.randn(2, 8, 9, 9), []
    expected = copy.deepcopy(network)[0](x)
    ease_depthwise(network, hold=False)
    network[0].register_forward_hook(lambda layer, given, out: seen.append(out))
    with torch.autocast("cpu", torch.bfloat16):
        answer = network(x)
    assert torch.equal(seen[0], expected)
    assert answer.dtype is torch.bfloat16
    answer.float().square().sum().backward()
    assert network[0].weight.grad.abs().sum() > 0
    release_depthwise(network)
    assert "forward" not in vars(network[0])


def test_a_copy_of_a_network_computes_with_filters_of_its_own():
    """Pieces of a batch are computed by copies, and speed is measured on copies."""
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4))
    ease_depthwise(network, hold=False)
    twin = copy.deepcopy(network)
    with torch.no_grad():
        twin[0].weight.zero_()
        twin[0].bias.zero_()
    with torch.autocast("cpu", torch.bfloat16):
        assert not twin(torch.ones(1, 4, 5, 5)).any()
        assert network(torch.ones(1, 4, 5, 5)).any()
