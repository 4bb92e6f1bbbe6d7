import pytest
import timm
import torch
from torch.nn import functional

from linnaeus.errors import ModelError
from linnaeus.nn import zoo
from linnaeus.nn.head import features, linear_head
from linnaeus.nn.small import in_one_view
from linnaeus.nn.stages import stages


@pytest.fixture
def net():
    torch.manual_seed(0)
    return zoo.create("small-32", num_classes=5, weights="none")


@pytest.mark.parametrize("name", ["small-128", "small-64", "small-32"])
@pytest.mark.parametrize(("size", "channels"), [(16, 3), (28, 1), (32, 3), (64, 3)])
def test_any_small_picture_fits(name, size, channels):
    made = zoo.create(name, num_classes=7, channels=channels, weights="none").eval()
    assert made(torch.zeros(2, channels, size, size)).shape == (2, 7)


def test_timm_knows_them():
    assert timm.create_model("small_32", num_classes=4).num_classes == 4


def test_the_stem_whitens_patches(net):
    draw = torch.Generator().manual_seed(0)
    base = torch.randn(400, 1, 16, 16, generator=draw)
    pictures = torch.cat([base, base + 0.3 * torch.randn(400, 1, 16, 16, generator=draw), 2 * base], 1)
    net.init_from(pictures)
    out = net.stem(pictures)[:, :12].permute(1, 0, 2, 3).reshape(12, -1)
    covariance = out @ out.T / out.shape[1]
    strong = covariance.diagonal() > 0.9
    assert strong.sum() >= 8
    apart = covariance - torch.diag(covariance.diagonal())
    assert apart.abs().max() < 0.05


def test_the_stem_has_each_filter_and_its_negative_and_stays_fixed(net):
    net.init_from(torch.randn(200, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    half = len(net.stem.weight) // 2
    assert torch.equal(net.stem.weight[:half], -net.stem.weight[half:])
    assert not net.stem.weight.requires_grad


def test_grey_pictures_have_a_whitening_too():
    made = zoo.create("small-32", num_classes=3, channels=1, weights="none")
    made.init_from(torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.isfinite(made.stem.weight).all()


def test_pictures_of_one_colour_do_not_break_the_whitening(net):
    net.init_from(torch.full((20, 3, 16, 16), 0.25))
    assert torch.isfinite(net.stem.weight).all()


def test_convolutions_begin_by_passing_their_input_on(net):
    conv = net.blocks[0].conv1
    x = torch.randn(1, conv.in_channels, 9, 9, generator=torch.Generator().manual_seed(1))
    same = min(conv.in_channels, conv.out_channels)
    torch.testing.assert_close(conv(x)[:, :same], x[:, :same], rtol=0, atol=1e-5)


def test_the_head_can_be_replaced(net):
    net.reset_classifier(9)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 9)
    assert linear_head(net).out_features == 9


def test_features_before_the_head_are_what_the_head_reads(net):
    net.eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    features = net.forward_head(net.forward_features(x), pre_logits=True)
    assert torch.equal(net.head(features), net(x))


def with_views(net, views):
    made = zoo.create("small-32", num_classes=5, weights="none", options={"views": views}).eval()
    made.load_state_dict(net.state_dict())
    return made


@pytest.fixture
def x():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_with_two_views_it_answers_with_the_mean_for_the_picture_and_its_mirror_image(net, x):
    twice = with_views(net, 2)
    net.eval()
    torch.testing.assert_close(twice(x), (net(x) + net(x.flip(3))) / 2)
    torch.testing.assert_close(twice(x), twice(x.flip(3)))


@pytest.mark.parametrize("size", [32, 21])
def test_with_six_views_it_answers_with_the_mean_for_three_places_and_their_mirror_images(net, x, size):
    """Airbench pads by a mirrored pixel and cuts two corners out of that."""
    net.eval()
    x = x[:, :, :size, :size]
    padded = functional.pad(x, (1, 1, 1, 1), mode="reflect")
    places = (x, padded[:, :, :size, :size], padded[:, :, 2:, 2:])
    views = [view for place in places for view in (place, place.flip(3))]
    torch.testing.assert_close(with_views(net, 6)(x), sum(net(view) for view in views) / 6)


@pytest.mark.parametrize("views", [2, 6])
def test_it_learns_from_pictures_as_they_are_however_many_views_it_takes_later(net, x, views):
    assert torch.equal(with_views(net, views).train()(x), net.train()(x))


@pytest.mark.parametrize("views", [1, 2, 6])
def test_the_head_reads_the_mean_of_what_is_seen_in_all_views(net, x, views):
    made = with_views(net, views)
    torch.testing.assert_close(made.head(features(made, x)), made(x))


def test_in_one_view_it_has_the_very_same_layers_and_stays_as_it_was(net, x):
    six = with_views(net, 6)
    single = in_one_view(six)
    assert torch.equal(single(x), net.eval()(x))
    assert single.blocks is six.blocks
    assert six.views == 6


def test_another_number_of_views_is_refused():
    with pytest.raises(ModelError, match="1, 2 or 6"):
        zoo.create("small-32", num_classes=5, weights="none", options={"views": 3})


def test_its_stages_are_the_stem_the_blocks_and_the_head(net):
    lowest = [group[0].rpartition(".")[0] for group in stages(net)]
    assert lowest == ["stem", "blocks.0.conv1", "blocks.1.conv1", "blocks.2.conv1", "head"]
