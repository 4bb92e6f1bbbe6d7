import json
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from linnaeus import story
from linnaeus.classifier import Classifier
from linnaeus.config import validate
from linnaeus.errors import CheckFailed, Interrupted, LinnaeusError, ModelError, SettingsError, UnfitError
from linnaeus.learn.fit import Fit
from linnaeus.metrics.abstention import Judgement
from linnaeus.metrics.calibration import Calibration
from linnaeus.nn.sparse import zero_share
from linnaeus.records import Dataset, Predictions, Split
from linnaeus.run import Run
from linnaeus.story import compressed, slimmed
from linnaeus.story.shown import shown_of_run
from linnaeus.talk import Talk
from linnaeus.targets import Exported, named
from linnaeus.targets.proof import Shown
from linnaeus.verbs.compress import Demand, Variant, compress, files, tell
from linnaeus.verbs.compress.choose import choose, front
from linnaeus.verbs.compress.files import calibrated_again


def row(name, faster, smaller=1.0, verdict="passed"):
    return {"name": name, "faster": faster, "smaller": smaller, "verdict": verdict, "why": f"{name} {verdict}"}


def test_the_front_holds_what_nothing_else_beats_in_both():
    points = [(10.0, 0.93), (5.0, 0.92), (6.0, 0.91), (4.0, 0.80), (12.0, 0.93)]
    assert front(points) == {0, 1, 3}


def test_of_those_that_meet_the_target_the_best_on_validation_is_asked_first():
    rows = [row("original", 1.0), row("a", 2.5), row("b", 3.0), row("c", 1.5)]
    found = choose(rows, [0.93, 0.93, 0.92, 0.99], 0, 2.0, None, 0.02)
    assert rows[found.chosen]["name"] == "a"


def test_one_that_does_not_pass_makes_way_for_the_next_at_the_level_that_all_share():
    rows = [row("original", 1.0), row("a", 2.5, verdict="not shown"), row("b", 3.0)]
    found = choose(rows, [0.93, 0.93, 0.92], 0, 2.0, None, 0.02)
    assert rows[found.chosen]["name"] == "b"
    assert "after 1 that did not pass" in found.why


def test_what_loses_too_much_on_validation_is_not_even_asked():
    rows = [row("original", 1.0), row("a", 9.0)]
    found = choose(rows, [0.93, 0.80], 0, None, None, 0.02)
    assert found.chosen is None
    assert "lose more than 2 points on validation" in found.why


def test_a_target_that_nothing_meets_names_the_fastest():
    found = choose([row("original", 1.0), row("a", 1.7)], [0.9, 0.9], 0, 3.0, 2.0, 0.02)
    assert found.chosen is None
    assert "3 times as fast and 2 times as small" in found.why
    assert "a, is 1.7 times as fast" in found.why


def test_without_a_target_the_fastest_that_passes_is_taken():
    rows = [row("original", 1.0), row("a", 2.5), row("b", 3.0), row("c", 4.0, verdict="worse")]
    found = choose(rows, [0.93, 0.95, 0.92, 0.93], 0, None, None, 0.02)
    assert rows[found.chosen]["name"] == "b"


