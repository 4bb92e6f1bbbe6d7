"""An audit of a folder: what a second one need not do."""

from __future__ import annotations

import shutil

import pytest

from conftest import write_photos
from linnaeus import story
from linnaeus.config import load_recipe
from linnaeus.data import traits
from linnaeus.learn.embeddings import Backbone
from linnaeus.story import inspected
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
        (inspected, "enough"),
    ):
        monkeypatch.setattr(module, name, lambda *_, name=name, **__: pytest.fail(f"{name} again"))
    assert plain(story.inspect(str(folder), load_recipe(None)).document()) == plain(before)


def test_of_a_folder_with_new_pictures_only_those_are_measured_and_described(audited, monkeypatch):
    folder, _ = audited
    write_photos(folder, each=1, first=16)
    counts = {"measured": 0, "described": 0}
    measure, describe = traits.measure_picture, Backbone.describe

    def measured(picture):
        counts["measured"] += 1
        return measure(picture)

    def described(self, blocks):
        for part in describe(self, blocks):
            counts["described"] += len(part)
            yield part

    monkeypatch.setattr(traits, "measure_picture", measured)
    monkeypatch.setattr(Backbone, "describe", described)
    story.inspect(str(folder), load_recipe(None))
    assert counts == {"measured": 3, "described": 3}


def test_a_label_that_was_changed_is_judged_anew(audited):
    folder, before = audited
    shutil.move(folder / "red" / "003.png", folder / "green" / "moved.png")
    after = story.inspect(str(folder), load_recipe(None)).document()
    assert after["classes"] != before["classes"]
    assert "green/moved.png" in after["table"]["id"] or after["labels"] != before["labels"]
