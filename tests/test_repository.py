"""Model repositories: what a server finds is what it expects, and it says what the file says."""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from linnaeus.errors import SettingsError
from linnaeus.records import Preprocessing
from linnaeus.targets import TARGETS, Blueprint, Card
from linnaeus.targets.repository import MARK, model_name, triton_config, write_repository

pytestmark = pytest.mark.runtimes

CARD = Card(
    ("cat", "größe, x"),
    Preprocessing(32),
    ("probabilities", "unknown_score"),
    about={"data": {"name": "My Flowers 2"}},
)


@pytest.fixture
def files(tmp_path):
    """Files of several targets, as an export leaves them."""
    place = tmp_path / "files"
    saved = place / "savedmodel" / "saved_model"
    (saved / "variables").mkdir(parents=True)
    (saved / "saved_model.pb").write_bytes(b"graph")
    for name in ("model.onnx", "model.xml", "model.bin"):
        (place / name).write_bytes(name.encode())
    return {"onnx": place / "model.onnx", "openvino": place / "model.xml", "savedmodel": saved}


def tree(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_triton_finds_model_labels_and_configuration(files, tmp_path):
    place = write_repository("triton", {"onnx": files["onnx"]}, tmp_path, CARD)
    assert place == tmp_path / "triton"
    assert tree(place) == {f"my_flowers_2/{name}" for name in ("1/model.onnx", "labels.txt", "config.pbtxt", MARK)}
    assert (place / "my_flowers_2/1/model.onnx").read_bytes() == b"model.onnx"
    assert (place / "my_flowers_2/labels.txt").read_text(encoding="utf-8") == "cat\ngröße, x\n"


def test_a_line_break_in_a_name_does_not_shift_the_labels_behind_it(files, tmp_path):
    place = write_repository("triton", {"onnx": files["onnx"]}, tmp_path, replace(CARD, classes=("a\nb", "c")))
    assert (place / "my_flowers_2/labels.txt").read_text(encoding="utf-8") == "a b\nc\n"


def test_several_files_are_several_models(files, tmp_path):
    place = write_repository("triton", files, tmp_path, CARD)
    assert {one.name for one in place.iterdir()} == {"my_flowers_2_onnx", "my_flowers_2_openvino"}
    assert tree(place / "my_flowers_2_openvino" / "1") == {"model.xml", "model.bin"}


@pytest.fixture(scope="module")
def model_config():
    """Triton's own description of config.pbtxt, without what else its client's package brings."""
    pytest.importorskip("google.protobuf", reason="protobuf is not installed")
    try:
        path = importlib.metadata.distribution("tritonclient").locate_file("tritonclient/grpc/model_config_pb2.py")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("tritonclient is not installed")
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ModelConfig


def parsed(text, model_config):
    from google.protobuf import text_format

    return text_format.Parse(text, model_config())


def test_the_configuration_is_what_triton_reads(model_config):
    read = parsed(triton_config("flowers", "onnxruntime", CARD), model_config)
    assert (read.name, read.backend, read.max_batch_size) == ("flowers", "onnxruntime", 32)
    (image,) = read.input
    assert (image.name, list(image.dims), image.data_type) == ("image", [32, 32, 3], 2)  # TYPE_UINT8
    first, second = read.output
    assert (first.name, list(first.dims), first.data_type) == ("probabilities", [2], 11)  # TYPE_FP32
    assert first.label_filename == "labels.txt"
    assert (second.name, list(second.dims), second.HasField("reshape"), list(second.reshape.shape)) == (
        "unknown_score", [1], True, [],
    )  # fmt: skip
    assert read.HasField("dynamic_batching")


def test_pictures_of_any_size_come_one_at_a_time(model_config):
    read = parsed(triton_config("x", "onnxruntime", replace(CARD, any_size=True)), model_config)
    assert read.max_batch_size == 0
    assert list(read.input[0].dims) == [1, -1, -1, 3]
    assert [list(one.dims) for one in read.output] == [[1, 2], [1]]
    assert not read.HasField("dynamic_batching")


def test_colours_may_come_as_planes(model_config):
    read = parsed(triton_config("x", "onnxruntime", replace(CARD, layout="nchw")), model_config)
    assert list(read.input[0].dims) == [3, 32, 32]


def test_features_have_a_width_that_the_card_does_not_know(model_config):
    outputs = ("probabilities", "features")
    read = parsed(triton_config("x", "onnxruntime", replace(CARD, outputs=outputs)), model_config)
    assert [list(one.dims) for one in read.output] == [[2], [-1]]


def test_tensorflow_serving_finds_a_version_of_the_model(files, tmp_path):
    place = write_repository("tfserving", files, tmp_path, CARD)
    files = ("1/saved_model.pb", "1/assets.extra/labels.txt", MARK)
    assert tree(place) == {f"my_flowers_2/{name}" for name in files}


def test_kserve_gets_a_manifest_for_each_model(files, tmp_path):
    yaml = pytest.importorskip("yaml", reason="pyyaml is not installed")
    place = write_repository("kserve", files, tmp_path, CARD)
    manifests = {path.stem: yaml.safe_load(path.read_text()) for path in place.glob("*.yaml")}
    assert set(manifests) == {f"my_flowers_2_{name}" for name in files}
    for name, one in manifests.items():
        assert (one["apiVersion"], one["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
        model = one["spec"]["predictor"]["model"]
        within = model["storageUri"].removeprefix("pvc://models/")
        assert one["metadata"]["name"] == name.replace("_", "-")
        assert (place / within).is_dir()
        # TensorFlow Serving gets the folder of the versions, Triton that of the models.
        assert (place / within / ("1" if name.endswith("savedmodel") else name)).is_dir()
    onnx = manifests["my_flowers_2_onnx"]["spec"]["predictor"]["model"]
    assert (onnx["modelFormat"]["name"], onnx["protocolVersion"]) == ("onnx", "v2")


def test_kserve_gets_the_description_of_the_v2_protocol(files, tmp_path):
    place = write_repository("kserve", {"onnx": files["onnx"]}, tmp_path, CARD)
    about = json.loads((place / "my_flowers_2" / "model-settings.json").read_text(encoding="utf-8"))
    assert about["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}]
    assert [(one["name"], one["shape"]) for one in about["outputs"]] == [
        ("probabilities", [-1, 2]),
        ("unknown_score", [-1, 1]),
    ]
    assert about["outputs"][0]["parameters"]["labels"] == ["cat", "größe, x"]


@pytest.mark.parametrize("kind", ["triton", "kserve", "tfserving"])
def test_our_model_of_an_earlier_time_is_replaced_and_others_stay(kind, files, tmp_path, tree_hash):
    other = tmp_path / kind / "other" / "1"
    other.mkdir(parents=True)
    (other / "model.onnx").write_bytes(b"somebody's")
    before = tree_hash(other)
    for _ in range(2):
        place = write_repository(kind, {name: files[name] for name in ("onnx", "savedmodel")}, tmp_path, CARD)
        stale = next(place.glob("my_flowers_2*")) / "1" / "stale"
        assert not stale.exists()
        stale.parent.mkdir(exist_ok=True)
        stale.touch()
    assert tree_hash(other) == before
    assert not [one.name for one in place.iterdir() if one.name.startswith(".")]


@pytest.mark.parametrize(("kind", "name"), [("triton", "my_flowers_2"), ("kserve", "my_flowers_2.yaml")])
def test_a_model_of_others_with_our_name_is_left_alone(kind, name, files, tmp_path):
    theirs = tmp_path / kind / name
    theirs.parent.mkdir()
    theirs.write_text("theirs")
    with pytest.raises(SettingsError, match="should be free"):
        write_repository(kind, {"onnx": files["onnx"]}, tmp_path, CARD)
    assert theirs.read_text() == "theirs"


def test_the_exported_files_stay_where_they_are(files, tmp_path, tree_hash):
    before = tree_hash(tmp_path / "files")
    write_repository("triton", files, tmp_path, CARD)
    write_repository("tfserving", files, tmp_path, CARD)
    assert tree_hash(tmp_path / "files") == before


def test_what_a_server_does_not_know_is_refused(files, tmp_path):
    with pytest.raises(SettingsError, match="should be one of triton, kserve, tfserving"):
        write_repository("torchserve", files, tmp_path, CARD)
    with pytest.raises(SettingsError, match="holds savedmodel"):
        write_repository("tfserving", {"onnx": files["onnx"]}, tmp_path, CARD)
    with pytest.raises(SettingsError, match="repository of triton"):
        write_repository("triton", {}, tmp_path, CARD)


def test_an_engine_of_tensorrt_is_served_only_where_it_was_built(files, tmp_path):
    folder = tmp_path / "files" / "tensorrt"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"onnx")
    with pytest.raises(SettingsError, match="repository of triton"):
        write_repository("triton", {"tensorrt": folder}, tmp_path, CARD)
    (folder / "model.plan").write_bytes(b"engine")
    place = write_repository("triton", {"tensorrt": folder}, tmp_path, CARD)
    assert (place / "my_flowers_2" / "1" / "model.plan").read_bytes() == b"engine"


@pytest.mark.parametrize(
    ("name", "expected"), [("flowers", "flowers"), ("Größe, 5", "gr_e_5"), ("雪", "classifier"), (None, "classifier")]
)
def test_the_name_has_letters_that_every_server_takes(name, expected):
    assert model_name(replace(CARD, about={} if name is None else {"data": {"name": name}})) == expected


SERVE = """
import json, sys
import numpy as np
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
answer = model.signatures["serving_default"](image=tf.constant(np.load(sys.argv[2])))
print(json.dumps(answer["probabilities"].numpy().tolist()))
"""


@pytest.mark.slow
def test_tensorflow_loads_what_tensorflow_serving_would(classifier, tmp_path):
    pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    if "savedmodel" not in TARGETS:
        pytest.skip("savedmodel is no target")
    from linnaeus.targets.graph import Graph

    graph = Graph(classifier)
    (tmp_path / "scratch").mkdir()
    path = TARGETS["savedmodel"].write(Blueprint(graph, tmp_path / "scratch"), tmp_path)
    place = write_repository("tfserving", {"savedmodel": path}, tmp_path, graph.card)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", pictures)
    (version,) = place.glob("*/1")
    command = [sys.executable, "-c", SERVE, str(version), str(tmp_path / "x.npy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.array(json.loads(done.stdout.splitlines()[-1]))
    np.testing.assert_allclose(found, classifier.judge(pictures).probabilities, atol=1e-4)
    assert Path(version, "assets.extra", "labels.txt").is_file()
