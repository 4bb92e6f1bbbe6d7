import dataclasses
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from linnaeus.classifier import Classifier
from linnaeus.errors import ModelError
from linnaeus.metrics.abstention import Judgement
from linnaeus.metrics.calibration import Calibration
from linnaeus.metrics.unknown import Neighbours
from linnaeus.nn import zoo
from linnaeus.records import Predictions, Preprocessing
from linnaeus.targets.graph import Graph
from linnaeus.targets.litert import LiteRt, write_tflite
from linnaeus.targets.savedmodel import SavedModel
from linnaeus.targets.target import Blueprint, Precision
from linnaeus.targets.tfjs import TfJs

pytestmark = pytest.mark.runtimes

for _module in ("onnx", "ai_edge_litert", "linnaeus.targets.tensorflow_ops.library"):
    pytest.importorskip(_module, exc_type=ImportError)

"""A cache folder that holds the environments of TensorFlow.js already: tests fetch nothing."""
TARGETS = (SavedModel(), LiteRt())


def make_classifier(architecture, size_px, options=None, **more):
    torch.manual_seed(0)
    network = zoo.create(architecture, num_classes=5, size_px=size_px, weights="none", options=options or {})
    return Classifier(network, architecture, tuple("abcde"), Preprocessing(size_px), options=options or {}, **more)


def isotonic():
    knots = tuple(tuple((float(x), float(x ** (1 + k / 5))) for x in np.linspace(0, 1, 5)) for k in range(5))
    return Calibration("isotonic", knots=knots)


def judgement():
    draw = np.random.default_rng(0)
    detector = Neighbours.fit(draw.normal(size=(100, 128)).astype(np.float32), np.arange(100) % 5)
    held = draw.dirichlet(np.ones(5), 20)
    return Judgement(Predictions(held, held.argmax(1), tuple(map(str, range(20))), tuple("abcde")), detector=detector)


def written(classifier, folder, targets=TARGETS, **how):
    """Write a classifier for targets, and give paths by name, the blueprint, pictures, and what PyTorch answers."""
    (folder / "scratch").mkdir()
    blueprint = Blueprint(Graph(classifier, **how), folder / "scratch")
    shape = (1, 40, 51, 3) if how.get("any_size") else (16, *[classifier.preprocessing.size_px] * 2, 3)
    pictures = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    with torch.no_grad():
        answers = blueprint.graph(torch.from_numpy(blueprint.card.shaped(pictures)))
    answers = answers if isinstance(answers, tuple) else (answers,)
    wanted = dict(zip(blueprint.card.outputs, (one.numpy() for one in answers), strict=True))
    return {one.name: one.write(blueprint, folder) for one in targets}, blueprint, pictures, wanted


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """The lesson's network with everything that can follow it."""
    classifier = make_classifier("keras-cifar10", 32, calibration=isotonic(), judgement=judgement())
    outputs = ["probabilities", "features", "unknown_score"]
    return written(classifier, tmp_path_factory.mktemp("lesson"), outputs=outputs)


@pytest.fixture(scope="module")
def attention(tmp_path_factory):
    options = {"img_size": 32, "patch_size": 8, "depth": 2}
    return written(make_classifier("vit_tiny_patch16_224", 32, options), tmp_path_factory.mktemp("attention"))


def largest_difference(runner, pictures, wanted):
    found = runner.run(pictures)
    assert list(found) == list(runner.card.outputs)
    assert all(one.dtype == np.float32 for one in found.values())
    return max(abs(found[name] - wanted[name][: len(pictures)]).max() for name in found)


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
@pytest.mark.parametrize("network", ["lesson", "attention"])
def test_a_file_answers_as_pytorch_for_any_number_of_pictures(target, network, request):
    paths, _, pictures, wanted = request.getfixturevalue(network)
    runner = target.open(paths[target.name])
    for N in (1, 3, 16, 3):
        assert largest_difference(runner, pictures[:N], wanted) < 1e-5


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_a_file_says_what_it_is(target, lesson):
    paths, blueprint, _, _ = lesson
    card = target.open(paths[target.name]).card
    assert (card.classes, card.outputs, card.precision) == (tuple("abcde"), blueprint.card.outputs, "float32")
    assert card.preprocessing == blueprint.card.preprocessing
    assert card.judgement is not None


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_threads_that_ask_at_once_get_what_one_gets(target, lesson):
    paths, _, pictures, wanted = lesson
    runner = target.open(paths[target.name])
    with ThreadPoolExecutor(4) as pool:
        differences = list(
            pool.map(lambda N: largest_difference(runner, pictures[:N], wanted), [1, 5, 2, 16, 3, 7, 1, 4])
        )
    assert max(differences) < 1e-5


