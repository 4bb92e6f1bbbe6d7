import json

import numpy as np
import pytest

from linnaeus.atomic import whole
from linnaeus.config import Recipe, load_recipe
from linnaeus.errors import RunError
from linnaeus.metrics import score
from linnaeus.records import Dataset, Decision, Example, Finding, Place, Predictions, Split
from linnaeus.run import Run
from linnaeus.written import MANY_CLASSES

CLASSES = ("blau, kühl", 'q"uote', "007")


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", "x", load_recipe(None, {"seed": 4}), {"source": "photos", "strict": True})


def predictions(n=9):
    draw = np.random.default_rng(0).dirichlet(np.ones(3), n)
    ids = tuple(f"a,b/{row}.png" for row in range(n))
    return Predictions(draw, np.arange(n) % 4 - 1, ids, CLASSES)


def test_a_new_run_remembers_what_was_asked(run):
    again = Run.open(run.folder)
    assert again.recipe() == load_recipe(None, {"seed": 4})
    assert again.source() == {"source": "photos", "strict": True}
    assert not again.is_complete()
    assert not again.has_plan()


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(RunError, match="new or an empty folder"):
        Run.create(tmp_path, "x", Recipe(), {})
    with pytest.raises(RunError, match="a file"):
        Run.create(tmp_path / "mine.txt", "x", Recipe(), {})
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_an_empty_folder_may_become_a_run(tmp_path):
    (tmp_path / "out").mkdir()
    assert Run.create(tmp_path / "out", "x", Recipe(), {}).folder == tmp_path / "out"


def test_a_folder_in_which_a_killed_process_began_a_run_may_become_one(tmp_path):
    with whole(tmp_path / "out" / "recipe.json") as half:
        pass
    (tmp_path / "out" / "recipe.json").rename(half)
    run = Run.create(tmp_path / "out", "x", Recipe(), {})
    assert [path.name for path in run.folder.iterdir()] == ["recipe.json"]


