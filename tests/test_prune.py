import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from linnaeus.errors import ModelError, SettingsError
from linnaeus.nn import refit as refit_module
from linnaeus.nn import zoo
from linnaeus.nn.arithmetic import multiply_adds, multiply_adds_by_layer
from linnaeus.nn.blocks import removable_blocks, without_blocks
from linnaeus.nn.head import linear_head
from linnaeus.nn.prune import prune
from linnaeus.nn.refit import refit, restate
from linnaeus.nn.sparse import hold_zeros, unstructured, zero_share


def made(name="tf_efficientnet_lite0", px=64, **options):
    torch.manual_seed(0)
    return zoo.create(name, num_classes=4, size_px=px, weights="none", options=options).eval()


def chain(width=32, depthwise=True):
    torch.manual_seed(0)
    middle = (
        [nn.Conv2d(width, width, 3, groups=width, padding=1), nn.BatchNorm2d(width), nn.ReLU()] if depthwise else []
    )
    body = [nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), *middle, nn.Conv2d(width, 24, 1)]
    return nn.Sequential(*body, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4)).eval()


def data(px=16, batches=4):
    draw = torch.Generator().manual_seed(1)
    return [(torch.rand(8, 3, px, px, generator=draw), torch.randint(4, (8,), generator=draw)) for _ in range(batches)]


EXAMPLE = torch.zeros(1, 3, 16, 16)


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("importance", ["error", "taylor", "magnitude", "scale"])
def test_a_pruned_network_computes_at_most_the_share_that_was_asked_for(importance, scope):
    before = made()
    pruned = prune(before, data(64)[0][0][:1], keep=0.5, importance=importance, scope=scope, data=data(64, 1))
    assert pruned.before == multiply_adds(before, torch.zeros(1, 3, 64, 64))
    assert 0.42 < pruned.after / pruned.before <= 0.5
    assert pruned.network(torch.rand(2, 3, 64, 64)).shape == (2, 4)


def test_the_original_stays_as_it_is():
    network = chain()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    prune(network, EXAMPLE, keep=0.5, data=data())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(one.grad is None for one in network.parameters())


def test_wide_layers_keep_multiples_of_eight_channels():
    network = prune(made(), torch.zeros(1, 3, 64, 64), keep=0.5, importance="magnitude", scope="layer").network
    widths = [layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [width for width in widths if width >= 16 and width % 8] == []


def test_the_heads_outputs_stay():
    network = prune(made("resnet18"), torch.zeros(1, 3, 64, 64), keep=0.4, importance="magnitude").network
    assert linear_head(network).out_features == 4


def test_attention_stays_whole():
    network = made("vit_tiny_patch16_224", 224)
    pruned = prune(network, torch.zeros(1, 3, 224, 224), keep=0.7, importance="magnitude").network
    assert pruned.blocks[0].attn.qkv.weight.shape == network.blocks[0].attn.qkv.weight.shape
    assert pruned.blocks[0].mlp.fc1.out_features < network.blocks[0].mlp.fc1.out_features


@pytest.mark.parametrize("importance", ["error", "taylor", "magnitude", "scale"])
def test_channels_that_do_nothing_go_first(importance):
    network = chain()
    with torch.no_grad():
        for norm in (network[1], network[4]):
            norm.weight[::2] = 0
            norm.bias[::2] = 0
        network[0].weight[::2] = 0
        network[0].bias[::2] = 0
        network[3].weight[::2] = 0
        network[3].bias[::2] = 0
        network[6].weight[:, ::2] = 0
    pruned = prune(network, EXAMPLE, keep=0.52, importance=importance, data=data(), multiple=1)
    x = data()[0][0]
    torch.testing.assert_close(pruned.network(x), network(x))


def test_what_is_kept_is_named_by_the_original_channels():
    network, pruned = chain(), prune(chain(), EXAMPLE, keep=0.5, importance="magnitude")
    kept = pruned.kept["0"]
    assert torch.equal(pruned.network[0].weight, network[0].weight[kept.outputs])
    assert torch.equal(
        pruned.network[6].weight, network[6].weight[pruned.kept["6"].outputs][:, pruned.kept["6"].inputs]
    )


def test_refitting_brings_the_answers_back_towards_the_original():
    network, some = chain(), data()
    pruned = prune(network, EXAMPLE, keep=0.5, data=some, multiple=1)
    x = torch.rand(32, 3, 16, 16)
    before = (pruned.network(x) - network(x)).square().mean()
    assert refit(pruned.network, network, pruned.kept, (one for one, _ in some)) >= 1
    assert (pruned.network(x) - network(x)).square().mean() < 0.5 * before


def test_a_channel_that_is_a_copy_of_another_is_made_up_for_by_it():
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.Flatten(), nn.Linear(8 * 144, 4)
    ).eval()
    with torch.no_grad():
        network[0].weight[8:] = network[0].weight[:8]
        network[0].bias[8:] = network[0].bias[:8]
    pruned = prune(network, EXAMPLE, keep=0.55, importance="error", data=data(), multiple=1)
    some = [one for one, _ in data(batches=40)]
    refit(pruned.network, network, pruned.kept, some)
    x = torch.rand(16, 3, 16, 16)
    whole, least = (
        network(x),
        prune(network, EXAMPLE, keep=0.55, importance="error", data=data(), multiple=1).network(x),
    )
    assert (pruned.network(x) - whole).square().mean() < 0.05 * (least - whole).square().mean()


