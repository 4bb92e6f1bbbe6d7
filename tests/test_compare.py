import json
import re
import shutil

import numpy as np
import pytest

from linnaeus.errors import RunError
from linnaeus.records import Predictions
from linnaeus.run import Run
from linnaeus.verbs.compare import compare, tell, write_page
from linnaeus.verbs.compare.latency import FEWEST_ROUNDS, time_in_turns
from linnaeus.verbs.compare.words import points, smallest


def change(run, change, part="test"):
    """Rewrite a run's predictions: change(predictions) -> predictions."""
    run.write_predictions(part, change(run.predictions(part)))


def rewrite(path, **values):
    """Set entries of a JSON file; "used" is merged one level deep."""
    document = json.loads(path.read_text())
    for name, value in values.items():
        document[name] = {**document[name], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(document))


def all_wrong(one):
    predicted = (one.labels + 1) % len(one.classes)
    return Predictions(np.eye(len(one.classes))[predicted] * 0.7 + 0.1, one.labels, one.ids, one.classes)


def all_right(one):
    return Predictions(np.eye(len(one.classes))[one.labels] * 0.7 + 0.1, one.labels, one.ids, one.classes)


@pytest.fixture
def copy(trained, tmp_path):
    """Copy the finished run: copy("a") gives a Run in a folder of that name."""

    def make(name):
        shutil.copytree(trained.folder, tmp_path / name)
        return Run.open(tmp_path / name)

    return make


@pytest.fixture
def worse(copy):
    """Two runs, one right everywhere and one wrong everywhere."""
    good, bad = copy("good"), copy("bad")
    change(good, all_right)
    change(bad, all_wrong)
    return [good, bad]


def test_a_run_against_its_copy_differs_by_nothing(copy):
    found = compare([copy("a"), copy("b")], measure=False)
    assert found.pairs[0].differences["accuracy"].value == 0
    assert found.settings == {}
    assert "a and b cannot be told apart" in tell(found)


def test_the_worse_run_is_named_with_interval_and_p(worse):
    found = compare(worse, measure=False)
    n = found.pictures
    assert found.pairs[0].differences["accuracy"].value == -1
    assert len(found.pairs[0].only_first) == n
    assert f"good is better than bad, beyond chance, on {n} test pictures." in tell(found)
    assert re.search(r"bad is 100.0 points worse than good \(95 % interval −100.0 to −\d", tell(found))


def test_pictures_that_one_run_lacks_are_left_out_counted_and_named(worse):
    gone = worse[1].predictions("test").ids[0]
    change(worse[1], lambda one: Predictions(one.probabilities[1:], one.labels[1:], one.ids[1:], one.classes))
    found = compare(worse, measure=False)
    assert found.runs[1].missing == (gone,)
    assert found.pictures == len(worse[0].predictions("test")) - 1
    assert f"note: 1 picture of the others is not in bad: {gone}." in tell(found)


def test_other_bytes_under_the_same_name_are_not_the_same_picture(worse):
    split = worse[1].folder / "split.csv"
    id = worse[0].predictions("test").ids[2]
    lines = split.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(f'"{id}"'))
    lines[at] = re.sub(r"[0-9a-f]{64}", "0" * 64, lines[at])
    split.write_text("\n".join(lines) + "\n")
    found = compare(worse, measure=False)
    assert found.changed == (id,)
    assert id not in found.matched.predictions[0].ids
    assert "other bytes under the same name" in tell(found)


def test_classes_are_matched_by_name(worse):
    order = [2, 0, 1]

    def turned(one):
        labels = np.argsort(order)[one.labels]
        return Predictions(one.probabilities[:, order], labels, one.ids, tuple(one.classes[k] for k in order))

    before = compare(worse, measure=False)
    change(worse[1], turned)
    assert compare(worse, measure=False).document() == before.document()


def test_a_run_without_a_split_can_be_compared(worse):
    for run in worse:
        (run.folder / "split.csv").unlink()
    found = compare(worse, measure=False)
    assert found.places == {}
    assert len(found.pairs[0].only_first) == found.pictures


