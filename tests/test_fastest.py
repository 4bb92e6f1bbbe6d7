"""Predicting takes the fastest runtime that is there, if it answers as PyTorch does."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from linnaeus.classifier import Classifier
from linnaeus.errors import CheckFailed, ModelError, SettingsError
from linnaeus.metrics.calibration import Calibration
from linnaeus.targets import TARGETS, Exported, fastest
from linnaeus.targets.fastest import open_fastest
from linnaeus.targets.openvino import COMPILED
from linnaeus.verbs.predict import predict

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def files(photos):
    return [str(path) for path in sorted(photos.glob("*/*.png"))]


@pytest.fixture
def run(careful, tmp_path):
    """A copy of a run with unknown scores, that may be changed."""
    return Path(shutil.copytree(careful.model_dir, tmp_path / "run" / "model")).parent


@pytest.fixture(scope="module")
def written_once(careful, files, tmp_path_factory):
    place = tmp_path_factory.mktemp("written") / "model"
    shutil.copytree(careful.model_dir, place)
    open_fastest(place, files, on="onnx")
    return place


@pytest.fixture
def written(written_once, tmp_path):
    """Such a run for which ONNX Runtime's file was written and proven."""
    return Path(shutil.copytree(written_once, tmp_path / "written" / "model")).parent


@pytest.fixture
def many(monkeypatch):
    """Let few pictures count as many, and ONNX Runtime as the fastest."""
    monkeypatch.setattr(fastest, "PAYS_FROM", 10)
    monkeypatch.setattr(fastest, "ORDER", ("onnx",))
    monkeypatch.setattr(fastest, "_may_have_a_gpu", lambda: False)


@pytest.fixture
def wrong(monkeypatch):
    """ONNX Runtime with answers that are a little off."""
    honest = Exported._judge

    def judge(self, pictures):
        judged = honest(self, pictures)
        judged.probabilities[:, 0] += 0.001
        return judged

    monkeypatch.setattr(Exported, "_judge", judge)


def columns_of(model, files):
    (answers,) = predict(model, files)
    return answers.columns()


def test_many_pictures_are_answered_by_another_runtime_as_by_pytorch(run, files, many):
    said = []
    model = open_fastest(run, files, say=said.append)
    ours, eager = (columns_of(one, files) for one in (model, Classifier.load(run)))
    assert isinstance(model, Exported)
    assert "ONNX" in said[0]
    assert list(ours) == list(eager)
    for name in ("path", "answer", "predicted", "unknown", "accepted", "set", "error"):
        assert ours[name] == eager[name], name
    for name in ("confidence", "unknown_score", "p:green"):
        assert np.allclose(ours[name], eager[name], atol=1e-4), name


def test_what_was_written_is_taken_for_a_single_picture_without_a_word(written, files, many):
    said = []
    assert isinstance(open_fastest(written, files[:1], say=said.append), Exported)
    assert isinstance(open_fastest(written / "model", files[:1], say=said.append), Exported)
    assert said == []


def test_pictures_that_cannot_be_read_have_the_same_columns_as_others(written, files, many):
    model = open_fastest(written, files)
    assert isinstance(model, Exported)
    none, some = columns_of(model, ["missing.png"]), columns_of(model, files[:1])
    assert list(none) == list(some)
    assert none["unknown_score"] == none["unknown"] == [None]


def test_few_pictures_are_answered_by_pytorch_and_nothing_is_written(run, files, many):
    assert isinstance(open_fastest(run, files[:3]), Classifier)
    assert not (run / "model" / "runtimes").exists()


def test_pytorch_can_be_asked_for(written, files, many):
    assert isinstance(open_fastest(written, files, on="pytorch"), Classifier)


def test_a_runtime_can_be_asked_for_whatever_the_number(run, files):
    assert isinstance(open_fastest(run, files[:1], on="onnx"), Exported)


def test_other_weights_are_written_anew_and_the_old_file_goes(written, files, many):
    (old,) = (written / "model" / "runtimes").iterdir()
    classifier = Classifier.load(written)
    next(classifier.network.parameters()).data.mul_(0.5)
    classifier.save(written / "model")
    assert isinstance(open_fastest(written, files), Exported)
    assert [one.name for one in (written / "model" / "runtimes").iterdir()] != [old.name]
    assert not old.exists()


def test_a_runtime_that_answers_otherwise_is_not_used_and_that_is_said_once(run, files, many, wrong):
    said = []
    first = open_fastest(run, files, say=said.append)
    assert isinstance(first, Classifier)
    assert "not used: a probability differs by 0.001" in said[-1]
    told = len(said)
    assert isinstance(open_fastest(run, files, say=said.append), Classifier)
    assert len(said) == told
    assert [path.name for path in run.rglob("runtimes/*/*/*")] == ["proof.json"]


def test_an_isotonic_calibration_is_given_the_room_that_export_gives_it(run, files, wrong):
    ramp = ((0.0, 0.02), (0.3, 0.2), (1.0, 0.97))
    classifier = Classifier.load(run)
    replace(classifier, calibration=Calibration("isotonic", knots=(ramp,) * 3)).save(run / "model")
    assert isinstance(open_fastest(run, files, on="onnx"), Exported)


