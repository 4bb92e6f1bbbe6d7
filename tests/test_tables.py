import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.errors import SettingsError
from linnaeus.tables import TableWriter, _column, read_table, write_table

ROWS = {"name": ["a,b", 'q"uote', "grün", "", "two\nlines"], "p": [0.1, 1 / 3, 1e-300, 0.0, 1.0], "n": [1, 2, 3, 4, 5]}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_comes_back_bit_by_bit(tmp_path, ending):
    write_table(tmp_path / f"table.{ending}", ROWS)
    back = read_table(tmp_path / f"table.{ending}", ("name",))
    assert back["name"] == ROWS["name"]
    assert back["p"].tolist() == ROWS["p"]
    assert back["n"].tolist() == ROWS["n"]


def test_only_words_have_a_dictionary(tmp_path):
    """Each of ten thousand columns of probabilities would hold one in memory, for nothing."""
    import pyarrow.parquet

    write_table(tmp_path / "t.parquet", ROWS)
    columns = pyarrow.parquet.read_metadata(tmp_path / "t.parquet").row_group(0)
    kinds = {columns.column(k).path_in_schema: columns.column(k).has_dictionary_page for k in range(3)}
    assert kinds == {"name": True, "p": False, "n": False}


def test_words_that_look_like_numbers_stay_words(tmp_path):
    write_table(tmp_path / "t.csv", {"label": ["007", "1e5", "true", "NA"]})
    assert read_table(tmp_path / "t.csv", ("label",))["label"] == ["007", "1e5", "true", "NA"]


def test_json_lines_hold_one_row_each(tmp_path):
    import json

    write_table(tmp_path / "t.jsonl", ROWS)
    lines = (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["name"] for line in lines] == ROWS["name"]
    assert "grün" in lines[2]


def test_another_ending_is_refused_with_a_proposal(tmp_path):
    with pytest.raises(SettingsError, match=r"\.csv"):
        TableWriter(tmp_path / "answers.xlsx")


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_the_file_appears_when_it_is_whole(tmp_path, ending):
    path = tmp_path / "deep" / f"t.{ending}"
    with TableWriter(path) as writer:
        writer.write(ROWS)
        assert not path.exists()
        writer.write(ROWS)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    if ending != "jsonl":
        assert len(read_table(path, ("name",))["p"]) == 10


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_a_failure_leaves_nothing(tmp_path, ending):
    with pytest.raises(RuntimeError), TableWriter(tmp_path / f"t.{ending}") as writer:
        writer.write(ROWS)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_a_piece_without_any_value_may_come_first(tmp_path, ending):
    with TableWriter(tmp_path / f"t.{ending}") as writer:
        writer.write({"path": ["x"], "p": [None]})
        writer.write({"path": ["y"], "p": [0.5]})
    if ending != "jsonl":
        assert read_table(tmp_path / f"t.{ending}", ("path",))["p"][1] == 0.5


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("other", [{"path": ["y"]}, {"path": ["y"], "q": [0.5]}, {"path": ["y"], "p": ["high"]}])
def test_a_piece_with_other_columns_is_refused_and_nothing_is_left(tmp_path, ending, other):
    with pytest.raises(ValueError), TableWriter(tmp_path / f"t.{ending}") as writer:
        writer.write({"path": ["x"], "p": [0.5]})
        writer.write(other)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_whole_numbers_may_follow_where_a_fraction_came_first(tmp_path, ending):
    with TableWriter(tmp_path / f"t.{ending}") as writer:
        writer.write({"p": [0.5]})
        writer.write({"p": [1]})
    if ending != "jsonl":
        assert read_table(tmp_path / f"t.{ending}")["p"].tolist() == [0.5, 1.0]


def test_an_old_file_is_replaced(tmp_path):
    write_table(tmp_path / "t.csv", ROWS)
    write_table(tmp_path / "t.csv", {"other": [1]})
    assert list(read_table(tmp_path / "t.csv")) == ["other"]


MISSING = st.none()
WHOLE = st.integers(-(2**63), 2**63 - 1)
KINDS = [st.lists(st.one_of(MISSING, kind)) for kind in (st.text(), st.floats(), WHOLE, st.booleans())]


@given(st.one_of(*KINDS, st.lists(st.one_of(WHOLE.filter(lambda one: abs(one) < 2**50), st.floats(-1, 1)))))
def test_columns_are_those_that_pyarrow_makes(values):
    ours, expected = _column(values), pa.array(values)
    ours.validate(full=True)
    assert ours.type == expected.type
    assert repr(ours.to_pylist()) == repr(expected.to_pylist())


@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "int32", "bool", "str"])
def test_columns_of_arrays_keep_their_kind(kind):
    values = np.array([0, 1, 2]).astype(kind)
    assert _column(values).equals(pa.array(values))


def test_writing_a_table_does_not_import_pandas(tmp_path):
    columns = {"path": ["a", None], "p": [0.5, None], "unknown": [True, None], "n": [1, 2]}
    code = f"import sys; from linnaeus.tables import write_table as w; from pathlib import Path; w(Path({str(tmp_path / 't.csv')!r}), {columns!r})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('pandas' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr
