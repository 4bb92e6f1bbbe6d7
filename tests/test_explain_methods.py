"""explain/methods: one contract for every method and every kind of network."""

import copy

import numpy as np
import pytest
import torch

from linnaeus.classifier import Classifier
from linnaeus.errors import SettingsError
from linnaeus.nn import zoo
from linnaeus.records import Preprocessing
from linnaeus.verbs.explain import methods as registry
from linnaeus.verbs.explain.methods import METHODS, choose
from linnaeus.verbs.explain.perturbations import shap
from linnaeus.verbs.explain.scale import heat_map
from linnaeus.verbs.explain.subject import Subject

NETWORKS = {
    "keras-cifar10": 32,
    "small-32": 32,
    "resnet18": 48,
    "tf_efficientnet_lite0": 48,
    "vit_tiny_patch16_224": 48,
}
PACKAGES = {name: one.needs[0] for name, one in METHODS.items()}


def untrained(name, size_px, channels=3, classes=4, **options):
    torch.manual_seed(3)
    network = zoo.create(name, num_classes=classes, size_px=size_px, channels=channels, weights="none", options=options)
    about = Preprocessing(size_px=size_px, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels)
    return Classifier(network, name, tuple("abcdef"[:classes]), about)


def a_picture(size_px, channels=3):
    """A bright disc on a coloured slope, with noise."""
    y, x = np.mgrid[:size_px, :size_px] / size_px
    disc = 140 * ((y - 0.4) ** 2 + (x - 0.6) ** 2 < 0.05)
    noise = np.random.default_rng(0).normal(0, 12, (size_px, size_px, channels))
    slopes = np.stack([60 * x, 90 * y, 40 * (x + y)], axis=2)[..., :channels]
    return np.clip(disc[..., None] + slopes + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def subjects():
    return {name: Subject.of(untrained(name, size)) for name, size in NETWORKS.items()}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_heat_map_for_every_kind_of_network(method, network, subjects):
    pytest.importorskip(PACKAGES[method])
    size = NETWORKS[network]
    subject, picture = subjects[network], a_picture(size)
    k = int(subject.probabilities(picture[None]).argmax())
    np.random.seed(1)
    heat = METHODS[method].draw(subject, picture, k, 7)
    assert heat.shape == picture.shape[:2] and heat.dtype == np.float32
    assert np.isfinite(heat).all() and heat.min() >= 0 and heat.max() == 1
    assert heat.std() > 0, "a map that is the same everywhere shows nothing"
    if METHODS[method].quick or size < 48:
        np.random.seed(2)
        torch.rand(3)
        np.testing.assert_array_equal(METHODS[method].draw(subject, picture, k, 7), heat)


@pytest.mark.parametrize("method", ["grad-cam", "layer-cam"])
def test_a_network_of_several_views_shows_its_map_of_the_picture_as_it_is(method, subjects):
    picture = a_picture(32)
    several = Subject.of(untrained("small-32", 32, views=6))
    expected = METHODS[method].draw(subjects["small-32"], picture, 2, 7)
    assert expected.max() == 1
    np.testing.assert_allclose(METHODS[method].draw(several, picture, 2, 7), expected, atol=1e-5)
    assert several.network.views == 6


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_grey_pictures(method):
    pytest.importorskip(PACKAGES[method])
    subject, picture = Subject.of(untrained("keras-cifar10", 16, channels=1)), a_picture(16, channels=1)
    heat = METHODS[method].draw(subject, picture, int(subject.probabilities(picture[None]).argmax()), 0)
    assert heat.shape == (16, 16) and np.isfinite(heat).all() and heat.std() > 0


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_a_picture_of_one_colour(method, subjects):
    pytest.importorskip(PACKAGES[method])
    heat = METHODS[method].draw(subjects["keras-cifar10"], np.full((32, 32, 3), 255, np.uint8), 0, 0)
    assert heat.shape == (32, 32) and np.isfinite(heat).all() and heat.min() >= 0 and heat.max() <= 1


class LooksAtACorner(torch.nn.Module):
    """Class 1 is as probable as the upper left quarter is bright."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 1, 1)
        torch.nn.init.constant_(self.conv.weight, 1.0)
        torch.nn.init.constant_(self.conv.bias, 3.0)

    def forward(self, x):
        bright = self.conv(x)[:, 0, : x.shape[2] // 2, : x.shape[3] // 2].mean(dim=(1, 2))
        return torch.stack([torch.zeros_like(bright), bright - 3], dim=1)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_points_at_the_only_place_that_counts(method):
    pytest.importorskip(PACKAGES[method])
    about = Preprocessing(size_px=32)
    subject = Subject.of(Classifier(LooksAtACorner(), "own", ("dark", "bright"), about))
    draw = np.random.default_rng(0)
    picture = draw.integers(0, 60, (32, 32, 3)).astype(np.uint8)
    picture[4:12, 4:12] = draw.integers(200, 255, (8, 8, 3))
    heat = METHODS[method].draw(subject, picture, 1, 0)
    hottest = heat >= np.quantile(heat, 0.97)
    assert hottest[:16, :16].sum() > 0.9 * hottest.sum()


def test_shap_values_add_up_to_the_probability(subjects, monkeypatch):
    pytest.importorskip("shap")
    subject, picture, seen = subjects["keras-cifar10"], a_picture(32), {}
    monkeypatch.setattr(
        "linnaeus.verbs.explain.perturbations.heat_map", lambda values, size: seen.update(sum=values.sum())
    )
    from linnaeus.verbs.explain.perturbations import blurred

    shap(subject, picture, 2)
    both = subject.probabilities(np.stack([picture, blurred(picture)]))[:, 2]
    assert seen["sum"] == pytest.approx(both[0] - both[1], abs=1e-6)


def test_a_heat_map_keeps_what_speaks_for_the_class_only():
    heat = heat_map(np.array([[-5.0, 0.0], [2.0, 4.0]]), 2)
    assert heat.tolist() == [[0, 0], [0.5, 1]]


def test_where_nothing_speaks_for_the_class_the_map_is_zero():
    assert not heat_map(np.full((2, 2), -1.0), 8).any()
    assert not heat_map(np.full((2, 2), np.nan), 8).any()


def test_an_unknown_method_suggests_the_nearest():
    with pytest.raises(SettingsError, match="did you mean grad-cam"):
        choose(["gradcam"])
    with pytest.raises(SettingsError, match=r"one of grad-cam, .*or all"):
        choose(["xyz"])


def test_a_method_is_taken_once_and_in_the_order_asked_for():
    pytest.importorskip("captum")
    pytest.importorskip("pytorch_grad_cam")
    chosen, left_out = choose(["occlusion", "grad-cam", "occlusion"])
    assert [one.name for one in chosen] == ["occlusion", "grad-cam"]
    assert left_out == ()


def absent(*packages):
    def import_module(name):
        if name.partition(".")[0] in packages:
            raise ModuleNotFoundError(f"No module named {name!r}")

    return import_module


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setattr(registry, "import_module", absent("lime"))
    with pytest.raises(SettingsError, match="lime") as told:
        choose(["lime"])
    assert 'pip install "linnaeus[explain]"' in told.value.fix


def test_all_leaves_out_what_is_not_installed_and_says_so(monkeypatch):
    monkeypatch.setattr(registry, "import_module", absent("lime", "shap"))
    chosen, left_out = choose(["all"])
    assert left_out == ("lime", "shap")
    assert len(chosen) == len(METHODS) - 2


def test_all_without_any_package_is_an_error(monkeypatch):
    monkeypatch.setattr(registry, "import_module", absent("lime", "shap", "captum", "pytorch_grad_cam"))
    with pytest.raises(SettingsError, match="none of them is installed"):
        choose(["all"])


def test_the_registry_cannot_be_changed():
    with pytest.raises(TypeError):
        METHODS["mine"] = METHODS["lime"]


def test_explaining_leaves_a_network_in_training_mode_with_hooks_as_it_was():
    classifier = untrained("tf_efficientnet_lite0", 48)
    network = classifier.network.train()
    for number, parameter in enumerate(network.parameters()):
        parameter.requires_grad_(number % 2 == 0)
    network.register_forward_hook(lambda *_: calls.append(1))
    calls, picture = [], a_picture(48)
    before = copy.deepcopy(network.state_dict())
    subject = Subject.of(classifier)
    calls.clear()
    for method in METHODS.values():
        if method.needs[0] in ("captum.attr", "pytorch_grad_cam"):
            pytest.importorskip(method.needs[0])
            method.draw(subject, picture, 0, 0)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training and all(layer.training for layer in network.modules())
    assert all(one.requires_grad == (n % 2 == 0) for n, one in enumerate(network.parameters()))
    assert all(one.grad is None for one in network.parameters())
    assert sum(len(layer._forward_hooks) for layer in network.modules()) == 1
