import csv
import io
import itertools
import json
import shutil

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from conftest import CLASSES, HUES, write_picture
from linnaeus.classifier import Classifier
from linnaeus.cli.app import JsonRows
from linnaeus.errors import CheckFailed, ModelError, SettingsError
from linnaeus.metrics.selective import Promise
from linnaeus.tables import TableWriter
from linnaeus.verbs import predict as module
from linnaeus.verbs.predict import TRUTHS, Demand, predict


@pytest.fixture
def inputs(tmp_path):
    """Seven inputs of every kind, with what each should give."""
    folder = tmp_path / "in"
    good = [write_picture(folder / f"{name}.png", colour, seed) for seed, (name, colour) in enumerate(HUES.items())]
    (folder / "text.jpg").write_text("I am no picture")
    (folder / "empty.png").touch()
    (folder / "half.png").write_bytes(good[0].read_bytes()[:200])
    (folder / "none").mkdir()
    odd = [folder / "text.jpg", folder / "empty.png", folder / "half.png", folder / "missing.jpg", folder / "none"]
    return [str(path) for path in (good[0], odd[0], good[1], odd[1], odd[2], odd[3], good[2], odd[4], good[0])]


READABLE = [True, False, True, False, False, False, True, False, True]


def rows_of(classifier, paths):
    answers = list(predict(classifier, paths))
    return [
        dict(zip(one.columns(), row, strict=True))
        for one in answers
        for row in zip(*one.columns().values(), strict=True)
    ]


def test_every_input_has_a_row_in_its_order_with_an_answer_or_an_error(classifier, inputs):
    rows = rows_of(classifier, inputs)
    assert [row["path"] for row in rows] == inputs
    assert [not row["error"] for row in rows] == READABLE
    assert all((row["predicted"] in CLASSES) == (not row["error"]) for row in rows)
    assert all((row["confidence"] is None) == bool(row["error"]) for row in rows)


def test_errors_say_why(classifier, inputs):
    errors = [row["error"].partition(":")[0] for row in rows_of(classifier, inputs)]
    assert errors[1] == "not a picture"
    assert errors[3] == "empty"
    assert errors[4] == "truncated"
    assert errors[5] == "missing"
    assert errors[7]


def test_answers_are_those_of_the_classifier(classifier, inputs):
    rows = [row for row in rows_of(classifier, inputs) if not row["error"]]
    expected = classifier.predict_proba([row["path"] for row in rows])
    got = np.array([[row[f"p:{name}"] for name in CLASSES] for row in rows])
    assert np.allclose(got, expected, atol=1e-6)
    assert [row["predicted"] for row in rows] == classifier.predict([row["path"] for row in rows]).tolist()
    assert [row["confidence"] for row in rows] == got.max(axis=1).tolist()


def test_duplicates_have_a_row_each(classifier, inputs):
    rows = rows_of(classifier, inputs)
    assert rows[0] | {"x": 0} == rows[8] | {"x": 0}


def test_many_inputs_come_in_order_and_in_bounded_portions(classifier, inputs, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 4)
    taken = []

    def paths():
        for number in range(40):
            taken.append(number)
            yield inputs[number % 9]

    answers = predict(classifier, paths(), workers=2)
    first = next(answers)
    assert len(taken) <= 16
    rest = list(answers)
    assert [path for one in (first, *rest) for path in one.paths] == [inputs[number % 9] for number in range(40)]


def test_nothing_gives_nothing(classifier):
    assert list(predict(classifier, [])) == []


def test_only_unreadable_inputs_give_rows_of_errors(classifier, tmp_path):
    rows = rows_of(classifier, [str(tmp_path / f"{number}.jpg") for number in range(3)])
    assert [row["error"].partition(":")[0] for row in rows] == ["missing"] * 3