def shown(N=240, groups=()):
    """Pictures of three classes without their pixels, two thirds of them of the first class."""
    labels = np.array([0, 0, 0, 0, 1, 2] * (N // 6))
    return Shown(tuple(map(str, range(N))), labels, np.zeros(N, dtype=bool), np.zeros((N, 1, 1, 3), np.uint8), groups)


def leaning(labels):
    """Probabilities of a network that makes up for rare classes: its answers lean towards the second class."""
    logits = np.random.default_rng(0).normal(size=(len(labels), 3))
    logits[np.arange(len(labels)), labels] += 2
    powers = np.exp(logits + np.array([-1.5, 1.5, 0]))
    return powers / powers.sum(1, keepdims=True)


def again(val, promising=True, among=7, **settings):
    """Calibrate a file again."""
    judgement = Judgement.make(Predictions(np.eye(3), np.arange(3), ("a", "b", "c"), ("x", "y", "z")))
    classifier = Classifier(torch.nn.Identity(), "made", ("x", "y", "z"), None)
    classifier = replace(classifier, judgement=judgement if promising else None)
    return calibrated_again(classifier, leaning(val.labels), val, Demand((), **settings), among)


def test_a_file_learns_no_frequencies_back_where_training_made_up_for_rare_classes():
    # Vector scaling would be fitted on logarithms of probabilities, and the file scales its logits.
    assert again(shown()).calibration.kind == "isotonic"
    assert again(shown(), keep_answers=True).calibration.kind in ("none", "temperature")


def test_a_file_of_a_run_without_calibration_is_not_calibrated_and_all_pictures_are_held():
    made = again(shown(), calibrate=False)
    assert made.calibration == Calibration()
    assert len(made.judgement.held) == 240


def test_a_file_of_a_network_that_promises_nothing_is_calibrated_on_all_pictures(monkeypatch):
    seen = []
    monkeypatch.setattr(files, "fit_calibration", lambda logs, labels, **_: seen.append(len(logs)) or Calibration())
    assert again(shown(), promising=False).judgement is None
    assert seen == [240]


def test_no_group_stands_among_the_pictures_that_calibrate_and_those_that_are_held(monkeypatch):
    val = shown(groups=tuple(f"patient {row // 12}" for row in range(240)))
    logs, used = np.log(leaning(val.labels)), []
    monkeypatch.setattr(files, "fit_calibration", lambda some, labels, **_: used.append(some) or Calibration())
    again(val)
    rows = np.flatnonzero((logs[:, None] == used[0][None]).all(2).any(1))
    patients = [val.groups[row] for row in rows]
    assert 0 < len(rows) < 240
    assert all(patients.count(one) == 12 for one in patients)


def test_the_promises_of_a_file_count_all_that_validation_pictures_chose_among():
    assert again(shown(), among=7).judgement.candidates == 7


@pytest.fixture(scope="module")
def run(careful_copy):
    return careful_copy


@pytest.fixture
def fresh_run(careful, tmp_path):
    return Run(shutil.copytree(careful.folder, tmp_path / "run"))


def stopped(*_):
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def found(run):
    """The document of a compression by 8 bits, by pruning and by both."""
    means = story.Means(("int8", "prune"), keep=0.6)
    return story.squeeze(run.folder, Demand(named("onnx"), max_drop=0.2), means)


def test_every_means_is_tried_alone_and_together(run, found):
    names = [found["original"]["name"], *(one["name"] for one in found["candidates"])]
    assert names == ["original, float32, ONNX", "original, int8, ONNX", "pruned, float32, ONNX", "pruned, int8, ONNX"]
    assert run.result("compress")["chosen"] == found["chosen"]
    assert found["pictures"] == run.split()["split"].count("test")


def test_the_candidates_share_the_level_of_the_gate(found):
    assert found["confidence_level"] == pytest.approx(1 - 0.1 / 3)
    for one in found["candidates"]:
        assert "96.7 % interval" in one["why"] or "cannot show" in one["why"]
    assert "differences have 96.7 % intervals: 3 candidates share the gate's 5 %." in tell(found)


def test_a_pruned_network_computes_less_and_is_a_model_of_its_own(run, found):
    pruned = next(one for one in found["candidates"] if one["name"] == "pruned, float32, ONNX")
    assert pruned["multiply_adds"] <= 0.6 * found["original"]["multiply_adds"]
    classifier = Classifier.load(run.folder / "compressed/pruned/model")
    assert classifier.pruned
    assert classifier.classes == Classifier.load(run.folder).classes
    assert not (run.folder / "slimming").exists() or not list((run.folder / "slimming").iterdir())


def test_every_candidate_is_calibrated_again_and_can_be_used_alone(run, found, photos):
    picture = next(photos.rglob("*.png")).read_bytes()
    for one in found["candidates"]:
        file = Exported.load(one["path"])
        assert file.judge(file.read(picture)[None]).probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert file.judgement is not None
        beside = json.loads(Path(one["path"]).with_name("compress.json").read_text())
        assert beside["verdict"] == one["verdict"]


def test_every_file_counts_every_network_and_every_file_as_a_candidate(run, found):
    networks = (Classifier.load(run.folder), Classifier.load(run.folder / "compressed/pruned/model"))
    original, pruned = (one.judgement.candidates for one in networks)
    assert original == run.networks_judged()
    assert pruned > original
    for one in (found["original"], *found["candidates"]):
        # Each network has two files.
        assert Exported.load(one["path"]).judgement.candidates == 2 * (original + pruned)


def test_a_smaller_network_counts_the_originals_the_ways_and_its_epochs(run, tmp_path):
    judgement = replace(Classifier.load(run.folder).judgement, candidates=3)
    work = Run.create(tmp_path / "work", "made", run.recipe(), {})
    for step in (1, 2, 3, 4, 5):
        work.log({"event": "epoch", "step": step, "val_loss": 0.1})
    found = SimpleNamespace(tried={"channels by taylor": 0.2, "channels by error": 0.3})
    assert slimmed._chosen_among(SimpleNamespace(judgement=judgement), found, work) == 3 * 2 * 5


@pytest.mark.parametrize(("settings", "kept"), [({"balance": "weights"}, True), ({"balance": "none"}, False)])
def test_a_smaller_network_is_calibrated_as_the_run_was(monkeypatch, settings, kept):
    asked = {}
    monkeypatch.setattr(slimmed, "seen_of", lambda *_: None)
    monkeypatch.setattr(
        slimmed, "calibrate", lambda *_, **given: asked.update(given) or SimpleNamespace(classifier="calibrated")
    )
    recipe = validate({"train": settings | {"calibrate": False}})
    looked = SimpleNamespace(dataset=Dataset("made", "made", (), ("x",)), scan=None)
    parts = np.array([], dtype=str)
    pictures = SimpleNamespace(looked=looked, split=Split(parts, parts))
    slimmed._calibrated(SimpleNamespace(classes=("x",)), pictures, recipe, 12, Talk())
    assert (asked["keep_answers"], asked["fit"], asked["candidates"]) == (kept, False, 12)


def test_the_groups_of_the_run_come_with_its_pictures(run, monkeypatch):
    stored, classifier = run.split(), Classifier.load(run.folder)
    names = [f"patient {row}" for row in range(len(stored["id"]))]
    monkeypatch.setattr(Run, "split", lambda _: stored | {"group": names})
    val = shown_of_run(run, classifier.classes, classifier.preprocessing, 10**6, parts=("val",))
    expected = dict(zip(stored["id"], names, strict=True))
    assert val.groups == tuple(expected[one] for one in val.ids)
    looked = slimmed._look(run, classifier.classes, classifier.preprocessing, talk=Talk()).looked
    assert {one.id: one.group for one in looked.dataset.examples} == expected


def test_files_are_calibrated_as_the_run_says(run, monkeypatch):
    plan, asked = run.plan(), []
    plan["used"]["train"] |= {"balance": "weights", "calibrate": False}
    plan["used"]["seed"] = 5
    monkeypatch.setattr(Run, "plan", lambda _: plan)
    monkeypatch.setattr(compressed, "report", lambda _: None)
    monkeypatch.setattr(compressed, "compress", lambda *given: asked.append(given[3]) or {"candidates": []})
    monkeypatch.setattr(Run, "write_result", lambda *_: None)
    story.squeeze(run.folder, Demand(named("onnx")), story.Means(("int8",)))
    assert (asked[0].calibrate, asked[0].keep_answers, asked[0].seed) == (False, True, 5)


@pytest.mark.parametrize(
    ("outputs", "means", "words"),
    [
        (("probability",), story.Means(("int8",)), "outputs should be probabilities"),
        (("probabilities",), story.Means(("int8",), student="resnet18"), "what is distilled into"),
        (("probabilities",), story.Means(("prune", "distil"), student="resnet-18-x"), "does not exist"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(run, monkeypatch, outputs, means, words):
    monkeypatch.setattr(compressed, "slimmed", lambda *_: pytest.fail("trained"))
    with pytest.raises(LinnaeusError, match=words):
        story.squeeze(run.folder, Demand(named("onnx"), outputs=outputs), means)


STUDENT = """
from torch import nn

def student(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear({numbers}, num_classes))
"""


def test_a_student_of_own_code_is_looked_at_with_the_pictures_of_the_run(run, tmp_path, monkeypatch):
    about, reached = Classifier.load(run.folder).preprocessing, []
    numbers = about.channels * about.size_px**2
    (tmp_path / "net.py").write_text(STUDENT.format(numbers=numbers))
    monkeypatch.setattr(compressed, "slimmed", lambda *_: reached.append(True) or [])
    monkeypatch.setattr(compressed, "compress", lambda *_: {"candidates": []})
    monkeypatch.setattr(compressed, "report", lambda _: None)
    monkeypatch.setattr(Run, "write_result", lambda *_: None)
    story.squeeze(run.folder, Demand(named("onnx")), story.Means(("distil",), student=f"{tmp_path}/net.py:student"))
    assert reached


def test_eight_bits_make_the_file_smaller(found):
    by_name = {one["name"]: one for one in found["candidates"]}
    assert by_name["original, int8, ONNX"]["smaller"] > 1.5
    assert by_name["original, int8, ONNX"]["steps"][0].startswith("8-bit integers")


def test_the_front_is_drawn_in_a_file_of_its_own(run, found):
    drawing = ElementTree.parse(found["plot"]).getroot()
    assert found["plot"] == str(run.folder / "compressed/front.svg")
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    marks = [one for one in drawing.iter() if "spot" in one.get("class", "").split()]
    assert len(marks) == 1 + len(found["candidates"])


def test_all_training_comes_before_the_first_file(run, monkeypatch, tmp_path):
    order = []

    def made(name):
        order.append(f"train {name}")
        return Classifier.load(run.folder)

    def written(variant, *_):
        order.append(f"write {variant.name}")
        return []

    monkeypatch.setattr("linnaeus.verbs.compress.write_files", written)
    variants = [Variant(name, (name,), partial(made, name)) for name in ("a", "b")]
    with pytest.raises(ModelError):
        compress(variants, lambda how: None, tmp_path, Demand(named("onnx")), Talk())
    assert order == ["train a", "train b", "write a", "write b"]


def test_a_folder_of_other_things_is_refused_before_anything_is_trained(run, tree_hash):
    before = tree_hash(run.folder)
    variants = [Variant("a", ("a",), partial(pytest.fail, "it was trained"))]
    with pytest.raises(SettingsError, match="that compress has made"):
        compress(variants, lambda how: None, run.folder, Demand(named("onnx")), Talk())
    assert tree_hash(run.folder) == before


def test_a_compression_that_is_stopped_leaves_the_earlier_one(run, found, tree_hash):
    place = run.folder / "compressed"
    before = tree_hash(place)
    with pytest.raises(KeyboardInterrupt):
        compress([Variant("a", ("a",), stopped)], lambda how: None, place, Demand(named("onnx")), Talk())
    assert tree_hash(place) == before
    assert not list(run.folder.glob("compressed.*"))


def test_the_files_lie_where_they_are_told_to_and_the_folder_names_what_it_holds(run, found):
    place = run.folder / "compressed"
    for one in (found["original"], *found["candidates"]):
        assert Path(one["path"]).is_file()
        assert Path(one["path"]).is_relative_to(place)
    assert json.loads((place / "compressed.json").read_text())["holds"] == ["original", "pruned"]


@pytest.fixture
def steps(monkeypatch):
    """Count the steps of trainings; steps(7) makes the seventh from now the one at which the user stops."""
    taken, note, left = [], Fit._note, [-1]

    def noted(self, step):
        note(self, step)
        taken.append(step.number)
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Fit, "_note", noted)

    def stop_at(count):
        left[0] = count

    stop_at.taken = taken
    return stop_at


def test_what_was_stopped_says_the_command_that_goes_on_and_loses_nothing(fresh_run, steps, command):
    words = ("compress", fresh_run.folder, "--by", "sparse", "--keep", "60%", "--on", "onnx")
    steps(3)
    code, _, said = command(*words)
    assert code == 130
    assert f"go on with: {shlex.join(['linnaeus', *map(str, words)])}" in said
    steps(-1)
    # All is trained when the first file is written, where it is stopped again.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("linnaeus.verbs.compress.write_files", stopped)
        assert command(*words)[0] == 130
    once = len(steps.taken)
    assert once > 3
    assert command(*words)[0] in (0, 3)
    assert steps.taken == list(range(once))
    assert list((fresh_run.folder / "slimming").iterdir()) == []


def test_another_share_does_not_go_on_from_what_was_stopped(fresh_run, steps):
    classifier = Classifier.load(fresh_run.folder)

    def make(keep):
        (variant,) = slimmed.slimmed(fresh_run, classifier, story.Means(("sparse",), keep=keep), Talk())
        return variant.make()

    steps(3)
    with pytest.raises(Interrupted):
        make(0.5)
    steps(-1)
    steps.taken.clear()
    made = make(0.2)
    straight = len(steps.taken)
    assert zero_share(made.network) > 0.75
    steps.taken.clear()
    make(0.5)
    assert len(steps.taken) == straight - 3


def test_a_network_that_compress_is_making_cannot_be_resumed_by_train(fresh_run, steps, command):
    steps(3)
    assert command("compress", fresh_run.folder, "--by", "prune", "--on", "onnx")[0] == 130
    (work,) = (fresh_run.folder / "slimming").iterdir()
    code, _, said = command("train", "--resume", work)
    assert code == 2
    assert "a network that compress is making" in said
    assert f"linnaeus compress {fresh_run.folder}" in said


@pytest.mark.runtimes
@pytest.mark.slow
def test_a_network_is_pruned_and_written_for_litert_in_one_process(run):
    pytest.importorskip("tensorflow")
    words = ["compress", run.folder, "--by", "prune,int8", "--keep", "60%", "--on", "litert", "--max-drop", "40%"]
    code = "from linnaeus.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3), done.stderr
    assert "pruned, int8, LiteRT" in done.stdout


def test_the_command_prints_the_front_and_fails_where_nothing_meets_the_target(run, found, command):
    words = ("compress", run.folder, "--by", "weights", "--on", "onnx", "--target", "latency=500x")
    code, printed, said = command(*words)
    assert code == 3
    assert "no candidate is 500 times as fast" in said
    assert "original, float32, ONNX" in printed


def test_a_means_that_the_network_offers_no_hold_to_is_left_out_and_told(run, tmp_path):
    """Pictures of 16 px cannot be made smaller, and no block of the network can go."""
    demand = Demand(named("onnx"), max_drop=0.2)
    found = story.squeeze(run.folder, demand, story.Means(("int8", "distil")), out=tmp_path / "out")
    assert [one["name"] for one in found["candidates"]] == ["original, int8, ONNX"]
    assert [note.split(" should")[0] for note in found["notes"]] == ["distilled was left out: 50% of the arithmetic"]
    assert found["notes"][0] in tell(found)
    assert "distilled was left out" in (run.folder / "report.md").read_text(encoding="utf-8")


def test_where_no_other_means_was_wanted_it_is_an_error(run, tmp_path):
    demand = Demand(named("onnx"), precisions=())
    with pytest.raises(UnfitError, match="50% of the arithmetic"):
        story.squeeze(run.folder, demand, story.Means(("distil",)), out=tmp_path / "out")


def test_unknown_means_and_targets_are_refused(run, command):
    with pytest.raises(SettingsError, match="a method should be one of"):
        story.squeeze(run.folder, Demand(named("onnx")), story.Means(("magic",)))
    assert command("compress", run.folder, "--target", "beauty=2x")[0] == 2
    assert command("compress", run.folder, "--target", "latency=0.5x", "--on", "onnx")[0] == 2


def test_a_compression_that_chose_nothing_ends_with_code_3():
    with pytest.raises(CheckFailed) as failure:
        story.refuse_failure({"chosen": None, "why": "nothing"})
    assert failure.value.exit_code == 3
