import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import QUICK, write_photos, write_picture
from linnaeus import story
from linnaeus.config import load_recipe
from linnaeus.data.sources import open_source
from linnaeus.errors import Interrupted, RunError, SettingsError, SourceError
from linnaeus.run import Run
from linnaeus.story import folded, planned, telling
from linnaeus.story.folded import cross_validate, resume_folds
from linnaeus.story.planned import Planned

FOLDS = 3


@pytest.fixture(scope="module")
def with_copies(tmp_path_factory):
    """Pictures with planted groups (four of each person), byte-identical copies and resized ones; not to be changed."""
    folder = write_photos(tmp_path_factory.mktemp("folds") / "photos", each=24)
    for path in sorted(folder.rglob("*.png")):
        path.rename(path.with_name(f"{path.parent.name}-p{int(path.stem) // 4}-{path.name}"))
    draw = np.random.default_rng(5)
    for name in ("green", "red"):
        # Larger and not noise, so that they can be told to be alike.
        rough = Image.fromarray(draw.integers(0, 255, (9, 9, 3), dtype=np.uint8))
        big = rough.resize((160, 160), Image.Resampling.BICUBIC)
        big.save(folder / name / f"{name}-p90-big.png")
        big.resize((120, 120)).save(folder / name / f"{name}-p91-small.jpg", quality=90)
        shutil.copy(folder / name / f"{name}-p90-big.png", folder / name / f"{name}-p92-copy.png")
    return folder


SETTINGS = QUICK | {"train.epochs": 1, "split.group_by": r"path:(\w+-p\d+)-"}


