import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import CLASSES, HUES, QUICK, write_photos, write_picture
from linnaeus import story
from linnaeus.config import load_recipe
from linnaeus.errors import CheckFailed, Interrupted, LinnaeusError, RunError, SourceError
from linnaeus.provenance import fingerprint as fingerprint_of
from linnaeus.run import Run
from linnaeus.story import telling
from linnaeus.story.pictures import open_pictures
from linnaeus.talk import Talk

OVERALL = {"accuracy", "balanced_accuracy", "weighted_accuracy", "macro_f1", "weighted_f1", "log_loss"}


@pytest.fixture
def broken(tmp_path):
    """A folder of pictures with one of every trouble."""
    folder = write_photos(tmp_path / "broken", each=12)
    (folder / "red" / "text.jpg").write_text("I am no picture")
    (folder / "red" / "empty.png").touch()
    whole = (folder / "green" / "000.png").read_bytes()
    (folder / "green" / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "green" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "green" / "notes.txt").write_text("my notes")
    shutil.copy(folder / "red" / "001.png", folder / "green" / "also-red-001.png")
    shutil.copy(folder / "red" / "002.png", folder / "red" / "copy-of-002.png")
    return folder


def test_a_folder_with_broken_files_is_learned_and_every_file_is_accounted_for(broken, train_quickly, read_csv):
    run = train_quickly(broken)
    aside = {row["id"]: row["reason"] for row in read_csv(run.set_aside_path)}
    assert aside["red/text.jpg"] == "not a picture"
    assert aside["red/empty.png"] == "empty"
    assert aside["green/half.png"] == "truncated"
    assert aside["green/also-red-001.png"] == aside["red/001.png"] == "conflict"
    accounted = run.accounted()
    assert accounted["found"] == sum(count for name, count in accounted.items() if name != "found")
    assert accounted["found"] == accounted["used"] + len(aside)
    assert accounted["used"] == len(run.split()["id"]) == 36


def test_the_number_set_aside_is_said(broken, tmp_path, no_report):
    said = []
    run = story.tell(
        str(broken), load_recipe(None, {"train.epochs": 1}), out=tmp_path / "run", talk=Talk(say=said.append)
    )
    line = next(line for line in said if "set aside" in line)
    found, used = run.accounted()["found"], run.accounted()["used"]
    assert line.startswith(f"{found - used} of {found} files set aside")
    assert str(run.set_aside_path) in line


def test_the_users_files_are_left_as_they_are(broken, train_quickly, tree_hash):
    before = tree_hash(broken)
    train_quickly(broken)
    with pytest.raises(CheckFailed):
        story.tell(str(broken), load_recipe(None), out=broken.parent / "strict", strict=True)
    assert tree_hash(broken) == before


def test_strict_stops_before_training_and_lists_the_files(broken, tmp_path, read_csv):
    with pytest.raises(CheckFailed, match="--strict") as caught:
        story.tell(str(broken), load_recipe(None), out=tmp_path / "run", strict=True)
    assert caught.value.exit_code == 3
    assert len(read_csv(tmp_path / "run" / "set_aside.csv")) >= 5
    assert not (tmp_path / "run" / "model").exists()


def test_strict_lets_a_clean_folder_pass(photos, tmp_path, no_report):
    run = story.tell(str(photos), load_recipe(None, {"train.epochs": 1}), out=tmp_path / "run", strict=True)
    assert run.is_complete()


def sources(tmp_path):
    one = tmp_path / "one"
    write_picture(one / "only" / "a.png", HUES["red"], 0)
    write_picture(one / "only" / "b.png", HUES["red"], 1)
    (tmp_path / "empty").mkdir()
    rows = "\n".join(f"{tmp_path}/one/only/{name}.png,{labels}" for name, labels in (("a", "x|y"), ("b", "z")))
    (tmp_path / "multi.csv").write_text(f"path,label\n{rows}\n")
    flat = tmp_path / "flat"
    write_picture(flat / "a.png", HUES["red"], 0)
    bad = tmp_path / "bad"
    for name in ("a", "b"):
        (bad / name).mkdir(parents=True)
        (bad / name / "x.jpg").write_text("no picture")
    return {
        "one class": one,
        "empty": tmp_path / "empty",
        "multi-label": tmp_path / "multi.csv",
        "flat": flat,
        "all bad": bad,
    }


