from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from linnaeus.classifier import Classifier
from linnaeus.errors import ModelError, SettingsError
from linnaeus.metrics.abstention import Judgement
from linnaeus.metrics.calibration import Calibration, _fit_all, fit_calibration
from linnaeus.metrics.unknown import Choice, Energy, Mahalanobis, MaxLogit, Neighbours
from linnaeus.nn import zoo
from linnaeus.records import Predictions, Preprocessing
from linnaeus.targets.graph import Calibrated, Graph, grey

K, SIZE = 4, 16
CLASSES = tuple("abcd")
MEANS, DEVIATIONS = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)
VECTOR = Calibration("vector", 1.0, (1.2, 0.8, 1.0, 0.5), (0.3, -0.2, 0.0, 0.1))
STEPS = ((0.0, 0.01), (0.2, 0.01), (0.2, 0.4), (0.6, 0.5), (0.6, 0.9), (1.0, 0.95))
LINE = ((0.0, 0.0), (1.0, 1.0))
FLAT = ((0.3, 0.25),)
ISOTONIC = Calibration("isotonic", 1.0, knots=(STEPS, LINE, FLAT, STEPS))
CALIBRATIONS = {
    "none": Calibration(),
    "temperature": Calibration("temperature", 2.5),
    "vector": VECTOR,
    "isotonic": ISOTONIC,
}


class Small(nn.Module):
    """A quick network with a folded norm and spread-out answers."""

    def __init__(self, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, K)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


def classifier(calibration=None, channels=3, network=None):
    torch.manual_seed(1)
    network = network or Small(channels)
    if isinstance(network, Small):
        network.norm.running_mean.uniform_(-0.3, 0.3)
        network.head.weight.data.mul_(6)
    about = Preprocessing(SIZE, channels=channels, mean=MEANS[:channels], std=DEVIATIONS[:channels])
    return Classifier(network.eval(), "small", CLASSES, about, calibration or Calibration())


def pictures(N=9, channels=3, seed=0):
    draw = np.random.default_rng(seed)
    return np.clip(
        draw.normal(draw.uniform(40, 220, (N, 1, 1, channels)), 40, (N, SIZE, SIZE, channels)), 0, 255
    ).astype(np.uint8)


def answer(graph, shown):
    with torch.inference_mode():
        found = graph.eval()(torch.from_numpy(graph.card.shaped(shown)))
    return dict(zip(graph.card.outputs, found if isinstance(found, tuple) else (found,), strict=True))


@pytest.mark.parametrize("kind", CALIBRATIONS)
def test_the_graph_answers_as_the_classifier_does(kind):
    made = classifier(CALIBRATIONS[kind])
    found = answer(Graph(made), pictures())["probabilities"].numpy()
    assert np.abs(found - made.predict_proba(pictures())).max() < 1e-5
    assert np.ptp(found, axis=0).max() > 0.05


@pytest.mark.parametrize("kind", CALIBRATIONS)
def test_the_calibration_in_the_graph_is_that_of_numpy_even_for_certain_logits(kind):
    draw = np.random.default_rng(0)
    logits = np.concatenate([draw.normal(0, 3, (500, K)), draw.normal(0, 60, (500, K)), np.zeros((1, K))])
    logits = logits.astype(np.float32)
    found = Calibrated(CALIBRATIONS[kind], K)(torch.from_numpy(logits)).numpy()
    assert np.abs(found - CALIBRATIONS[kind].probabilities(logits)).max() < 2e-6


def test_a_fitted_isotonic_regression_is_met_where_it_is_steep():
    draw = np.random.default_rng(0)
    logits, labels = draw.normal(0, 2, (400, 3)), draw.integers(0, 3, 400)
    logits[np.arange(400), labels] += 1
    fitted = _fit_all(("vector", "isotonic"), logits, labels)["isotonic"]
    rise, width = np.concatenate([np.diff(knots, axis=0) for knots in map(np.array, fitted.knots)]).T[::-1]
    assert (rise / width).max() > 100
    new = draw.normal(0, 2.5, (2000, 3)).astype(np.float32)
    found = Calibrated(fitted, 3)(torch.from_numpy(new)).numpy()
    assert np.abs(found - fitted.probabilities(new)).max() < 5e-5