@pytest.fixture(scope="module")
def validated(with_copies, tmp_path_factory):
    """A finished cross-validation; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telling, "report", lambda run: run.report_path.touch())
        return cross_validate(
            str(with_copies), load_recipe(None, SETTINGS), FOLDS, tmp_path_factory.mktemp("cv") / "out"
        )


def test_every_used_picture_has_one_answer_out_of_fold(validated, with_copies, read_csv):
    rows = read_csv(validated.folder / "predictions" / "out-of-fold.csv")
    files = {path.relative_to(with_copies).as_posix() for path in with_copies.rglob("*.*g")}
    assert len(rows) == len(files) == 78
    assert {row["id"] for row in rows} == files
    assert {row["fold"] for row in rows} == {"1", "2", "3"}


def test_each_answer_is_that_of_the_model_that_had_not_seen_the_picture(validated):
    for fold, run in enumerate(validated.runs, start=1):
        found, columns = run.predictions("test"), run.split()
        tested = [id for id, part in zip(columns["id"], columns["split"], strict=True) if part == "test"]
        assert sorted(found.ids) == sorted(tested)
        rows = [validated.joined.predictions.ids.index(id) for id in found.ids]
        assert (validated.joined.folds[rows] == fold).all()
        assert np.array_equal(validated.joined.predictions.probabilities[rows], found.probabilities)


def test_no_planted_group_or_copy_is_on_two_sides_of_any_fold(validated):
    for run in validated.runs:
        columns = run.split()
        part_of = dict(zip(columns["id"], columns["split"], strict=True))
        people = {}
        for id, part in part_of.items():
            people.setdefault(Path(id).name.split("-")[0] + Path(id).name.split("-")[1], set()).add(part)
        assert all(len(parts) == 1 for parts in people.values())
        for name in ("green", "red"):
            planted = ("p90-big.png", "p91-small.jpg", "p92-copy.png")
            assert len({part_of[f"{name}/{name}-{one}"] for one in planted}) == 1


def test_all_folds_are_planned_alike_and_test_a_fold_each(validated):
    used = [run.plan()["used"] for run in validated.runs]
    assert [one["split"].pop("fold") for one in used] == [1, 2, 3]
    assert used[0] == used[1] == used[2]


def test_the_document_is_what_was_written(validated):
    stored = json.loads((validated.folder / "folds.json").read_text())
    assert stored == json.loads(json.dumps(validated.document))
    assert stored["pictures"] == sum(one["test"] for one in stored["each"]) == 78
    assert stored["independent"] == 18 + 2
    assert Run(validated.folder).scores("out-of-fold").overall == validated.joined.scores.overall


def test_the_summary_has_a_row_for_each_fold_and_says_what_the_numbers_mean(validated):
    page = (validated.folder / "folds.md").read_text()
    assert [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ") and "fold" in line] == [
        "fold 1", "fold 2", "fold 3", "mean of folds",
    ]  # fmt: skip
    assert "Bengio & Grandvalet" in page
    assert "78 pictures" in validated.tell()


def test_finished_folds_are_not_trained_again(validated, tmp_path, monkeypatch):
    again = shutil.copytree(validated.folder, tmp_path / "again")
    (again / "folds.json").unlink()
    monkeypatch.setattr(folded, "tell", None)
    monkeypatch.setattr(folded, "resume", None)
    assert json.dumps(resume_folds(again).document) == json.dumps(validated.document)


def test_a_cross_validation_that_was_killed_goes_on_where_it_was(validated, tmp_path, monkeypatch):
    killed = shutil.copytree(validated.folder, tmp_path / "killed")
    shutil.rmtree(killed / "fold-3")
    for name in ("summary.json", "report.html"):
        (killed / "fold-2" / name).unlink()
    monkeypatch.setattr(telling, "report", lambda run: run.report_path.touch())
    trained, real = [], folded.tell
    monkeypatch.setattr(
        folded, "tell", lambda *args, out, **more: trained.append(out.name) or real(*args, out=out, **more)
    )
    found = resume_folds(killed)
    assert trained == ["fold-3"]
    assert found.joined.predictions.ids == validated.joined.predictions.ids
    assert np.array_equal(found.joined.predictions.probabilities, validated.joined.predictions.probabilities)


def test_ctrl_c_keeps_what_is_there_and_says_how_to_go_on(with_copies, tmp_path, monkeypatch):
    def stop(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(folded, "tell", stop)
    with pytest.raises(Interrupted, match="saved") as caught:
        cross_validate(str(with_copies), load_recipe(None, SETTINGS), FOLDS, tmp_path / "out")
    assert str(tmp_path / "out") in caught.value.fix
    assert folded.is_cross_validation(Run.open(tmp_path / "out"))


def test_going_on_with_other_pictures_is_refused(validated, with_copies, tmp_path):
    photos, again = (
        shutil.copytree(with_copies, tmp_path / "photos"),
        shutil.copytree(validated.folder, tmp_path / "again"),
    )
    write_picture(photos / "red" / "red-p77-new.png", (200, 0, 0), 7)
    stored = json.loads((again / "recipe.json").read_text())
    stored["source"]["source"] = str(photos)
    (again / "recipe.json").write_text(json.dumps(stored))
    with pytest.raises(RunError, match="other pictures"):
        resume_folds(again)


def test_a_plain_run_is_no_cross_validation(trained):
    with pytest.raises(RunError, match="cross-validation"):
        resume_folds(trained.folder)


def test_one_training_with_folds_but_no_fold_is_refused(photos, tmp_path):
    with pytest.raises(SettingsError, match="cross-validation"):
        story.tell(str(photos), load_recipe(None, QUICK | {"split.folds": 3}), out=tmp_path / "run")


def test_too_many_folds_are_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(SettingsError, match="picture each"):
        cross_validate(str(write_photos(tmp_path / "few", each=2)), load_recipe(None, QUICK), 50, tmp_path / "out")
    assert not list((tmp_path / "out").glob("fold-*"))


def test_several_labels_of_a_picture_are_refused(tmp_path):
    write_picture(tmp_path / "a.png", (1, 2, 3), 0)
    write_picture(tmp_path / "b.png", (1, 2, 3), 1)
    (tmp_path / "t.csv").write_text("path,label\na.png,x|y\nb.png,x\n")
    with pytest.raises(SourceError, match="several labels"):
        cross_validate(str(tmp_path / "t.csv"), load_recipe(), 2, tmp_path / "out")


def test_a_budget_is_shared_by_the_folds():
    asked = load_recipe(None, {"budget_s": 100, "split.folds": 5})
    shared = folded._shared(asked)
    assert (shared.budget_s, shared.split.test) == (20, 0.2)


def test_a_fold_keeps_to_the_plan_whatever_its_clock_shows(photos, tmp_path, monkeypatch):
    dataset, afforded = open_source(str(photos), cache_dir=tmp_path), []
    monkeypatch.setattr(planned, "afford", lambda used, *_: afforded.append(used) or (used, []))
    asked = load_recipe(None, {"budget_s": 100, "split.folds": 3, "model.name": "keras-cifar10", "train.start": "head"})
    used = Planned.for_data(dataset, folded._shared(asked)).used
    assert len(afforded) == 1
    assert Planned.for_data(dataset, folded._of_fold(used, 2)).used.split.fold == 2
    assert len(afforded) == 1