@pytest.mark.parametrize(("off", "told"), [(0.5, "unknown score differs by 0.5"), (np.nan, "unknown score: NaN")])
def test_a_runtime_whose_unknown_scores_are_wrong_is_an_error(run, files, monkeypatch, off, told):
    honest = Exported._judge
    monkeypatch.setattr(
        Exported, "_judge", lambda self, pictures: replace(found := honest(self, pictures), strange=found.strange + off)
    )
    with pytest.raises(CheckFailed, match=told):
        open_fastest(run, files, on="onnx")


def test_a_runtime_that_was_asked_for_and_answers_otherwise_is_an_error(run, files, wrong):
    for _ in range(2):
        with pytest.raises(CheckFailed, match="as PyTorch does"):
            open_fastest(run, files, on="onnx")


def test_a_network_that_cannot_be_written_is_answered_by_pytorch(run, files, many, monkeypatch):
    def write(*_):
        raise RuntimeError("no such operation")

    monkeypatch.setattr(type(TARGETS["onnx"]), "write", write)
    said = []
    assert isinstance(open_fastest(run, files, say=said.append), Classifier)
    assert "no such operation" in said[-1]


def test_a_damaged_file_is_written_anew(written, files, many):
    (path,) = written.rglob("model.onnx")
    path.write_bytes(path.read_bytes()[:1000])
    assert isinstance(open_fastest(written, files), Exported)
    assert path.stat().st_size > 1000


def test_what_openvino_compiled_is_kept_and_made_anew_where_it_is_damaged(run, files):
    open_fastest(run, files[:1], on="openvino")
    (path,) = run.rglob(COMPILED)
    path.write_bytes(path.read_bytes()[:1000])
    assert isinstance(open_fastest(run, files[:1], on="openvino"), Exported)
    assert path.stat().st_size > 1000


def test_another_process_that_was_done_first_is_left_alone(run, files, many, monkeypatch):
    honest = fastest._build

    def build(unfinished, *rest):
        honest(unfinished, *rest)
        shutil.copytree(unfinished, unfinished.with_name(unfinished.name[1:].partition(".")[0]))

    monkeypatch.setattr(fastest, "_build", build)
    assert isinstance(open_fastest(run, files), Exported)
    assert [one.name[:4] for one in next((run / "model" / "runtimes").iterdir()).iterdir()] == ["onnx"]


def test_where_nothing_can_be_written_beside_the_model_the_cache_is_taken(run, files, many, tmp_path, monkeypatch):
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    (run / "model" / "runtimes").write_text("a file stands in the way")
    assert isinstance(open_fastest(run, files), Exported)
    assert list((tmp_path / "cache" / "runtimes").rglob("proof.json"))
    assert isinstance(open_fastest(run, files[:1]), Exported)


def test_where_nothing_can_be_written_at_all_pytorch_answers(run, files, many, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("in the way")
    (run / "model" / "runtimes").write_text("in the way")
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    said = []
    assert isinstance(open_fastest(run, files, say=said.append), Classifier)
    assert "cannot be kept" in said[-1]


def test_a_runtime_that_was_asked_for_is_had_or_that_is_an_error(run, files, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("in the way")
    (run / "model" / "runtimes").write_text("in the way")
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match="beside the model"):
        open_fastest(run, files, on="onnx")


def test_too_little_memory_is_not_remembered(run, files, many, monkeypatch):
    def crowded(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(fastest, "_write_and_compare", crowded)
        said = []
        assert isinstance(open_fastest(run, files, say=said.append), Classifier)
        assert "out of memory" in said[-1]
    assert isinstance(open_fastest(run, files), Exported)


def test_the_proof_says_what_was_compared_and_what_made_it(written):
    (path,) = written.rglob("proof.json")
    proof = json.loads(path.read_text())
    assert proof["pictures"] == 32
    assert proof["largest_difference"] < 1e-4
    assert {"linnaeus", "onnxruntime", "processor"} <= set(proof["made_by"])


def test_unknown_runtimes_and_those_of_another_file_are_refused(written, files):
    for strange in ("fortran", "onnx,openvino"):
        with pytest.raises(SettingsError, match="--on should be"):
            open_fastest(written, files, on=strange)
    with pytest.raises(ModelError, match="cannot be run here"):
        open_fastest(written, files, on="coreml" if sys.platform == "linux" else "tensorrt")
    with pytest.raises(SettingsError, match="runs on onnx"):
        open_fastest(next(written.rglob("model.onnx")), files, on="litert")


def test_a_kept_file_answers_without_pytorch_from_the_command_line(written, files):
    words = ["linnaeus", "predict", str(written), files[0], "--on", "onnx"]
    code = f"import sys; sys.argv = {words!r}; from linnaeus.cli import main; main(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
    assert done.stdout.startswith(files[0])
