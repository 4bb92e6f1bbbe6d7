import io
from itertools import islice
from pathlib import Path

import pytest

from linnaeus.data.inputs import expand_inputs


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    for name in ("b.jpg", "a.PNG", "deep/c.webp", "notes.txt", ".hidden.jpg", ".git/d.jpg", "deep/Thumbs.db"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def test_a_folder_gives_its_visible_pictures_at_any_depth(photos):
    assert list(expand_inputs(["photos"])) == ["photos/a.PNG", "photos/b.jpg", "photos/deep/c.webp"]


def test_a_file_that_is_named_is_taken_whatever_its_name(photos):
    assert list(expand_inputs(["photos/notes.txt", "photos/.hidden.jpg"])) == ["photos/notes.txt", "photos/.hidden.jpg"]


def test_a_pattern_is_expanded_in_order_and_its_folders_too(photos):
    assert list(expand_inputs(["photos/*"])) == [
        "photos/a.PNG",
        "photos/b.jpg",
        "photos/deep/c.webp",
        "photos/notes.txt",
    ]
    assert list(expand_inputs(["photos/**/*.[jw]*"])) == ["photos/b.jpg", "photos/deep/c.webp"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(photos):
    (photos / "x[1].jpg").touch()
    (photos / "x1.jpg").touch()
    assert list(expand_inputs(["photos/x[1].jpg"])) == ["photos/x[1].jpg"]


@pytest.mark.parametrize("path", ["gone.jpg", "gone/*.jpg", "photos/.git/x?"])
def test_what_does_not_exist_is_passed_on_to_become_an_error_row(photos, path):
    assert list(expand_inputs([path])) == [path]


def test_a_folder_without_pictures_is_passed_on_itself(photos):
    (photos / "empty").mkdir()
    assert list(expand_inputs(["photos/empty"])) == ["photos/empty"]


def test_a_dash_reads_paths_from_stdin_one_per_line(photos):
    lines = io.StringIO("photos/b.jpg\r\n\nphotos/with space.jpg\nphotos/deep\n")
    assert list(expand_inputs(["-"], stdin=lines)) == ["photos/b.jpg", "photos/with space.jpg", "photos/deep/c.webp"]


def test_stdin_is_read_as_paths_are_needed(photos):
    endless = (f"{n}.jpg\n" for n in iter(int, 1))
    assert list(islice(expand_inputs(["-"], stdin=endless), 3)) == ["0.jpg"] * 3


def test_a_link_in_a_circle_ends(photos):
    (photos / "deep/up").symlink_to(photos, target_is_directory=True)
    assert list(expand_inputs(["photos"])) == ["photos/a.PNG", "photos/b.jpg", "photos/deep/c.webp"]


def test_a_broken_link_to_a_picture_is_passed_on(photos):
    (photos / "gone.jpg").symlink_to("nowhere.jpg")
    assert "photos/gone.jpg" in list(expand_inputs(["photos"]))
