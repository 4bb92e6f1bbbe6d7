"""The reduced precisions of ONNX and OpenVINO."""

import numpy as np
import onnx
import openvino
import pytest
import torch
from torch import nn
from torch.nn import functional

from linnaeus.classifier import Classifier
from linnaeus.errors import ModelError, SettingsError
from linnaeus.records import Preprocessing
from linnaeus.targets.graph import Graph
from linnaeus.targets.layers import Layers
from linnaeus.targets.onnx import Onnx, plain_onnx
from linnaeus.targets.openvino import OpenVino
from linnaeus.targets.quantize_onnx import eight_bits
from linnaeus.targets.quantize_openvino import hint
from linnaeus.targets.target import Blueprint, Precision

SIZE, CLASSES = 16, ("a", "b", "c")
TARGETS = [Onnx(), OpenVino()]


class Small(nn.Module):
    """Like a MobileNet: a first convolution, one by channel, one by pixel, a shortcut, a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv_dw = nn.Conv2d(3, 16, 3, stride=2), nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.conv_pw, self.fc = nn.Conv2d(16, 16, 1), nn.Linear(16, 3)

    def forward(self, x):
        x = functional.relu6(self.stem(x))
        x = x + self.conv_pw(functional.relu6(self.conv_dw(x)))
        return self.fc(x.mean((2, 3)))


class Attention(nn.Module):
    """Like a ViT: patches, and products of matrices."""

    def __init__(self):
        super().__init__()
        self.proj, self.norm = nn.Conv2d(3, 32, 4, stride=4), nn.LayerNorm(32)
        self.qkv, self.out, self.fc = nn.Linear(32, 96), nn.Linear(32, 32), nn.Linear(32, 3)

    def forward(self, x):
        x = self.proj(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=2)
        x = x + self.out((q @ k.transpose(1, 2) / 6).softmax(2) @ v)
        return self.fc(x.mean(1))


EACH = [
    pytest.param(one, name, network, id=f"{one.name}-{name}-{network.__name__}")
    for one in TARGETS
    for name in one.precisions
    for network in (Small, Attention)
    if (one.name, name, network) != ("openvino", "weights", Small)
]


def pictures(N, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (N, SIZE, SIZE, 3), dtype=np.uint8)


def blueprint_of(network, folder, **options):
    torch.manual_seed(0)
    classifier = Classifier(network(), "own", CLASSES, Preprocessing(SIZE, mean=(0.5, 0.4, 0.3)))
    (folder / "scratch").mkdir()
    return Blueprint(Graph(classifier, **options), folder / "scratch")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make the blueprint of a network once: made(Small)."""
    known = {}

    def make(network):
        if network not in known:
            known[network] = blueprint_of(network, tmp_path_factory.mktemp("made"))
        return known[network]

    return make


def answers(target, blueprint, folder, precision):
    folder.mkdir(exist_ok=True)
    runner = target.open(target.write(blueprint, folder, precision))
    return runner, runner.run(pictures(8, seed=1))["probabilities"]


def expected(blueprint, seed=1):
    with torch.no_grad():
        return blueprint.graph(torch.from_numpy(blueprint.card.shaped(pictures(8, seed)))).numpy()


@pytest.mark.parametrize(("target", "name", "network"), EACH)
def test_a_reduced_file_answers_nearly_as_the_network_does(target, name, network, made, tmp_path):
    blueprint = made(network)
    given = Precision(name, pictures(16) if name == "int8" else None)
    runner, found = answers(target, blueprint, tmp_path / "out", given)
    assert runner.card.precision == name
    np.testing.assert_allclose(found, expected(blueprint), atol=1e-5 if name == "float32" else 0.05)


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_int8_really_computes_in_bytes(target, made, tmp_path):
    blueprint = made(Small)
    _, found = answers(target, blueprint, tmp_path / "out", Precision("int8", pictures(16)))
    assert np.abs(found - expected(blueprint)).max() > 1e-5


def operations(path):
    model = onnx.load(path)
    return {node.name: node.op_type for node in model.graph.node}, model


def test_what_lies_around_the_network_stays_in_float(made, tmp_path):
    blueprint = made(Small)
    _, model = operations(Onnx().write(blueprint, tmp_path, Precision("int8", pictures(8))))
    rounded = {name for node in model.graph.node if node.op_type == "QuantizeLinear" for name in node.input[:1]}
    layers = Layers.of(onnx.load(plain_onnx(blueprint)))
    assert rounded
    assert not rounded & (layers.outside - {"image"})


def test_the_first_convolution_stays_in_float(made, tmp_path):
    blueprint = made(Small)
    _, model = operations(Onnx().write(blueprint, tmp_path, Precision("int8", pictures(8))))
    assert "network.stem.weight" in {one.name for one in model.graph.initializer}
    assert "network.conv_pw.weight" not in {one.name for one in model.graph.initializer}


def test_layers_to_keep_stay_in_float(made, tmp_path):
    path = Onnx().write(made(Small), tmp_path, Precision("int8", pictures(8), ("conv_dw",)))
    names = {one.name for one in operations(path)[1].graph.initializer}
    assert "network.conv_dw.weight" in names
    assert "network.conv_pw.weight" not in names


def test_what_a_kept_layer_reads_is_not_rounded_either(made, tmp_path):
    path = Onnx().write(made(Small), tmp_path, Precision("int8", pictures(8), ("conv_pw",)))
    model = operations(path)[1]
    back = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    kept = next(node for node in model.graph.node if "network.conv_pw.weight" in node.input)
    assert not back & set(kept.input)


