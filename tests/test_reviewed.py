"""The whole way: an audit finds what is wrong, a person mends it in the browser, training follows and is better."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from conftest import HUES, QUICK, write_photos
from linnaeus import story
from linnaeus.config import load_recipe
from linnaeus.data.corrections import default_path, read
from linnaeus.data.diary import Correction, Diary
from linnaeus.records import Finding
from linnaeus.run import Run
from linnaeus.story import reviewed
from linnaeus.tables import write_table

REVIEW = """
import signal, sys
# A process that was started in the background of a shell has Ctrl-C turned off.
signal.signal(signal.SIGINT, signal.default_int_handler)
from linnaeus.cli import main
main()
"""


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    """A table of pictures, a quarter of whose labels are wrong; and what they really are."""
    folder = write_photos(tmp_path_factory.mktemp("dirty") / "photos", each=60)
    names = list(HUES)
    paths = [path for name in names for path in sorted((folder / name).glob("*.png"))]
    truth = np.repeat(np.arange(3), 60)
    rng = np.random.default_rng(0)
    wrong = rng.choice(len(truth), 45, replace=False)
    given = truth.copy()
    given[wrong] = (truth[wrong] + 1) % 3
    table = folder.parent / "dirty.csv"
    write_table(table, {"path": [str(path) for path in paths], "label": [names[k] for k in given]})
    return table, {str(path): names[k] for path, k in zip(paths, truth, strict=True)}


@pytest.fixture
def reviewing(dirty):
    """`linnaeus review` in a process of its own; its address."""
    command = [sys.executable, "-c", REVIEW, "review", str(dirty[0]), "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = ""
    while not (found := re.search(r"http://127\.0\.0\.1:\S+", said)):
        line = server.stderr.readline()
        assert line, said
        said += line
    yield server, found[0]
    if server.poll() is None:
        server.kill()
    server.communicate()


def test_from_finding_to_a_retrained_model_that_is_better(browser, reviewing, dirty, tmp_path):
    table, truth = dirty
    server, address = reviewing
    page = browser()
    page.goto(address)
    page.wait_for_selector(".card[data-n]")
    page.locator("#kinds label").filter(has_text="likely wrong label").click()
    page.wait_for_function("() => /^0 of \\d+ decided$/.test(document.getElementById('progress').textContent)")
    count = int(page.inner_text("#progress").split()[2])
    # Every suggestion is followed: of three classes that look unlike each other it is the right one.
    for _ in range(count):
        page.keyboard.press("s")
    words = f"{count} of {count} decided"
    page.wait_for_function("words => document.getElementById('progress').textContent === words", arg=words)
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=60)
    decided = read(default_path(table)).standing
    assert len(decided) >= 30
    assert np.mean([truth[str(one.id)] == one.new_label for one in decided if str(one.id) in truth]) > 0.8

    clean = write_photos(tmp_path / "clean", each=40, first=900)
    losses = {}
    for name, corrections in (("dirty", "none"), ("mended", None)):
        run = story.tell(str(table), load_recipe(None, QUICK), out=tmp_path / name, corrections=corrections)
        losses[name] = story.examine(run.folder, str(clean)).scores.overall["log_loss"]
    assert losses["mended"].high < losses["dirty"].low


def test_an_audit_names_wrong_labels_in_its_table_and_can_fail(command, dirty, tmp_path, read_csv):
    table, truth = dirty
    code, printed, said = command(
        "audit", table, "--corrections", "none", "--out", tmp_path, "--fail-on", "likely wrong label"
    )
    assert code == 3
    assert "likely wrong label" in said
    assert "likely wrong label" in printed
    rows = read_csv(tmp_path / "audit.csv")
    named = [row for row in rows if row["suggested"]]
    assert len(rows) == len(truth)
    assert len(named) >= 30
    assert (tmp_path / "audit.html").stat().st_size > 10_000


def test_fail_on_what_is_not_there_passes(command, photos):
    assert command("audit", photos, "--fail-on", "leak,conflict")[0] == 0


def test_fail_on_a_word_that_is_no_finding_is_refused_with_the_right_one(command, photos):
    code, _, said = command("audit", photos, "--fail-on", "conflict,leaks")
    assert code == 2
    assert "leaks" in said
    assert "fix: leak" in said


def confirmed(table, truth, dataset, hashes):
    """Write into a table that a person has kept the label of every picture that was labelled wrongly."""
    wrong = [row for row, one in enumerate(dataset.examples) if one.label != truth[one.place.path]]
    Diary(table).append(
        [
            Correction(dataset.examples[row].id, hashes[row], "keep", dataset.examples[row].label, "", f"{row}", "me")
            for row in wrong
        ]
    )
    return {dataset.examples[row].id for row in wrong}


def test_what_a_person_has_kept_is_no_finding_and_is_not_cleaned_away(dirty, tmp_path, no_report):
    table, truth = dirty
    before = story.inspect(str(table), load_recipe(None), corrections="none")
    kept = confirmed(tmp_path / "kept.csv", truth, before.looked.everything, before.looked.hashes)
    found = story.inspect(str(table), load_recipe(None), corrections=tmp_path / "kept.csv")
    doubted = {id for one in found.findings if one.kind == "likely wrong label" for id in one.ids}
    assert {id for one in before.findings if one.kind == "likely wrong label" for id in one.ids} & kept
    assert not doubted & kept
    # Where near-duplicates are not looked for, labels are checked all the same.
    recipe = load_recipe(None, QUICK | {"train.epochs": 1, "train.clean": "auto", "split.copies": False})
    run = story.tell(str(table), recipe, out=tmp_path / "run", corrections=tmp_path / "kept.csv")
    columns = run.split()
    out = {id for id, part in zip(columns["id"], columns["split"], strict=True) if part == "cleaned"}
    assert not out & kept


@pytest.fixture
def told(trained, tmp_path):
    """Make a run that was told which corrections to follow: told(corrections) gives it."""

    def make(corrections):
        run = Run(shutil.copytree(trained.folder, tmp_path / "run"))
        stored = json.loads((run.folder / "recipe.json").read_text())
        stored["source"]["corrections"] = corrections
        (run.folder / "recipe.json").write_text(json.dumps(stored))
        return run

    return make


def test_what_the_audit_suggests_stands_beside_what_the_model_says(monkeypatch, told):
    run, shown = told(None), []
    monkeypatch.setattr(reviewed, "review", lambda cases, *_, **__: shown.extend(cases))
    audit = story.inspect(str(run.folder), load_recipe(None))
    id = audit.looked.dataset.examples[0].id
    table = dict(audit.table) | {"suggested": ["red" if one == id else "" for one in audit.table["id"]]}
    findings = [Finding("likely wrong label", (id,), "looks like red")]
    monkeypatch.setattr(reviewed, "inspect_pictures", lambda *_: replace(audit, findings=findings, table=table))
    doubt = ([Finding("model disagrees", (id,), "says blue")], {"id": [id], "suggested": ["blue"], "score": [0.1]})
    monkeypatch.setattr(reviewed, "disagreements", lambda _: doubt)
    story.look_over(str(run.folder))
    suggested = {one.kind: one.suggested for one in shown}
    label = audit.looked.dataset.examples[0].label
    assert suggested == {
        "likely wrong label": "red" if label != "red" else "",
        "model disagrees": "blue" if label != "blue" else "",
    }


def test_cleaning_leaves_wrong_labels_out_of_the_training_only(dirty, tmp_path):
    table, truth = dirty
    recipe = load_recipe(None, QUICK | {"train.epochs": 1, "train.clean": "auto"})
    run = story.tell(str(table), recipe, out=tmp_path / "run", corrections="none")
    columns = run.split()
    out = [row for row, part in enumerate(columns["split"]) if part == "cleaned"]
    wrong = [columns["label"][row] != truth[columns["place"][row].path] for row in out]
    assert len(out) >= 8
    assert np.mean(wrong) > 0.8
    assert set(columns["split"]) == {"train", "val", "test", "cleaned"}
    assert all("wrong label" in columns["why"][row] for row in out)


@pytest.fixture
def desk(monkeypatch):
    """Do not open a page: the file for the decisions of the last review."""
    files = []
    monkeypatch.setattr(reviewed, "review", lambda cases, dataset, path, **_: files.append(path))
    monkeypatch.setattr(reviewed, "cases_of", lambda *_, **__: [])
    return files


@pytest.mark.parametrize("named", ["team.csv", "none", None])
def test_the_review_of_a_run_goes_on_with_the_decisions_that_the_run_follows(told, desk, photos, tmp_path, named):
    own = str(tmp_path / named) if named == "team.csv" else named
    story.look_over(str(told(own).folder))
    assert desk == [tmp_path / "team.csv" if named == "team.csv" else default_path(photos)]


def test_a_review_writes_where_it_is_told_to_whatever_the_run_follows(told, desk, tmp_path):
    story.look_over(str(told(str(tmp_path / "team.csv")).folder), out=tmp_path / "mine.csv")
    assert desk == [tmp_path / "mine.csv"]


@pytest.mark.parametrize("verb", ["stress", "audit"])
def test_a_run_is_looked_at_with_the_corrections_that_are_asked_for(told, command, verb, tmp_path):
    run = told("none")
    code, _, said = command(verb, run.folder, "--corrections", tmp_path / "missing.csv")
    assert code == 2
    assert "missing.csv should be a table of corrections" in said


def test_a_run_keeps_its_audit_and_its_report_tells_it(command, trained, tmp_path):
    run = Run.open(shutil.copytree(trained.folder, tmp_path / "run"))
    assert command("audit", run.folder)[0] == 0
    assert run.result("audit")["accounted"]["used"] == 72
    assert run.result("audit")["enough"] is None or run.result("audit")["enough"]["words"]