def test_what_the_fit_chooses_can_be_put_into_the_graph():
    draw = np.random.default_rng(1)
    logits, labels = draw.normal(0, 2, (300, K)), draw.integers(0, K, 300)
    chosen = fit_calibration(logits, labels)
    found = Calibrated(chosen, K)(torch.from_numpy(logits.astype(np.float32))).numpy()
    assert np.abs(found - chosen.probabilities(logits)).max() < 1e-4


def test_rows_sum_to_one_with_any_calibration():
    for calibration in CALIBRATIONS.values():
        found = answer(Graph(classifier(calibration)), pictures())["probabilities"]
        assert torch.allclose(found.sum(1), torch.ones(9), atol=1e-6)


def test_two_classes_and_a_single_picture_work():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    made = replace(classifier(network=network), classes=("no", "yes"), calibration=Calibration("temperature", 0.5))
    found = answer(Graph(made), pictures(1))["probabilities"].numpy()
    assert found.shape == (1, 2)
    assert np.abs(found - made.predict_proba(pictures(1))).max() < 1e-6


def test_luma_is_that_of_the_decoder_to_the_last_bit():
    from PIL import Image

    colour = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    found = grey(torch.from_numpy(colour).permute(0, 3, 1, 2).float())
    assert (found[0, 0].numpy() == np.asarray(Image.fromarray(colour[0]).convert("L"))).all()


def test_a_network_for_grey_pictures_takes_colour_and_makes_it_grey_itself():
    made, colour = classifier(channels=1), pictures()
    found = answer(Graph(made), colour)["probabilities"].numpy()
    assert np.abs(found - made.predict_proba(list(colour))).max() < 1e-5


def test_grey_pictures_are_repeated_for_the_graph():
    made, flat = classifier(channels=1), pictures(channels=1)
    assert np.abs(answer(Graph(made), flat)["probabilities"].numpy() - made.predict_proba(flat)).max() < 1e-5


@pytest.mark.parametrize("channels", [1, 3])
def test_both_layouts_answer_alike(channels):
    made = classifier(channels=channels)
    one, other = (answer(Graph(made, layout=layout), pictures())["probabilities"] for layout in ("nhwc", "nchw"))
    assert Graph(made, layout="nchw").example(3).shape == (3, 3, SIZE, SIZE)
    assert torch.equal(one, other)


def with_detector(detector):
    made = classifier()
    held = Predictions(np.full((6, K), 1 / K), np.arange(6) % K, tuple("uvwxyz"), CLASSES)
    return replace(made, judgement=Judgement.make(held, choice=Choice(detector, 0.5, 0.99, {})))


def detectors():
    shown = classifier().embed([pictures(120, seed=5)])
    labels = np.arange(120) % K
    fitted = [kind.fit(shown.features, labels) for kind in (Mahalanobis, Neighbours)]
    return [Energy(), MaxLogit(), *fitted]


@pytest.mark.parametrize("detector", detectors(), ids=lambda one: one.name)
def test_the_unknown_score_is_that_of_the_judgement(detector):
    made = with_detector(detector)
    graph = Graph(made)
    assert graph.card.outputs == ("probabilities", "unknown_score")
    found, seen = answer(graph, pictures())["unknown_score"].numpy(), made.embed([pictures()])
    meant = made.judgement.strange(seen.logits, seen.features)[0]
    assert found.shape == (9,) and np.ptp(meant) > 1e-3
    assert np.abs(found - meant).max() < 1e-4 * max(1, np.abs(meant).max())


def test_the_detector_is_in_the_graph_and_not_on_the_card():
    graph = Graph(with_detector(Energy()))
    assert graph.card.judgement.detector is None
    assert graph.card.judgement.strange_above == 0.5


def test_the_probabilities_come_first_and_the_rest_as_it_was_asked_for():
    made = with_detector(Energy())
    graph = Graph(made, outputs=("features", "unknown_score", "probabilities"))
    found, seen = answer(graph, pictures()), made.embed([pictures()])
    assert graph.card.outputs == ("probabilities", "features", "unknown_score")
    assert np.abs(found["features"].numpy() - seen.features).max() < 1e-4
    assert np.abs(found["probabilities"].numpy() - made.predict_proba(pictures())).max() < 1e-5


