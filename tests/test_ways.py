import json

import pytest

from linnaeus.config import load_recipe
from linnaeus.learn import ways
from linnaeus.learn.engine import Machine
from linnaeus.learn.ways import Choice, Way, choose, fit_to_machine, known, remembered
from linnaeus.records import Preprocessing

USUAL = Way("bf16", 2)
BOTH = {"precision", "pieces"}
MACHINE = Machine("cpu", "a processor", 2, 8.0, True)


def speeds(bf16, fp32, alone=0.0):
    """A processor that computes so many pictures per second."""
    return lambda way: alone if way.pieces == 1 else {"bf16": bf16, "fp32": fp32}[way.precision]


def test_a_processor_that_emulates_bf16_gets_fp32():
    assert choose(USUAL, BOTH, speeds(10, 100), 9).way == Way("fp32", 2)


def test_what_is_a_little_faster_changes_nothing():
    assert choose(USUAL, BOTH, speeds(100, 110, 115), 9).way == USUAL


def test_one_core_is_taken_where_it_is_faster_than_two():
    assert choose(USUAL, BOTH, speeds(47, 40, 528), 9).way == Way("bf16", 1)


def test_a_moment_of_noise_changes_nothing():
    measured = []

    def disturbed(way):
        measured.append(way)
        return 10.0 if len(measured) == 1 else 100.0

    assert choose(USUAL, BOTH, disturbed, 9).way == USUAL


def test_what_the_user_asked_for_stays():
    assert choose(USUAL, {"pieces"}, speeds(10, 100), 9).way == USUAL


def test_where_time_is_up_the_usual_way_is_taken_and_nothing_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path))
    found = remembered(MACHINE, "work", USUAL, ["precision"], lambda: choose(USUAL, BOTH, speeds(10, 100), -1))
    assert found.way == USUAL
    assert known() == []


def test_a_choice_is_remembered_for_this_work_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path))
    first = Choice(Way("fp32", 2), {"fp32, 2 pieces at once": 100.0}, work="work")
    assert remembered(MACHINE, "work", USUAL, ["precision"], lambda: first) == first
    assert remembered(MACHINE, "work", USUAL, ["precision"], lambda: pytest.fail("measured again")) == first
    assert known() == [first]
    other = Choice(USUAL, {})
    for machine, work in ((MACHINE, "other work"), (Machine("cpu", "another", 2, 8.0, True), "work")):
        assert remembered(machine, work, USUAL, ["precision"], lambda: other).way == USUAL


def test_a_damaged_memory_is_measured_again(tmp_path, monkeypatch):
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path))
    remembered(MACHINE, "work", USUAL, ["precision"], lambda: Choice(USUAL, {}, work="work"))
    (path,) = ways.folder().glob("*.json")
    path.write_text(json.dumps({"work": 3}))
    assert known() == []
    assert remembered(MACHINE, "work", USUAL, ["precision"], lambda: Choice(Way("fp32", 1), {})).way == Way("fp32", 1)


def planned(**train):
    values = {"model.name": "small-32", "model.weights": "none", "train.batch_size": 64, "train.epochs": 10.0}
    asked = load_recipe(None, {**values, **{f"train.{name}": value for name, value in train.items()}})
    settled = {"precision": "bf16", "pieces": 2} | {k: v for k, v in train.items() if k in ("precision", "pieces")}
    return asked.model_copy(update={"train": asked.train.model_copy(update=settled)}), asked


@pytest.mark.parametrize("epochs", [0.0, 10.0])
def test_a_long_training_is_measured_and_the_reason_has_the_numbers(tmp_path, monkeypatch, epochs):
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path))
    used, asked = planned(epochs=epochs)
    found = {one.setting: one for one in fit_to_machine(used, asked, 10**6, 10, Preprocessing(16))}
    assert set(found) == ({"train.precision", "train.pieces"} if epochs else {"train.precision"})
    assert "bf16, 2 pieces at once: " in found["train.precision"].reason


def test_a_short_training_is_not_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(ways, "choose", lambda *rest: pytest.fail("measured"))
    used, asked = planned()
    assert list(fit_to_machine(used, asked, 100, 10, Preprocessing(16))) == []


def test_where_nothing_is_open_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(ways, "choose", lambda *rest: pytest.fail("measured"))
    used, asked = planned(precision="fp32", pieces=1)
    assert list(fit_to_machine(used, asked, 10**6, 10, Preprocessing(16))) == []
