import os
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linnaeus.data.sources import open_source
from linnaeus.errors import SourceError
from linnaeus.records import Dataset

FLOWERS = Path(__file__).parents[2] / "shared" / "data" / "flowers"


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"picture")
    return folder


def zipped(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder))
    return path


def opened(source: Path | str, tmp_path: Path) -> Dataset:
    return open_source(source, cache_dir=tmp_path / "cache")


def labels(dataset: Dataset) -> list[tuple[str, str]]:
    return [(example.id, example.label) for example in dataset.examples]


def test_a_folder_is_named_after_itself_and_keeps_what_was_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path / "garden", "rose/a.jpg", "tulip/b.jpg"))
    dataset = opened(".", tmp_path)
    assert (dataset.name, dataset.source) == ("garden", ".")
    assert os.path.isabs(dataset.examples[0].place.path)


def test_a_zip_of_one_folder_of_classes_is_opened_below_that_folder(tmp_path):
    folder = write(tmp_path / "x", "garden/rose/a.jpg", "garden/tulip/b.jpg", "README.md", "__MACOSX/garden/._a.jpg")
    dataset = opened(zipped(tmp_path / "my.garden.zip", folder), tmp_path)
    assert labels(dataset) == [("rose/a.jpg", "rose"), ("tulip/b.jpg", "tulip")]
    assert (dataset.name, dataset.source) == ("my.garden", str(tmp_path / "my.garden.zip"))
    assert any(finding.ids == ("README.md",) for finding in dataset.findings)


def test_an_archive_with_one_split_keeps_it(tmp_path):
    dataset = opened(
        zipped(tmp_path / "a.zip", write(tmp_path / "x", "train/rose/a.jpg", "train/tulip/b.jpg")), tmp_path
    )
    assert [example.split for example in dataset.examples] == ["train", "train"]


def test_an_archive_of_one_class_folder_keeps_its_class(tmp_path):
    assert opened(zipped(tmp_path / "a.zip", write(tmp_path / "x", "rose/a.jpg")), tmp_path).classes == ("rose",)


def test_a_tar_with_a_table_is_opened_by_the_table(tmp_path):
    folder = write(tmp_path / "x", "set/pictures/a.jpg", "set/pictures/b.jpg")
    (folder / "set/labels.csv").write_text("path,label\npictures/a.jpg,rose\npictures/b.jpg,tulip\n")
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as archive:
        archive.add(folder / "set", "set")
    dataset = opened(tmp_path / "set.tar.gz", tmp_path)
    assert labels(dataset) == [("pictures/a.jpg", "rose"), ("pictures/b.jpg", "tulip")]
    assert dataset.name == "set"


def test_an_archive_of_cifar_is_opened_as_cifar(tmp_path):
    folder = write(tmp_path / "x", "cifar-100-binary/train.bin")
    (folder / "cifar-100-binary/train.bin").write_bytes(bytes(2 * 3074))
    (folder / "cifar-100-binary/fine_label_names.txt").write_text("apple\nbear\n")
    assert len(opened(zipped(tmp_path / "c.zip", folder), tmp_path)) == 2


def test_parquet_with_bytes_and_parquet_with_paths_are_told_apart(tmp_path):
    write(tmp_path, "a.jpg", "b.jpg")
    pq.write_table(pa.table({"image": [b"A", b"B"], "label": ["x", "y"]}), tmp_path / "bytes.parquet")
    pq.write_table(pa.table({"image": ["a.jpg", "b.jpg"], "label": ["x", "y"]}), tmp_path / "paths.parquet")
    assert labels(opened(tmp_path / "bytes.parquet", tmp_path))[0] == ("bytes.parquet#0", "x")
    assert labels(opened(tmp_path / "paths.parquet", tmp_path))[0] == ("a.jpg", "x")


def test_what_lies_beside_parquet_with_pictures_is_told(tmp_path):
    folder = tmp_path / "both"
    for name in ("README.md", ".gitattributes", "wolf/1.jpg", "data/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    pq.write_table(pa.table({"image": [b"A", b"B"], "label": ["x", "y"]}), folder / "data/train.parquet")
    (beside,) = (one for one in opened(folder, tmp_path).findings if one.kind == "other files")
    assert beside.ids == ("README.md", "data/notes.txt", "wolf")


def test_a_folder_named_like_a_built_in_set_is_taken_with_a_note(tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path, "flowers/rose/a.jpg", "flowers/tulip/b.jpg").resolve())
    dataset = opened("flowers", tmp_path)
    assert dataset.classes == ("rose", "tulip")
    assert dataset.findings[-1].kind == "shadowed name"


def test_a_built_in_name_works_where_no_such_path_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(opened("digits", tmp_path)) == 1797


def test_a_name_that_is_nearly_built_in_gets_a_suggestion(tmp_path):
    with pytest.raises(SourceError) as error:
        opened("cifar-10", tmp_path)
    assert "did you mean cifar10" in error.value.fix


def test_a_path_that_does_not_exist_lists_what_there_is(tmp_path):
    with pytest.raises(SourceError, match="built-in name") as error:
        opened(tmp_path / "nothing", tmp_path)
    assert "digits, cifar10" in error.value.fix


@pytest.mark.parametrize(("name", "got"), [("a.jpg", "one picture"), ("a.docx", ".docx"), ("a", "nothing")])
def test_a_file_of_no_known_kind_is_refused(tmp_path, name, got):
    with pytest.raises(SourceError, match="should be a folder, a table") as error:
        opened(write(tmp_path, name) / name, tmp_path)
    assert got in error.value.got


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.csv", "a.parquet"])
def test_an_empty_file_is_refused_whatever_it_claims_to_be(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(SourceError):
        opened(tmp_path / name, tmp_path)


def test_files_of_the_user_are_left_as_they_were(tmp_path):
    source = zipped(tmp_path / "a.zip", write(tmp_path / "x", "rose/a.jpg", "tulip/b.jpg"))
    for path in [*tmp_path.rglob("*.jpg"), source]:
        path.chmod(0o444)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    opened(source, tmp_path)
    opened(tmp_path / "x", tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_real_flowers_are_all_listed(tmp_path):
    if not FLOWERS.is_dir():
        pytest.skip("shared/data/flowers is not here")
    dataset = opened(FLOWERS, tmp_path)
    assert dataset.classes == ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    assert len(dataset) == 2521
    assert dataset.findings == ()
