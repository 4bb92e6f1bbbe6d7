"""Results take the place of earlier ones at the end, and of nothing else."""

import os
import shutil

import pytest

from linnaeus.errors import SettingsError
from linnaeus.verbs.compress.swap import FRONT, MARKER, swapped_in


def fill(folder, *names):
    with swapped_in(folder) as fresh:
        for name in names:
            (fresh / name).mkdir()
            (fresh / name / "model.onnx").write_text(name)


@pytest.fixture
def place(tmp_path):
    """A folder that was filled before."""
    fill(tmp_path / "place", "original", "pruned")
    (tmp_path / "place" / FRONT).write_text("drawn later")
    return tmp_path / "place"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_earlier_results_stay_until_the_new_ones_are_complete(place):
    with swapped_in(place):
        assert names(place) == sorted([MARKER, FRONT, "original", "pruned"])
    assert names(place) == [MARKER]
    assert names(place.parent) == ["place"]


def test_what_fails_leaves_the_earlier_results_and_nothing_else(place):
    with pytest.raises(KeyboardInterrupt), swapped_in(place):
        raise KeyboardInterrupt
    assert "pruned" in names(place)
    assert names(place.parent) == ["place"]


def test_a_new_and_an_empty_folder_are_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "deep/new"):
        fill(tmp_path / name, "original")
        assert names(tmp_path / name) == [MARKER, "original"]


@pytest.mark.parametrize("name", ["thesis.txt", ".hidden", "model", "compress.json"])
def test_a_folder_with_anything_else_is_refused_and_stays(tmp_path, name):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("precious")
    with pytest.raises(SettingsError, match="that compress has made") as refused:
        fill(tmp_path / "mine", "original")
    assert name in refused.value.got
    assert (tmp_path / "mine" / name).read_text() == "precious"


def test_what_was_added_to_earlier_results_is_not_lost(place):
    (place / "thesis.txt").write_text("precious")
    with pytest.raises(SettingsError) as refused:
        fill(place, "original")
    assert refused.value.got == "thesis.txt in it, which compress did not write"
    assert (place / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("state", ["unfinished", "old"])
def test_a_neighbour_with_the_name_of_a_leftover_is_not_removed(place, state):
    neighbour = place.with_name(f"place.{state}")
    neighbour.mkdir()
    (neighbour / "thesis.txt").write_text("precious")
    with pytest.raises(SettingsError, match=neighbour.name):
        fill(place, "original")
    assert (neighbour / "thesis.txt").read_text() == "precious"


def test_what_a_killed_process_left_is_replaced(place):
    shutil.copytree(place, place.with_name("place.unfinished"))
    place.rename(place.with_name("place.old"))
    with swapped_in(place):
        assert "pruned" in names(place)
    assert names(place.parent) == ["place"]


def test_the_current_folder_and_a_file_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="new folder") as refused:
        fill(tmp_path / ".", "original")
    assert refused.value.got == "the current folder"
    (tmp_path / "file").write_text("precious")
    with pytest.raises(SettingsError) as refused:
        fill(tmp_path / "file", "original")
    assert refused.value.got == "a file"


def test_behind_a_link_what_it_leads_to_is_replaced(place, tmp_path):
    os.symlink(place, tmp_path / "link")
    fill(tmp_path / "link", "sparse")
    assert (tmp_path / "link").is_symlink()
    assert names(place) == [MARKER, "sparse"]


def test_where_a_folder_cannot_be_replaced_the_results_are_kept_and_named(place, monkeypatch):
    with pytest.raises(SettingsError, match="can be replaced") as refused, swapped_in(place) as fresh:
        (fresh / "distilled").mkdir()
        monkeypatch.setattr("pathlib.Path.rename", refuse)
    assert str(fresh) in refused.value.fix
    assert "distilled" in names(fresh)
    assert "pruned" in names(place)


def refuse(*_):
    raise PermissionError(13, "Permission denied")
