import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from linnaeus import story
from linnaeus.classifier import Classifier
from linnaeus.errors import CheckFailed, ModelError, RunError, SettingsError
from linnaeus.targets import TARGETS, Blueprint, Exported, named
from linnaeus.targets.graph import Graph
from linnaeus.targets.onnx import OnnxRunner
from linnaeus.verbs.export import Demand

BLOCK = """
import sys
from dataclasses import replace
from pathlib import Path
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "timm", "accelerate", "tensorflow"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
sys.argv = ["linnaeus", *sys.argv[1:]]
from linnaeus.cli import main
main()
"""


@pytest.fixture(scope="module")
def run(careful_copy):
    return careful_copy


@pytest.fixture(scope="module")
def exported(run):
    """The document of an export of `run` to ONNX and OpenVINO."""
    return story.ship(run.folder, story.Wanted(named("onnx,openvino"), pictures=80))


def test_every_file_is_proved_on_real_pictures_and_measured(run, exported):
    for name, file in {"onnx": "model.onnx", "openvino": "model.xml"}.items():
        one = exported["files"][name]
        assert one["path"] == str(run.folder / "exports" / name / file)
        assert one["proof"]["passed"]
        assert one["proof"]["pictures"] == 80
        assert one["proof"]["agreement"]["value"] == 1.0
        assert one["proof"]["accuracy"] == one["proof"]["accuracy_before"]
        assert one["speed"]["p50_ms"] <= one["speed"]["p95_ms"] <= one["speed"]["p99_ms"]


@pytest.mark.parametrize("name", ["onnx", "onnx.failed"])
def test_a_folder_that_no_export_wrote_is_left_alone(run, tmp_path, name, command):
    theirs = tmp_path / name / "index.html"
    theirs.parent.mkdir()
    theirs.write_text("theirs")
    code, _, said = command("export", run.folder, "--to", "onnx", "--out", tmp_path, "--pictures", "4")
    assert code == 2
    assert f"{theirs.parent} should be free" in said
    assert theirs.read_text() == "theirs"


def test_a_server_s_model_of_others_is_left_alone_before_anything_is_written(run, tmp_path, command):
    theirs = tmp_path / "triton/many/config.pbtxt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    options = ("--to", "onnx", "--repository", "triton", "--out", tmp_path, "--pictures", "4")
    code, _, said = command("export", run.folder, *options)
    assert code == 2
    assert f"{theirs.parent} should be free" in said
    assert [path.name for path in tmp_path.iterdir()] == ["triton"]


def test_proved_files_are_laid_out_for_a_server(run, tmp_path, command):
    options = ("--to", "onnx", "--repository", "triton", "--out", tmp_path, "--pictures", "4")
    code, said, _ = command("export", run.folder, *options)
    assert code == 0
    assert str(tmp_path / "triton") in said
    assert (tmp_path / "triton/many/1/model.onnx").read_bytes() == (tmp_path / "onnx/model.onnx").read_bytes()


def test_the_run_and_the_folder_of_each_file_keep_the_proof(run, exported):
    assert run.result("export")["files"].keys() == exported["files"].keys()
    beside = json.loads((run.folder / "exports/onnx/export.json").read_text())
    assert beside["proof"]["largest_difference"] == exported["files"]["onnx"]["proof"]["largest_difference"]


def test_a_later_export_adds_to_what_the_run_keeps(run, exported):
    story.ship(run.folder, story.Wanted(named("onnx"), pictures=4))
    assert set(run.result("export")["files"]) == {"onnx", "openvino"}
    assert run.result("export")["files"]["onnx"]["proof"]["pictures"] == 4


def test_more_pictures_than_the_test_part_has_come_from_the_other_parts(run, exported):
    split = run.split()["split"]
    found = story.ship(run.folder, story.Wanted(named("onnx"), pictures=split.count("test") + 10))
    proof = found["files"]["onnx"]["proof"]
    assert proof["pictures"] == split.count("test") + 10
    assert proof["tested"] == split.count("test")


def test_a_file_that_answers_otherwise_fails_and_leaves_its_evidence(run, exported, monkeypatch, read_csv):
    answer = OnnxRunner.run

    def wrong(self, pictures):
        found = answer(self, pictures)
        return found | {"probabilities": found["probabilities"][:, ::-1]}

    monkeypatch.setattr(OnnxRunner, "run", wrong)
    good = (run.folder / "exports/onnx/model.onnx").read_bytes()
    with pytest.raises(CheckFailed, match="ONNX") as failure:
        story.ship(run.folder, story.Wanted(named("onnx"), pictures=20, repository="triton"))
    assert failure.value.exit_code == 3
    assert not (run.folder / "exports/triton").exists(), "a server would have answered with it"
    assert len(read_csv(run.folder / "exports/onnx.failed/evidence.csv")) == 20
    assert (run.folder / "exports/onnx/model.onnx").read_bytes() == good