def rows_in(table):
    if table.suffix == ".parquet":
        return pyarrow.parquet.read_table(table).to_pylist()
    text = table.read_text(encoding="utf-8")
    return (
        [json.loads(line) for line in text.splitlines()]
        if table.suffix == ".jsonl"
        else list(csv.DictReader(io.StringIO(text)))
    )


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_the_command_writes_every_kind_of_table(command, trained, inputs, tmp_path, ending):
    out = tmp_path / f"answers.{ending}"
    code, printed, said = command("predict", trained.folder, *inputs, "--out", out)
    assert (code, printed) == (0, "")
    assert "9 inputs, 5 of them unreadable" in said
    rows = rows_in(out)
    assert [row["path"] for row in rows] == inputs
    assert [not row["error"] for row in rows] == READABLE
    assert set(rows[0]) == {"path", "answer", "predicted", "confidence", "error", *(f"p:{name}" for name in CLASSES)}


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_a_first_portion_of_errors_does_not_spoil_the_table(command, trained, inputs, tmp_path, ending, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 2)
    out = tmp_path / f"answers.{ending}"
    code, _, said = command("predict", trained.folder, inputs[1], inputs[3], inputs[0], "--out", out)
    assert code == 0, said
    assert out.is_file()


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_a_portion_of_errors_has_all_columns_of_a_model_with_a_detector(
    careful, inputs, tmp_path, ending, place, monkeypatch
):
    monkeypatch.setattr(module, "AT_ONCE", 2)
    bad, good = [inputs[1], inputs[3]], [inputs[0], inputs[2]]
    paths = [*bad, *good] if place == "first" else [*good, *bad]
    with TableWriter(tmp_path / f"answers.{ending}", TRUTHS) as writer:
        for answers in predict(Classifier.load(careful.folder), paths):
            writer.write(answers.columns())
    rows = rows_in(writer.path)
    assert [row["path"] for row in rows] == paths
    assert [row["unknown_score"] in (None, "") for row in rows] == [path in bad for path in paths]
    assert [row["unknown"] in (None, "") for row in rows] == [path in bad for path in paths]
    assert all(row["answer"] for row in rows if row["path"] in good)


def test_truth_values_that_are_missing_at_first_are_truth_values(command, careful, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 2)
    out = tmp_path / "answers.parquet"
    code, _, said = command("predict", careful.folder, inputs[1], inputs[3], inputs[0], "--out", out)
    assert code == 0, said
    kinds = {field.name: str(field.type) for field in pyarrow.parquet.read_schema(out)}
    assert (kinds["unknown"], kinds["accepted"], kinds["unknown_score"]) == ("bool", "bool", "double")


def test_json_is_one_document_with_a_row_each(command, trained, inputs):
    code, printed, _ = command("predict", trained.folder, *inputs, "--json")
    rows = json.loads(printed)["predictions"]
    assert code == 0
    assert [row["path"] for row in rows] == inputs
    assert rows[1]["confidence"] is None


