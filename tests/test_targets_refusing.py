"""What targets refuse, what they need, and what each has of its own."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from linnaeus.errors import ModelError
from linnaeus.targets import TARGETS, Card, require
from linnaeus.targets.card import KEY
from made_exports import (
    CASES,
    CLASSES,
    QUICK,
    RUNNABLE,
    TOLERANCE,
    assert_same_card,
    classifier_of,
    each_target,
    expected,
    export,
    grouped,
    pictures,
    require_here,
)

pytestmark = pytest.mark.runtimes


@each_target
def test_something_else_under_its_name_is_refused(name, tmp_path):
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
def test_a_damaged_file_is_refused(name, tmp_path):
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
def test_a_file_without_a_card_is_refused(name, tmp_path, monkeypatch):
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
def test_what_cannot_run_here_is_written_and_says_why(name):
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
def test_a_core_ml_package_takes_an_image_and_holds_the_card(network):
    coremltools = pytest.importorskip("coremltools")
    path, case = export("coreml", network), CASES[network]
    told = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec().description
    image = told.input[0].type.imageType
    assert (told.input[0].name, image.width, image.height) == ("image", case.size_px, case.size_px)
    assert tuple(one.name for one in told.output) == case.outputs
    assert_same_card(Card.of(told.metadata.userDefined["linnaeus"], ""), export.blueprint(network).card)


@pytest.mark.xdist_group("coreml")
def test_what_is_converted_for_core_ml_answers_float_planes_as_pytorch_does():
    from linnaeus.targets.coreml import _program

    export("coreml")
    program = _program(export.blueprint(QUICK)).module()
    planes = torch.from_numpy(pictures(QUICK)[:1].repeat(3, axis=-1).transpose(0, 3, 1, 2)).float()
    with torch.no_grad():
        assert np.abs(program(planes)[0].numpy() - expected(QUICK, 1)["probabilities"]).max() < TOLERANCE


@pytest.mark.xdist_group("tensorrt")
@pytest.mark.parametrize("network", CASES)
def test_the_network_for_tensorrt_makes_floats_first_and_answers_as_pytorch_does(network):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    model = onnx.load(export("tensorrt", network) / "model.onnx")
    assert [node.op_type for node in model.graph.node if "image" in node.input] == ["Cast"]
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(["probabilities"], {"image": export.blueprint(network).card.shaped(pictures(network)[:3])})
    assert np.abs(found[0] - expected(network, 3)["probabilities"]).max() < TOLERANCE


@pytest.mark.xdist_group("tensorrt")
@pytest.mark.parametrize(("network", "largest_shape"), [(QUICK, "image:64x32x32x3"), ("resnet18", "image:64x3x64x64")])
def test_the_command_for_tensorrt_names_the_shapes(network, largest_shape):
    script = export("tensorrt", network) / "build.sh"
    assert script.stat().st_mode & 0o100
    assert f"--maxShapes={largest_shape} --noTF32" in script.read_text()


@pytest.mark.xdist_group("state-dict")
def test_the_plain_weights_load_without_pickled_code_and_with_timm():
    import timm

    place, network = export("state-dict", "resnet18"), classifier_of("resnet18").network
    tensors = torch.load(place / "model.pt", weights_only=True)
    assert all(torch.equal(one, tensors[name]) for name, one in network.state_dict().items())
    again = timm.create_model(f"local-dir:{place}", pretrained=True).eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(again(x), network.eval()(x), rtol=1e-5, atol=1e-5)


@pytest.mark.xdist_group("aotinductor")
def test_aotinductor_without_a_compiler_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ModelError, match="no no-such-compiler on this machine"):
        TARGETS["aotinductor"].write(export.blueprint(QUICK), tmp_path)


@pytest.mark.xdist_group("aotinductor")
def test_the_card_is_in_the_metadata_that_cpp_reads():
    package = torch._inductor.aoti_load_package(str(export("aotinductor")))
    assert json.loads(package.loader.get_metadata()["linnaeus"])["classes"] == list(CLASSES)


def test_tensorflow_may_be_loaded_before_what_pytorch_traces_with():
    pytest.importorskip("tensorflow")
    if importlib.util.find_spec("triton") is None:
        pytest.skip("this PyTorch brings no Triton")
    script = "import linnaeus.targets.tensorflow_ops.library, triton; print('alive')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "alive\n", done.stderr[-500:]
