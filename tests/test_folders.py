import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from linnaeus.data.folders import build_once, default_cache_dir, file_key


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LINNAEUS_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache_dir() == tmp_path / ".cache/linnaeus"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_dir() == tmp_path / "xdg/linnaeus"
    monkeypatch.setenv("LINNAEUS_CACHE", "~/own")
    assert default_cache_dir() == tmp_path / "own"


def test_a_folder_is_built_once(tmp_path):
    built = []
    for _ in range(2):
        build_once(tmp_path / "a", built.append)
    assert len(built) == 1


def test_a_failure_leaves_nothing(tmp_path):
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        build_once(tmp_path / "a", fail)
    assert not list(tmp_path.iterdir())


def test_a_process_killed_half_way_does_no_harm(tmp_path):
    script = f"""
import os, signal
from pathlib import Path
from linnaeus.data.folders import build_once
def build(folder):
    (folder / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)
build_once(Path({str(tmp_path / "a")!r}), build)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    build_once(tmp_path / "a", lambda folder: (folder / "whole").touch())
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["whole"]


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path):
    left = tmp_path / ".a.xyz.unfinished"
    left.mkdir()
    build_once(tmp_path / "b", lambda _: None)
    assert left.exists()
    os.utime(left, (0, 0))
    build_once(tmp_path / "c", lambda _: None)
    assert not left.exists()


def test_the_key_of_a_file_changes_with_its_ends_and_its_time(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"start" + bytes(3 << 20) + b"end")
    os.utime(path, ns=(1, 1))
    keys = {file_key([path])}
    path.write_bytes(b"start" + bytes(3 << 20) + b"END")
    os.utime(path, ns=(1, 1))
    keys.add(file_key([path]))
    os.utime(path, ns=(2, 2))
    keys.add(file_key([path]))
    assert len(keys) == 3
