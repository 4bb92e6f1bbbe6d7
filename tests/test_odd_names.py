"""Files and folders whose names are not UTF-8, as old archives and disks hold them, are pictures like any other."""

import json
import os
import subprocess
import sys

import pyarrow.parquet
import pytest

from conftest import QUICK, write_photos, write_picture
from linnaeus.run import Run

CAFE, BROKEN = os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"d\xe9f.png")
SHOWN = r"caf\xe9.png"
SETTINGS = [word for name, value in QUICK.items() for word in ("--set", f"{name}={value}")]


def linnaeus(*words, stdin=b""):
    """Run the command line in a process whose streams are UTF-8 and nothing else; return what it printed."""
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([sys.executable, "-m", "linnaeus", *words], input=stdin, capture_output=True, env=strict)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with such a name, such a picture, such a damaged picture, and such a file that is no picture."""
    folder = write_photos(tmp_path_factory.mktemp("odd") / os.fsdecode(b"f\xeates"))
    write_picture(folder / "red" / "new.png", (200, 60, 50), 99).rename(folder / "red" / CAFE)
    (folder / "red" / BROKEN).write_bytes(b"I am no picture")
    (folder / "red" / os.fsdecode(b"note.t\xeat")).touch()
    return folder


@pytest.fixture(scope="module")
def run(source, tmp_path_factory):
    from linnaeus import story
    from linnaeus.config import load_recipe

    return story.tell(str(source), load_recipe(None, QUICK), out=tmp_path_factory.mktemp("runs") / "odd")


def test_a_picture_is_learned_from_and_found_again(run, source):
    split = run.split()
    place = split["place"][split["id"].index(f"red/{SHOWN}")]
    assert place.path == f"{source}/red/{CAFE}"
    assert os.path.isfile(place.path)
    assert run.accounted() == {"found": 75, "used": 73, "not a picture": 2}


def test_the_source_of_a_run_is_found_again(run, source):
    assert Run.open(run.folder).source()["source"] == str(source)
    assert run.provenance()["data"]["source"] == str(source).replace("\udcea", r"\xea")


def test_a_path_that_looks_as_if_it_were_escaped_is_kept(tmp_path):
    from linnaeus.config import Recipe
    from linnaeus.records import Dataset, Example, Place, Split

    paths = [r"/a/caf\xe9.png", r"/a/caf\udce9.png", os.fsdecode(b"/a/caf\xe9 %E9\\.png"), "/a/file:/b%20.png", "/ä"]
    examples = tuple(Example(str(row), Place(path)) for row, path in enumerate(paths))
    made = Run.create(tmp_path / "run", "x", Recipe(), {})
    made.write_split(Dataset("x", "x", examples, ()), Split(["train"] * 5, ["given"] * 5), ["h"] * 5)
    assert [place.path for place in made.split()["place"]] == paths


def test_other_pictures_are_evaluated_and_reported(run, source, tmp_path):
    printed = linnaeus("evaluate", run.folder, source, "--json", "--report", tmp_path / "page.html")
    assert json.loads(printed)["accounted"]["used"] == 73
    assert r"f\udceates" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_such_a_folder_is_audited(source, tmp_path, read_csv):
    assert r"d\xe9f.png: it begins with" in linnaeus("audit", source, "--out", tmp_path / "audit")
    assert f"red/{SHOWN}" in [row["id"] for row in read_csv(tmp_path / "audit" / "audit.csv")]


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_every_kind_of_table_has_a_row_of_such_a_picture(command, run, source, tmp_path, ending, read_csv):
    out = tmp_path / f"answers.{ending}"
    code, _, said = command("predict", run.folder, source / "red" / CAFE, source / "red" / BROKEN, "--out", out)
    rows = {
        "csv": lambda: read_csv(out),
        "parquet": lambda: pyarrow.parquet.read_table(out).to_pylist(),
        "jsonl": lambda: [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()],
    }[ending]()
    assert code == 0, said
    assert [row["path"].rpartition("/")[2] for row in rows] == [SHOWN, r"d\xe9f.png"]
    assert [bool(row["answer"]) for row in rows] == [True, False]


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_list_on_stdin_may_hold_such_names(run, source, more):
    printed = linnaeus("predict", run.folder, "-", *more, stdin=os.fsencode(source / "red" / CAFE) + b"\n")
    assert SHOWN in printed.replace("\\\\", "\\")


def test_a_run_named_after_such_a_folder_can_be_printed(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = linnaeus("train", source, "--json", *SETTINGS, "--set", "train.epochs=1")
    assert json.loads(printed)["run"].startswith(r"runs/f\xeates-")
