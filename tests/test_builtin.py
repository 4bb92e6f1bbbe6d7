import hashlib
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from linnaeus.data.builtin import open_builtin
from linnaeus.data.catalog import CATALOG, Download, Entry
from linnaeus.errors import DownloadError, SourceError


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def packed(entry: Entry, folder: Path, archives: Path, url: str = "http://127.0.0.1:9") -> Entry:
    """Pack a folder as the entry's only archive, and let the entry promise just that."""
    archives.mkdir(parents=True, exist_ok=True)
    path = archives / entry.files[0].name
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, entry.folder)
    data = path.read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return replace(entry, files=(Download(f"{url}/{path.name}", path.name, digest, len(data)),))


def test_digits_are_scikit_learns_spread_over_a_byte(tmp_path):
    from sklearn.datasets import load_digits

    dataset = open_builtin(CATALOG["digits"], data_dir=None, cache_dir=tmp_path)
    reference = load_digits()
    example = dataset.examples[42]
    data = np.fromfile(example.place.path, np.uint8, 64, offset=example.place.offset).reshape(8, 8)
    np.testing.assert_allclose(data, reference.images[42] * 255 / 16, atol=0.5)
    assert [int(example.label) for example in dataset.examples] == reference.target.tolist()
    assert (example.id, example.place.layout) == ("digits.bin#42", "1x8x8")


def test_digits_are_written_once(tmp_path):
    first = open_builtin(CATALOG["digits"], data_dir=None, cache_dir=tmp_path)
    written = (tmp_path / "digits/digits.bin").stat().st_mtime_ns
    assert open_builtin(CATALOG["digits"], data_dir=None, cache_dir=tmp_path) == first
    assert (tmp_path / "digits/digits.bin").stat().st_mtime_ns == written


@pytest.fixture
def web(tmp_path, monkeypatch) -> Iterator[str]:
    """Serve tmp_path/web, and give its address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_data_set_is_fetched_checked_unpacked_and_listed(tmp_path, web):
    folder = write(tmp_path / "flowers", "roses/a.jpg", "tulips/b.jpg", "LICENSE.txt")
    entry = packed(CATALOG["flowers"], folder, tmp_path / "web", web)
    dataset = open_builtin(entry, data_dir=None, cache_dir=tmp_path / "cache")
    assert [example.id for example in dataset.examples] == ["roses/a.jpg", "tulips/b.jpg"]
    assert (dataset.name, dataset.source, dataset.classes) == ("flowers", "flowers", ("roses", "tulips"))


def test_without_internet_the_error_says_which_file_to_put_where(tmp_path):
    entry = packed(CATALOG["cifar10"], write(tmp_path / "x", "a"), tmp_path / "web")
    with pytest.raises(DownloadError) as error:
        open_builtin(entry, data_dir=None, cache_dir=tmp_path / "cache")
    assert "put cifar-10-binary.tar.gz (0 MB) from http://127.0.0.1:9/" in error.value.fix
    assert f"into {tmp_path / 'cache/downloads'}" in error.value.fix
    assert "--data-dir" in error.value.fix


def test_an_archive_in_the_data_dir_is_taken_if_its_checksum_is_right(tmp_path):
    folder = write(tmp_path / "x", "train/n01440764/a.JPEG", "val/n03888257/b.JPEG")
    entry = packed(CATALOG["imagenette"], folder, tmp_path / "data")
    dataset = open_builtin(entry, data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    assert dataset.classes == ("tench", "parachute")
    assert [(example.label, example.split) for example in dataset.examples] == [
        ("tench", "train"),
        ("parachute", "val"),
    ]


def test_an_archive_with_another_checksum_is_refused(tmp_path):
    write(tmp_path / "data", "flower_photos.tgz")
    with pytest.raises(DownloadError, match=r"flower_photos.tgz should have the checksum"):
        open_builtin(CATALOG["flowers"], data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("place", ["data", "data/flower_photos", "data/flowers"])
def test_the_data_dir_may_hold_what_is_unpacked(tmp_path, place):
    write(tmp_path / place, "roses/a.jpg", "tulips/b.jpg")
    dataset = open_builtin(CATALOG["flowers"], data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    assert dataset.classes == ("roses", "tulips")
    assert not (tmp_path / "cache").exists()


def test_a_data_dir_without_the_data_is_refused_with_what_it_should_hold(tmp_path):
    with pytest.raises(SourceError, match=r"should hold cifar-100-binary.tar.gz, or the folder cifar-100-binary"):
        open_builtin(CATALOG["cifar100"], data_dir=tmp_path, cache_dir=tmp_path / "cache")


def test_pets_take_class_and_split_from_the_official_lists(tmp_path):
    root = write(tmp_path / "oxford-iiit-pet", "images/Maine_Coon_1.jpg", "images/pug_2.jpg", "images/pug_2.mat")
    (root / "annotations").mkdir()
    (root / "annotations/trainval.txt").write_text("# list\nMaine_Coon_1 1 1 1\npug_9 2 2 1\n")
    (root / "annotations/test.txt").write_text("pug_2 2 2 1\n")
    dataset = open_builtin(CATALOG["pets"], data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert [(example.id, example.label, example.split) for example in dataset.examples] == [
        ("images/Maine_Coon_1.jpg", "Maine_Coon", "train"),
        ("images/pug_2.jpg", "pug", "test"),
    ]
    kinds = {finding.ids: finding.severity for finding in dataset.findings}
    assert kinds["images/pug_9.jpg",] == "set aside"
    assert kinds["images/pug_2.mat",] == "note"
    assert len(dataset.classes) == 37


def test_the_wrong_cifar_is_refused(tmp_path):
    write(tmp_path, "fine_label_names.txt", "test.bin", "train.bin")
    with pytest.raises(SourceError, match="should hold CIFAR-10 "):
        open_builtin(CATALOG["cifar10"], data_dir=tmp_path, cache_dir=tmp_path / "cache")