def spoil(monkeypatch, name, change):
    answer = OnnxRunner.run

    def wrong(self, pictures):
        found = answer(self, pictures)
        return found | {name: change(found[name])}

    monkeypatch.setattr(OnnxRunner, "run", wrong)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("unknown_score", lambda one: one + 0.5, "unknown score differs by 0.5"),
        ("unknown_score", lambda one: one * np.nan, "unknown score: NaN"),
        ("features", lambda one: -one, "features differs by"),
    ],
)
def test_every_output_of_a_file_is_proved(run, tmp_path, monkeypatch, read_csv, name, change, told):
    spoil(monkeypatch, name, change)
    demand = Demand(outputs=("probabilities", "features", "unknown_score"))
    with pytest.raises(CheckFailed) as failure:
        story.ship(run.folder, story.Wanted(named("onnx"), demand=demand, pictures=4), out=tmp_path)
    assert told in failure.value.got
    assert len(read_csv(tmp_path / "onnx.failed/evidence.csv")) == 4


def test_fewer_bits_tell_how_many_pictures_are_called_unknown(run, tmp_path, monkeypatch):
    wanted = story.Wanted(named("onnx"), precision="weights", pictures=20)
    proof = story.ship(run.folder, wanted, out=tmp_path)["files"]["onnx"]["proof"]
    assert abs(proof["unknown"]["value"] - proof["unknown_before"]["value"]) <= 0.1
    assert set(proof["differences"]) == {"unknown_score"}
    spoil(monkeypatch, "unknown_score", lambda one: one * np.nan)
    with pytest.raises(CheckFailed, match="ONNX: unknown score: NaN or infinity for 20 of 20") as failure:
        story.ship(run.folder, wanted, out=tmp_path)
    assert failure.value.exit_code == 3


def test_a_largest_loss_that_no_label_can_tell_fails(run, photos, tmp_path, command):
    for folder in photos.iterdir():
        shutil.copytree(folder, tmp_path / "pictures" / folder.name.upper())
    words = ["--to", "onnx", "--precision", "weights", "--max-drop", "50%", "--source", tmp_path / "pictures"]
    code, _, said = command("export", run.folder, *words, "--out", tmp_path)
    assert code == 3
    assert "the loss of accuracy cannot be tested" in said


@pytest.mark.parametrize("count", ["0", "-3"])
@pytest.mark.parametrize("own", [True, False])
def test_a_proof_on_no_picture_is_refused(run, photos, tmp_path, command, count, own):
    source = [] if own else ["--source", photos]
    code, _, said = command("export", run.folder, "--to", "onnx", f"--pictures={count}", *source, "--out", tmp_path)
    assert code == 2
    assert "the number of pictures should be 1 or more" in said
    assert f"got: {count}" in said


def test_a_proof_on_few_pictures_says_how_few(run, tmp_path, command):
    code, _, said = command("export", run.folder, "--to", "onnx", "--pictures", "5", "--out", tmp_path)
    assert code == 0
    assert "proved on 5 pictures only" in said


def test_a_disk_that_fails_at_the_last_step_leaves_the_good_file_of_an_earlier_time(run, exported, monkeypatch):
    good, rename = (run.folder / "exports/onnx/model.onnx").read_bytes(), Path.rename

    def failing(self, target):
        if self.suffix == ".part":
            raise OSError("no luck")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no luck"):
        story.ship(run.folder, story.Wanted(named("onnx"), pictures=4))
    assert (run.folder / "exports/onnx/model.onnx").read_bytes() == good