def test_a_picture_of_any_size_is_resized_inside(tmp_path):
    paths, _, picture, wanted = written(make_classifier("small_32", 16), tmp_path, any_size=True)
    for target in TARGETS:
        assert largest_difference(target.open(paths[target.name]), picture, wanted) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", ["resnet18", "tf_efficientnet_lite0", "mobilenetv3_small_100", "convnext_atto"]
)
def test_a_network_of_timm_answers_as_pytorch(architecture, tmp_path):
    options = {"zero_init_last": False} if architecture == "resnet18" else {}
    paths, _, pictures, wanted = written(make_classifier(architecture, 96, options), tmp_path)
    for target in TARGETS:
        assert largest_difference(target.open(paths[target.name]), pictures, wanted) < 1e-4


def test_a_saved_model_has_the_signature_that_tensorflow_serving_asks_for(lesson):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(lesson[0]["savedmodel"]))
    signature = loaded.signatures["serving_default"]
    entry = signature.structured_input_signature[1]["image"]
    assert (entry.shape.as_list(), entry.dtype) == ([None, 32, 32, 3], tf.uint8)
    assert signature.structured_outputs["probabilities"].shape.as_list() == [None, 5]


def test_tensorflow_that_wrote_a_file_computes_with_one_thread():
    import tensorflow as tf

    assert tf.config.threading.get_intra_op_parallelism_threads() == 1
    assert tf.config.threading.get_inter_op_parallelism_threads() == 1


def test_what_is_not_a_saved_model_of_ours_is_refused(lesson, tmp_path):
    with pytest.raises(ModelError, match="should hold a card"):
        SavedModel().open(tmp_path)
    with pytest.raises(ModelError, match="should be a SavedModel"):
        (tmp_path / "assets.extra").mkdir()
        (tmp_path / "assets.extra" / "linnaeus.json").write_text(lesson[1].card.text())
        SavedModel().open(tmp_path)


def test_a_lite_file_is_run_without_tensorflow_and_pytorch(lesson, tmp_path):
    np.save(tmp_path / "pictures.npy", lesson[2])
    code = (
        "import sys, pathlib, numpy as np\n"
        "from linnaeus.targets.litert import LiteRt\n"
        "found = LiteRt().open(pathlib.Path(sys.argv[1])).run(np.load(sys.argv[2]))\n"
        "assert not {'tensorflow', 'torch'} & set(sys.modules)\n"
        "print(found['probabilities'].shape)"
    )
    command = [sys.executable, "-c", code, str(lesson[0]["litert"]), str(tmp_path / "pictures.npy")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("(16, 5)\n", "")


def test_what_is_not_a_lite_file_of_ours_is_refused(lesson, tmp_path):
    (tmp_path / "text.tflite").write_text("not a model")
    with pytest.raises(ModelError, match="should be a LiteRT model"):
        LiteRt().open(tmp_path / "text.tflite")
    content = lesson[0]["litert"].read_bytes()
    (tmp_path / "half.tflite").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="should be a LiteRT model"):
        LiteRt().open(tmp_path / "half.tflite")
    (tmp_path / "other.tflite").write_bytes(content.replace(b"linnaeus\0", b"somebody\0"))
    with pytest.raises(ModelError, match="should hold a card"):
        LiteRt().open(tmp_path / "other.tflite")


def test_a_lite_file_for_one_picture_answers_many(lesson, tmp_path):
    _, blueprint, pictures, wanted = lesson
    runner = LiteRt().open(write_tflite(blueprint, tmp_path / "one.tflite", batch=1))
    assert largest_difference(runner, pictures[:3], wanted) < 1e-5
    from ai_edge_litert.interpreter import Interpreter

    (entry,) = Interpreter(model_path=str(tmp_path / "one.tflite")).get_input_details()
    assert list(entry["shape_signature"]) == [1, 32, 32, 3]


def test_half_precision_halves_a_lite_file(lesson, tmp_path):
    paths, blueprint, pictures, wanted = lesson
    path = write_tflite(blueprint, tmp_path / "half.tflite", precision=Precision("float16"))
    assert path.stat().st_size < 0.6 * paths["litert"].stat().st_size
    found = LiteRt().open(path).run(pictures)
    assert abs(found["probabilities"] - wanted["probabilities"]).max() < 0.01


