"""Sensitive layers: found, and left in float."""

import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from torch import nn

from linnaeus.classifier import Classifier
from linnaeus.errors import SettingsError
from linnaeus.records import Preprocessing
from linnaeus.targets.card import Card
from linnaeus.targets.damage import damages, rounded, rounded_weights
from linnaeus.targets.graph import Graph
from linnaeus.targets.onnx import Onnx
from linnaeus.targets.openvino import OpenVino
from linnaeus.targets.sensitivity import divergence, quantized
from linnaeus.targets.target import Blueprint

SIZE, CLASSES = 12, ("a", "b", "c")


class Fragile(nn.Module):
    """One of its four layers reads a channel a thousand times as large as the others: in 8 bits the others vanish."""

    def __init__(self):
        super().__init__()
        self.stem, self.good = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)
        self.fragile, self.fine, self.fc = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Linear(8, 3)
        with torch.no_grad():
            self.good.weight[0] *= 1000
            self.good.bias[0] *= 1000
            self.fragile.weight[:, 0] /= 1000

    def forward(self, x):
        x = torch.relu(self.good(torch.relu(self.stem(x))))
        return self.fc(self.fine(torch.relu(self.fragile(x))).mean((2, 3)))


def pictures(N, seed=0):
    """Pictures that differ in colour, so that answers do."""
    draw = np.random.default_rng(seed)
    level = draw.integers(0, 256, (N, 1, 1, 3)) + draw.normal(0, 20, (N, SIZE, SIZE, 3))
    return np.clip(level, 0, 255).astype(np.uint8)


def graph_of():
    """Make a network whose answers differ from picture to picture."""
    torch.manual_seed(3)
    network = Fragile()
    with torch.no_grad():
        seen = network(torch.from_numpy(pictures(40)).permute(0, 3, 1, 2) / 127.5 - 1)
        network.fc.weight *= 3 / seen.std(0).mean()
        network.fc.bias.copy_((network.fc.bias - seen.mean(0)) * 3 / seen.std(0).mean())
    return Graph(Classifier(network, "own", CLASSES, Preprocessing(SIZE)), outputs=("probabilities",))


def answers(graph, seen):
    with torch.no_grad():
        return graph(torch.from_numpy(seen)).numpy().astype(np.float64)


@pytest.fixture(scope="module")
def blueprint(tmp_path_factory):
    return Blueprint(graph_of(), tmp_path_factory.mktemp("scratch"))


def test_the_fragile_layer_is_found():
    found = damages(graph_of(), pictures(16))
    assert next(iter(found)) == "fragile"
    assert found["fragile"] > 10 * found["fine"]
    assert set(found) == {"good", "fragile", "fine", "fc"}, "the first convolution is no candidate"


def test_the_damage_is_about_what_rounding_that_layer_alone_does():
    graph, seen = graph_of(), pictures(32)
    before, layer = answers(graph, seen), graph.network.fc
    estimate = damages(graph, seen)["fc"]
    handle = layer.register_forward_pre_hook(lambda _, given: (rounded(given[0]),))
    layer.weight.data = rounded_weights(layer.weight.data)
    measured = divergence(before, answers(graph, seen))
    handle.remove()
    assert measured / 4 < estimate < 4 * measured


def test_measuring_leaves_the_graph_as_it_was():
    graph = graph_of()
    before = answers(graph, pictures(4))
    damages(graph, pictures(4))
    np.testing.assert_array_equal(answers(graph, pictures(4)), before)
    assert not any(layer._forward_hooks for layer in graph.modules())


def test_damage_is_measured_alike_each_time():
    assert damages(graph_of(), pictures(8)) == damages(graph_of(), pictures(8))