@pytest.mark.parametrize("file", ["onnx/model.onnx", "openvino/model.xml"])
def test_predict_answers_from_the_file_alone_with_the_same_columns_and_without_torch(
    run, exported, photos, tmp_path, file, command, read_csv
):
    pictures = [str(path) for path in sorted(photos.rglob("*.png"))[::6]] + [str(tmp_path / "missing.png")]
    model = tmp_path / "alone"
    shutil.copytree((run.folder / "exports" / file).parent, model)
    table = tmp_path / "answers.csv"
    words = ["predict", str(model / file.split("/")[1]), *pictures, "--out", str(table)]
    done = subprocess.run([sys.executable, "-c", BLOCK, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    code, _, _ = command("predict", run.folder, *pictures, "--out", tmp_path / "run.csv")
    assert code == 0
    for got, expected in zip(read_csv(table), read_csv(tmp_path / "run.csv"), strict=True):
        assert got.keys() == expected.keys()
        for name, value in expected.items():
            try:
                assert float(got[name]) == pytest.approx(float(value), abs=2e-2), name
            except ValueError:
                assert got[name] == value, name


def test_the_answers_of_an_exported_file_are_those_of_the_classifier(run, exported, photos):
    from linnaeus.classifier import Classifier

    classifier, file = Classifier.load(run.folder), Exported.load(run.folder / "exports/onnx/model.onnx")
    pictures = np.stack([file.read(path.read_bytes()) for path in sorted(photos.rglob("*.png"))[:30]])
    one, other = classifier.judge(pictures), file.judge(pictures)
    assert np.abs(one.probabilities - other.probabilities).max() < 1e-5
    assert np.allclose(one.strange, other.strange, rtol=1e-3, atol=1e-4)
    assert file.judgement.promise(0.2) == classifier.judgement.promise(0.2)


def test_any_size_takes_pictures_as_they_are(run, exported, photos, tmp_path, command, read_csv):
    found = story.ship(
        run.folder, story.Wanted(named("onnx"), demand=Demand(any_size=True), pictures=20), out=tmp_path / "any"
    )
    assert found["files"]["onnx"]["proof"]["passed"]
    code, _, _ = command("predict", tmp_path / "any/onnx/model.onnx", photos, "--out", tmp_path / "answers.csv")
    assert code == 0
    command("predict", run.folder, photos, "--out", tmp_path / "run.csv")
    gaps = [
        abs(float(one["confidence"]) - float(other["confidence"]))
        for one, other in zip(read_csv(tmp_path / "answers.csv"), read_csv(tmp_path / "run.csv"), strict=True)
    ]
    assert max(gaps) < 1e-2


def test_a_model_folder_is_proved_on_pictures_that_are_named(run, photos, tmp_path):
    with pytest.raises(RunError):
        story.ship(run.folder / "model", story.Wanted(named("onnx")))
    found = story.ship(run.folder / "model", story.Wanted(named("onnx"), pictures=30), source=str(photos), out=tmp_path)
    assert found["files"]["onnx"]["proof"]["tested"] == 30
    assert (tmp_path / "onnx/model.onnx").is_file()


def test_json_is_one_document_and_the_table_names_every_target(run, command):
    code, printed, _ = command("export", run.folder, "--to", "onnx", "--pictures", "8", "--json")
    assert code == 0
    assert json.loads(printed)["files"]["onnx"]["proof"]["pictures"] == 8
    code, printed, _ = command("export", run.folder, "--to", "onnx", "--pictures", "8")
    assert printed.splitlines()[1].startswith("onnx")


def test_unknown_targets_precisions_and_outputs_are_refused(run):
    with pytest.raises(SettingsError, match="one of"):
        named("onnx,fortran")
    with pytest.raises(SettingsError, match="precisions"):
        story.ship(run.folder, story.Wanted([TARGETS["onnx"]], precision="int1"))
    with pytest.raises(SettingsError, match="outputs"):
        story.ship(run.folder, story.Wanted([TARGETS["onnx"]], demand=Demand(outputs=("features",))))


def test_a_file_of_another_program_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="should be an ONNX model"):
        Exported.load(tmp_path / "model.onnx")


@pytest.mark.parametrize("name", ["onnx", "openvino", "torch", "state-dict"])
def test_no_exported_file_tells_where_anything_lay(name, run, tmp_path):
    recipe = {"train": {"teacher": str(tmp_path / "t"), "unlabelled": "C:\\Users\\me\\pictures", "epochs": 3}}
    about = {"data": {"source": "photos/flowers"}, "recipe": recipe, "code": ["~/net.py:Net"]}
    classifier = replace(Classifier.load(run.folder), about=about)
    (tmp_path / "scratch").mkdir()
    path = TARGETS[name].write(Blueprint(Graph(classifier), tmp_path / "scratch"), tmp_path)
    kept = {"data": {"source": "flowers"}, "code": ["net.py:Net"]}
    assert TARGETS[name].open(path).card.about == kept | {
        "recipe": {"train": {"teacher": "t", "unlabelled": "pictures", "epochs": 3}}
    }
    files = [one for one in tmp_path.rglob("*") if one.is_file() and "scratch" not in one.parts]
    content = b"".join(one.read_bytes() for one in files)
    assert not [
        word
        for word in (tmp_path, Path(__file__).parent.parent, sys.prefix, "photos", "Users")
        if str(word).encode() in content
    ]
