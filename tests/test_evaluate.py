import json
import shutil

import numpy as np
import pytest

from conftest import CLASSES, write_photos
from linnaeus import story
from linnaeus.classifier import Classifier
from linnaeus.errors import SourceError
from linnaeus.metrics import apply_temperature
from linnaeus.metrics.abstention import divide
from linnaeus.records import Predictions
from linnaeus.tables import write_table
from linnaeus.written import prediction_columns, read_predictions

KEPT = {"blau, kühl": "blau, kühl", "green": "green", "red": "red"}


@pytest.fixture
def others(tmp_path):
    """Further pictures: others(names) writes them, with classes renamed or left out."""

    def write(names=KEPT, left_out=()):
        folder = write_photos(tmp_path / "others", each=6, names=names, first=500)
        for name in left_out:
            shutil.rmtree(folder / name)
        return str(folder)

    return write


def test_the_same_test_files_give_the_same_probabilities(trained, tmp_path):
    columns, known = trained.split(), trained.predictions("test")
    kept = [row for row, part in enumerate(columns["split"]) if part == "test"]
    files = [columns["place"][row].path for row in kept]
    write_table(tmp_path / "test.csv", {"path": files, "label": [columns["label"][row] for row in kept]})
    found = story.examine(trained.folder, str(tmp_path / "test.csv"))
    assert found.predictions.classes == known.classes
    row_of = {columns["id"][row]: place for place, row in enumerate(kept)}
    order = [row_of[id] for id in known.ids]
    assert np.array_equal(found.predictions.probabilities[order], known.probabilities)
    assert found.scores.overall["accuracy"] == trained.scores("test").overall["accuracy"]


def test_other_pictures_are_scored(trained, others):
    found = story.examine(trained.folder, others())
    assert len(found.predictions) == 18
    assert found.accounted == {"found": 18, "used": 18}
    assert found.scores.overall["accuracy"].value > 0.6


def test_a_class_that_is_missing_there_keeps_its_column_and_is_named(trained, others):
    found = story.examine(trained.folder, others(left_out=["green"]))
    assert found.predictions.classes == CLASSES
    assert [one.support for one in found.scores.per_class] == [6, 0, 6]
    assert any("green" in note for note in found.scores.notes)


@pytest.mark.parametrize("judging", [False, True])
def test_a_class_that_the_model_does_not_know_counts_as_wrong_and_is_named(trained, careful, others, judging):
    run = careful if judging else trained
    assert (Classifier.load(run.folder).judgement is not None) is judging
    found = story.examine(run.folder, others(KEPT | {"green": "lime"}))
    for sets in found.results["abstention"]["sets"]:
        assert sets["classwise"]["lime"]["value"] == (0 if judging else 1)
    assert found.predictions.classes == (*CLASSES, "lime")
    assert found.scores.overall["accuracy"].n == 18
    assert found.scores.per_class[3].recall.value == 0
    assert found.predictions.probabilities[:, 3].max() == 0
    assert any("lime" in note for note in found.scores.notes)


def test_class_numbers_do_not_matter(trained, others):
    """Without the first class all others have other numbers in the source."""
    found = story.examine(trained.folder, others(left_out=[CLASSES[0]]))
    labels = np.array(found.predictions.classes)[found.predictions.labels]
    assert sorted(set(labels)) == ["green", "red"]
    assert found.scores.overall["accuracy"].value > 0.5


def test_pictures_of_entirely_other_classes_are_an_error(trained, others):
    with pytest.raises(SourceError, match="letter by letter"):
        story.examine(trained.folder, others({name: name.upper() for name in KEPT}))


def test_broken_files_are_set_aside_and_counted(trained, others):
    folder = others()
    with open(f"{folder}/red/bad.jpg", "w") as file:
        file.write("no picture")
    found = story.examine(trained.folder, folder)
    assert found.accounted["found"] == found.accounted["used"] + 1
    assert len(found.predictions) == 18


def test_a_picture_that_cannot_be_read_does_not_move_the_others(trained, others):
    folder = others()
    before = story.examine(trained.folder, folder).predictions
    with open(f"{folder}/green/0bad.jpg", "w") as file:
        file.write("no picture")
    after = story.examine(trained.folder, folder).predictions
    assert after.ids == before.ids
    assert np.array_equal(after.probabilities, before.probabilities)


def test_the_command_prints_scores_with_intervals(command, trained, others):
    code, printed, _ = command("evaluate", trained.folder, others())
    assert code == 0
    assert "accuracy" in printed
    assert "blau, kühl" in printed


def test_the_command_writes_predictions_and_json(command, trained, others, tmp_path, read_csv):
    code, printed, _ = command("evaluate", trained.folder, others(), "--json", "--out", tmp_path / "p.csv")
    document = json.loads(printed)
    assert code == 0
    assert set(document["scores"]["overall"]["accuracy"]) == {"value", "low", "high", "n", "method"}
    assert len(read_csv(tmp_path / "p.csv")) == 18


def test_evaluating_writes_nothing_into_the_run(trained, others, tree_hash):
    before = tree_hash(trained.folder)
    story.examine(trained.folder, others())
    assert tree_hash(trained.folder) == before


