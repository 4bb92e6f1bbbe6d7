"""An audit of a folder: what a second one need not do."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from conftest import QUICK, write_photos
from linnaeus import story
from linnaeus.config import load_recipe
from linnaeus.data import traits
from linnaeus.learn.discriminant import FoldSums, Heads
from linnaeus.learn.embeddings import Backbone
from linnaeus.run import Run
from linnaeus.story import inspected
from linnaeus.story.pictures import where_of
from linnaeus.tables import write_table
from linnaeus.talk import Talk
from linnaeus.verbs.audit import copies


@pytest.fixture
def audited(tmp_path, monkeypatch):
    """A folder that was audited once: the folder, and what was found."""
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    folder = write_photos(tmp_path / "photos", each=16)
    return folder, story.inspect(str(folder), load_recipe(None)).document()


def plain(document):
    return {name: value for name, value in document.items() if name != "seconds"}


def test_a_second_audit_of_an_unchanged_folder_finds_the_same_and_computes_nothing(audited, monkeypatch):
    folder, before = audited
    for module, name in (
        (traits, "measure_picture"),
        (copies, "candidates"),
        (inspected, "embed"),
        (inspected, "opinions_on"),
    ):
        monkeypatch.setattr(module, name, lambda *_, name=name, **__: pytest.fail(f"{name} again"))
    assert plain(story.inspect(str(folder), load_recipe(None)).document()) == plain(before)


def test_of_a_folder_with_new_pictures_only_those_are_measured_described_and_judged(audited, monkeypatch):
    folder, before = audited
    write_photos(folder, each=1, first=16)
    counts = {"measured": 0, "described": 0, "judged": 0}
    measure, describe, judge = traits.measure_picture, Backbone.describe, Heads.judge

    def measured(picture):
        counts["measured"] += 1
        return measure(picture)

    def described(self, blocks):
        for part in describe(self, blocks):
            counts["described"] += len(part)
            yield part

    def judged(self, features, folds):
        counts["judged"] += len(features)
        return judge(self, features, folds)

    monkeypatch.setattr(traits, "measure_picture", measured)
    monkeypatch.setattr(Backbone, "describe", described)
    monkeypatch.setattr(Heads, "judge", judged)
    monkeypatch.setattr(FoldSums, "of", lambda *_: pytest.fail("fitted again"))
    after = story.inspect(str(folder), load_recipe(None)).document()
    assert counts == {"measured": 3, "described": 3, "judged": 3}
    assert after["growth"] == {"fitted": 48, "new": 3, "gone": 0, "relabelled": 0}
    assert after["labels"]["checked"] == before["labels"]["checked"] + 3 == 51


def test_of_what_was_judged_by_earlier_heads_a_person_is_told(audited):
    folder, before = audited
    assert before["growth"] is None
    write_photos(folder, each=1, first=16)
    said = []
    story.inspect(str(folder), load_recipe(None), talk=Talk(say=said.append))
    assert any("heads that were fitted to 48 pictures before: 3 new" in line for line in said)


def test_a_label_that_was_changed_is_judged_anew(audited):
    folder, before = audited
    shutil.move(folder / "red" / "003.png", folder / "green" / "moved.png")
    after = story.inspect(str(folder), load_recipe(None)).document()
    assert after["classes"] != before["classes"]
    assert "green/moved.png" in after["table"]["id"] or after["labels"] != before["labels"]


@pytest.fixture(scope="module")
def clinics(tmp_path_factory):
    """A table of pictures with clinics, patients, and columns that have the names of an audit's own."""
    base = tmp_path_factory.mktemp("clinics")
    folder = write_photos(base / "photos", each=16)
    paths = sorted(folder.rglob("*.png"))
    rows = [(path, path.parent.name, "Bern" if n % 4 == 0 else "Basel", f"p{n // 8}") for n, path in enumerate(paths)]
    table = base / "table.csv"
    # What is tied to a picture that is held out can be in no part.
    copy = shutil.copy(paths[0], folder / "copy.png")
    rows.append((copy, rows[0][1], "Basel", "p9"))
    columns = dict(zip(("path", "label", "clinic", "patient"), map(list, zip(*rows, strict=True)), strict=True))
    columns["path"] = [str(path) for path in columns["path"]]
    write_table(table, columns | {"quality": ["good"] * 49, "part": ["arm", "leg"] * 24 + ["leg"]})
    return table


def test_the_audit_of_a_run_is_about_the_parts_that_the_run_has(clinics, tmp_path, no_report):
    settings = QUICK | {"train.epochs": 1, "split.group_by": "column:clinic", "split.hold_out": "Bern"}
    run = story.tell(str(clinics), load_recipe(None, settings), out=tmp_path / "run")
    part_of = dict(zip(run.split()["id"], run.split()["split"], strict=True))
    found = story.inspect(str(run.folder), load_recipe(None))
    assert set(part_of.values()) == {"train", "test"}, "the other clinic is one group"
    # And a source is divided as a training would divide it.
    for one in (found, story.inspect(str(clinics), load_recipe(None, settings))):
        told = dict(zip(one.table["id"], one.table["part"], strict=True))
        assert {id: part for id, part in told.items() if part != "set aside"} == part_of
        assert len(told) == len(part_of) + 1
        assert "leak" not in one.kinds()


def test_a_column_of_the_table_does_not_take_the_place_of_one_of_the_audit(clinics):
    table = story.inspect(str(clinics), load_recipe(None)).table
    assert set(table["part"]) == {"train", "val", "test"}
    assert set(table["part (table)"]) == {"arm", "leg"}
    assert set(table["quality (table)"]) == {"good"}
    assert all(isinstance(value, float) for value in table["quality"])


def test_a_group_is_no_set_of_copies(clinics):
    table = story.inspect(str(clinics), load_recipe(None, {"split.group_by": "column:patient"})).table
    assert sorted(map(table["cluster"].count, set(table["cluster"]))) == [2, 47], "the two copies, and all others"


def test_a_cross_validation_is_audited_as_its_source(photos, tmp_path):
    run = Run.create(tmp_path / "folds", "photos", load_recipe(None, {"split.folds": 3}), where_of(str(photos)))
    table = story.inspect(str(run.folder), load_recipe(None)).table
    assert set(table["part"]) == {"train", "val", "test"}


def test_a_set_is_the_copies_or_the_group_that_lies_on_several_sides():
    parts = np.array(["train", "test", "train", "test", "val", "val"])
    copies, keys = ["a", "a", "b", "c", "d", "e"], ["g", "g", "h", "h", "i", "i"]
    assert inspected._sets(copies, keys, parts) == ["a", "a", "h", "h", "", ""]