def test_eight_bits_quarter_a_lite_file_and_leave_probabilities_fine(lesson, tmp_path):
    paths, blueprint, pictures, wanted = lesson
    path = write_tflite(blueprint, tmp_path / "int8.tflite", precision=Precision("int8", pictures))
    assert path.stat().st_size < 0.4 * paths["litert"].stat().st_size
    runner = LiteRt().open(path)
    found = runner.run(pictures)
    assert runner.card.precision == "int8"
    assert abs(found["probabilities"] - wanted["probabilities"]).max() < 0.05
    # A softmax in 8 bits knows 256 numbers only; calibration after it would be coarse.
    assert abs(found["probabilities"].sum(1) - 1).max() < 1e-5
    assert len(np.unique(found["unknown_score"])) == len(pictures)
    assert any("int8" in str(kind) for kind in tensor_kinds(path))


def tensor_kinds(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    return {one["dtype"] for one in interpreter.get_tensor_details()}


def test_a_layer_can_be_kept_out_of_eight_bits(lesson, tmp_path):
    _, blueprint, pictures, _ = lesson
    plain = write_tflite(blueprint, tmp_path / "plain.tflite", precision=Precision("int8", pictures))
    precision = Precision("int8", pictures, keep=("features.2.conv1",))
    kept = write_tflite(blueprint, tmp_path / "kept.tflite", precision=precision)
    assert kept.stat().st_size > 1.4 * plain.stat().st_size


def test_eight_bits_without_pictures_are_refused(lesson, tmp_path):
    with pytest.raises(ModelError, match="int8 needs training pictures"):
        write_tflite(lesson[1], tmp_path / "int8.tflite", precision=Precision("int8"))


def test_attention_gets_eight_bits_in_its_weights_only(attention, tmp_path):
    _, blueprint, pictures, wanted = attention
    runner = LiteRt().open(write_tflite(blueprint, tmp_path / "int8.tflite", precision=Precision("int8", pictures)))
    assert runner.card.precision == "weights"
    assert abs(runner.run(pictures)["probabilities"] - wanted["probabilities"]).max() < 0.05


def test_nothing_is_written_on_the_terminal(lesson, tmp_path, capfd):
    paths, blueprint, pictures, _ = lesson
    for target in TARGETS:
        target.open(paths[target.name]).run(pictures)
    write_tflite(blueprint, tmp_path / "model.tflite")
    assert capfd.readouterr() == ("", "")


def test_without_node_a_graph_model_says_why_it_cannot_be_run(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert TfJs().why_not_here() == "no node and npm on this machine"


def test_what_is_not_a_graph_model_of_ours_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"should be a folder with model\.json"):
        TfJs().open(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"format": "graph-model"}))
    with pytest.raises(ModelError, match="should hold a card"):
        TfJs().open(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("kept_environments")
@pytest.mark.parametrize("network", ["lesson", "attention"])
def test_a_graph_model_answers_in_node_as_pytorch(network, request, tmp_path):
    _, blueprint, pictures, wanted = request.getfixturevalue(network)
    runner = TfJs().open(TfJs().write(blueprint, tmp_path))
    assert runner.card.classes == tuple("abcde")
    for N in (1, 3, 16):
        assert largest_difference(runner, pictures[:N], wanted) < 1e-5
    process = runner._process
    del runner
    assert process.poll() == 0


@pytest.mark.slow
@pytest.mark.usefixtures("kept_environments")
def test_a_graph_model_of_a_residual_network_adds_what_it_should(tmp_path):
    classifier = make_classifier("resnet10t", 64, {"zero_init_last": False})
    paths, _, pictures, wanted = written(classifier, tmp_path, [TfJs()])
    assert largest_difference(TfJs().open(paths["tfjs"]), pictures, wanted) < 1e-4


@pytest.mark.slow
@pytest.mark.usefixtures("kept_environments")
def test_a_graph_model_for_any_size_resizes_inside(tmp_path):
    paths, _, picture, wanted = written(make_classifier("small_32", 16), tmp_path, [TfJs()], any_size=True)
    assert largest_difference(TfJs().open(paths["tfjs"]), picture, wanted) < 1e-3


def test_grey_pictures_and_channels_first_are_taken(tmp_path):
    torch.manual_seed(0)
    network = zoo.create("small_32", num_classes=5, channels=1, size_px=16, weights="none")
    about = Preprocessing(16, channels=1, mean=(0.5,), std=(0.5,))
    classifier = Classifier(network, "small_32", tuple("abcde"), about)
    paths, _, pictures, wanted = written(dataclasses.replace(classifier), tmp_path, layout="nchw")
    for target in TARGETS:
        assert largest_difference(target.open(paths[target.name]), pictures, wanted) < 1e-5