def test_predictions_of_any_model_are_judged_like_those_of_a_run(careful, command, tmp_path):
    table, known = careful.folder / "predictions" / "test.csv", careful.scores("test")
    code, printed, _ = command("evaluate", "--predictions", table, "--report", tmp_path / "page.html", "--json")
    document = json.loads(printed)
    assert code == 0
    assert document["scores"]["overall"]["accuracy"]["value"] == known.overall["accuracy"].value
    assert document["results"]["ranking"] == careful.result("ranking")
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_held_predictions_calibrate_those_of_another_model(tmp_path):
    """Logits three times too large are brought down again."""
    rng, tables = np.random.default_rng(0), {}
    for part in ("val", "test"):
        logits, tables[part] = rng.normal(size=(200, 3)), tmp_path / f"{part}.csv"
        labels = np.array([rng.choice(3, p=p) for p in apply_temperature(logits, 1.0)])
        sharp = Predictions(apply_temperature(logits, 1 / 3), labels, tuple(map(str, range(200))), ("a", "b", "c"))
        write_table(tables[part], prediction_columns(sharp))
    found = story.examine_predictions(tables["test"], tables["val"]).results
    assert found["calibration"]["chosen"] == "temperature"
    assert found["calibration"]["after"]["log_loss"]["high"] < found["calibration"]["before"]["log_loss"]["value"]
    assert found["abstention"]["held"] == 100


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": ["a"], "label": ["x"]}, "p:CLASS"),
        ({"id": ["a"], "label": ["z"], "p:x": [0.5], "p:y": [0.5]}, "labels that are classes"),
        ({"id": ["a"], "label": ["x"], "p:x": [0.5], "p:y": [0.2]}, "sum is 1"),
        ({"id": ["a"], "label": ["x"], "p:x": ["90%"], "p:y": ["10%"]}, "as numbers from 0 to 1"),
        ({"id": [], "label": [], "p:x": [], "p:y": []}, "a row for each picture"),
    ],
)
def test_a_table_that_holds_no_predictions_is_refused(tmp_path, columns, words):
    write_table(tmp_path / "table.csv", columns)
    with pytest.raises(SourceError, match=words):
        story.examine_predictions(tmp_path / "table.csv")


def test_a_table_that_is_missing_or_none_is_refused(tmp_path):
    (tmp_path / "text.parquet").write_text("no table")
    for name in ("missing.csv", "text.parquet"):
        with pytest.raises(SourceError, match="table of predictions"):
            story.examine_predictions(tmp_path / name)


def test_evaluate_wants_a_run_or_predictions(command, trained):
    code, _, said = command("evaluate", trained.folder)
    assert code == 2
    assert "--predictions" in said


def test_a_run_keeps_the_evidence_beside_its_scores(careful):
    """The documents are of the test part; strange pictures of six kinds were made."""
    assert careful.result("calibration")["part"] == "test"
    found = careful.result("abstention")
    assert set(found["unknown"]["detected"]) == {"noise", "blank", "inverted", "shuffled", "two in one", "digits"}
    assert found["candidates"] == sum("val_loss" in event for event in careful.journal())
    assert careful.result("slices")["tested"] > 0


def test_held_pictures_had_no_part_in_the_calibration(careful):
    """Half of the validation pictures each, none on both sides."""
    val = careful.predictions("val")
    calibrating, held = divide(val.labels)
    assert set(calibrating).isdisjoint(held)
    assert careful.result("abstention")["held"] == len(held)


def test_costs_are_scored(command, careful, tmp_path):
    (tmp_path / "costs.csv").write_text("true,predicted,cost\n*,*,1\n", encoding="utf-8")
    table = careful.folder / "predictions" / "test.csv"
    code, printed, said = command("evaluate", "--predictions", table, "--cost", tmp_path / "costs.csv", "--json")
    found = json.loads(printed)
    assert code == 0, said
    wrong = 1 - found["scores"]["overall"]["accuracy"]["value"]
    assert found["results"]["costs"]["mean_cost"]["value"] == pytest.approx(wrong)


def test_groups_count_in_the_evidence_beside_the_scores_too(trained, tmp_path):
    columns = trained.split()
    rows = [row for row, part in enumerate(columns["split"]) if part == "test"]
    files, labels = [columns["place"][row].path for row in rows], [columns["label"][row] for row in rows]
    write_table(tmp_path / "t.csv", {"path": files, "label": labels, "group": [f"g{k // 4}" for k in range(len(rows))]})
    found = story.examine(trained.folder, str(tmp_path / "t.csv"))
    assert found.groups is not None
    shown, scored = found.results["calibration"]["after"]["log_loss"], found.scores.overall["log_loss"]
    assert "group" in shown["method"]
    assert (shown["low"], shown["high"]) == (scored.low, scored.high)


def test_a_parquet_table_may_have_numbers_as_names_and_labels_that_are_missing(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    columns = {"id": [1, 2, 3], "label": [0, 1, None], "p:0": [0.9, 0.3, 0.5], "p:1": [0.1, 0.7, 0.5]}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "table.parquet")
    found = read_predictions(tmp_path / "table.parquet")
    assert found.ids == ("1", "2", "3")
    assert found.labels.tolist() == [0, 1, -1]


@pytest.mark.parametrize(
    "words",
    [["RUN", "digits", "--held", "x.csv"], ["RUN", "--predictions", "x.csv"]],
    ids=" ".join,
)
def test_options_that_would_do_nothing_are_refused(command, trained, words):
    code, _, said = command("evaluate", *(trained.folder if word == "RUN" else word for word in words))
    assert code == 2
    assert "--predictions" in said


def test_a_report_does_not_write_over_what_no_report_made(command, careful, tmp_path):
    table, theirs = careful.folder / "predictions" / "test.csv", tmp_path / "page.md"
    theirs.write_text("theirs")
    code, _, said = command("evaluate", "--predictions", table, "--report", tmp_path / "page.html")
    assert code == 2
    assert "which no report made" in said
    assert theirs.read_text() == "theirs"
    theirs.unlink()
    for _ in range(2):
        assert command("evaluate", "--predictions", table, "--report", tmp_path / "page.html")[0] == 0
    code, _, said = command("evaluate", "--predictions", table, "--report", tmp_path / "page.md")
    assert code == 2
    assert "an .html file" in said
