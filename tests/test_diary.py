import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.data.diary import COLUMNS, DECISIONS, HEADER, Correction, Diary, content_hash, parse, written
from linnaeus.errors import SourceError

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LINES = st.builds(
    Correction, id=NAMES, hash=st.sampled_from(["", "ab", "cd"]), action=st.sampled_from([*DECISIONS, "undo"]),
    label=NAMES, new_label=NAMES.map(lambda name: name or "x"), time=NAMES, by=NAMES,
)  # fmt: skip


def line(id="a/1.png", action="exclude", **more):
    return Correction(id, "hash-" + id, action, "a", **more)


def followed(path):
    diary = Diary(path)
    diary.refresh()
    return diary


def tops(path):
    return {key: pile[-1].action for key, pile in followed(path).standing.piles.items() if pile}


@given(st.lists(LINES, max_size=8))
def test_what_is_written_is_read_back_whatever_the_names(lines):
    assert parse(HEADER + written(lines), Path("c.csv")) == (lines, [])


@settings(max_examples=40, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=5), st.integers(0, 400))
def test_a_line_torn_by_a_power_cut_loses_no_line_before_or_after_it(tmp_path_factory, lines, cut):
    path = tmp_path_factory.mktemp("torn") / "c.csv"
    whole = HEADER + written(lines)
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    kept = [one for n, one in enumerate(lines) if len(HEADER + written(lines[: n + 1])) <= len(whole) - cut]
    Diary(path).append([line("after.png", new_label="x", by="me")])
    read, problems = parse(path.read_bytes(), path)
    assert read[: len(kept)] == kept and read[-1].id == "after.png"
    assert len(read) + len(problems) <= len(kept) + 2


def test_the_table_comes_to_be_with_the_first_line(tmp_path):
    diary = followed(tmp_path / "c.csv")
    assert not (tmp_path / "c.csv").exists()
    diary.append([line()])
    assert (tmp_path / "c.csv").read_text().splitlines()[0] == ",".join(COLUMNS)


def test_an_undo_brings_back_what_was_decided_before(tmp_path):
    path = tmp_path / "c.csv"
    Diary(path).append([line(action="keep"), line(action="exclude")])
    Diary(path).append([line(action="undo")])
    assert tops(path) == {("a/1.png", "hash-a/1.png"): "keep"}
    Diary(path).append([line(action="undo"), line(action="undo")])
    assert tops(path) == {}


def test_nothing_that_was_written_is_ever_rewritten(tmp_path):
    path = tmp_path / "c.csv"
    Diary(path).append([line()])
    before = path.read_bytes()
    Diary(path).append([line(action="undo")])
    assert path.read_bytes().startswith(before)


def test_a_line_is_on_the_disk_before_append_returns(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size) or fsync(file))
    Diary(tmp_path / "c.csv").append([line()])
    assert (tmp_path / "c.csv").stat().st_size in synced


def test_lines_that_cannot_be_written_whole_are_not_written_at_all(tmp_path, monkeypatch):
    path = tmp_path / "c.csv"
    diary = Diary(path)
    diary.append([line()])
    before, write = path.read_bytes(), os.write

    def fail(file, data):
        if len(data) < 40:
            raise OSError(28, "No space left on device")
        return write(file, data[:30])

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(OSError, match="No space left"):
        diary.append([line("b/2.png", "keep")])
    assert path.read_bytes() == before
    assert len(diary.standing.piles) == 1


def test_a_diary_sees_what_another_one_adds(tmp_path):
    one, other = followed(tmp_path / "c.csv"), followed(tmp_path / "c.csv")
    one.append([line("x.png")])
    assert [found.id for found in other.refresh()] == ["x.png"]
    other.append([line("y.png")])
    assert [found.id for found in one.refresh()] == ["y.png"]
    assert one.refresh() == []