@pytest.mark.parametrize("network", [Small, Attention])
@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_with_every_layer_kept_the_answers_are_the_float_ones(target, network, made, tmp_path):
    blueprint = made(network)
    every = tuple(Layers.of(onnx.load(plain_onnx(blueprint))).kinds)
    _, found = answers(target, blueprint, tmp_path / "all", Precision("int8", pictures(8), every))
    np.testing.assert_allclose(found, expected(blueprint), atol=1e-3)


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_a_layer_that_does_not_exist_cannot_be_kept(target, made, tmp_path):
    with pytest.raises(SettingsError, match="layers of the network"):
        target.write(made(Small), tmp_path, Precision("int8", pictures(2), ("no_such",)))


@pytest.mark.parametrize("given", [None, pictures(0)])
@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_int8_without_pictures_is_refused(target, given, made, tmp_path):
    with pytest.raises(SettingsError, match="training pictures"):
        target.write(made(Small), tmp_path, Precision("int8", given))


def test_of_a_transformer_only_products_of_matrices_are_reduced(made, tmp_path):
    blueprint = made(Attention)
    path = Onnx().write(blueprint, tmp_path, Precision("int8", pictures(2)))
    kinds = set(operations(path)[0].values())
    assert {"DynamicQuantizeLinear", "MatMulInteger", "Conv"} <= kinds
    assert "ConvInteger" not in kinds
    assert "dynamic" in Onnx().open(path).card.about["quantization"]["method"]


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_the_card_says_how_it_was_done(target, made, tmp_path):
    path = target.write(made(Small), tmp_path, Precision("int8", pictures(5), ("fc",)))
    about = target.open(path).card.about["quantization"]
    assert about["calibration_pictures"] == 5
    assert about["kept_in_float"] == ["fc"]


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_other_layouts_and_outputs_can_be_reduced(target, tmp_path):
    blueprint = blueprint_of(Small, tmp_path, layout="nchw", outputs=("probabilities", "features"))
    runner = target.open(target.write(blueprint, tmp_path, Precision("int8", pictures(16))))
    found = runner.run(pictures(8, seed=1))
    with torch.no_grad():
        wanted = blueprint.graph(torch.from_numpy(blueprint.card.shaped(pictures(8, seed=1))))
    np.testing.assert_allclose(found["probabilities"], wanted[0].numpy(), atol=0.03)
    assert np.corrcoef(found["features"].ravel(), wanted[1].numpy().ravel())[0, 1] > 0.99


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_a_graph_for_any_size_can_be_reduced(target, tmp_path):
    blueprint = blueprint_of(Small, tmp_path, any_size=True)
    runner = target.open(target.write(blueprint, tmp_path, Precision("int8", pictures(4))))
    picture = np.random.default_rng(2).integers(0, 256, (1, 31, 44, 3), dtype=np.uint8)
    with torch.no_grad():
        wanted = blueprint.graph(torch.from_numpy(picture)).numpy()
    np.testing.assert_allclose(runner.run(picture)["probabilities"], wanted, atol=0.05)


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_the_same_pictures_give_the_same_file(target, made, tmp_path):
    blueprint = made(Small)
    first = answers(target, blueprint, tmp_path / "one", Precision("int8", pictures(8)))[1]
    again = answers(target, blueprint, tmp_path / "two", Precision("int8", pictures(8)))[1]
    np.testing.assert_array_equal(first, again)


def test_a_file_tells_nothing_of_the_machine_that_wrote_it(made, tmp_path):
    path = Onnx().write(made(Small), tmp_path)
    assert b"site-packages" not in path.read_bytes()
    assert __file__.encode() not in path.read_bytes()


def test_8_bit_weights_take_a_quarter(tmp_path):
    class Wide(nn.Sequential):
        def __init__(self):
            super().__init__(
                nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 256, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
            )
            self.append(nn.Linear(256, 3))

    blueprint = blueprint_of(Wide, tmp_path)
    sizes = [
        Onnx().write(blueprint, tmp_path, Precision(name)).stat().st_size for name in ("float32", "float16", "weights")
    ]
    assert sizes[1] < 0.55 * sizes[0]
    assert sizes[2] < 0.30 * sizes[0]


def test_openvino_gets_no_8_bit_weights_of_a_network_that_convolves(made, tmp_path):
    with pytest.raises(ModelError, match="networks that mostly multiply matrices") as refused:
        OpenVino().write(made(Small), tmp_path, Precision("weights"))
    assert "float16" in refused.value.fix
    assert not list(tmp_path.iterdir())


def test_8_bit_weights_of_a_transformer_are_right_in_openvino_with_several_streams(made, tmp_path):
    blueprint = made(Attention)
    path = OpenVino().write(blueprint, tmp_path, Precision("weights"))
    compiled = openvino.Core().compile_model(path, "CPU", {"NUM_STREAMS": 2})
    kinds = {
        one.get_element_type().to_string()
        for one in openvino.Core().read_model(path).get_ops()
        if one.get_type_name() == "Constant"
    }
    assert "i8" in kinds
    found = compiled.create_infer_request().infer({"image": pictures(8, seed=1)})["probabilities"]
    np.testing.assert_allclose(found, expected(blueprint), atol=0.01)


def test_weights_are_rounded_by_channel():
    values = np.array([[0.0101, -0.02], [9.9, 20.0]], np.float32)
    small, scale = eight_bits(values, 0)
    np.testing.assert_array_equal(small, [[64, -127], [63, 127]])
    np.testing.assert_allclose(scale, [0.02 / 127, 20 / 127], rtol=1e-6)
    assert not eight_bits(np.zeros((2, 2), np.float32), 1)[0].any()


def test_bfloat16_is_used_only_where_the_processor_has_it():
    assert hint("bfloat16", ["FP32", "BF16"]) == "bf16"
    assert hint("bfloat16", ["FP32"]) == "f32"
    assert hint("int8", ["BF16"]) == "f32"
