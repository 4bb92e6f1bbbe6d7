import pytest
import timm
import torch
from safetensors.torch import load, save
from timm.models import save_for_hf
from torch import nn

from linnaeus.config import load_recipe, recipe_names
from linnaeus.errors import ModelError
from linnaeus.nn import zoo

PUBLISHED = {
    "keras-cifar10": 356_810,
    "keras-basic-64": 1_626_442,
    "keras-folder-150": 42_492_362,
    "keras-cifar10-dropout": 1_250_858,
    "torch-simplecnn": 553_514,
}
OURS = [*PUBLISHED, "small-128", "small-64", "small-32"]


def network_of(name, num_classes=10, channels=3, **options):
    """Build at 32 pixels, where the lesson's own size would make tests slow."""
    torch.manual_seed(0)
    return zoo.create(name, num_classes=num_classes, channels=channels, size_px=32, weights="none", options=options)


def layers(network, kind):
    return [layer for layer in network.modules() if isinstance(layer, kind)]


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_a_lesson_has_exactly_the_published_number_of_parameters(name, parameters):
    network = zoo.create(name, num_classes=10)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_the_dropout_lesson_has_the_layers_of_its_original():
    network = network_of("keras-cifar10-dropout")
    kinds = [type(layer).__name__ for layer in network.modules() if not any(True for _ in layer.children())]
    stage = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d", "Dropout"]
    assert kinds == [*stage, *stage, "Flatten", "Linear", "ReLU", "Dropout", "Linear"]
    assert [(conv.out_channels, conv.padding[0]) for conv in layers(network, nn.Conv2d)] == [
        (32, 1), (32, 0), (64, 1), (64, 0)
    ]  # fmt: skip
    assert [drop.p for drop in layers(network, nn.Dropout)] == [0.25, 0.25, 0.5]


def test_the_other_lessons_have_the_filters_of_their_originals():
    def filters(name):
        return [(conv.out_channels, conv.padding[0]) for conv in layers(network_of(name), nn.Conv2d)]

    assert filters("keras-cifar10") == [(32, 1), (64, 1), (128, 1)]
    assert filters("keras-basic-64") == filters("keras-folder-150") == [(32, 0), (64, 0)]
    assert filters("torch-simplecnn") == [(16, 1), (32, 1), (64, 1)]


def test_a_keras_lesson_starts_as_keras_does():
    network = network_of("keras-cifar10")
    conv = network.features[1].conv1
    bound = (6 / (9 * 32 + 9 * 64)) ** 0.5
    assert 0.98 * bound < conv.weight.abs().max() <= bound
    assert all(not layer.bias.any() for layer in layers(network, nn.Conv2d | nn.Linear))


def test_a_new_head_of_a_keras_lesson_starts_as_keras_does_too():
    network = network_of("keras-cifar10")
    network.reset_classifier(4)
    assert network.get_classifier().out_features == 4
    assert not network.get_classifier().bias.any()


def test_the_torch_lesson_starts_as_pytorch_does():
    network = network_of("torch-simplecnn")
    assert network.features[0].conv1.bias.any()
    assert network.features[0].conv1.weight.abs().max() <= 27**-0.5


def test_batch_norm_and_squeeze_excite_are_added_to_each_convolution():
    network = network_of("torch-simplecnn", batch_norm=True, squeeze_excite=True)
    names = [name for name, _ in network.features[2].named_children()]
    assert names == ["conv1", "norm1", "act1", "attention1", "pool"]
    assert len(layers(network, nn.BatchNorm2d)) == 3


def test_pictures_too_small_for_the_stages_are_refused():
    with pytest.raises(ModelError, match="larger pictures"):
        zoo.create("keras-basic-64", num_classes=2, size_px=8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("num_classes", [2, 10])
@pytest.mark.parametrize("name", OURS)
def test_each_network_of_ours_maps_pictures_to_classes(name, num_classes, channels):
    network = network_of(name, num_classes, channels)
    pictures = torch.randn(3, channels, 32, 32)
    assert network(pictures).shape == (3, num_classes)
    hidden = network.forward_head(network.forward_features(pictures), pre_logits=True)
    assert hidden.shape == (3, network.head_hidden_size)


@pytest.mark.parametrize("name", OURS)
def test_each_network_of_ours_comes_back_from_safetensors(name):
    network = network_of(name).eval()
    other = network_of(name).eval()
    nn.init.zeros_(other.get_classifier().weight)
    other.load_state_dict(load(save(network.state_dict())))
    pictures = torch.randn(2, 3, 32, 32)
    assert torch.equal(network(pictures), other(pictures))


@pytest.mark.parametrize("name", [*OURS, "alexnet"])
def test_the_gradient_reaches_every_parameter(name):
    size = 64 if name == "alexnet" else 32
    network = network_of(name)
    nn.functional.cross_entropy(network(torch.randn(8, 3, size, size)), torch.arange(8)).backward()
    trained = [(key, parameter) for key, parameter in network.named_parameters() if parameter.requires_grad]
    assert [key for key, parameter in trained if parameter.grad is None or not parameter.grad.any()] == []


def test_the_gradient_reaches_the_optional_layers():
    network = network_of("torch-simplecnn", batch_norm=True, squeeze_excite=True)
    nn.functional.cross_entropy(network(torch.randn(8, 3, 32, 32)), torch.arange(8)).backward()
    # A bias before batch normalisation is taken off again: its gradient is rounding.
    silent = [key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert silent == []


def test_a_saved_folder_loads_in_timm_as_it_is(tmp_path):
    network = timm.create_model("torch_simplecnn", num_classes=4, img_size=24, batch_norm=True).eval()
    save_for_hf(network, tmp_path)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    pictures = torch.randn(2, 3, 24, 24)
    assert torch.equal(network(pictures), again(pictures))


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_lesson_has_a_valid_recipe_that_names_its_network(name):
    assert name in recipe_names()
    recipe = load_recipe(name)
    assert recipe.model.name == name
    assert recipe.train.start == "fresh"
    assert recipe.data.size_px == zoo.published_cfg(name)["input_size"][-1]


@pytest.mark.parametrize(
    ("name", "batch_size", "epochs"),
    [
        ("keras-cifar10", 64, 15),
        ("keras-folder-150", 32, 10),
        ("keras-cifar10-dropout", 32, 100),
        ("torch-simplecnn", 32, 20),
    ],
)
def test_a_recipe_has_the_batch_and_epochs_of_its_lesson(name, batch_size, epochs):
    recipe = load_recipe(name)
    assert (recipe.train.batch_size, recipe.train.epochs) == (batch_size, epochs)
    assert (recipe.optim.name, recipe.optim.lr, recipe.optim.weight_decay) == ("adam", 0.001, 0)
    assert recipe.optim.eps == (1e-7 if name.startswith("keras") else 1e-8)