@pytest.mark.parametrize("name", ["one class", "empty", "multi-label", "flat", "all bad"])
def test_what_cannot_be_learned_is_refused_in_words(tmp_path, name):
    with pytest.raises(LinnaeusError) as caught:
        story.tell(str(sources(tmp_path)[name]), load_recipe(None), out=tmp_path / "run")
    assert caught.value.exit_code == 2
    assert caught.value.fix


def test_a_multi_label_table_is_refused_by_name(tmp_path):
    with pytest.raises(SourceError, match="several labels"):
        story.tell(str(sources(tmp_path)["multi-label"]), load_recipe(None), out=tmp_path / "run")


def test_a_class_too_small_to_be_split_is_trained_and_named(photos, tmp_path, train_quickly):
    folder = shutil.copytree(photos, tmp_path / "with-rare")
    write_picture(folder / "rare" / "a.png", (230, 220, 40), 1)
    run = train_quickly(folder)
    columns = run.split()
    assert [part for part, label in zip(columns["split"], columns["label"], strict=True) if label == "rare"] == [
        "train"
    ]
    assert any("rare" in one.evidence for one in run.findings() if one.severity == "warning")
    assert "rare" in run.predictions("test").classes


def test_a_class_that_only_the_test_set_has_is_told(tmp_path, train_quickly):
    folder = tmp_path / "given"
    write_photos(folder / "train", each=8)
    write_photos(folder / "test", each=4, first=100)
    write_picture(folder / "test" / "zebra" / "a.png", (10, 10, 10), 1)
    run = train_quickly(folder)
    assert any("zebra" in one.evidence for one in run.findings())
    assert run.scores("test").overall["accuracy"].n == 13


def test_a_split_given_by_folders_is_kept(tmp_path, train_quickly):
    write_photos(tmp_path / "given" / "train", each=8)
    write_photos(tmp_path / "given" / "validation", each=3, first=50)
    write_photos(tmp_path / "given" / "test", each=4, first=100)
    run = train_quickly(tmp_path / "given")
    assert [run.split()["split"].count(part) for part in ("train", "val", "test")] == [24, 9, 12]


def test_class_names_that_differ_in_case_stay_two_classes(photos, tmp_path, train_quickly):
    folder = shutil.copytree(photos, tmp_path / "cases")
    for seed in range(6):
        write_picture(folder / "RED" / f"{seed}.png", (220, 200, 30), 900 + seed)
    run = train_quickly(folder)
    assert {"red", "RED"} <= set(run.predictions("test").classes)
    assert any("RED" in one.evidence for one in run.findings())


