"""The contract of every target: what it writes answers as PyTorch does, says what it is, and refuses what is not its own."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from linnaeus.classifier import Classifier
from linnaeus.data.decode import middle, prepare
from linnaeus.errors import ModelError
from linnaeus.metrics.abstention import Judgement
from linnaeus.metrics.calibration import Calibration
from linnaeus.metrics.unknown import Choice, Energy, Mahalanobis, Neighbours
from linnaeus.nn import zoo
from linnaeus.nn.head import features, linear_head, set_head
from linnaeus.records import Predictions, Preprocessing
from linnaeus.targets import TARGETS, Blueprint, Card, require
from linnaeus.targets.card import KEY
from linnaeus.targets.graph import Graph

pytestmark = pytest.mark.runtimes

FLOWERS = Path(__file__).parents[2] / "shared" / "data" / "flowers"
CLASSES = ("blau, kühl", "green", "red", "straw", "ültra")
TOLERANCE = 1e-4
"""What single precision may differ by in a probability."""
RAMP = ((0.0, 0.02), (0.3, 0.2), (0.3, 0.35), (0.8, 0.7), (1.0, 0.97))


@dataclass(frozen=True)
class Case:
    """A network, and one way each to calibrate, to lay out bytes and to tell unknown pictures."""

    size_px: int
    calibration: Calibration
    detector: type | None = None
    outputs: tuple[str, ...] = ("probabilities", "features", "unknown_score")
    layout: str = "nhwc"
    channels: int = 3
    weights: str = "none"
    options: dict = field(default_factory=dict)


CASES = {
    "keras-cifar10": Case(32, Calibration("isotonic", knots=(RAMP,) * 5), Energy, channels=1),
    "small-32": Case(32, Calibration("temperature", 0.8), Energy, options={"views": 4}),
    "resnet18": Case(64, Calibration(), outputs=("probabilities",), layout="nchw", options={"zero_init_last": False}),
    "tf_efficientnet_lite0": Case(
        64, Calibration("temperature", 1.5), Mahalanobis, ("probabilities", "unknown_score"), weights="default"
    ),
    "vit_tiny_patch16_224": Case(
        64, Calibration("vector", 1.0, (1.0, 1.2, 0.9, 1.1, 0.8), (0.1, 0.0, -0.2, 0.3, 0.0)), Neighbours
    ),
}
QUICK = "keras-cifar10"


def grouped(names, *others):
    """One parameter set per target, and for all of one target the same worker: it writes each file once."""
    rest = others or ((),)
    return [pytest.param(name, *other, marks=pytest.mark.xdist_group(name)) for name in names for other in rest]


RUNNABLE = [name for name, target in TARGETS.items() if not target.why_not_here()]
each_target = pytest.mark.parametrize("name", grouped(TARGETS))
each_runnable = pytest.mark.parametrize("name", grouped(RUNNABLE))
each_pair = pytest.mark.parametrize(("name", "network"), grouped(RUNNABLE, *((one,) for one in CASES)))


@functools.cache
def pictures(network, N=16):
    """Real photographs at the network's size, or drawn ones where there are none, uint8 [N, S, S, C]."""
    about = preprocessing(network)
    if FLOWERS.is_dir():
        paths = sorted(FLOWERS.glob("*/*.jpg"))[:: 2521 // N][:N]
        return np.stack([middle(prepare(path.read_bytes(), "", about), about.size_px) for path in paths])
    draw = np.random.default_rng(0)
    coarse = (
        draw.integers(0, 256, (N, 4, 4, about.channels)).repeat(about.size_px // 4, 1).repeat(about.size_px // 4, 2)
    )
    return np.clip(coarse + draw.normal(0, 20, coarse.shape), 0, 255).astype(np.uint8)


def preprocessing(network):
    case, C = CASES[network], CASES[network].channels
    return Preprocessing(case.size_px, channels=C, mean=(0.5, 0.45, 0.4)[:C], std=(0.25, 0.24, 0.22)[:C])


@functools.cache
def classifier_of(network):
    """A classifier whose answers differ between pictures, though its weights are mostly random."""
    case, about = CASES[network], preprocessing(network)
    torch.manual_seed(0)
    made = zoo.create(
        network, num_classes=5, channels=case.channels, size_px=case.size_px, weights=case.weights, options=case.options
    ).eval()
    plain = Classifier(made, network, CLASSES, about, case.calibration, options=case.options)
    with torch.no_grad():
        x = torch.from_numpy(pictures(network)).float() / 255
        seen = features(made, (x - torch.tensor(about.mean)).div(torch.tensor(about.std)).permute(0, 3, 1, 2))
        weight = torch.randn(5, seen.shape[1]) * 2.5 / (seen - seen.mean(0)).square().sum(1).mean().sqrt()
        usual = seen.mean(0)
        if linear_head(made).bias is None:
            # No bias can take the usual features' answer away: the weights must not see them.
            set_head(made, weight - torch.outer(weight @ usual, usual) / usual.square().sum(), torch.zeros(5))
        else:
            set_head(made, weight, -weight @ usual)
    return replace(plain, judgement=judgement_of(plain, case.detector), about={"seed": 3, "data": "Blumen, grün"})


def judgement_of(plain, kind):
    if kind is None:
        return None
    logits = plain.embed([pictures(plain.architecture)]).logits
    # Others than those that are asked: the distance of a picture to itself is nothing but rounding.
    seen = plain.embed([pictures(plain.architecture)[:, :, ::-1] // 2 + 60]).features
    labels = np.arange(16) % 5
    detector = kind() if kind is Energy else kind.fit(seen, labels)
    held = Predictions(plain.calibration.probabilities(logits), labels, tuple(map(str, range(16))), CLASSES)
    return Judgement.make(held, candidates=2, choice=Choice(detector, 1.25, 0.99, {}))


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """Write a network for a target, once: export("onnx", "resnet18") gives the path."""

    @functools.cache
    def blueprint(network):
        case = CASES[network]
        graph = Graph(classifier_of(network), outputs=case.outputs, layout=case.layout)
        return Blueprint(graph, tmp_path_factory.mktemp("scratch"))

    @functools.cache
    def write(name, network=QUICK):
        require_here(TARGETS[name])
        return TARGETS[name].write(blueprint(network), tmp_path_factory.mktemp(f"{name}-{network}"))

    write.blueprint = blueprint
    return write


@pytest.fixture(scope="module")
def opened(export):
    """Open what was written, once."""
    return functools.cache(lambda name, network=QUICK: TARGETS[name].open(export(name, network)))


def require_here(target):
    try:
        require(target, writing=True)
    except ModelError as error:
        pytest.skip(error.got)


def expected(network, N=16):
    """What PyTorch answers, by name."""
    classifier = classifier_of(network)
    seen = classifier.embed([pictures(network)[:N]])
    found = {"probabilities": classifier.calibration.probabilities(seen.logits), "features": seen.features}
    if classifier.judgement:
        found["unknown_score"] = classifier.judgement.strange(seen.logits, seen.features)[0]
    return {name: found[name] for name in CASES[network].outputs}


@each_pair
def test_it_answers_batches_of_1_3_and_16_as_pytorch_does(opened, name, network):
    runner, truth = opened(name, network), expected(network)["probabilities"]
    assert len(set(truth.argmax(1))) > 2, "answers that are all alike would prove nothing"
    for N in (1, 3, 16):
        found = runner.run(pictures(network)[:N])["probabilities"]
        assert found.shape == (N, 5) and found.dtype == np.float32
        assert np.abs(found - truth[:N]).max() < TOLERANCE
        assert (found.argmax(1) == truth[:N].argmax(1)).all()


@each_pair
def test_it_gives_its_outputs_by_name(opened, name, network):
    found, truth = opened(name, network).run(pictures(network)[:3]), expected(network, 3)
    assert list(found) == list(truth)
    for output, values in truth.items():
        assert found[output].shape == values.shape
        assert np.abs(found[output] - values).max() < 2e-4 * np.abs(values).max(), output


@each_pair
def test_its_card_survives(export, opened, name, network):
    assert_same_card(opened(name, network).card, export.blueprint(network).card)


def assert_same_card(card, meant):
    assert replace(card, judgement=None) == replace(meant, judgement=None)
    assert (card.judgement is None) == (meant.judgement is None)
    if meant.judgement is not None:
        arrays = card.judgement.arrays()
        assert all(np.array_equal(arrays[key], one) for key, one in meant.judgement.arrays().items())


@each_runnable
def test_several_threads_may_ask_at_once(opened, name):
    runner, shown = opened(name), pictures(QUICK)
    alone = [runner.run(shown[at : at + 2])["probabilities"] for at in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: runner.run(shown[at % 8 : at % 8 + 2])["probabilities"], range(64)))
    assert all(np.allclose(one, alone[at % 8], atol=1e-6) for at, one in enumerate(found))


@each_runnable
def test_pictures_may_lie_in_any_order_in_memory(opened, name):
    shown = pictures(QUICK)[:3]
    turned = np.ascontiguousarray(shown.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    turned.flags.writeable = False
    found, straight = (opened(name).run(one)["probabilities"] for one in (turned, shown))
    assert np.array_equal(found, straight)


@each_runnable
def test_an_answer_stays_when_the_next_is_asked(opened, name):
    first = opened(name).run(pictures(QUICK)[:2])
    kept = {output: values.copy() for output, values in first.items()}
    opened(name).run(pictures(QUICK)[2:4])
    assert all(np.array_equal(first[output], kept[output]) for output in kept)


@each_runnable
def test_colour_pictures_are_turned_grey_as_the_decoder_does(opened, name):
    colour = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    flat = (colour.astype(int) @ [19595, 38470, 7471] + 32768) >> 16
    found, meant = (opened(name).run(one)["probabilities"] for one in (colour, flat[..., None].astype(np.uint8)))
    assert np.allclose(found, meant, atol=1e-6)


@pytest.mark.parametrize("name", grouped([name for name in RUNNABLE if TARGETS[name].any_size]))
def test_a_graph_for_any_size_resizes_as_it_does_in_pytorch(name, tmp_path):
    require_here(TARGETS[name])
    blueprint = fresh(tmp_path, outputs=("probabilities",), any_size=True)
    graph, runner = blueprint.graph, TARGETS[name].open(TARGETS[name].write(blueprint, tmp_path))
    assert runner.card.any_size
    for H, W in ((50, 80), (40, 33), (20, 90)):
        picture = np.random.default_rng(H).integers(0, 256, (1, H, W, 3), dtype=np.uint8)
        with torch.no_grad():
            assert np.abs(runner.run(picture)["probabilities"] - graph(torch.from_numpy(picture)).numpy()).max() < 1e-3


@each_target
def test_it_writes_nothing_on_the_terminal(export, name, tmp_path, capfd):
    if name == "aotinductor":
        pytest.skip("compiling once more would take ten seconds")
    require_here(TARGETS[name])
    # Most are made of what these two make.
    blueprint = fresh(tmp_path) if name in ("onnx", "torch") else export.blueprint(QUICK)
    capfd.readouterr()
    path = TARGETS[name].write(blueprint, tmp_path)
    with contextlib.suppress(ModelError):
        TARGETS[name].open(path).run(pictures(QUICK)[:1])
    said = capfd.readouterr()
    assert said.out + said.err == ""


def fresh(tmp_path, **settings):
    return Blueprint(Graph(classifier_of(QUICK), **settings).eval(), Path(tempfile.mkdtemp(dir=tmp_path)))


@each_target
def test_something_else_under_its_name_is_refused(name, export, tmp_path):
    require_here(TARGETS[name])
    other = tmp_path / TARGETS[name].file
    if export(name).is_dir():
        other.mkdir()
        (other / "notes.txt").write_text("another program's")
    else:
        other.write_bytes(b"another program's")
    with pytest.raises(ModelError):
        TARGETS[name].open(other)


@each_target
def test_a_missing_file_is_refused(name, tmp_path):
    require_here(TARGETS[name])
    with pytest.raises(ModelError):
        TARGETS[name].open(tmp_path / TARGETS[name].file)


@each_target
def test_a_damaged_file_is_refused(name, export, tmp_path):
    path = export(name)
    for victim in {path if path.is_file() else largest(path, name), largest(path.parent, name)}:
        copy = tmp_path / victim.name
        shutil.copytree(path.parent, copy)
        damaged = copy / victim.relative_to(path.parent)
        damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
        with pytest.raises(ModelError):
            TARGETS[name].open(copy / path.name)


def largest(folder, name):
    """Find the largest file; where the target cannot run, nobody looks at more than what holds the card."""
    files = [one for one in folder.rglob("*") if one.is_file()]
    looked_at = [one for one in files if name in RUNNABLE or KEY.encode() in one.read_bytes()]
    return max(looked_at, key=lambda one: one.stat().st_size)


@each_target
def test_a_file_without_a_card_is_refused(name, export, tmp_path, monkeypatch):
    require_here(TARGETS[name])
    if name == "aotinductor":
        path = without_metadata(export(name), tmp_path / "model.aoti.pt2")
    elif name == "tfjs":
        path = tmp_path / "tfjs"
        path.mkdir()
        model = json.loads((export(name) / "model.json").read_text())
        (path / "model.json").write_text(json.dumps(model | {"userDefinedMetadata": {}}))
    else:
        monkeypatch.setattr(Card, "text", lambda self: "")
        path = TARGETS[name].write(export.blueprint(QUICK), tmp_path)
    with pytest.raises(ModelError, match="another program"):
        TARGETS[name].open(path)


def without_metadata(package, path):
    with zipfile.ZipFile(package) as before, zipfile.ZipFile(path, "w") as after:
        for one in before.namelist():
            after.writestr(one, b"{}" if one.endswith("_metadata.json") else before.read(one))
    return path


@pytest.mark.parametrize("writing", [True, False])
@pytest.mark.parametrize("name", grouped([name for name, target in TARGETS.items() if target.extra]))
def test_a_missing_module_is_told_with_the_extra_that_brings_it(name, writing, monkeypatch):
    target = TARGETS[name]
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    if not (target.needs if writing else target.runtime):
        # It runs in node, which is no module.
        require(target, writing=writing)
        return
    with pytest.raises(ModelError) as told:
        require(target, writing=writing)
    assert f"linnaeus[{target.extra}]" in told.value.fix
    assert all(module in told.value.got for module in (target.needs if writing else target.runtime))


@pytest.mark.parametrize("name", grouped([name for name in TARGETS if name not in RUNNABLE]))
def test_what_cannot_run_here_is_written_and_says_why(name, export):
    assert export(name).exists()
    assert TARGETS[name].why_not_here()
    with pytest.raises(ModelError):
        TARGETS[name].open(export(name)).run(pictures(QUICK)[:1])


def test_names_files_and_markers_are_each_targets_own():
    for of in ("name", "file"):
        assert len({getattr(target, of) for target in TARGETS.values()}) == len(TARGETS)
    markers = [target.marker for target in TARGETS.values() if target.marker]
    assert len(set(markers)) == len(markers)
    assert all(target.precisions[0] == "float32" for target in TARGETS.values())


@pytest.mark.xdist_group("coreml")
@pytest.mark.parametrize("network", CASES)
def test_a_core_ml_package_takes_an_image_and_holds_the_card(export, network):
    coremltools = pytest.importorskip("coremltools")
    path, case = export("coreml", network), CASES[network]
    told = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec().description
    image = told.input[0].type.imageType
    assert (told.input[0].name, image.width, image.height) == ("image", case.size_px, case.size_px)
    assert tuple(one.name for one in told.output) == case.outputs
    assert_same_card(Card.of(told.metadata.userDefined["linnaeus"], ""), export.blueprint(network).card)


@pytest.mark.xdist_group("coreml")
def test_what_is_converted_for_core_ml_answers_float_planes_as_pytorch_does(export):
    from linnaeus.targets.coreml import _program

    export("coreml")
    program = _program(export.blueprint(QUICK)).module()
    planes = torch.from_numpy(pictures(QUICK)[:1].repeat(3, axis=-1).transpose(0, 3, 1, 2)).float()
    with torch.no_grad():
        assert np.abs(program(planes)[0].numpy() - expected(QUICK, 1)["probabilities"]).max() < TOLERANCE


@pytest.mark.xdist_group("tensorrt")
@pytest.mark.parametrize("network", CASES)
def test_the_network_for_tensorrt_makes_floats_first_and_answers_as_pytorch_does(export, network):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    model = onnx.load(export("tensorrt", network) / "model.onnx")
    assert [node.op_type for node in model.graph.node if "image" in node.input] == ["Cast"]
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(["probabilities"], {"image": export.blueprint(network).card.shaped(pictures(network)[:3])})
    assert np.abs(found[0] - expected(network, 3)["probabilities"]).max() < TOLERANCE


@pytest.mark.xdist_group("tensorrt")
@pytest.mark.parametrize(("network", "largest_shape"), [(QUICK, "image:64x32x32x3"), ("resnet18", "image:64x3x64x64")])
def test_the_command_for_tensorrt_names_the_shapes(export, network, largest_shape):
    script = export("tensorrt", network) / "build.sh"
    assert script.stat().st_mode & 0o100
    assert f"--maxShapes={largest_shape} --noTF32" in script.read_text()


@pytest.mark.xdist_group("state-dict")
def test_the_plain_weights_load_without_pickled_code_and_with_timm(export):
    import timm

    place, network = export("state-dict", "resnet18"), classifier_of("resnet18").network
    tensors = torch.load(place / "model.pt", weights_only=True)
    assert all(torch.equal(one, tensors[name]) for name, one in network.state_dict().items())
    again = timm.create_model(f"local-dir:{place}", pretrained=True).eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(again(x), network.eval()(x), rtol=1e-5, atol=1e-5)


@pytest.mark.xdist_group("aotinductor")
def test_aotinductor_without_a_compiler_says_what_to_install(export, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ModelError, match="no no-such-compiler on this machine"):
        TARGETS["aotinductor"].write(export.blueprint(QUICK), tmp_path)


@pytest.mark.xdist_group("aotinductor")
def test_the_card_is_in_the_metadata_that_cpp_reads(export):
    package = torch._inductor.aoti_load_package(str(export("aotinductor")))
    assert json.loads(package.loader.get_metadata()["linnaeus"])["classes"] == list(CLASSES)


def test_tensorflow_may_be_loaded_before_what_pytorch_traces_with():
    pytest.importorskip("tensorflow")
    if importlib.util.find_spec("triton") is None:
        pytest.skip("this PyTorch brings no Triton")
    script = "import linnaeus.targets.tensorflow_ops.library, triton; print('alive')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "alive\n", done.stderr[-500:]
