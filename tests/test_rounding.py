"""Weights rounded to 8 bits so that their errors cancel."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from linnaeus.classifier import Classifier
from linnaeus.records import Preprocessing
from linnaeus.targets import sensitivity
from linnaeus.targets.damage import rounded_weights, weighted_layers
from linnaeus.targets.graph import Graph
from linnaeus.targets.onnx import Onnx
from linnaeus.targets.rounding import Read, _adder, _rounded, suited
from linnaeus.targets.target import Blueprint, Precision

SIZE, CLASSES = 16, ("a", "b", "c")


class Mobile(nn.Module):
    """A first convolution, one by channel, one by pixel, one of 3 by 3 in groups, a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 16, 3, stride=2), nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.pointwise, self.grouped = nn.Conv2d(16, 32, 1), nn.Conv2d(32, 32, 3, groups=4, bias=False)
        self.fc = nn.Linear(32, 3)

    def forward(self, x):
        x = functional.relu6(self.depthwise(functional.relu6(self.stem(x))))
        return self.fc(functional.relu(self.grouped(functional.relu(self.pointwise(x)))).mean((2, 3)))


def pictures(N, seed=0):
    """Smooth pictures, whose neighbours vary alike."""
    draw = np.random.default_rng(seed)
    level = (
        draw.integers(0, 256, (N, 1, 1, 3)) + draw.normal(0, 40, (N, SIZE, 1, 3)) + draw.normal(0, 5, (N, 1, SIZE, 3))
    )
    return np.clip(level, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def blueprint(tmp_path_factory):
    torch.manual_seed(0)
    classifier = Classifier(Mobile(), "own", CLASSES, Preprocessing(SIZE))
    return Blueprint(Graph(classifier, outputs=("probabilities",)), tmp_path_factory.mktemp("scratch"))


def outputs(graph, seen):
    """What each layer gives, by name."""
    found = {}
    hooks = [
        layer.register_forward_hook(lambda _, __, given, name=name: found.update({name: given}))
        for name, layer in weighted_layers(graph)
    ]
    with torch.no_grad():
        graph(torch.from_numpy(seen))
    for hook in hooks:
        hook.remove()
    return found


def of(blueprint, *keep):
    return suited(blueprint, Precision("int8", pictures(64), keep)).graph


@pytest.mark.parametrize("name", ["depthwise", "pointwise", "grouped", "fc"])
def test_a_layer_comes_closer_to_what_it_gave_than_by_plain_rounding(name, blueprint):
    seen, others = pictures(64, seed=1), [one for one in ("depthwise", "pointwise", "grouped", "fc") if one != name]
    wanted, mended = outputs(blueprint.graph, seen)[name], outputs(of(blueprint, *others), seen)[name]
    layer = blueprint.graph.network.get_submodule(name)
    before = layer.weight.data
    layer.weight.data = rounded_weights(before)
    plain = outputs(blueprint.graph, seen)[name]
    layer.weight.data = before
    assert (mended - wanted).square().mean() < 0.7 * (plain - wanted).square().mean()


def test_a_format_that_rounds_again_finds_the_same_steps(blueprint):
    for name, layer in weighted_layers(of(blueprint)):
        torch.testing.assert_close(rounded_weights(layer.weight), layer.weight, rtol=1e-5, atol=0, msg=name)


def test_what_changes_alike_in_all_pictures_goes_into_the_bias(blueprint):
    seen = pictures(64)
    wanted, found = outputs(blueprint.graph, seen)["depthwise"], outputs(of(blueprint), seen)["depthwise"]
    assert (found - wanted).mean((0, 2, 3)).abs().max() < 1e-4


def test_where_nothing_varies_alike_it_is_plain_rounding():
    weights = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = _rounded(weights, torch.eye(7, dtype=torch.float64).expand(3, 7, 7).clone())
    torch.testing.assert_close(found, rounded_weights(weights.reshape(15, 7)).reshape(3, 5, 7))


def test_kept_layers_keep_their_weights(blueprint):
    made, graph = of(blueprint, "fc"), blueprint.graph
    assert torch.equal(made.network.fc.weight, graph.network.fc.weight)
    assert not torch.equal(made.network.pointwise.weight, graph.network.pointwise.weight)
    assert torch.equal(made.network.stem.weight, graph.network.stem.weight), "it stays in float"


def test_the_graph_itself_stays_as_it_is(blueprint):
    before = {name: one.clone() for name, one in blueprint.graph.state_dict().items()}
    of(blueprint)
    assert all(torch.equal(one, before[name]) for name, one in blueprint.graph.state_dict().items())


def test_without_pictures_rounding_is_left_to_the_format(blueprint):
    assert suited(blueprint, Precision("weights")) is blueprint
    assert suited(blueprint, Precision("float16", pictures(4))) is blueprint


def test_8_bit_weights_are_nearer_to_float_with_pictures_than_without(blueprint, tmp_path):
    seen = pictures(64, seed=2)
    wanted, found = sensitivity.float_answers(blueprint, seen), []
    for number, given in enumerate((None, pictures(64))):
        folder = tmp_path / str(number)
        folder.mkdir()
        runner = Onnx().open(Onnx().write(blueprint, folder, Precision("weights", given)))
        found.append(sensitivity.divergence(wanted, runner.run(seen)["probabilities"]))
    assert found[1] < found[0]


class Counting(Onnx):
    """Remembers how many layers were kept each time that it wrote."""

    def __init__(self):
        self.kept = []

    def write(self, blueprint, folder, precision):
        self.kept.append(len(precision.keep))
        return super().write(blueprint, folder, precision)


def test_int8_with_held_pictures_looks_for_sensitive_layers(blueprint, tmp_path, monkeypatch):
    monkeypatch.setattr(sensitivity, "BAR", -1.0)
    target, precision = Counting(), Precision("int8", pictures(16), held=pictures(16, seed=1))
    path, exact = sensitivity.written(target, blueprint, tmp_path, precision)
    assert target.kept == [0, 1, 2], "no attempt reaches the bar"
    assert Onnx().open(path).card.about["quantization"]["kept_in_float"] == list(exact.keep)


def test_named_layers_are_kept_and_none_are_looked_for(blueprint, tmp_path):
    precision = Precision("int8", pictures(16), ("fc",), held=pictures(16, seed=1))
    assert sensitivity.written(Onnx(), blueprint, tmp_path, precision)[1].keep == ("fc",)


@pytest.mark.parametrize("level", [0.0, 0.05, 0.7, 1.234, 6.0])
def test_an_input_that_never_varies_does_no_harm(level):
    draw, sums = torch.Generator().manual_seed(0), {}
    layer = nn.Conv2d(16, 16, 3, stride=2, groups=16)
    x = torch.rand(8, 16, 15, 15, generator=draw)
    x[:, 3] = level
    layer.register_forward_pre_hook(_adder(sums, "layer"))
    layer(x)
    count, first, second = sums["layer"]
    read = Read(first / count, second / count, int(count))
    made = _rounded(layer.weight.double().reshape(16, -1, 9), read.metric(centred=True))
    assert torch.isfinite(made).all()