def test_a_folder_with_something_in_it_is_not_overwritten(photos, tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(RunError, match="empty folder"):
        story.tell(str(photos), load_recipe(None), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_resuming_a_complete_run_is_refused_with_what_to_look_at(trained, tree_hash):
    before = tree_hash(trained.folder)
    with pytest.raises(RunError, match="is complete") as caught:
        story.resume(trained.folder)
    assert "report.html" in caught.value.fix
    assert tree_hash(trained.folder) == before


@pytest.fixture
def half_done(photos, tmp_path, train_quickly):
    """A run on pictures of its own, back at the moment before its summary was written."""
    folder = shutil.copytree(photos, tmp_path / "mine")
    run = train_quickly(folder)
    (run.folder / "summary.json").unlink()
    return folder, run


def test_resuming_on_other_pictures_is_refused(half_done):
    folder, run = half_done
    write_picture(folder / "red" / "new.png", HUES["red"], 999)
    with pytest.raises(RunError, match="other pictures"):
        story.resume(run.folder)


def test_a_refused_resume_changes_nothing_in_the_run(half_done, tree_hash):
    folder, run = half_done
    before = {path.name: path.read_bytes() for path in run.folder.glob("*.*")}
    write_picture(folder / "red" / "new.png", HUES["red"], 999)
    with pytest.raises(RunError):
        story.resume(run.folder)
    assert {path.name: path.read_bytes() for path in run.folder.glob("*.*")} == before


def test_a_resumed_run_keeps_its_decisions(half_done):
    _, run = half_done
    before = run.plan()
    story.resume(run.folder)
    assert run.plan() == before
    assert run.is_complete()


def test_a_kill_while_the_report_is_written_can_be_mended(photos, tmp_path, monkeypatch):
    def killed(run):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(telling, "report", killed)
        with pytest.raises(Interrupted, match="state is saved"):
            story.tell(str(photos), load_recipe(None, {"train.epochs": 1}), out=tmp_path / "run")
    story.resume(tmp_path / "run")
    assert Run.open(tmp_path / "run").report_path.is_file()


LEFT = """
recipe.json plan.json provenance.json summary.json journal.jsonl findings.json set_aside.csv split.csv report.html report.md
report.json results/calibration.json results/abstention.json results/ranking.json results/slices.json
model/model.safetensors model/config.json predictions/val.csv predictions/test.csv scores/val.json scores/test.json
pictures/learning_curves.png pictures/confusion.png pictures/examples.png
"""


@pytest.mark.parametrize("name", LEFT.split())
def test_a_run_leaves(trained, name):
    assert (trained.folder / name).stat().st_size > 0


def test_a_run_leaves_no_unfinished_files(trained):
    assert [path for path in trained.folder.rglob("*") if path.name.startswith(".") or path.suffix == ".part"] == []


def test_a_run_says_where_it_comes_from(trained):
    stored = trained.provenance()
    assert {"torch", "python", "linnaeus"} <= set(stored["versions"])
    assert stored["hardware"]["cores"] >= 1
    assert len(stored["data"]["fingerprint"]) == 64
    assert (stored["data"]["found"], stored["data"]["used"]) == (72, 72)
    assert stored["seed"] == 0


def test_the_scores_have_intervals_that_hold_them(trained):
    scores = trained.scores("test")
    assert set(scores.overall) >= OVERALL
    assert all(one.low <= one.value <= one.high and one.n > 0 for one in scores.overall.values())
    assert [one.name for one in scores.per_class] == list(CLASSES)
    assert scores.confusion.sum() == len(trained.predictions("test"))


def test_predictions_have_the_ids_and_labels_of_the_split(trained):
    columns = trained.split()
    for part in ("val", "test"):
        found = trained.predictions(part)
        expected = {
            id: label
            for id, label, where in zip(columns["id"], columns["label"], columns["split"], strict=True)
            if where == part
        }
        assert dict(zip(found.ids, (CLASSES[k] for k in found.labels), strict=True)) == expected


def test_the_pictures_are_pictures(trained):
    for path in (trained.folder / "pictures").glob("*.png"):
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) > 100, path


def test_the_tensorboard_events_are_readable(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained.tensorboard_dir)).Reload()
    epochs = [event for event in trained.journal() if event["event"] == "epoch"]
    for tag, name in (("train/loss", "train_loss"), ("val/accuracy", "val_accuracy")):
        assert [one.step for one in events.Scalars(tag)] == [event["step"] for event in epochs]
        assert np.allclose([one.value for one in events.Scalars(tag)], [event[name] for event in epochs])


def test_the_report_opens_without_a_network(trained):
    class Links(HTMLParser):
        found = ()

        def handle_starttag(self, tag, attributes):
            self.found += tuple(value for name, value in attributes if name in ("src", "href") and value)

    page, links = trained.report_path.read_text(encoding="utf-8"), Links()
    links.feed(page)
    assert not [link for link in links.found if re.match(r"(https?:)?//", link)]
    assert not re.findall(r"url\(['\"]?https?:|@import", page)
    assert "blau, kühl" in page