def test_sizes_and_times_are_those_of_the_runs(worse):
    one = compare(worse, measure=False).runs[0]
    assert one.model_bytes == (worse[0].folder / "model/model.safetensors").stat().st_size
    assert one.parameters == worse[0].summary()["parameters"]
    assert one.training_s == worse[0].summary()["stages"]["train"]
    assert one.latency is None


def test_latency_is_measured_where_asked_for(worse):
    found = compare(worse)
    assert all(0 < one.latency.median_ms <= one.latency.p95_ms for one in found.runs)


def test_a_model_that_is_gone_has_no_latency_and_a_note(worse):
    shutil.rmtree(worse[1].folder / "model")
    found = compare(worse)
    assert found.runs[0].latency is not None
    assert (found.runs[1].latency, found.runs[1].model_bytes) == (None, None)
    assert any(note.startswith("The latency of bad was not measured:") for note in found.notes)


def test_tasks_are_timed_in_turns_and_each_begins_as_often():
    calls = []
    found = time_in_turns([lambda: calls.append("a"), lambda: calls.append("b")], rounds=4)
    assert "".join(calls[-8:]) == "abbaabba"
    assert [one.rounds for one in found] == [4, 4]
    assert FEWEST_ROUNDS > 1


def test_settings_that_differ_are_listed_with_the_value_of_each(worse):
    plan = json.loads((worse[1].folder / "plan.json").read_text())
    rewrite(worse[1].folder / "plan.json", used={"optim": plan["used"]["optim"] | {"lr": 0.5}})
    found = compare(worse, measure=False)
    assert found.settings == {"optim.lr": (plan["used"]["optim"]["lr"], 0.5)}
    assert "optim.lr: " in tell(found)


def test_runs_that_differ_only_by_seed_are_summed_up(copy):
    runs = [copy(name) for name in "abcd"]
    for seed, run in enumerate(runs[:3]):
        rewrite(run.folder / "plan.json", used={"seed": seed})
    rewrite(runs[3].folder / "plan.json", used={"seed": 9, "train": {"epochs": 99}})
    change(runs[0], all_right)
    (group,) = compare(runs, measure=False).seeds
    assert group.names == ("a", "b", "c")
    values = [compare(runs, measure=False).runs[k].scores["accuracy"].value for k in range(3)]
    assert group.measures["accuracy"].mean.value == pytest.approx(np.mean(values))
    assert group.measures["accuracy"].sd == pytest.approx(np.std(values, ddof=1))


def test_the_same_seed_twice_is_no_spread_over_seeds(copy):
    assert compare([copy("a"), copy("b")], measure=False).seeds == ()


def test_other_training_data_are_noted_and_break_the_group_of_seeds(copy):
    runs = [copy("a"), copy("b")]
    rewrite(runs[1].folder / "plan.json", used={"seed": 7})
    rewrite(runs[1].folder / "provenance.json", data={"fingerprint": "another"})
    found = compare(runs, measure=False)
    assert found.seeds == ()
    assert any("did not learn from the same data" in note for note in found.notes)


def test_many_pairs_are_corrected_and_said_to_be(copy):
    runs = [copy(name) for name in "abc"]
    change(runs[2], all_wrong)
    found = compare(runs, measure=False)
    assert len(found.pairs) == 3
    assert "among 3 pairs" in tell(found)
    assert found.pairs[1].p_adjusted >= found.pairs[1].p


def test_runs_in_folders_of_one_name_are_told_apart(trained, tmp_path):
    for name in ("x", "y"):
        shutil.copytree(trained.folder, tmp_path / name / "run")
    found = compare([Run.open(tmp_path / name / "run") for name in "xy"], measure=False)
    assert [one.name for one in found.runs] == ["x/run", "y/run"]


def test_another_part_can_be_compared(copy):
    found = compare([copy("a"), copy("b")], "val", measure=False)
    assert found.part == "val"
    assert "validation pictures" in tell(found)


