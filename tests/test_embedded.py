import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linnaeus.data.embedded import find_embedded, list_embedded
from linnaeus.errors import SourceError
from linnaeus.records import Dataset


def shard(path: Path, pictures: list, labels: list, names: list[str] | None = None, label: str = "label") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": pictures, label: labels})
    if names:
        features = {"image": {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=2)
    return path


def held(*pictures: bytes | None) -> list[dict | None]:
    return [{"bytes": picture, "path": "x.png"} for picture in pictures]


def opened(path: Path, cache: Path) -> Dataset:
    return list_embedded(find_embedded(path), cache, name="set", source=str(path))


def data(dataset: Dataset) -> list[bytes]:
    places = [example.place for example in dataset.examples]
    return [Path(place.path).read_bytes()[place.offset :][: place.length] for place in places]


def test_bytes_labels_and_order_of_the_classes_are_those_of_the_file(tmp_path):
    path = shard(tmp_path / "train-00000-of-00001.parquet", held(b"A", b"BB", b"CCC"), [1, 0, 1], ["wolf", "ant"])
    dataset = opened(path, tmp_path / "cache")
    assert data(dataset) == [b"A", b"BB", b"CCC"]
    assert [example.label for example in dataset.examples] == ["ant", "wolf", "ant"]
    assert dataset.classes == ("wolf", "ant")
    assert dataset.examples[2].id == "train-00000-of-00001.parquet#2"


def test_a_folder_of_shards_gives_the_split_of_each_name(tmp_path):
    for name in ("train-0-of-2", "train-1-of-2", "validation-0-of-1", "test-0-of-1"):
        shard(tmp_path / f"hub/data/{name}.parquet", held(name.encode()), [0], ["ant", "wolf"])
    (tmp_path / "hub/README.md").touch()
    dataset = opened(tmp_path / "hub", tmp_path / "cache")
    assert [example.split for example in dataset.examples] == ["test", "train", "train", "val"]
    assert data(dataset) == [b"test-0-of-1", b"train-0-of-2", b"train-1-of-2", b"validation-0-of-1"]


@pytest.mark.parametrize("above", ["", "default/"])
def test_a_folder_for_each_side_gives_the_split(tmp_path, above):
    for side in ("partial-train", "validation"):
        for number in (0, 1):
            shard(tmp_path / f"hub/{above}{side}/000{number}.parquet", held(f"{side} {number}".encode()), ["ant"])
    dataset = opened(tmp_path / "hub", tmp_path / "cache")
    assert [example.split for example in dataset.examples] == ["train", "train", "val", "val"]
    ids = [example.id for example in dataset.examples]
    assert ids[1:3] == ["partial-train/0001.parquet#0", "validation/0000.parquet#0"]
    assert data(dataset)[1:3] == [b"partial-train 1", b"validation 0"]
    (tmp_path / f"hub/{above}validation").rename(tmp_path / f"hub/{above}test")
    assert opened(tmp_path / "hub", tmp_path / "cache").examples[-1].split == "test"


def test_plain_binary_columns_and_words_as_labels_work(tmp_path):
    dataset = opened(shard(tmp_path / "a.parquet", [b"A", b"B"], ["wolf", "ant"], label="Category"), tmp_path / "cache")
    assert data(dataset) == [b"A", b"B"]
    assert dataset.classes == ("ant", "wolf")


def test_rows_without_bytes_or_without_label_are_set_aside(tmp_path):
    path = shard(tmp_path / "a.parquet", [*held(b"A", None), None, *held(b"D", b"E")], [0, 0, 1, -1, None], ["x", "y"])
    dataset = opened(path, tmp_path / "cache")
    aside = [(finding.kind, finding.ids[0]) for finding in dataset.findings if finding.severity == "set aside"]
    assert aside == [
        ("missing", "a.parquet#1"),
        ("missing", "a.parquet#2"),
        ("no label", "a.parquet#3"),
        ("no label", "a.parquet#4"),
    ]
    assert data(dataset) == [b"A"]


def test_the_bytes_are_copied_only_once(tmp_path):
    path = shard(tmp_path / "a.parquet", held(b"A", b"B"), ["x", "y"])
    first = opened(path, tmp_path / "cache")
    written = Path(first.examples[0].place.path).stat().st_mtime_ns
    assert opened(path, tmp_path / "cache") == first
    assert Path(first.examples[0].place.path).stat().st_mtime_ns == written


def test_files_that_name_different_classes_are_refused(tmp_path):
    shard(tmp_path / "hub/train.parquet", held(b"A"), [0], ["x", "y"])
    shard(tmp_path / "hub/test.parquet", held(b"A"), [0], ["y", "x"])
    with pytest.raises(SourceError, match="same classes"):
        opened(tmp_path / "hub", tmp_path / "cache")


@pytest.mark.parametrize(("labels", "column"), [([["x"], ["y"]], "label"), (["x", "y"], "caption")])
def test_several_labels_or_none_are_refused(tmp_path, labels, column):
    path = shard(tmp_path / "a.parquet", held(b"A", b"B"), labels, label=column)
    with pytest.raises(SourceError, match="one label for each picture"):
        opened(path, tmp_path / "cache")


def test_a_damaged_file_is_refused_and_leaves_nothing(tmp_path):
    path = shard(tmp_path / "a.parquet", [bytes(range(256)) * 50] * 9, ["x", "y", "z"] * 3)
    whole = bytearray(path.read_bytes())
    whole[4:400] = b"\xff" * 396
    path.write_bytes(whole)
    with pytest.raises(SourceError, match="cannot be unpacked"):
        opened(path, tmp_path / "cache")
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


def test_split_group_and_other_columns_are_those_of_the_row(tmp_path):
    columns = {"image": held(b"A", b"B", b"C"), "label": ["ant", "wolf", "ant"], "split": ["train", "Test", None]}
    columns |= {"group": ["p1 ", "p2", None], "patient": [7, 8, None]}
    pq.write_table(pa.table(columns), tmp_path / "train-0.parquet")
    dataset = opened(tmp_path / "train-0.parquet", tmp_path / "cache")
    assert [one.split for one in dataset.examples] == ["train", "test", "train"]
    assert [one.group for one in dataset.examples] == ["p1", "p2", ""]
    assert [one.extra for one in dataset.examples] == [(("patient", "7"),), (("patient", "8"),), (("patient", ""),)]


def test_an_odd_word_for_a_split_is_refused(tmp_path):
    pq.write_table(pa.table({"image": held(b"A"), "label": ["ant"], "split": ["holdout"]}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="split should be one of"):
        opened(tmp_path / "a.parquet", tmp_path / "cache")


def test_of_several_files_any_word_may_say_the_split(tmp_path):
    for name in ("flowers-train", "flowers_test"):
        shard(tmp_path / f"hub/{name}.parquet", held(b"A"), ["ant"])
    assert {one.id.split("#")[0]: one.split for one in opened(tmp_path / "hub", tmp_path / "cache").examples} == {
        "flowers-train.parquet": "train",
        "flowers_test.parquet": "test",
    }


def test_a_table_of_paths_with_hashes_beside_them_holds_no_pictures(tmp_path):
    columns = {"path": ["a.jpg"], "label": ["ant"], "md5": [b"0123456789abcdef"]}
    pq.write_table(pa.table(columns), tmp_path / "table.parquet")
    assert find_embedded(tmp_path / "table.parquet") == []
    assert find_embedded(tmp_path) == []


PNG = b"\x89PNG\r\n\x1a\n and so on"


def test_pictures_whose_rows_tell_a_name_of_a_file_are_pictures(tmp_path):
    columns = {"filename": ["a" * 300, "b.png"], "image": [None, PNG], "label": ["ant", "bee"]}
    pq.write_table(pa.table(columns), tmp_path / "table.parquet")
    dataset = opened(tmp_path / "table.parquet", tmp_path / "cache")
    assert [one.label for one in dataset.examples] == ["bee"]
    assert data(dataset) == [PNG]
    assert dict(dataset.examples[0].extra)["filename"] == "b.png"


def test_thumbnails_beside_paths_of_files_that_are_there_are_not_the_pictures(tmp_path):
    (tmp_path / "b.png").write_bytes(PNG)
    columns = {"path": ["a.png", "b.png"], "small": [PNG, PNG], "label": ["ant", "bee"]}
    pq.write_table(pa.table(columns), tmp_path / "table.parquet")
    assert find_embedded(tmp_path / "table.parquet") == []