def test_the_fingerprint_depends_on_contents_and_labels_not_on_names(photos, tmp_path):
    def fingerprint(folder):
        talk = Talk()
        dataset = open_pictures({"source": str(folder)}, talk)
        hashes = tuple(hashlib.sha256(Path(one.place.path).read_bytes()).hexdigest() for one in dataset.examples)
        return fingerprint_of(dataset, hashes)

    before = fingerprint(photos)
    copy = shutil.copytree(photos, tmp_path / "copy")
    (copy / "red" / "000.png").rename(copy / "red" / "zzz.png")
    assert fingerprint(copy) == before
    (copy / "red" / "zzz.png").rename(copy / "green" / "zzz.png")
    assert fingerprint(copy) != before


def test_foreseeing_decides_as_telling_does(photos, trained):
    planned = story.foresee(str(photos), load_recipe(None, QUICK))
    used, decisions = planned.used, planned.decisions
    stored = trained.plan()
    assert used.model_dump(mode="json") == stored["used"]
    assert [one.setting for one in decisions] == [one["setting"] for one in stored["decisions"]]


def test_inspecting_counts_without_training(broken):
    found = story.inspect(str(broken), load_recipe(None)).document()
    assert found["accounted"]["found"] - found["accounted"]["used"] >= 5
    assert found["classes"] == {"blau, kühl": 12, "green": 12, "red": 12}
    assert {"conflict", "truncated", "empty"} <= {one["kind"] for one in found["findings"]}
    json.dumps(found)


LESSONS = ["keras-cifar10", "keras-basic-64", "keras-cifar10-dropout", "torch-simplecnn"]


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_runs_from_its_recipe(photos, train_quickly, name):
    run = train_quickly(recipe=name, **{"train.epochs": 1})
    asked, used = load_recipe(name), run.plan()["used"]
    assert used["model"]["name"] == name
    assert (used["optim"]["lr"], used["train"]["batch_size"]) == (asked.optim.lr, asked.train.batch_size)
    assert run.summary()["epochs"] == 1
    assert run.has_scores("test")


@pytest.mark.slow
def test_the_large_lesson_runs_from_its_recipe(tmp_path, train_quickly):
    run = train_quickly(write_photos(tmp_path / "few", each=4), recipe="keras-folder-150", **{"train.epochs": 1})
    assert run.summary()["parameters"] > 40e6
    assert run.has_scores("test") or run.has_scores("val")


def test_near_duplicates_are_not_looked_for_where_that_is_asked_for_and_the_report_says_so(
    photos, tmp_path, train_quickly
):
    folder = shutil.copytree(photos, tmp_path / "doubled")
    with Image.open(folder / "red" / "000.png") as picture:
        picture.resize((30, 30)).save(folder / "red" / "again.png")
    looked = {one.kind for one in train_quickly(folder).findings()}
    blind = {one.kind for one in train_quickly(folder, **{"split.copies": False}).findings()}
    assert "near-duplicates" in looked
    assert "near-duplicates" not in blind
    assert ("copies not looked for" in looked, "copies not looked for" in blind) == (False, True)


def test_it_says_what_it_expects_and_keeps_it(photos, tmp_path):
    said = []
    run = story.tell(
        str(photos),
        load_recipe(
            None, {"effort": "quick", "model.name": "resnet10t", "model.weights": "none", "train.start": "head"}
        ),
        out=tmp_path / "run",
        talk=Talk(say=said.append),
    )
    assert any(line.startswith("effort = quick: ") and "expected to take about" in line for line in said)
    assert run.summary()["expected_s"] > 0
    assert run.summary()["epochs"] == 0


def test_how_long_steps_waited_for_pictures_is_kept(trained):
    summary = trained.summary()
    assert 0 <= summary["waited"] < 1
    assert summary["pictures_per_s"] > 0
