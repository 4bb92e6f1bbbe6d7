from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linnaeus.data.manifest import list_manifest
from linnaeus.errors import SourceError
from linnaeus.records import Dataset


def table(folder: Path, text: str | bytes, name: str = "labels.csv") -> Dataset:
    for picture in ("a.jpg", "b.jpg", "c.jpg"):
        (folder / picture).write_bytes(b"picture")
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return list_manifest(folder / name, name="labels", source=name)


def rows(dataset: Dataset) -> list[tuple[str, str]]:
    return [(example.id, example.label) for example in dataset.examples]


def aside(dataset: Dataset) -> list[tuple[str, tuple[str, ...]]]:
    return [(finding.kind, finding.ids) for finding in dataset.findings if finding.severity == "set aside"]


def test_paths_are_relative_to_the_table_and_ids_are_as_written(tmp_path):
    dataset = table(tmp_path, f"path,label\n./b.jpg,dog\n{tmp_path}/a.jpg,cat\n")
    assert rows(dataset) == [("./b.jpg", "dog"), (f"{tmp_path}/a.jpg", "cat")]
    assert [example.place.path for example in dataset.examples] == [str(tmp_path / "b.jpg"), str(tmp_path / "a.jpg")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "path,label\na.jpg,cat\nb.jpg,dog\n"),
        ("t.csv", "\ufeffFileName;Class\r\na.jpg;cat\r\nb.jpg;dog\r\n"),
        ("t.csv", 'id\timage\tTARGET\n1\t"a.jpg"\tcat\n2\tb.jpg\tdog\n'),
        ("t.tsv", "file_name\tcategory\na.jpg\tcat\n\nb.jpg\tdog"),
        ("T.CSV", "path, label\na.jpg, cat\nb.jpg, dog\n"),
        ("t.csv", "path,label\na.jpg,cat\nb.jpg,dog\n".encode("utf-16")),
    ],
)
def test_delimiters_aliases_quotes_and_marks_are_understood(tmp_path, name, text):
    assert rows(table(tmp_path, text, name)) == [("a.jpg", "cat"), ("b.jpg", "dog")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('path,label\na.jpg,cat\nb.jpg,"dog\nc.jpg,cat\n', 3),
        ('path,label\na.jpg,cat\nb.jpg,"dog', 3),
        ('path,label\na.jpg,cat\n"', 3),
        ('note,path,label\n"two\nlines",a.jpg,"cat\n,b.jpg,dog\n', 3),
        ('note,path,label\n"two\nlines"," a.jpg",cat\n,b.jpg,"dog\r\n\r\n', 4),
    ],
)
def test_a_quote_that_is_never_closed_is_refused_with_its_line(tmp_path, text, line):
    with pytest.raises(SourceError, match="should close every quote") as error:
        table(tmp_path, text)
    assert f"line {line} " in error.value.got


def test_rows_swallowed_up_to_the_next_quote_are_told(tmp_path):
    dataset = table(tmp_path, 'path,label\na.jpg,"cat\nb.jpg,"dog, big"\nc.jpg,cat\n')
    assert rows(dataset) == [("c.jpg", "cat")]
    assert aside(dataset) == [("bad row", ("a.jpg",))]


@pytest.mark.parametrize(
    ("written", "read"),
    [('5" pipe', '5" pipe'), ('"x, y"', "x, y"), ('"Golden" retriever', "Golden retriever"), ('"5"" pipe"', '5" pipe')],
)
def test_quotes_in_labels_are_read_as_spreadsheets_do(tmp_path, written, read):
    assert rows(table(tmp_path, f"path,label\na.jpg,{written}\nb.jpg,dog")) == [("a.jpg", read), ("b.jpg", "dog")]


def test_split_and_group_are_read_in_any_case(tmp_path):
    dataset = table(tmp_path, "path,label,Split,GROUP\na.jpg,cat,Valid,p1\nb.jpg,dog,,p2\nc.jpg,cat,TESTING,\n")
    assert [(example.split, example.group) for example in dataset.examples] == [("val", "p1"), ("", "p2"), ("test", "")]


def test_an_unknown_split_word_names_its_row_and_the_words_allowed(tmp_path):
    with pytest.raises(SourceError, match="row 3: split should be one of train") as error:
        table(tmp_path, "path,label,split\na.jpg,cat,train\nb.jpg,dog,held-out\n")
    assert error.value.got == "'held-out'"