def test_json_is_printed_while_pictures_are_read(command, trained, inputs, monkeypatch, capsys):
    monkeypatch.setattr(module, "AT_ONCE", 2)
    seen = []

    def watched(self, columns):
        seen.append(capsys.readouterr().out)
        write(self, columns)

    write = JsonRows.write
    monkeypatch.setattr(JsonRows, "write", watched)
    code, printed, _ = command("predict", trained.folder, *inputs, "--json")
    rows = json.loads("".join(seen) + printed)["predictions"]
    assert code == 0
    assert [row["path"] for row in rows] == inputs
    assert seen[0] == ""
    assert all(json.loads(f"{text}]}}")["predictions"] for text in itertools.accumulate(seen) if text)
    assert len(seen) == -(-len(inputs) // 2)


def test_json_of_nothing_is_a_document_too(command, trained, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    code, printed, _ = command("predict", trained.folder, "-", "--json")
    assert (code, json.loads(printed)) == (0, {"predictions": []})


def test_the_printed_table_has_a_line_each(command, trained, inputs):
    code, printed, _ = command("predict", trained.folder, *inputs)
    lines = printed.splitlines()
    assert code == 0
    assert [line.split("\t")[0] for line in lines] == inputs
    assert "not a picture" in lines[1]


def test_folders_and_patterns_are_expanded(command, trained, photos):
    folder = command("predict", trained.folder, photos / "red")[1]
    pattern = command("predict", trained.folder, f"{photos}/red/*.png")[1]
    assert folder == pattern
    assert len(folder.splitlines()) == 24


def test_a_list_comes_from_stdin(command, trained, inputs, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(inputs) + "\n"))
    code, printed, _ = command("predict", trained.folder, "-")
    assert code == 0
    assert [line.split("\t")[0] for line in printed.splitlines()] == inputs


def test_no_paths_and_no_run_are_errors_in_words(command, trained, tmp_path):
    assert command("predict", trained.folder)[0] == 2
    code, printed, said = command("predict", tmp_path, "x.jpg")
    assert (code, printed) == (2, "")
    assert said.startswith("error: ")


def test_costs_and_a_promise_are_not_asked_for_together(careful, inputs):
    costs = np.array([[0, 1, 1], [20, 0, 1], [1, 1, 0.0]])
    with pytest.raises(SettingsError, match="not be asked for together"):
        next(predict(Classifier.load(careful.folder), inputs, Demand(max_error=0.1, costs=costs)))


def test_a_wrong_ending_is_refused_before_anything_is_read(command, trained, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("linnaeus.targets.fastest.open_fastest", lambda *_, **__: pytest.fail("the model was opened"))
    code, _, said = command("predict", trained.folder, inputs[0], "--out", tmp_path / "answers.xlsx")
    assert code == 2
    assert ".parquet" in said


def test_the_model_folder_alone_is_enough(command, trained, inputs, tmp_path):
    shutil.copytree(trained.model_dir, tmp_path / "moved")
    assert command("predict", tmp_path / "moved", inputs[0])[1] == command("predict", trained.folder, inputs[0])[1]


def test_predicting_a_test_file_gives_the_probabilities_of_the_run(trained):
    columns, known = trained.split(), trained.predictions("test")
    path = {id: place.path for id, place in zip(columns["id"], columns["place"], strict=True)}
    rows = rows_of(Classifier.load(trained.folder), [path[id] for id in known.ids])
    got = np.array([[row[f"p:{name}"] for name in known.classes] for row in rows])
    assert np.allclose(got, known.probabilities, rtol=0, atol=1e-7)
    assert [row["predicted"] for row in rows] == [known.classes[k] for k in known.predicted]


def test_a_strange_picture_is_answered_unknown_and_that_can_be_turned_off(careful, tmp_path, inputs):
    Image.new("RGB", (20, 20), "white").save(tmp_path / "blank.png")
    careful, paths = Classifier.load(careful.folder), [str(tmp_path / "blank.png"), *inputs]
    asked, plain = (next(predict(careful, paths, Demand(unknown=one))) for one in (True, False))
    assert asked.columns()["answer"][0] == "unknown"
    assert plain.columns()["answer"][0] == plain.columns()["predicted"][0] != "unknown"
    assert asked.columns()["unknown"][0] is True
    assert asked.columns()["unknown_score"][2] is None


def test_a_promised_share_of_errors_is_kept_by_saying_unsure(careful, inputs, monkeypatch):
    careful = Classifier.load(careful.folder)
    monkeypatch.setattr(
        type(careful.judgement), "promise", lambda self, share: Promise(share, 0.95, 1.1, 9, 0, 9, "made")
    )
    columns = next(predict(careful, inputs, Demand(max_error=0.1))).columns()
    assert [one for one, fine in zip(columns["answer"], READABLE, strict=True) if fine] == ["unsure"] * 4
    assert columns["predicted"][0] in CLASSES
    assert columns["accepted"][0] is False


def test_a_promise_that_cannot_be_made_stops_before_the_first_answer(careful, inputs):
    with pytest.raises(CheckFailed, match="held pictures"):
        next(predict(Classifier.load(careful.folder), inputs, Demand(max_error=0.0001)))


def test_a_model_with_too_few_pictures_makes_no_promises(classifier, inputs):
    with pytest.raises(ModelError, match="cannot promise"):
        next(predict(classifier, inputs, Demand(max_error=0.1)))
    with pytest.raises(ModelError, match="--coverage"):
        next(predict(classifier, inputs, Demand(coverage=0.9)))
    assert "set" not in next(predict(classifier, inputs)).columns()


def test_the_set_of_classes_holds_the_predicted_one_and_grows_with_the_coverage(careful, inputs):
    careful = Classifier.load(careful.folder)
    low, high = (next(predict(careful, inputs, Demand(coverage=one))).columns() for one in (0.5, 0.99))
    for row in (0, 2, 6):
        assert set(filter(None, low["set"][row].split("|"))) <= set(high["set"][row].split("|"))
        assert high["predicted"][row] in high["set"][row].split("|")
    assert high["set"][1] == ""


def test_the_command_takes_shares_in_percent(command, careful, inputs):
    code, printed, _ = command(
        "predict", careful.folder, inputs[0], "--max-error", "20%", "--coverage", "0.8", "--no-unknown"
    )
    assert (code, printed.count("\t")) == (0, 2)
    code, _, said = command("predict", careful.folder, inputs[0], "--max-error", "often")
    assert code == 2
    assert "share between 0 and 1" in said


def test_costs_change_the_answer_and_not_the_prediction(command, careful, inputs, tmp_path, read_csv):
    """Whatever it is, calling it green costs nothing and anything else does."""
    (tmp_path / "costs.csv").write_text('true,predicted,cost\n*,green,0\n*,red,1\n*,"blau, kühl",1\n', encoding="utf-8")
    out = tmp_path / "answers.csv"
    code, _, said = command(
        "predict", careful.folder, *inputs, "--no-unknown", "--cost", tmp_path / "costs.csv", "--out", out
    )
    rows = [row for row in read_csv(out) if not row["error"]]
    assert code == 0, said
    assert {row["answer"] for row in rows} == {"green"}
    assert {row["predicted"] for row in rows} == set(CLASSES)
