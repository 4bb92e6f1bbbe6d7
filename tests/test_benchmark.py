"""benchmark: the table tells what was measured, and the advice follows from it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from linnaeus.errors import ModelError, SettingsError
from linnaeus.metrics.calibration import Calibration
from linnaeus.story.benchmarked import time_runtimes
from linnaeus.targets import TARGETS, Precision
from linnaeus.targets.eager import EagerRunner
from linnaeus.targets.proof import Shown
from linnaeus.verbs.benchmark import Trial, benchmark, benchmark_files, noise, tell
from linnaeus.verbs.benchmark.words import advise

pytestmark = pytest.mark.runtimes

QUICK = Trial(rounds=3, lap_s=0.0)


class Format:
    """A format whose files are the classifier itself; what is not as it should be is told by the arguments."""

    file, marker, extra, needs, runtime, any_size, one_by_one = "model.fake", "", "", (), (), False, False

    def __init__(self, classifier, name="fake", precisions=("float32",), why="", off=0.0, breaks=None):
        self.classifier, self.name, self.title, self.precisions = classifier, name, name.upper(), precisions
        self.why, self.off, self.breaks, self.written = why, off, breaks, []

    def write(self, blueprint, folder, precision):
        if self.breaks:
            raise self.breaks
        (folder / self.file).write_text(precision.name)
        self.written.append(precision)
        return folder / self.file

    def why_not_here(self):
        return self.why

    def open(self, path, threads=1):
        return Off(self.classifier, path.read_text(), self.off)


class Off(EagerRunner):
    """PyTorch, whose answers are a little off."""

    def __init__(self, classifier, precision, off):
        super().__init__(classifier)
        self.card, self.off = replace(self.card, precision=precision), off

    def run(self, pictures):
        found = super().run(pictures)
        return found | {"probabilities": found["probabilities"] + np.float32(self.off)}


@pytest.fixture
def shown(classifier):
    size = classifier.preprocessing.size_px
    pictures = np.random.default_rng(0).integers(0, 256, (6, size, size, 3), dtype=np.uint8)
    return Shown(tuple("abcdef"), np.zeros(6, dtype=int), np.ones(6, dtype=bool), pictures)


def measured(classifier, shown, formats, folder, **options):
    found = benchmark(classifier, formats, shown, model=folder, trial=QUICK, **options)
    return found, {(row["target"], row["precision"]): row for row in found["rows"]}


def test_a_format_stands_in_the_table_beside_pytorch(classifier, shown, tmp_path):
    found, rows = measured(classifier, shown, [Format(classifier)], tmp_path)
    assert set(rows) == {("pytorch", "float32"), ("fake", "float32")}
    speed = rows["fake", "float32"]["speed"]
    assert 0 < speed["p50_ms"] <= speed["p95_ms"] <= speed["p99_ms"]
    assert speed["size_bytes"] == len("float32")
    assert found["pictures"] == {"n": 6, "kind": "test pictures"}


def test_an_isotonic_calibration_is_given_the_room_that_export_gives_it(classifier, shown, tmp_path):
    ramp = ((0.0, 0.02), (0.3, 0.2), (1.0, 0.97))
    isotonic = replace(classifier, calibration=Calibration("isotonic", knots=(ramp,) * 3))
    _, rows = measured(isotonic, shown, [Format(isotonic, off=5e-3)], tmp_path)
    assert rows["fake", "float32"]["speed"]


def test_the_largest_difference_from_pytorch_is_told(classifier, shown, tmp_path):
    _, rows = measured(classifier, shown, [Format(classifier, off=5e-5)], tmp_path)
    assert rows["fake", "float32"]["difference"] == pytest.approx(5e-5, rel=0.1)
    assert rows["pytorch", "float32"]["difference"] < 1e-5


def test_a_float32_file_that_answers_differently_is_not_measured(classifier, shown, tmp_path):
    _, rows = measured(classifier, shown, [Format(classifier, off=0.01)], tmp_path)
    assert rows["fake", "float32"]["speed"] is None
    assert "differs by 0.01" in rows["fake", "float32"]["why_not"]


def test_a_format_that_cannot_run_here_says_why(classifier, shown, tmp_path):
    found, rows = measured(classifier, shown, [Format(classifier, why="It runs on a Mac.")], tmp_path)
    assert rows["fake", "float32"]["why_not"] == "It runs on a Mac."
    assert "It runs on a Mac." in tell(found)


def test_a_format_that_breaks_down_leaves_the_others_in_the_table(classifier, shown, tmp_path):
    broken = Format(classifier, "broken", breaks=RuntimeError("no such\noperation"))
    refused = Format(classifier, "refused", breaks=ModelError("it cannot be written.", got="this"))
    _, rows = measured(classifier, shown, [broken, refused, Format(classifier)], tmp_path)
    assert rows["broken", "float32"]["why_not"] == "RuntimeError: no such operation"
    assert rows["refused", "float32"]["why_not"] == "it cannot be written. this"
    assert rows["fake", "float32"]["speed"]


def test_what_is_not_installed_is_told(classifier, shown, tmp_path, monkeypatch):
    one = Format(classifier)
    monkeypatch.setattr(one, "needs", ("no_such_module",), raising=False)
    _, rows = measured(classifier, shown, [one], tmp_path)
    assert "no_such_module" in rows["fake", "float32"]["why_not"]


def test_each_precision_that_a_format_has_is_a_row(classifier, shown, tmp_path):
    both, only = Format(classifier, "both", ("float32", "int8")), Format(classifier, "only")
    wanted = [Precision("float32"), Precision("int8")]
    _, rows = measured(classifier, shown, [both, only], tmp_path, precisions=wanted)
    assert set(rows) == {("pytorch", "float32"), ("both", "float32"), ("both", "int8"), ("only", "float32")}
    _, rows = measured(classifier, shown, [both, only], tmp_path, precisions=wanted[1:])
    assert rows["only", "-"]["why_not"] == "it has no int8"


def test_an_8_bit_file_may_differ(classifier, shown, tmp_path):
    one = Format(classifier, precisions=("int8",), off=0.01)
    _, rows = measured(classifier, shown, [one], tmp_path, precisions=[Precision("int8")])
    assert rows["fake", "int8"]["speed"]
    assert rows["fake", "int8"]["difference"] == pytest.approx(0.01, rel=0.01)


def export_of(folder, text):
    path = folder / "exports" / "fake" / "model.fake"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_an_export_that_is_there_is_measured(classifier, shown, tmp_path):
    one, path = Format(classifier), export_of(tmp_path, "float32")
    _, rows = measured(classifier, shown, [one], tmp_path)
    assert rows["fake", "float32"]["path"] == str(path)
    assert one.written == []


def test_an_export_of_another_precision_is_left_alone(classifier, shown, tmp_path):
    one, path = Format(classifier), export_of(tmp_path, "int8")
    _, rows = measured(classifier, shown, [one], tmp_path)
    assert rows["fake", "float32"]["path"] == ""
    assert path.read_text() == "int8"


def test_the_size_of_pytorch_is_that_of_its_weights(classifier, trained, shown):
    _, rows = measured(classifier, shown, [], trained.folder)
    weights = trained.folder / "model" / "model.safetensors"
    assert rows["pytorch", "float32"]["speed"]["size_bytes"] == weights.stat().st_size


def row(target, p50_ms, per_second, precision="float32", agreement=1.0):
    return {
        "target": target,
        "title": target.upper(),
        "precision": precision,
        "path": "",
        "agreement": {"value": agreement},
        "speed": {"p50_ms": p50_ms, "per_second": per_second},
    }


def test_the_advice_names_the_fastest_for_one_and_for_many():
    advice = advise([row("pytorch", 15, 70), row("a", 5, 200), row("b", 6, 300)], "runs/x")
    assert (advice["one"]["target"], advice["many"]["target"]) == ("a", "b")
    assert advice["one"]["command"] == "linnaeus export runs/x --to a"
    assert "3.0 times PyTorch" in advice["one"]["why"]


def test_one_file_serves_both_where_the_other_is_hardly_faster():
    advice = advise([row("a", 5, 297), row("b", 6, 300)], "runs/x")
    assert advice["many"]["target"] == "a"
    assert advice["many"]["equals"] == ["B"]


def test_the_advice_to_take_8_bits_says_what_they_cost_and_what_is_exact():
    advice = advise([row("a", 5, 200), row("b", 2, 500, "int8", 0.985)], "runs/x")
    assert advice["one"]["command"] == "linnaeus export runs/x --to b --precision int8"
    assert "98.5 % of its answers are PyTorch's" in advice["one"]["why"]
    assert "A is the fastest (5 ms)" in advice["one"]["why"]


def test_where_pytorch_is_the_fastest_nothing_is_to_be_exported():
    assert advise([row("pytorch", 1, 900), row("a", 5, 200)], "runs/x")["one"]["command"] is None


def test_without_anything_measured_there_is_no_advice():
    assert advise([row("a", 5, 200) | {"speed": None}], "runs/x") == {"one": None, "many": None}


def test_a_run_is_measured_on_its_own_test_pictures(trained, classifier):
    found = time_runtimes(trained.folder, [Format(classifier)], trial=QUICK, pictures=5)
    assert found["pictures"] == {"n": 5, "kind": "test pictures"}
    assert found["rows"][0]["accuracy"]["n"] == 5


def test_where_the_pictures_are_gone_noise_is_taken_and_said(trained, classifier, tmp_path, monkeypatch):
    moved = tmp_path / "run"
    shutil.copytree(trained.folder, moved)
    table = moved / "split.csv"
    table.write_text(table.read_text().replace("/photos/", "/gone/"))
    found = time_runtimes(moved, [Format(classifier)], trial=QUICK)
    assert found["pictures"]["kind"] == "noise"
    assert "noise" in tell(found)


def test_8_bits_are_calibrated_on_training_pictures(trained, classifier):
    one = Format(classifier, precisions=("int8",))
    time_runtimes(trained.folder, [one], precisions=["int8"], trial=QUICK)
    size = classifier.preprocessing.size_px
    assert one.written[0].pictures.shape[1:] == (size, size, 3)
    assert len(one.written[0].pictures) == sum(part == "train" for part in trained.split()["split"])


def test_a_model_folder_has_no_training_pictures_for_8_bits(trained, classifier):
    with pytest.raises(SettingsError, match="int8 needs training and validation pictures"):
        time_runtimes(trained.folder / "model", [Format(classifier)], precisions=["int8"], trial=QUICK)


@pytest.fixture(scope="module")
def onnx_file(classifier, tmp_path_factory):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    from linnaeus.targets import Blueprint
    from linnaeus.targets.graph import Graph

    folder = tmp_path_factory.mktemp("onnx")
    (folder / "scratch").mkdir()
    return TARGETS["onnx"].write(Blueprint(Graph(classifier), folder / "scratch"), folder)


def test_an_exported_file_is_measured_alone(onnx_file):
    found = benchmark_files([onnx_file], trial=QUICK)
    assert [row["target"] for row in found["rows"]] == ["onnx"]
    assert found["rows"][0]["difference"] is None
    assert found["pictures"]["kind"] == "noise"
    assert found["advice"]["one"]["command"] is None


def test_files_are_compared_with_the_first(onnx_file, tmp_path):
    copy = shutil.copy(onnx_file, tmp_path / "other.onnx")
    rows = {row["path"]: row for row in benchmark_files([onnx_file, copy], trial=QUICK)["rows"]}
    assert rows[str(copy)]["difference"] == 0
    assert rows[str(onnx_file)]["difference"] is None


def test_files_of_different_layouts_are_compared(onnx_file, classifier, tmp_path):
    from linnaeus.targets import Blueprint
    from linnaeus.targets.graph import Graph

    (tmp_path / "scratch").mkdir()
    planes = TARGETS["onnx"].write(Blueprint(Graph(classifier, layout="nchw"), tmp_path / "scratch"), tmp_path)
    rows = {row["path"]: row for row in benchmark_files([onnx_file, planes], trial=QUICK)["rows"]}
    assert rows[str(planes)]["difference"] < 1e-5


def test_what_is_no_export_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ModelError, match="should be an exported model"):
        benchmark_files([tmp_path / "notes.txt"], trial=QUICK)
    with pytest.raises(ModelError, match="should be an exported model"):
        benchmark_files([tmp_path / "missing.onnx"], trial=QUICK)


def test_noise_has_the_size_that_the_file_takes(classifier):
    card = EagerRunner(classifier).card
    size = card.preprocessing.size_px
    assert noise(card).pictures.shape == (16, size, size, 3)
    assert noise(replace(card, any_size=True)).pictures.shape[0] == 1


def test_the_command_prints_a_table_and_what_to_take(command, trained, onnx_file):
    code, out, err = command("benchmark", trained.folder, "--on", "onnx", "--rounds", "3", "--pictures", "6")
    assert code == 0, err
    assert "PyTorch, eager" in out
    assert "6 test pictures" in out
    code, out, _ = command("benchmark", onnx_file, "--rounds", "3", "--json")
    assert json.loads(out)["rows"][0]["target"] == "onnx"


def test_the_command_refuses_what_is_not_known(command, trained):
    assert command("benchmark")[0] == 2
    assert command("benchmark", trained.folder, "--precision", "int4")[0] == 2
    assert command("benchmark", trained.folder, "--on", "abacus")[0] == 2
    assert command("benchmark", trained.folder, "--rounds", "0")[0] == 2