def test_statistics_are_those_of_the_pictures():
    network = chain()
    some = [one for one, _ in data()]
    restate(network, some)
    seen = torch.cat([network[0](one) for one in some])
    torch.testing.assert_close(network[1].running_mean, seen.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    assert not network[1].training
    assert network[1].momentum == 0.1


def test_taylor_without_pictures_is_refused():
    with pytest.raises(SettingsError, match="pictures"):
        prune(chain(), EXAMPLE, keep=0.5, importance="taylor")


@pytest.mark.parametrize("keep", [0, 1, 1.5, float("nan")])
def test_a_share_outside_of_0_to_1_is_refused(keep):
    with pytest.raises(SettingsError):
        prune(chain(), EXAMPLE, keep=keep, importance="magnitude")


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_network_that_cannot_be_made_so_small_says_how_small_it_gets(scope):
    with pytest.raises(ModelError, match="left"):
        prune(chain(), EXAMPLE, keep=0.001, importance="magnitude", scope=scope)


def test_a_network_without_inner_channels_is_refused():
    with pytest.raises(ModelError, match="distil"):
        prune(nn.Sequential(nn.Flatten(), nn.Linear(768, 4)), EXAMPLE, keep=0.5, importance="magnitude")


def test_frozen_parameters_stay_frozen():
    network = chain()
    network[0].weight.requires_grad_(False)
    pruned = prune(network, EXAMPLE, keep=0.5, importance="magnitude").network
    assert not pruned[0].weight.requires_grad
    assert pruned[1].weight.requires_grad


def test_multiply_adds_are_counted_as_by_hand():
    network = chain(depthwise=True)
    first, middle, last = 16 * 16 * 32 * 27, 16 * 16 * 32 * 9, 16 * 16 * 24 * 32
    assert multiply_adds(network, torch.zeros(5, 3, 16, 16)) == first + middle + last + 24 * 4
    assert sum(multiply_adds_by_layer(network, EXAMPLE).values()) == first + middle + last + 24 * 4


def test_blocks_that_can_go_are_those_that_keep_the_shape():
    found = removable_blocks(made(), torch.zeros(1, 3, 64, 64))
    assert found == [f"blocks.{s}.{b}" for s, n in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 4)) for b in range(1, n)]


def test_the_block_that_changes_least_for_its_cost_goes_first():
    network, example = made("resnet18", zero_init_last=False), torch.rand(4, 3, 64, 64)
    with torch.no_grad():
        network.layer3[1].bn2.weight.zero_()
        network.layer3[1].bn2.bias.zero_()
    whole = network(example)
    small, gone = without_blocks(
        network, example, keep=0.95, judge=lambda one: (one(example) - whole).abs().max().item()
    )
    assert gone == ["layer3.1"]
    torch.testing.assert_close(small(example), whole)


def test_blocks_that_do_not_suffice_are_said():
    with pytest.raises(ModelError, match="blocks"):
        without_blocks(made("resnet18"), torch.zeros(1, 3, 64, 64), keep=0.1, judge=lambda _: 0.0)


class NoCopies(TorchDispatchMode):
    """Forbid what brings a tensor to another device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in ("_to_copy", "copy_"), func
        return func(*args, **(kwargs or {}))


def test_single_weights_become_zero_and_stay_so():
    network = made("resnet18")
    sparse = unstructured(network, 0.6)
    assert 0.55 < zero_share(sparse) <= 0.6
    assert zero_share(network) == 0
    kept = sparse.layer1[0].conv1.weight != 0
    optimizer = torch.optim.SGD(sparse.parameters(), 0.1)
    sparse(torch.rand(2, 3, 64, 64)).sum().backward()
    optimizer.step()
    hold_zeros(sparse)
    assert torch.equal(sparse.layer1[0].conv1.weight != 0, kept)
    hold_zeros(network)
    assert zero_share(network) == 0


def test_zeros_are_held_on_the_device_to_which_a_network_was_moved():
    sparse = unstructured(made("resnet18"), 0.6).to("meta")
    hold_zeros(sparse)
    with NoCopies():
        hold_zeros(sparse)


def test_no_layer_is_emptied_by_unstructured_pruning():
    sparse = unstructured(made("resnet18"), 0.95)
    assert all(layer.weight.any() for layer in sparse.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    assert sparse.fc.weight.all()


@pytest.mark.parametrize("padding", [0, 1, "same"])
def test_what_a_convolution_reads_is_padded_as_it_pads(padding):
    layer = nn.Conv2d(2, 3, 3, padding=padding, bias=False)
    x = torch.randn(2, 2, 5, 5)
    rows = refit_module.rows_read(layer, x)
    answers = rows @ layer.weight.flatten(1).T
    assert torch.allclose(answers, layer(x).flatten(2).transpose(1, 2).reshape(-1, 3), atol=1e-5)


@pytest.mark.parametrize("size", [16, 32, 64, 112, 128, 256])
def test_what_is_looked_at_lies_in_many_columns_of_a_picture(size):
    x = torch.arange(float(size)).expand(1, 1, size, size)
    columns = refit_module.rows_read(nn.Conv2d(1, 1, 1), x).flatten()
    assert len(columns.unique()) >= 8