def test_features_of_a_network_of_timm_are_what_its_head_reads():
    torch.manual_seed(0)
    network = zoo.create("mobilenetv3_small_050", num_classes=K, size_px=32, weights="none")
    made = Classifier(network.eval(), "mobilenetv3_small_050", CLASSES, Preprocessing(32))
    shown = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    found = answer(Graph(made, outputs=("probabilities", "features")), shown)["features"].numpy()
    assert np.abs(found - made.embed([shown]).features).max() < 1e-4


def test_a_model_that_cannot_tell_gives_probabilities_alone():
    assert Graph(classifier()).card.outputs == ("probabilities",)
    with pytest.raises(ModelError, match="cannot tell unknown"):
        Graph(classifier(), outputs=("probabilities", "unknown_score"))


@pytest.mark.parametrize(
    "outputs", [(), ("features",), ("probabilities", "probabilities"), ("probabilities", "logits"), ("probabilites",)]
)
def test_outputs_that_are_not_there_are_refused(outputs):
    with pytest.raises(SettingsError, match="outputs should be"):
        Graph(classifier(), outputs=outputs)


@pytest.mark.parametrize("settings", [{"layout": "hwcn"}, {"layout": "nchw", "any_size": True}])
def test_layouts_that_are_not_there_are_refused(settings):
    with pytest.raises(SettingsError, match="layout"):
        Graph(classifier(), **settings)


def test_features_of_a_network_that_ends_otherwise_are_refused():
    made = classifier(network=nn.Sequential(nn.Conv2d(3, K, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert answer(Graph(made), pictures())["probabilities"].shape == (9, K)
    with pytest.raises(ModelError):
        Graph(made, outputs=("probabilities", "features"))


class Shifted(nn.Module):
    """Its last linear layer is not what it answers."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, K)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3))) * torch.tensor([1.0, 2.0, 3.0, 4.0])


def test_features_of_a_network_that_does_something_after_its_last_layer_are_refused():
    made = classifier(network=Shifted())
    assert (
        np.abs(answer(Graph(made), pictures())["probabilities"].numpy() - made.predict_proba(pictures())).max() < 1e-5
    )
    with pytest.raises(ModelError):
        Graph(made, outputs=("probabilities", "features"))


def test_the_classifier_stays_as_it_is():
    made = with_detector(Mahalanobis(*(np.zeros(shape, np.float32) for shape in (8, (8, 8), (2, 8)))))
    before = copy.deepcopy(made.network.state_dict())
    graph = Graph(made)
    graph.network.conv.weight.data.zero_()
    assert all(torch.equal(one, before[name]) for name, one in made.network.state_dict().items())
    assert isinstance(made.network.head, nn.Linear) and isinstance(made.network.norm, nn.BatchNorm2d)
    assert made.network.conv.weight.requires_grad and not graph.network.conv.weight.requires_grad


class Crossed(nn.Module):
    """Its norm stands after the convolution, but is applied before it; of zeros it makes zeros, either way."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, bias=False), nn.BatchNorm2d(3)
        self.head = nn.Linear(3, K)
        self.norm.running_var.copy_(torch.tensor([0.2, 1.0, 7.0]))

    def forward(self, x):
        return self.head(self.conv(self.norm(x)).mean((2, 3)))


def test_a_norm_that_only_seems_to_follow_a_convolution_is_not_folded():
    made = classifier(network=Crossed())
    with torch.inference_mode():
        shown = torch.from_numpy(pictures()).float() / 255
        x = ((shown - torch.tensor(MEANS)) / torch.tensor(DEVIATIONS)).permute(0, 3, 1, 2)
        meant = made.network(x).softmax(1)
    assert torch.allclose(answer(Graph(made), pictures())["probabilities"], meant, atol=1e-5)


def test_norms_are_folded_and_no_gradient_is_kept():
    graph = Graph(classifier())
    assert not [layer for layer in graph.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert not [one for one in graph.parameters() if one.requires_grad]


def test_a_network_in_training_mode_is_exported_as_it_predicts():
    made = classifier(network=nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.9), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    meant = made.predict_proba(pictures())
    made.network.train()
    assert np.abs(answer(Graph(made), pictures())["probabilities"].numpy() - meant).max() < 1e-5


def test_the_card_names_the_source_but_not_where_it_lay(classifier):
    told = replace(classifier, about={"data": {"source": "/home/somebody/photos", "pictures": 72}, "seed": 3})
    assert Graph(told).card.about == {"data": {"source": "photos", "pictures": 72}, "seed": 3}