def test_a_missing_file_is_set_aside_with_its_row_number(tmp_path):
    dataset = table(tmp_path, "path,label\na.jpg,cat\ngone.jpg,dog\nb.jpg,dog\n")
    assert aside(dataset) == [("missing", ("gone.jpg",))]
    assert dataset.findings[0].evidence.startswith("row 3:")


def test_a_class_whose_files_are_all_missing_stays_a_class(tmp_path):
    dataset = table(tmp_path, "path,label\na.jpg,cat\nb.jpg,dog\ngone.jpg,owl\n")
    assert dataset.classes == ("cat", "dog", "owl")
    assert any(finding.kind == "empty class" and finding.ids == ("owl",) for finding in dataset.findings)


def test_a_repeated_row_is_set_aside_under_an_id_of_its_own(tmp_path):
    dataset = table(tmp_path, "path,label\na.jpg,cat\na.jpg,cat\nb.jpg,dog\n")
    assert rows(dataset) == [("a.jpg", "cat"), ("b.jpg", "dog")]
    assert aside(dataset) == [("repeated row", ("a.jpg (row 3)",))]


def test_all_rows_of_a_file_with_two_labels_are_set_aside(tmp_path):
    dataset = table(tmp_path, "path,label\na.jpg,cat\n./a.jpg,dog\nb.jpg,dog\nc.jpg,cat\n")
    assert rows(dataset) == [("b.jpg", "dog"), ("c.jpg", "cat")]
    assert aside(dataset) == [("conflict", ("a.jpg",)), ("conflict", ("./a.jpg",))]


def test_an_empty_label_is_set_aside(tmp_path):
    dataset = table(tmp_path, "path,label\na.jpg,cat\nb.jpg,\nc.jpg,dog\n")
    assert aside(dataset) == [("no label", ("b.jpg",))]
    assert dataset.classes == ("cat", "dog")


def test_rows_with_too_few_or_too_many_cells_are_set_aside(tmp_path):
    dataset = table(tmp_path, "path,label\na.jpg\nb.jpg,cat,or dog\nc.jpg,cat,\n")
    assert aside(dataset) == [("bad row", ("a.jpg",)), ("bad row", ("b.jpg",))]
    assert rows(dataset) == [("c.jpg", "cat")]


def test_every_row_is_used_or_set_aside_once(tmp_path):
    dataset = table(tmp_path, "path,label\na.jpg,cat\na.jpg,cat\na.jpg,\ngone.jpg,x\ngone.jpg,x\n,y\nb.jpg,dog\n")
    accounted = [example.id for example in dataset.examples] + [id for _, ids in aside(dataset) for id in ids]
    assert len(accounted) == len(set(accounted)) == 7


def test_groups_are_the_same_with_and_without_a_blank_behind_them(tmp_path):
    dataset = table(tmp_path, "path,label,group\na.jpg,cat,Bern\nb.jpg,dog,Bern \n")
    assert {one.group for one in dataset.examples} == {"Bern"}


def test_a_row_that_cannot_be_read_names_no_class(tmp_path):
    dataset = table(tmp_path, "path,label\nHolidays, Rome.jpg,dog\na.jpg,cat\nb.jpg,dog\n")
    assert dataset.classes == ("cat", "dog")


def test_parquet_takes_times_of_nanoseconds_and_refuses_lists_as_labels(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    columns = {"path": ["a.jpg", "b.jpg"], "label": ["cat", "dog"], "taken": pa.array([1, 2], pa.timestamp("ns"))}
    pq.write_table(pa.table(columns | {"share": [float("nan"), 0.5]}), tmp_path / "table.parquet")
    dataset = list_manifest(tmp_path / "table.parquet", name="t", source="t")
    assert dataset.examples[0].extra == (("taken", "1970-01-01 00:00:00"), ("share", ""))
    pq.write_table(pa.table(columns | {"label": [["cat", "x"], ["dog"]]}), tmp_path / "lists.parquet")
    with pytest.raises(SourceError, match="a plain value in each cell of column label"):
        list_manifest(tmp_path / "lists.parquet", name="t", source="t")


def test_labels_joined_by_a_bar_make_the_set_multilabel(tmp_path):
    dataset = table(tmp_path, "path,label\na.jpg,cat|indoors\nb.jpg,dog\n")
    assert dataset.multilabel
    assert dataset.classes == ("cat", "dog", "indoors")
    assert dataset.examples[0].label == "cat|indoors"
    assert dataset.counts() == {"cat": 1, "dog": 1, "indoors": 1}


def test_a_table_without_the_columns_is_told_which_names_they_may_have(tmp_path):
    with pytest.raises(SourceError, match="should have columns path and label") as error:
        table(tmp_path, "picture,kind\na.jpg,cat\n")
    assert error.value.got == "picture,kind"
    assert "filename" in error.value.fix


def test_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path):
    with pytest.raises(SourceError, match="UTF-8") as error:
        table(tmp_path, b"path,label\na.jpg,caf\xe9\n")
    assert "line 2" in error.value.got