@pytest.mark.parametrize("target", [Onnx(), OpenVino()], ids=lambda one: one.name)
def test_only_the_fragile_layer_is_kept_in_float(target, blueprint, tmp_path):
    held = pictures(40, seed=1)
    found = quantized(target, blueprint, tmp_path, pictures(40), held, answers(blueprint.graph, held), bar=0.3)
    assert found.kept == ("fragile",)
    assert found.met
    assert [one.kept for one in found.steps] == [0, 1]
    assert found.steps[0].divergence > 0.3 > found.steps[1].divergence
    assert target.open(found.path).card.about["quantization"]["kept_in_float"] == ["fragile"]
    assert found.path == tmp_path / target.file


def test_a_bar_that_is_met_at_once_keeps_nothing(blueprint, tmp_path):
    held = pictures(8, seed=1)
    found = quantized(Onnx(), blueprint, tmp_path, pictures(8), held, answers(blueprint.graph, held), bar=100.0)
    assert found.kept == ()
    assert len(found.steps) == 1
    assert len(found.damage) == 4


def test_a_bar_out_of_reach_gives_the_best_attempt(blueprint, tmp_path):
    held = pictures(8, seed=1)
    found = quantized(Onnx(), blueprint, tmp_path, pictures(8), held, answers(blueprint.graph, held), bar=0.0)
    best = min(found.steps, key=lambda one: one.divergence)
    assert not found.met
    assert len(found.kept) == best.kept
    runner = Onnx().open(found.path)
    assert divergence(answers(blueprint.graph, held), runner.run(held)["probabilities"]) == pytest.approx(
        best.divergence
    )


class Recorder:
    """A target of another kind: its answers are right as soon as two layers are kept."""

    name = title = "recorder"
    file, precisions = "model.txt", ("float32", "int8")

    def __init__(self, reference):
        self.reference, self.asked = reference, []

    def write(self, blueprint, folder, precision):
        self.asked.append(precision.keep)
        (folder / self.file).write_text(str(len(precision.keep)))
        return folder / self.file

    def open(self, path, threads=1):
        kept = int(path.read_text())
        self.card, self.rows = Card(CLASSES, Preprocessing(SIZE)), iter(np.array_split(self.reference, 2))
        self.run = lambda _: {"probabilities": next(self.rows) if kept >= 2 else 1 - next(self.rows)}
        return self


def test_layers_are_kept_the_most_harmful_first_in_doubling_steps(blueprint, tmp_path):
    held = pictures(16)
    target = Recorder(answers(blueprint.graph, held))
    found = quantized(target, blueprint, tmp_path, pictures(4), held, target.reference)
    order = tuple(found.damage)
    assert target.asked == [(), order[:1], order[:2]]
    assert (tmp_path / "model.txt").read_text() == "2"
    assert found.steps[-1].agreement == 1.0


def test_held_pictures_need_their_answers(blueprint, tmp_path):
    with pytest.raises(SettingsError, match="float answer"):
        quantized(Onnx(), blueprint, tmp_path, pictures(4), pictures(4), np.full((3, 3), 1 / 3))


def test_a_format_without_int8_is_refused(blueprint, tmp_path):
    target = Recorder(np.full((2, 3), 1 / 3))
    target.precisions = ("float32",)
    with pytest.raises(SettingsError, match="no INT8"):
        quantized(target, blueprint, tmp_path, pictures(2), pictures(2), target.reference)


def test_divergence_is_that_of_kullback_and_leibler():
    p, q = np.random.default_rng(0).dirichlet(np.ones(4), (2, 50))
    assert divergence(p, q) == pytest.approx(rel_entr(p, q).sum(1).mean(), rel=1e-3)
    assert divergence(p, p) == 0.0
    assert divergence(p, np.full_like(p, np.nan)) == np.inf


def test_rounding_hits_256_steps_and_zero():
    values = torch.linspace(-1, 3, 5001)
    found = rounded(values)
    assert len(found.unique()) == 256
    assert (found == 0).any()
    assert float((found - values).abs().max()) <= 4 / 255
    assert float(rounded(torch.zeros(3)).abs().max()) == 0.0
