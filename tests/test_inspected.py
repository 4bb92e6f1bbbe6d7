"""An audit of a folder: what a second one need not do."""

from __future__ import annotations

import shutil

import pytest

from conftest import write_photos
from linnaeus import story
from linnaeus.config import load_recipe
from linnaeus.data import traits
from linnaeus.learn.discriminant import FoldSums, Heads
from linnaeus.learn.embeddings import Backbone
from linnaeus.story import inspected
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
