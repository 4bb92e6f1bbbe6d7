"""What lies where an export is to go: ours is replaced in one move, other people's is refused."""

from pathlib import Path

import pytest

from linnaeus.errors import SettingsError
from linnaeus.targets.own_folder import put, refuse_foreign

MARK = "export.json"


@pytest.fixture
def made(tmp_path):
    """A finished folder that has no name yet."""
    return write(tmp_path / ".new.part", "new")


def write(folder, text):
    folder.mkdir()
    (folder / "model").write_text(text)
    (folder / MARK).write_text('{"target": "onnx"}')
    return folder


def names(folder):
    return sorted(one.name for one in folder.iterdir())


def test_a_new_folder_an_empty_one_and_one_of_ours_are_taken(tmp_path, made):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "none", tmp_path / "empty", made):
        refuse_foreign(place, MARK)


@pytest.mark.parametrize("mark", [None, "", "{}", "[]", "3", '{"nodes": []}'])
def test_a_folder_without_our_mark_is_refused(tmp_path, mark):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / ("index.html" if mark is None else MARK)).write_text(mark or "")
    with pytest.raises(SettingsError, match="web should be free") as refused:
        refuse_foreign(tmp_path / "web", MARK)
    assert refused.value.exit_code == 2


def test_files_and_links_are_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(SettingsError, match="should be free"):
            refuse_foreign(tmp_path / name, MARK)


def test_what_was_there_is_replaced_and_nothing_else_is_left(tmp_path, made):
    put(made, write(tmp_path / "onnx", "old"))
    assert (tmp_path / "onnx" / "model").read_text() == "new"
    assert names(tmp_path) == ["onnx"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", [0, 1])
def test_whatever_stops_the_swap_a_whole_folder_is_left(tmp_path, made, monkeypatch, error, when, step):
    place, steps, rename = write(tmp_path / "onnx", "old"), [], Path.rename

    def stopped(self, target):
        steps.append(target)
        if len(steps) - 1 != step:
            return rename(self, target)
        if when == "after":
            rename(self, target)
        raise error

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(error):
        put(made, place)
    assert (place / "model").read_text() == ("new" if (step, when) == (1, "after") else "old")
    assert not [name for name in names(tmp_path) if name.endswith(".old")]
