"""explain/target: where a network last knows places."""

import pytest
import torch
from torch import nn

from linnaeus.errors import ModelError
from linnaeus.nn import zoo
from linnaeus.verbs.explain.target import find_feature_map


def feature_map(network, size_px):
    return find_feature_map(network.eval().requires_grad_(False), torch.randn(1, 3, size_px, size_px))


@pytest.mark.parametrize(
    ("name", "size_px", "expected"),
    [
        ("keras-cifar10", 32, ("features.2.act1", "NCHW", 8, 0)),
        ("keras-cifar10-dropout", 32, ("features.1.act2", "NCHW", 13, 0)),
        ("small-32", 32, ("blocks", "NCHW", 3, 0)),
        ("alexnet", 128, ("features.11", "NCHW", 7, 0)),
        ("resnet18", 64, ("layer4", "NCHW", 2, 0)),
        ("tf_efficientnet_lite0", 64, ("bn2", "NCHW", 2, 0)),
        ("mobilenetv3_small_100", 64, ("blocks", "NCHW", 2, 0)),
        ("convnext_atto", 64, ("norm_pre", "NCHW", 2, 0)),
        ("vit_tiny_patch16_224", 64, ("blocks.11.norm1", "tokens", 4, 1)),
        ("deit_tiny_distilled_patch16_224", 64, ("blocks.11.norm1", "tokens", 4, 2)),
        ("swin_tiny_patch4_window7_224", 64, ("norm", "NHWC", 2, 0)),
    ],
)
def test_the_last_map_before_pooling_is_found(name, size_px, expected):
    torch.manual_seed(0)
    found = feature_map(zoo.create(name, num_classes=5, size_px=size_px, weights="none"), size_px)
    assert (found.name, found.layout, found.height, found.prefix) == expected
    assert found.width == found.height


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_its_output_becomes_channels_first(name):
    torch.manual_seed(0)
    network = zoo.create(name, num_classes=5, size_px=64, weights="none").eval()
    found, seen = feature_map(network, 64), []
    found.layer.register_forward_hook(lambda _layer, _inputs, output: seen.append(output))
    network(torch.randn(2, 3, 64, 64))
    assert found.to_nchw(seen[0]).shape[::2] == (2, found.height)
    assert found.to_nchw(seen[0]).shape[3] == found.width


def test_tokens_are_laid_out_row_by_row_without_the_class_token():
    network = zoo.create("vit_tiny_patch16_224", num_classes=5, size_px=64, weights="none")
    found = feature_map(network, 64)
    tokens = torch.arange(17.0)[None, :, None]
    assert found.to_nchw(tokens)[0, 0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16]]


class OneReluForAll(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.relu, self.head = nn.ReLU(), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.relu(self.second(self.relu(self.first(x)))).mean(dim=(2, 3)))


def test_a_layer_that_is_used_twice_is_not_taken():
    assert feature_map(OneReluForAll(), 16).name == "second"


def test_a_convolution_without_places_is_not_taken():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(4, 2)
    )
    assert feature_map(network, 16).name == "0"


def test_a_network_without_places_is_refused_with_what_to_take_instead():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    with pytest.raises(ModelError, match="integrated-gradients"):
        feature_map(network, 16)


def test_looking_leaves_no_hooks():
    network = OneReluForAll()
    feature_map(network, 16)
    assert not any(layer._forward_hooks for layer in network.modules())
