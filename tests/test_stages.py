import pytest
import torch
from torch import nn

from linnaeus.errors import ModelError
from linnaeus.nn import zoo
from linnaeus.nn.head import features, linear_head, set_head
from linnaeus.nn.stages import exempt, freeze, freezing_steps, layer_scales, stages, train_mode, unfrozen_stages

NETWORKS = ["keras-cifar10", "small-32", "test_resnet", "test_vit", "test_efficientnet", "test_convnext"]


def network_of(name):
    torch.manual_seed(0)
    size_px = zoo.published_cfg(name)["input_size"][-1]
    return zoo.create(name, num_classes=3, weights="none"), torch.randn(2, 3, size_px, size_px)


class Wrapper(nn.Module):
    """A user's own network, with nothing that timm knows."""

    def __init__(self, scale=1.0):
        super().__init__()
        norm = nn.BatchNorm2d(4, affine=False)
        self.inner = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 4, 3), norm), nn.Flatten(), nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 3)
        )
        self.scale = scale

    def forward(self, x):
        return self.scale * self.inner(x)


def trained(network):
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_hold_every_parameter_once_and_end_in_the_classifier(name):
    network, _ = network_of(name)
    groups = stages(network)
    flat = [parameter for group in groups for parameter in group]
    assert sorted(flat) == sorted(key for key, _ in network.named_parameters())
    head = network.get_classifier()
    assert {id(network.get_parameter(key)) for key in groups[-1]} == {id(value) for value in head.parameters()}
    assert len(groups) > 2


def test_stages_of_a_resnet_are_its_own():
    groups = stages(zoo.create("resnet18", num_classes=3, weights="none"))
    assert [group[0].partition(".")[0] for group in groups] == ["conv1", "layer1", "layer2", "layer3", "layer4", "fc"]


def test_stages_of_a_plain_network_are_its_children():
    assert [group[0] for group in stages(Wrapper())] == ["inner.0.0.weight", "inner.2.weight", "inner.4.weight"]


def test_freezing_the_backbone_trains_the_head_only():
    network, _ = network_of("test_resnet")
    frozen = freeze(network, "backbone")
    assert trained(network) == set(stages(network)[-1])
    assert set(frozen) == {name for group in stages(network)[:-1] for name in group}


def test_freezing_fewer_stages_thaws_the_others():
    network, _ = network_of("test_resnet")
    freeze(network, "backbone")
    freeze(network, 1)
    assert trained(network) == {name for group in stages(network)[1:] for name in group}
    assert freeze(network, "none") == []
    assert len(trained(network)) == len(list(network.parameters()))


def test_what_a_network_holds_fixed_itself_stays_fixed():
    network, _ = network_of("small-32")
    before = trained(network)
    freeze(network, "backbone")
    freeze(network, "none")
    assert trained(network) == before
    assert "stem.weight" not in before


def test_freezing_the_head_too_is_refused():
    network, _ = network_of("keras-cifar10")
    with pytest.raises(ModelError, match="0 to 4"):
        freeze(network, 5)


def test_statistics_of_frozen_stages_do_not_drift():
    network, pictures = network_of("test_resnet")
    freeze(network, 2)
    train_mode(network)
    before = {name: value.clone() for name, value in network.named_buffers() if "running" in name}
    network(pictures)
    drifted = {
        name.rpartition(".")[0]
        for name, value in network.named_buffers()
        if "running" in name and not torch.equal(value, before[name])
    }
    low = {name.rpartition(".")[0] for group in stages(network)[:2] for name in group}
    assert drifted
    assert not drifted & low


def test_a_norm_without_parameters_follows_the_stage_around_it():
    network = Wrapper()
    freeze(network, 1)
    train_mode(network)
    assert not network.inner[0][1].training
    freeze(network, "none")
    train_mode(network)
    assert network.inner[0][1].training


def test_gradual_unfreezing_starts_with_the_head_and_ends_with_everything():
    assert [unfrozen_stages(epoch, 2, 3) for epoch in range(7)] == [1, 1, 2, 2, 3, 3, 3]


def test_lower_layers_take_smaller_steps():
    network, _ = network_of("keras-cifar10")
    scales = layer_scales(network, 0.5)
    assert scales["head.weight"] == 1
    assert scales["pre_logits.dense.bias"] == 0.5
    assert scales["features.0.conv1.weight"] == 0.5**4


def test_norms_biases_and_what_the_network_says_do_not_decay():
    network, _ = network_of("test_vit")
    kept = exempt(network)
    assert {"pos_embed", "cls_token", "blocks.0.norm1.weight", "head.bias"} <= kept
    assert "blocks.0.attn.qkv.weight" not in kept


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_what_the_head_reads(name):
    network, pictures = network_of(name)
    network.eval()
    found = features(network, pictures)
    hidden = network.forward_head(network.forward_features(pictures), pre_logits=True)
    torch.testing.assert_close(found, hidden)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_solved_head_gives_its_own_logits(name):
    network, pictures = network_of(name)
    network.eval()
    found = features(network, pictures)
    weight = torch.randn(5, found.shape[1])
    bias = torch.zeros(5) if network.get_classifier().bias is None else torch.randn(5)
    set_head(network, weight, bias)
    torch.testing.assert_close(network(pictures), found @ weight.T + bias, rtol=1e-4, atol=1e-4)


def test_features_of_a_users_network_are_what_its_last_layer_reads():
    network = Wrapper()
    assert features(network, torch.randn(2, 3, 8, 8)).shape == (2, 8)


def test_a_network_that_changes_the_output_of_its_last_layer_has_no_solved_head():
    with pytest.raises(ModelError, match=r"train\.start=fresh"):
        features(Wrapper(scale=2.0), torch.randn(2, 3, 8, 8))


def test_a_network_with_two_heads_has_no_solved_head():
    network = zoo.create("deit_tiny_distilled_patch16_224", num_classes=3, weights="none", options={"depth": 1})
    with pytest.raises(ModelError, match="one linear layer"):
        linear_head(network)


def test_a_solved_head_of_other_width_is_refused():
    network, _ = network_of("keras-cifar10")
    with pytest.raises(ModelError, match="7 features"):
        set_head(network, torch.zeros(3, 7), torch.zeros(3))


def test_a_head_without_bias_refuses_one():
    network, _ = network_of("small-32")
    with pytest.raises(ModelError, match="no bias"):
        set_head(network, torch.zeros(3, network.num_features), torch.ones(3))


def test_shares_of_a_run_become_steps_and_the_first_step_trains_everything():
    assert freezing_steps((0.25, 0.5, 0.9), 1000) == [250, 500, 900]
    assert freezing_steps((0.01,), 3) == [1]
    assert freezing_steps((), 100) == []
