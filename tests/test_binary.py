from pathlib import Path

import pytest

from linnaeus.data.binary import find_binary, list_binary
from linnaeus.errors import SourceError
from linnaeus.records import Dataset

PIXELS = 3072


def cifar10(folder: Path, records: int = 3) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "batches.meta.txt").write_text("airplane\nautomobile\nbird\n\n")
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        data = b"".join(bytes([row]) + bytes([10 * number + row]) * PIXELS for row in range(records))
        (folder / f"{name}.bin").write_bytes(data)
    return folder


def opened(folder: Path) -> Dataset:
    found = find_binary(folder)
    assert found is not None
    return list_binary(*found, name="cifar", source=str(folder))


def test_pictures_keep_their_official_split_names_and_place(tmp_path):
    dataset = opened(cifar10(tmp_path))
    assert len(dataset) == 18
    third = dataset.examples[4]
    assert (third.id, third.label, third.split) == ("data_batch_2.bin#1", "automobile", "train")
    data = Path(third.place.path).read_bytes()[third.place.offset :][: third.place.length]
    assert data == bytes([11]) * PIXELS
    assert third.place.layout == "3x32x32"
    assert dataset.examples[-1].split == "test"


def test_the_folder_may_be_one_level_down(tmp_path):
    cifar10(tmp_path / "cifar-10-batches-bin")
    assert len(opened(tmp_path)) == 18


def test_cifar_100_takes_the_fine_label(tmp_path):
    (tmp_path / "fine_label_names.txt").write_text("apple\nbear\n")
    for name in ("train", "test"):
        (tmp_path / f"{name}.bin").write_bytes(bytes([0, 1]) + bytes(PIXELS))
    dataset = opened(tmp_path)
    assert [(example.label, example.split) for example in dataset.examples] == [("bear", "train"), ("bear", "test")]
    assert dataset.examples[0].place.offset == 2


def test_a_file_cut_off_within_a_picture_is_refused(tmp_path):
    path = cifar10(tmp_path) / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(SourceError, match=r"data_batch_3.bin should be a multiple of 3,073 bytes"):
        opened(tmp_path)


def test_missing_files_and_fewer_pictures_than_official_are_warned_of(tmp_path):
    (cifar10(tmp_path) / "data_batch_5.bin").unlink()
    findings = {(finding.kind, finding.ids[0]) for finding in opened(tmp_path).findings}
    assert ("missing", "data_batch_5.bin") in findings
    assert ("truncated", "test_batch.bin") in findings


def test_a_class_number_without_a_name_is_set_aside(tmp_path):
    dataset = opened(cifar10(tmp_path, records=4))
    aside = [finding.ids[0] for finding in dataset.findings if finding.severity == "set aside"]
    assert len(aside) == 6
    assert "test_batch.bin#3" in aside
    assert len(dataset) == 18


@pytest.mark.parametrize("names", [("data_batch_1", "test_batch", "batches.meta"), ("train", "test", "meta")])
def test_the_version_for_python_is_refused_because_pickles_run_code(tmp_path, names):
    for name in names:
        (tmp_path / name).write_bytes(b"pickle")
    with pytest.raises(SourceError, match="binary version") as error:
        find_binary(tmp_path)
    assert "run any code" in error.value.got