def test_one_run_is_not_enough(copy):
    with pytest.raises(RunError, match="two runs or more"):
        compare([copy("a")])


def test_the_same_run_twice_is_refused(copy):
    run = copy("a")
    with pytest.raises(RunError, match="different runs"):
        compare([run, Run(run.folder / ".." / "a")])


def test_a_run_without_predictions_is_told_which_it_has(worse):
    (worse[1].folder / "predictions/test.csv").unlink()
    with pytest.raises(RunError, match="predictions for its test pictures") as error:
        compare(worse)
    assert error.value.got == "only val"


def test_the_document_is_json_and_names_the_runs_of_each_pair(worse):
    back = json.loads(json.dumps(compare(worse).document(), allow_nan=False))
    assert (back["pairs"][0]["first"], back["pairs"][0]["second"]) == ("good", "bad")
    assert back["pairs"][0]["shown"] is True
    assert set(back["runs"][0]["scores"]) == {"accuracy", "balanced_accuracy", "macro_f1", "log_loss", "brier"}
    assert "places" not in back and "matched" not in back


def test_the_page_stands_alone(worse, tmp_path):
    page = write_page(compare(worse, measure=False), tmp_path / "out/compare.html").read_text(encoding="utf-8")
    assert not re.findall(r"<script|https?://|src=\"(?!data:)|@import|url\(", page)
    assert "prefers-color-scheme: dark" in page
    assert page.count("<img") == page.count("alt=") > 0


def test_the_page_shows_the_disagreements_with_both_answers(worse, tmp_path):
    found = compare(worse, measure=False)
    page = write_page(found, tmp_path / "compare.html").read_text(encoding="utf-8")
    shown = min(12, found.pictures)
    assert page.count("<figure>") == shown
    assert page.count("✓") == page.count("✗") == shown


def test_a_picture_that_is_gone_is_said_to_be(worse, tmp_path):
    found = compare(worse, measure=False)
    for place in found.places.values():
        object.__setattr__(place, "path", "nowhere/x.png")
    page = write_page(found, tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "This picture cannot be shown: missing" in page


def test_names_with_markup_do_no_harm_on_the_page(trained, tmp_path):
    for name in ("a<b>", "c&d"):
        shutil.copytree(trained.folder, tmp_path / name)
    found = compare([Run.open(tmp_path / name) for name in ("a<b>", "c&d")], measure=False)
    page = write_page(found, tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "a&lt;b&gt;" in page
    assert "a<b>" not in page


def test_hundreds_of_classes_are_cut_to_those_that_differ_most(copy, tmp_path):
    runs, draw = [copy("a"), copy("b")], np.random.default_rng(0)
    names = tuple(f"class {k}" for k in range(200))
    labels = np.arange(400) % 200
    for run in runs:
        p = draw.dirichlet(np.full(200, 0.1), 400)
        run.write_predictions("test", Predictions(p, labels, tuple(map(str, range(400))), names))
    page = write_page(compare(runs, measure=False), tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "188 more classes are in the JSON." in page


def test_a_run_that_was_only_predicted_with_can_be_compared(worse):
    for name in ("summary.json", "plan.json", "provenance.json", "split.csv"):
        (worse[1].folder / name).unlink()
    found = compare(worse, measure=False)
    assert (found.runs[1].network, found.runs[1].seed, found.runs[1].training_s) == ("", None, None)
    assert "bad" in tell(found)


@pytest.mark.parametrize(("value", "words"), [(0.0, "0.0"), (0.0123, "+1.2"), (-0.5, "−50.0"), (-0.0001, "0.0")])
def test_points_have_a_sign_unless_they_are_nothing(value, words):
    assert points(value) == words


def test_too_few_pictures_are_said_to_show_nothing(worse):
    for run in worse:
        change(run, lambda one: Predictions(one.probabilities[:3], one.labels[:3], one.ids[:3], one.classes))
    found = compare(worse, measure=False)
    assert smallest(found.pairs[0]) == "So few pictures cannot show any difference."
    assert "cannot be told apart" in tell(found)
