"""Files are written whole or not at all, and what the system refuses is told as such."""

import errno
import os
import stat

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from linnaeus import atomic
from linnaeus.atomic import note, whole, write_text


def test_a_file_that_is_not_finished_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), whole(path) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_text(tmp_path, monkeypatch):
    write_text(tmp_path / "a.json", "old")

    def broken(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(atomic.os, "fsync", broken)
    with pytest.raises(OSError, match="no space"):
        write_text(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_under_safetensors_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError, match="No space left") as told, whole(tmp_path / "weights.safetensors"):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert told.value.errno == errno.ENOSPC
    assert told.value.filename == str(tmp_path / "weights.safetensors")


def test_a_folder_that_is_gone_is_told_by_what_safetensors_itself_says(tmp_path):
    with pytest.raises(FileNotFoundError), whole(tmp_path / "weights.safetensors") as unfinished:
        save_file({"a": np.zeros(3)}, unfinished.with_name("not") / "there")


def test_other_errors_of_safetensors_stay_what_they_are(tmp_path):
    with pytest.raises(SafetensorError, match="other"), whole(tmp_path / "weights.safetensors"):
        raise SafetensorError("other")


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_weights_may_be_read_by_whoever_may_read_the_text_beside_them(tmp_path):
    write_text(tmp_path / "config.json", "{}")
    with whole(tmp_path / "weights.safetensors") as unfinished:
        save_file({"a": np.zeros(3)}, unfinished)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_the_systems_numbers_are_those_of_windows_there(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.sys, "platform", "win32")
    monkeypatch.setattr(atomic.ctypes, "FormatError", lambda number: f"the words of {number}", raising=False)
    with pytest.raises(OSError, match="the words of 112"), whole(tmp_path / "weights.safetensors"):
        raise SafetensorError("Error while serializing: There is not enough space on the disk. (os error 112)")


def test_a_note_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "taken").write_text("a file")
    note(tmp_path / "taken" / "note.json", {"seconds": 1})
    note(tmp_path / "note.json", {"seconds": 1})
    assert (tmp_path / "note.json").is_file()
