import io
import random
import stat
import tarfile
import threading
import warnings
import zipfile
from pathlib import Path

import pytest

from linnaeus.data.archive import Limits, unpack
from linnaeus.data.folders import file_key
from linnaeus.errors import SourceError


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, files: dict[str, bytes], *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, f"w:{path.suffix[1:] if path.suffix != '.tar' else ''}") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in members:
            archive.addfile(member)
    return path


def odd(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def zip_link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_every_kind_of_tar_is_unpacked(tmp_path, ending):
    path = tarred(tmp_path / f"a.{ending}", {"cat/a.jpg": b"A", "dog/b.jpg": b"B"})
    folder, findings = unpack(path, tmp_path / "cache", source="a")
    assert contents(folder) == {"cat/a.jpg": b"A", "dog/b.jpg": b"B"}
    assert findings == ()


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path):
    inner = zipped(tmp_path / "inner.zip", {"x/1.jpg": b"X"}).read_bytes()
    path = tarred(tmp_path / "a.tar", {"cat/a.jpg": b"A", "extra.zip": inner})
    folder, _ = unpack(path, tmp_path / "cache", source="a")
    assert contents(folder) == {"cat/a.jpg": b"A", "extra.zip": inner}


def test_a_zip_is_unpacked_once_and_the_file_is_not_touched(tmp_path):
    path = zipped(tmp_path / "a.zip", {"cat/a.jpg": b"A"})
    before = path.read_bytes(), path.stat().st_mtime_ns
    first, _ = unpack(path, tmp_path / "cache", source="a")
    marker = first / "marker"
    marker.touch()
    assert unpack(path, tmp_path / "cache", source="a")[0] == first
    assert marker.exists()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_a_changed_archive_is_unpacked_anew(tmp_path):
    path = zipped(tmp_path / "a.zip", {"cat/a.jpg": b"A"})
    unpack(path, tmp_path / "cache", source="a")
    zipped(path, {"cat/a.jpg": b"B"})
    assert contents(unpack(path, tmp_path / "cache", source="a")[0]) == {"cat/a.jpg": b"B"}


@pytest.mark.parametrize("name", ["../evil.jpg", "/evil.jpg", "cat/../../evil.jpg"])
def test_names_that_lead_out_of_the_archive_are_refused(tmp_path, name):
    for path in (zipped(tmp_path / "a.zip", {name: b"x"}), tarred(tmp_path / "a.tar", {name: b"x"})):
        with pytest.raises(SourceError, match="files and folders of its own"):
            unpack(path, tmp_path / "cache", source="a")
    assert not list(tmp_path.rglob("evil.jpg"))


def test_a_device_is_refused(tmp_path):
    path = tarred(tmp_path / "a.tar", {}, odd("cat/zero.jpg", tarfile.CHRTYPE))
    with pytest.raises(SourceError, match="files and folders of its own"):
        unpack(path, tmp_path / "cache", source="a")


