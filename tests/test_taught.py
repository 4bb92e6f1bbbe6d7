import json
import shutil

import pytest

from conftest import weight_bytes, write_photos, write_picture
from linnaeus import story
from linnaeus.config import load_recipe
from linnaeus.errors import Interrupted, SettingsError, SourceError

QUICK = {"train.epochs": 3, "data.size_px": 16, "train.batch_size": 16, "train.precision": "fp32"}


@pytest.fixture
def teach(photos, trained, tmp_path, no_report):
    """Train a student of the finished run: teach("name", **settings)."""

    def train(name="student", **settings):
        asked = (
            QUICK
            | {"train.teacher": str(trained.folder)}
            | {key.replace("__", "."): one for key, one in settings.items()}
        )
        return story.tell(str(photos), load_recipe(None, asked), out=tmp_path / name)

    return train


@pytest.fixture
def pool(tmp_path, photos):
    """A folder of pictures without labels: nine new ones, one of the data, one twice, one broken."""
    for i in range(9):
        write_picture(tmp_path / "pool" / f"{i}.png", ((200, 60, 50), (60, 180, 70), (50, 80, 200))[i % 3], 9000 + i)
    shutil.copy(tmp_path / "pool" / "0.png", tmp_path / "pool" / "again.png")
    shutil.copy(photos / "red" / "003.png", tmp_path / "pool" / "known.png")
    (tmp_path / "pool" / "broken.png").write_bytes(b"no picture")
    return str(tmp_path / "pool")


def test_a_student_learns_from_a_run_and_says_what_was_decided(teach):
    run = teach()
    decided = {one["setting"] for one in run.summary()["decisions"]} | {
        one["setting"] for one in run.plan()["decisions"]
    }
    assert {"train.teacher_weight", "train.teacher_temperature"} <= decided
    assert run.result("teacher")["seen"] > 0
    assert run.has_scores("test")


def test_the_teacher_makes_a_difference(teach):
    assert weight_bytes(teach("one")) != weight_bytes(teach("two", train__teacher_weight=0.1))


def test_every_unlabelled_picture_is_accounted_for(teach, pool):
    run = teach(train__unlabelled=pool)
    expected = {"found": 12, "used": 9, "unreadable": 1, "already in the data, or twice": 2}
    assert run.result("teacher")["unlabelled"] == expected


def test_unlabelled_pictures_make_the_epochs_longer(teach, pool):
    def steps(run):
        return max(json.loads(line).get("step", 0) for line in run.journal_path.read_text().splitlines())

    assert steps(teach("more", train__unlabelled=pool, train__batch_size=4)) > steps(teach("less", train__batch_size=4))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_stopped_student_goes_on_to_the_same_weights(teach, pool, frozen, monkeypatch):
    from test_fit import stop_after

    settings = {"train__unlabelled": pool}
    if frozen:
        settings |= {"model__name": "keras-cifar10", "train__start": "head", "model__freeze": 2, "train__views": 2}
    straight = teach("straight", **settings)
    with monkeypatch.context() as patch:
        stop_after(7, patch)
        with pytest.raises(Interrupted) as stopped:
            teach("broken", **settings)
    del stopped
    assert weight_bytes(story.resume(straight.folder.parent / "broken")) == weight_bytes(straight)


def test_a_teacher_that_saw_the_test_pictures_is_refused(teach):
    with pytest.raises(SettingsError, match="judged"):
        teach(split__salt="another")


def test_a_teacher_of_other_classes_is_refused(trained, tmp_path, no_report):
    other = write_photos(tmp_path / "other", names={"red": "purple"}, first=100)
    asked = QUICK | {"train.teacher": str(trained.folder)}
    with pytest.raises(SettingsError, match="purple"):
        story.tell(str(other), load_recipe(None, asked), out=tmp_path / "run")


def test_a_folder_without_pictures_is_no_unlabelled_part(teach, tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(SourceError, match="unlabelled"):
        teach(train__unlabelled=str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    "asked",
    [
        {"train.unlabelled": "x"},
        {"train.teacher": "x", "train.epochs": 0},
        {"train.teacher": "x", "train.unlabelled": "y", "train.adversarial": 8},
    ],
)
def test_settings_that_make_no_sense_together_are_refused(asked):
    with pytest.raises(SettingsError):
        load_recipe(None, asked)


def test_other_unlabelled_pictures_end_a_resumed_run(teach, pool, monkeypatch, tmp_path):
    from linnaeus.errors import RunError
    from test_fit import stop_after

    with monkeypatch.context() as patch:
        stop_after(5, patch)
        with pytest.raises(Interrupted):
            teach("broken", train__unlabelled=pool)
    write_picture(tmp_path / "pool" / "new.png", (1, 2, 3), 77)
    with pytest.raises(RunError, match="unlabelled"):
        story.resume(tmp_path / "broken")