def test_a_table_whose_files_are_all_missing_is_refused(tmp_path):
    with pytest.raises(SourceError, match="pictures that exist"):
        table(tmp_path, "path,label\nx/a.jpg,cat\n")


def test_backslashes_of_windows_lead_to_the_file(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/d.jpg").write_bytes(b"picture")
    assert rows(table(tmp_path, "path,label\ndeep\\d.jpg,cat\na.jpg,dog\n"))[1] == ("deep\\d.jpg", "cat")


def test_a_parquet_table_is_read_like_a_csv(tmp_path):
    columns = {"Path": ["a.jpg", "b.jpg", None], "label": [10, 9, 1], "split": ["train", None, ""]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    dataset = table(tmp_path, (tmp_path / "t.parquet").read_bytes(), "t.parquet")
    assert rows(dataset) == [("a.jpg", "10"), ("b.jpg", "9")]
    assert dataset.classes == ("1", "9", "10")
    assert [kind for kind, _ in aside(dataset)] == ["bad row"]


def test_a_parquet_column_of_which_every_cell_is_empty_says_nothing(tmp_path):
    columns = {"path": ["a.jpg", "b.jpg"], "label": ["cat", "dog"], "group": [None, None], "note": [None, None]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    dataset = table(tmp_path, (tmp_path / "t.parquet").read_bytes(), "t.parquet")
    assert [(one.group, one.extra) for one in dataset.examples] == [("", (("note", ""),))] * 2


def test_every_further_column_is_kept_with_its_example(tmp_path):
    dataset = table(tmp_path, "camera,path,label,group,dose\nA7, a.jpg,cat,p1,0.5\n,b.jpg,dog,p2\n")
    assert [example.extra for example in dataset.examples] == [
        (("camera", "A7"), ("dose", "0.5")),
        (("camera", ""), ("dose", "")),
    ]


def test_further_columns_without_a_name_of_their_own_are_named_by_their_place(tmp_path):
    dataset = table(tmp_path, "path,label,site,,site\na.jpg,cat,x,y,z\n")
    assert dataset.examples[0].extra == (("site", "x"), ("column 4", "y"), ("site 5", "z"))


def test_a_second_column_of_paths_is_a_further_column(tmp_path):
    dataset = table(tmp_path, "path,label,file\na.jpg,cat,orig/0001.tif\n")
    assert dataset.examples[0].extra == (("file", "orig/0001.tif"),)


def test_a_parquet_table_keeps_plain_values_and_leaves_pictures_and_lists_where_they_are(tmp_path):
    columns = {
        "jpeg": [b"bytes", b"bytes"],
        "path": ["a.jpg", "b.jpg"],
        "dose": [0.5, None],
        "boxes": [[1, 2], [3]],
        "label": ["cat", "dog"],
        "camera": pa.array(["A7", "A9"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    dataset = table(tmp_path, (tmp_path / "t.parquet").read_bytes(), "t.parquet")
    assert [example.extra for example in dataset.examples] == [
        (("dose", "0.5"), ("camera", "A7")),
        (("dose", ""), ("camera", "A9")),
    ]


def test_a_repeated_row_with_other_further_values_says_so(tmp_path):
    dataset = table(tmp_path, "path,label,dose\na.jpg,cat,1\na.jpg,cat,2\nb.jpg,dog,1\n")
    assert "with another dose" in dataset.findings[0].evidence


def test_a_parquet_table_with_a_name_twice_keeps_its_columns_apart(tmp_path):
    columns = [pa.array(["a.jpg", "b.jpg"]), pa.array([1, 2]), pa.array(["cat", "dog"]), pa.array([3, 4])]
    pq.write_table(pa.table(columns, names=["path", "x", "label", "x"]), tmp_path / "t.parquet")
    dataset = table(tmp_path, (tmp_path / "t.parquet").read_bytes(), "t.parquet")
    assert rows(dataset) == [("a.jpg", "cat"), ("b.jpg", "dog")]
    assert dataset.examples[0].extra == (("x", "1"), ("x 4", "3"))