def test_a_link_inside_becomes_a_copy_and_a_link_out_is_set_aside(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    links = [
        odd("cat/in.jpg", tarfile.SYMTYPE, "a.jpg"),
        odd("cat/hard.jpg", tarfile.LNKTYPE, "cat/a.jpg"),
        odd("cat/out.jpg", tarfile.SYMTYPE, "../../secret.jpg"),
        odd("cat/abs.jpg", tarfile.SYMTYPE, str(tmp_path / "secret.jpg")),
        odd("cat/self.jpg", tarfile.SYMTYPE, "self.jpg"),
    ]
    folder, findings = unpack(tarred(tmp_path / "a.tar", {"cat/a.jpg": b"A"}, *links), tmp_path / "cache", source="a")
    assert contents(folder) == {"cat/a.jpg": b"A", "cat/in.jpg": b"A", "cat/hard.jpg": b"A"}
    assert [(f.kind, f.ids, f.severity) for f in findings] == [
        ("missing", (f"cat/{name}.jpg",), "set aside") for name in ("out", "abs", "self")
    ]


def test_what_was_set_aside_is_told_again_on_the_second_opening(tmp_path):
    path = tarred(tmp_path / "a.tar", {"cat/a.jpg": b"A"}, odd("cat/b.jpg", tarfile.SYMTYPE, "gone.jpg"))
    first = unpack(path, tmp_path / "cache", source="a")
    assert unpack(path, tmp_path / "cache", source="a") == first
    assert len(first[1]) == 1


def test_a_bomb_is_refused_and_leaves_nothing(tmp_path):
    path = zipped(tmp_path / "a.zip", {"cat/a.bmp": bytes(5_000_000)})
    with pytest.raises(SourceError, match="not a bomb"):
        unpack(path, tmp_path / "cache", source="a", limits=Limits(ratio_from=1_000_000))
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


def test_total_size_and_number_of_files_are_limited(tmp_path):
    path = tarred(tmp_path / "a.tar", {"cat/a.jpg": b"AAAA", "cat/b.jpg": b"BBBB"})
    for limits in (Limits(total_bytes=7), Limits(entries=1)):
        with pytest.raises(SourceError, match="not a bomb"):
            unpack(path, tmp_path / "cache", source="a", limits=limits)


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz", "tar.xz"])
def test_an_archive_that_is_cut_off_is_refused(tmp_path, ending):
    files = {f"cat/{n}.jpg": bytes(range(256)) * 40 for n in range(20)}
    path = tmp_path / f"a.{ending}"
    (zipped if ending == "zip" else tarred)(path, files)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(SourceError, match="whole zip or tar"):
        unpack(path, tmp_path / "cache", source="a")


def test_an_impossible_name_is_set_aside_and_the_rest_is_used(tmp_path):
    path = zipped(tmp_path / "a.zip", {"cat/a.jpg": b"A", f"cat/{'x' * 300}.jpg": b"B"})
    folder, findings = unpack(path, tmp_path / "cache", source="a")
    assert contents(folder) == {"cat/a.jpg": b"A"}
    assert [finding.kind for finding in findings] == ["unreadable"]


def test_two_at_once_give_the_same_whole_folder(tmp_path):
    path = tarred(tmp_path / "a.tar", {f"cat/{n}.jpg": bytes([n]) for n in range(100)})
    found = []
    work = [threading.Thread(target=lambda: found.append(unpack(path, tmp_path / "c", source="a"))) for _ in range(4)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert len({folder for folder, _ in found}) == 1
    assert len(found) == 4
    assert len(contents(found[0][0])) == 100
    assert len(list((tmp_path / "c/archives").iterdir())) == 1


def test_progress_ends_at_the_size_of_the_archive(tmp_path):
    path = tarred(tmp_path / "a.tar", {"cat/a.jpg": b"A"})
    told = []
    unpack(path, tmp_path / "cache", source="a", progress=lambda *step: told.append(step))
    assert told[-1][0] == "unpacking a.tar"
    assert told[-1][2] == path.stat().st_size


def test_names_in_utf_8_without_the_flag_that_says_so_are_read_as_such(tmp_path):
    path = zipped(tmp_path / "a.zip", {"K__ln/a.jpg": b"A", "K_ln/b.jpg": b"B"})
    names = path.read_bytes().replace(b"K__ln", "Köln".encode()).replace(b"K_ln", "Köln".encode("cp437"))
    path.write_bytes(names)
    folder, findings = unpack(path, tmp_path / "cache", source="a")
    assert contents(folder) == {"Köln/a.jpg": b"A", "Köln/b.jpg": b"B"}
    assert findings == ()


def test_what_was_unpacked_by_an_earlier_version_is_unpacked_anew(tmp_path):
    path = zipped(tmp_path / "a.zip", {"cat/a.jpg": b"A"})
    earlier = tmp_path / "cache/archives" / file_key([path])
    (earlier / "contents/K├╢ln").mkdir(parents=True)
    (earlier / "set_aside.json").write_text("[]")
    assert contents(unpack(path, tmp_path / "cache", source="a")[0]) == {"cat/a.jpg": b"A"}


def stored(path: Path, method: int, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_file_of_a_zip_is_set_aside_and_the_rest_is_used(tmp_path, method):
    data = bytes(range(256)) * 9
    path = stored(tmp_path / "a.zip", method, {"cat/a.jpg": data, "cat/b.jpg": b"B", "cat/c.jpg": b"C"})
    with zipfile.ZipFile(path) as archive:
        first = archive.getinfo("cat/a.jpg")
    whole = bytearray(path.read_bytes())
    at = first.header_offset + 30 + len(first.filename) + first.compress_size // 2
    whole[at : at + 8] = b"\xff" * 8
    path.write_bytes(whole)
    folder, findings = unpack(path, tmp_path / "cache", source="a")
    assert contents(folder) == {"cat/b.jpg": b"B", "cat/c.jpg": b"C"}
    assert [(finding.kind, finding.ids) for finding in findings] == [("unreadable", ("cat/a.jpg",))]
    assert "damaged in the archive" in findings[0].evidence


@pytest.mark.parametrize(
    "damage", [lambda whole: whole.replace(b"cat/b", b"cat/c"), lambda whole: whole[: 2 * 512 + 100]]
)
def test_a_damaged_header_of_a_tar_is_not_taken_for_its_end(tmp_path, damage):
    path = tarred(tmp_path / "a.tar", {"cat/a.jpg": b"A", "cat/b.jpg": b"B", "cat/d.jpg": b"D"})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SourceError, match="whole zip or tar"):
        unpack(path, tmp_path / "cache", source="a")


@pytest.mark.parametrize("ending", ["tar.gz", "tar.bz2", "tar.xz"])
def test_a_damaged_tar_is_refused(tmp_path, ending):
    files = {f"cat/{n}.jpg": random.Random(n).randbytes(25_000).hex().encode() for n in range(60)}
    path = tarred(tmp_path / f"a.{ending}", files)
    whole = bytearray(path.read_bytes())
    for at in range(len(whole) // 2, len(whole) // 2 + 300):
        whole[at] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(SourceError, match="whole zip or tar"):
        unpack(path, tmp_path / "cache", source="a")


def test_a_second_file_of_the_same_name_in_a_zip_is_set_aside(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, data in (("cat/a.jpg", b"first"), ("cat/b.jpg", b"B"), ("cat/a.jpg", b"2"), ("./cat/a.jpg", b"3")):
            archive.writestr(name, data)
    folder, findings = unpack(path, tmp_path / "cache", source="a")
    assert contents(folder) == {"cat/a.jpg": b"first", "cat/b.jpg": b"B"}
    ids = [("cat/a.jpg (entry 3)",), ("./cat/a.jpg (entry 4)",)]
    assert [(finding.kind, finding.ids) for finding in findings] == [("repeated name", id) for id in ids]


def test_a_link_in_a_zip_to_a_file_inside_becomes_a_copy(tmp_path):
    links = {
        "cat/link.jpg": "a.jpg",
        "dog/up.jpg": "../cat/a.jpg",
        "dog/twice.jpg": "../cat/link.jpg",
        "dog/out.jpg": "../../secret.jpg",
        "dog/abs.jpg": "/etc/hostname",
        "dog/self.jpg": "self.jpg",
        "dog/folder": "../cat",
        "dog/gone.jpg": "gone.png",
    }
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, target in links.items():
            archive.writestr(zip_link(name), target)
        archive.mkdir("cat")
        archive.writestr("cat/a.jpg", b"A")
    folder, findings = unpack(path, tmp_path / "cache", source="a")
    assert contents(folder) == dict.fromkeys(("cat/a.jpg", "cat/link.jpg", "dog/up.jpg", "dog/twice.jpg"), b"A")
    assert [finding.ids for finding in findings] == [
        (f"dog/{n}",) for n in "out.jpg abs.jpg self.jpg folder gone.jpg".split()
    ]
    assert all("a link that is not followed" in finding.evidence for finding in findings)


def test_a_link_in_a_tar_to_a_folder_inside_is_told_as_what_it_is(tmp_path):
    links = [odd("cats", tarfile.DIRTYPE), odd("latest", tarfile.SYMTYPE, "cats")]
    path = tarred(tmp_path / "a.tar", {"cats/a.jpg": b"A"}, *links)
    (finding,) = unpack(path, tmp_path / "cache", source="a")[1]
    assert finding.evidence == "a link that is not followed: it names no file of the archive"