def test_a_table_put_in_place_of_the_old_one_is_read_anew(tmp_path):
    path = tmp_path / "c.csv"
    diary = followed(path)
    diary.append([line("x.png"), line("y.png")])
    (tmp_path / "new.csv").write_bytes(HEADER + written([line("z.png")]))
    os.replace(tmp_path / "new.csv", path)
    diary.refresh()
    assert [key[0] for key in diary.standing.piles] == ["z.png"]
    assert diary.generation > 1


def test_a_line_that_a_person_left_without_its_end_counts(tmp_path):
    path = tmp_path / "c.csv"
    path.write_bytes((HEADER + written([line("x.png")])).rstrip(b"\n"))
    Diary(path).append([line("y.png")])
    assert [key[0] for key in tops(path)] == ["x.png", "y.png"]


@pytest.mark.parametrize("begun", [b"", HEADER[:9], HEADER[:-1], HEADER])
def test_a_table_that_a_power_cut_left_at_its_first_line_is_gone_on_with(tmp_path, begun):
    path = tmp_path / "c.csv"
    path.write_bytes(begun)
    assert parse(begun, path) == ([], [])
    Diary(path).append([line("y.png")])
    assert path.read_bytes() == HEADER + written([line("y.png")])


def test_line_ends_and_mark_of_a_spreadsheet_are_understood(tmp_path):
    path = tmp_path / "c.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEADER + written([line("x.png")])).replace(b"\n", b"\r\n"))
    Diary(path).append([line("y.png")])
    assert [key[0] for key in tops(path)] == ["x.png", "y.png"]


@pytest.mark.parametrize("text", ["path,label\na.png,cat\n", "no table", '"', "id,hash\n"])
def test_a_file_of_something_else_is_refused_and_stays_as_it_is(tmp_path, text):
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(SourceError, match="should be a table of corrections"):
        Diary(path).refresh()
    with pytest.raises(SourceError):
        Diary(path).append([line()])
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("row", "words"),
    [("a,h,burn,a,,,", "'burn' is none of"), ("a,h", "2 of 7 cells"), ("a,h,relabel,a,,,", "without a new label")],
)
def test_a_line_that_cannot_be_understood_is_told_with_its_number(row, words):
    lines, problems = parse(HEADER + f"{row}\n".encode() + written([line()]), Path("c.csv"))
    assert lines == [line()]
    assert words in problems[0] and "line 2" in problems[0]


WRITER = """
import sys
from pathlib import Path
from linnaeus.data.diary import Correction, Diary
diary = Diary(Path(sys.argv[1]))
for n in range(40):
    diary.append([Correction(f"{sys.argv[2]}/{n}/{m}.png", "", "exclude", "a, b", "", "", "x" * 500) for m in range(3)])
"""


def test_processes_that_write_at_once_lose_and_tear_nothing(tmp_path):
    path = tmp_path / "c.csv"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(n)]) for n in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    lines, problems = parse(path.read_bytes(), path)
    assert problems == []
    assert len({one.id for one in lines}) == len(lines) == 360


def test_the_hash_of_a_content_is_the_one_that_scan_gives(photos, tmp_path):
    from linnaeus.data.cache import scan
    from linnaeus.data.decode import read_bytes
    from linnaeus.data.sources import open_source
    from linnaeus.records import Dataset, Example, Place, Preprocessing

    dataset = open_source(photos, cache_dir=tmp_path).take([0, 1])
    (tmp_path / "raw").write_bytes(bytes(range(192)))
    raw = Example("raw", Place(str(tmp_path / "raw"), 0, 192, "3x8x8"), dataset.classes[0])
    dataset = Dataset("x", "x", (*dataset.examples, raw), dataset.classes)
    found = scan(dataset, Preprocessing(8), cache_dir=tmp_path / "cache", cache_gb=1)
    places = [example.place for example in dataset.examples]
    assert found.hashes == tuple(content_hash(read_bytes(place), place.layout) for place in places)