def test_of_a_folder_with_something_in_it_nothing_is_removed(tmp_path):
    names = [".film.mp4.part", ".recipe.json.0123abcd.part"]
    for name in names:
        (tmp_path / name).write_text("half")
    with pytest.raises(RunError, match="new or an empty folder"):
        Run.create(tmp_path, "x", Recipe(), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_without_out_every_run_gets_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = {Run.create(None, "flowers", Recipe(), {}).folder for _ in range(3)}
    assert len(folders) == 3
    assert all(str(folder).startswith("runs/flowers-") for folder in folders)


@pytest.mark.parametrize("name", ["x" * 255, "€" * 85, "x" + "ä" * 127])
def test_the_folder_of_a_long_name_has_the_beginning_of_it(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    folder = Run.create(None, name, Recipe(), {}).folder.name
    kept = folder[: -len("-2024-01-31-120000")]
    assert name.startswith(kept)
    assert 97 <= len(kept.encode()) <= 100


def test_a_folder_that_is_no_run_is_an_error_that_names_the_latest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="no such folder"):
        Run.open("nowhere")
    made = Run.create(None, "flowers", Recipe(), {})
    with pytest.raises(RunError, match=made.folder.name):
        Run.open(tmp_path)


def test_predictions_come_back_bit_by_bit(run):
    one = predictions()
    run.write_predictions("val", one)
    back = run.predictions("val")
    assert np.array_equal(back.probabilities, one.probabilities)
    assert back.labels.tolist() == one.labels.tolist()
    assert (back.ids, back.classes) == (one.ids, one.classes)


def test_predictions_of_certain_answers_come_back(run):
    one = Predictions(np.eye(3), np.arange(3), ("a", "b", "c"), CLASSES)
    run.write_predictions("test", one)
    assert np.array_equal(run.predictions("test").probabilities, np.eye(3))


def test_scores_come_back(run):
    found = score(predictions(), resamples=20)
    run.write_scores("val", found)
    back = run.scores("val")
    assert back.overall == dict(found.overall)
    assert back.per_class == found.per_class
    assert back.confusion.tolist() == found.confusion.tolist()
    assert back.notes == found.notes


def test_scores_and_predictions_of_very_many_classes_come_back_from_small_files(run):
    K = MANY_CLASSES + 1
    draw = np.random.default_rng(0).dirichlet(np.ones(K), 6)
    labels = np.array([0, 5, 5, K - 1, -1, 7])
    many = Predictions(draw, labels, tuple("abcdef"), tuple(f"class {k}" for k in range(K)))
    found = score(many, resamples=20)
    run.write_scores("test", found)
    run.write_predictions("test", many)
    assert run.has_predictions("test")
    assert np.array_equal(run.predictions("test").probabilities, draw)
    assert np.array_equal(run.scores("test").confusion, found.confusion)
    assert (run.folder / "scores/test.json").stat().st_size < 1000 * K


def test_the_split_comes_back_with_places(run):
    places = (Place("/x/a,b.png"), Place("/x/data.bin", 17, 3072, "3x32x32"))
    examples = (Example("a,b.png", places[0], "007", group="g"), Example("data.bin#0", places[1], CLASSES[0]))
    dataset = Dataset("x", "x", examples, CLASSES)
    run.write_split(dataset, Split(np.array(["train", "test"]), np.array(["given", "hash"])), ["ab", "cd"])
    back = run.split()
    assert back["place"] == list(places)
    assert back["label"] == ["007", CLASSES[0]]
    assert (back["split"], back["group"]) == (["train", "test"], ["g", ""])


def test_findings_come_back_and_what_was_set_aside_is_listed(run, read_csv):
    found = [Finding("empty", ("a", "b"), "0 bytes", "set aside"), Finding("copies", ("c",), "same", "note")]
    run.write_findings(found, {"found": 3, "used": 1, "empty": 2})
    assert run.findings() == found
    assert run.accounted() == {"found": 3, "used": 1, "empty": 2}
    assert [(row["id"], row["reason"]) for row in read_csv(run.set_aside_path)] == [("a", "empty"), ("b", "empty")]


def test_nothing_set_aside_gives_an_empty_list(run, read_csv):
    run.write_findings([], {"found": 3, "used": 3})
    assert read_csv(run.set_aside_path) == []


def test_the_plan_comes_back_with_reasons(run):
    run.write_plan(Recipe(seed=4), [Decision("optim.lr", 0.1, "usual")], {"pictures": 3})
    assert run.plan()["used"]["seed"] == 4
    assert run.plan()["decisions"] == [{"setting": "optim.lr", "value": 0.1, "reason": "usual"}]


def test_the_journal_is_appended_and_a_torn_line_is_left_out(run):
    run.log({"event": "epoch", "step": 1, "loss": np.float32(0.5)})
    run.log({"event": "epoch", "step": 2})
    with run.journal_path.open("a") as file:
        file.write('{"event": "epo')
    assert [event["step"] for event in run.journal()] == [1, 2]


def test_rewinding_drops_what_came_after_a_step(run):
    for step in (10, 20, 30):
        run.log({"event": "epoch", "step": step})
    run.rewind_journal(20)
    run.log({"event": "epoch", "step": 25})
    assert [event["step"] for event in run.journal()] == [10, 20, 25]


def test_an_empty_journal_is_empty(run):
    assert run.journal() == []


@pytest.mark.parametrize("read", ["plan", "provenance", "summary", "findings", "accounted"])
def test_what_a_run_has_not_reached_is_an_error_that_says_how_to_go_on(run, read):
    with pytest.raises(RunError, match=f"--resume {run.folder}"):
        getattr(run, read)()


def test_damaged_json_is_an_error_in_words(run):
    (run.folder / "plan.json").write_text("{half")
    with pytest.raises(RunError, match="should be JSON"):
        run.plan()


def test_a_summary_and_a_report_make_it_complete(run):
    run.write_summary({"epochs": np.float64(2.5)})
    assert not run.is_complete()
    run.report_path.touch()
    assert run.is_complete()
    assert run.summary() == {"epochs": 2.5}


def test_non_ascii_words_are_readable_in_the_files(run):
    run.write_provenance({"source": "Blüten"})
    assert "Blüten" in (run.folder / "provenance.json").read_text(encoding="utf-8")
    assert json.loads((run.folder / "recipe.json").read_text())["recipe"]["seed"] == 4
