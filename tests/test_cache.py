import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from linnaeus.data import cache
from linnaeus.data.decode import prepare
from linnaeus.errors import PictureError
from linnaeus.records import Dataset, Example, Place, Preprocessing
from made_pictures import CROP, listing, write_pictures

FLOWERS = Path(__file__).parents[2] / "shared" / "data" / "flowers"


def test_a_scan_has_hash_size_format_and_pixels_of_every_picture(tmp_path, look):
    dataset = write_pictures(tmp_path / "a", 40)
    found = look(dataset)
    data = Path(dataset.examples[7].place.path).read_bytes()
    assert found.hashes[7] == hashlib.sha256(data).hexdigest()
    assert (found.widths[7], found.heights[7], found.formats[7], found.turned[7]) == (40, 30, "PNG", False)
    assert all(
        np.array_equal(pixels, prepare(Path(example.place.path).read_bytes(), "", CROP))
        for pixels, example in zip(found.pixels, dataset.examples, strict=True)
    )


def test_the_second_scan_decodes_nothing(tmp_path, look, decoded):
    dataset = write_pictures(tmp_path / "a", 30)
    first = look(dataset)
    decoded.clear()
    second = look(dataset)
    assert decoded == []
    assert second.hashes == first.hashes
    assert np.array_equal(second.pixels[29], first.pixels[29])
    assert (second.widths == first.widths).all()


def test_ten_new_pictures_cost_ten_pictures(tmp_path, look, decoded):
    look(write_pictures(tmp_path / "a", 30))
    decoded.clear()
    found = look(write_pictures(tmp_path / "a", 10, first=30))
    assert len(decoded) == 10
    assert len(found) == 40


def test_a_renamed_picture_costs_nothing(tmp_path, look, decoded):
    dataset = write_pictures(tmp_path / "a", 5)
    look(dataset)
    decoded.clear()
    (tmp_path / "a" / "0003.png").rename(tmp_path / "a" / "another name.png")
    look(listing(tmp_path / "a"))
    assert decoded == []


def test_unchanged_files_are_not_even_read(tmp_path, look, monkeypatch):
    dataset = write_pictures(tmp_path / "a", 5)
    monkeypatch.setattr("linnaeus.data.seen.TOO_FRESH_NS", -(10**12))
    look(dataset)
    monkeypatch.setattr(cache, "read_bytes", lambda place: pytest.fail(f"{place} was read"))
    assert not look(dataset).problems


def test_a_file_changed_just_now_is_read_again_although_its_status_is_the_same(tmp_path, look):
    dataset = write_pictures(tmp_path / "a", 2)
    file = Path(dataset.examples[0].place.path)
    before, status = look(dataset).hashes[0], file.stat()
    data = bytearray(file.read_bytes())
    data[-30] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert look(dataset).hashes[0] != before


def test_another_preprocessing_has_other_pixels_but_the_same_normalisation_shares_them(tmp_path, look, decoded):
    dataset = write_pictures(tmp_path / "a", 3)
    look(dataset)
    decoded.clear()
    look(dataset, Preprocessing(14, resize_px=20, mean=(0, 0, 0), std=(1, 1, 1)))
    assert decoded == []
    assert look(dataset, Preprocessing(16, "squash")).pixels[0].shape == (16, 16, 3)


def test_a_lower_pixel_limit_holds_for_cached_pictures_too(tmp_path, look):
    dataset = write_pictures(tmp_path / "a", 3)
    look(dataset)
    limited = look(dataset, Preprocessing(16, resize_px=20, max_pixels=1000))
    assert {error.reason for error in limited.problems.values()} == {"too large"}
    assert len(limited.problems) == 3


def test_problems_stand_at_their_rows_and_raise_when_touched(tmp_path, look):
    write_pictures(tmp_path / "a", 20)
    (tmp_path / "a" / "0003.png").write_bytes(b"")
    (tmp_path / "a" / "0007.png").write_bytes((tmp_path / "a" / "0008.png").read_bytes()[:500])
    (tmp_path / "a" / "0011.png").write_text("not at all")
    dataset = listing(tmp_path / "a")
    (tmp_path / "a" / "0015.png").unlink()
    found = look(dataset)
    assert {row: error.reason for row, error in found.problems.items()} == {
        3: "empty",
        7: "truncated",
        11: "not a picture",
        15: "missing",
    }
    with pytest.raises(PictureError, match=r"0007\.png: truncated"):
        found.pixels[7]
    assert not any("0007.png" in str(error) for error in found.problems.values())
    assert found.pixels[8].shape == (20, 26, 3)


def test_taking_rows_keeps_columns_pixels_and_problems_together(tmp_path, look):
    dataset = write_pictures(tmp_path / "a", 6)
    Path(dataset.examples[4].place.path).write_bytes(b"")
    found = look(dataset)
    taken = found.take([5, 4, 1])
    assert taken.hashes == (found.hashes[5], found.hashes[4], found.hashes[1])
    assert list(taken.problems) == [1]
    assert np.array_equal(taken.pixels[2], found.pixels[1])
    assert len(taken.pixels) == 3


def test_equal_bytes_are_stored_once(tmp_path, look):
    write_pictures(tmp_path / "a", 1)
    data = (tmp_path / "a" / "0000.png").read_bytes()
    for number in range(1, 50):
        (tmp_path / "a" / f"{number:04}.png").write_bytes(data)
    found = look(listing(tmp_path / "a"))
    assert len(set(found.hashes)) == 1
    stored = sum(path.stat().st_size for path in (tmp_path / "cache").glob("*/*.shard"))
    assert stored < 2 * found.pixels[0].nbytes + 1000


def test_progress_counts_up_to_all(tmp_path, look):
    steps = []
    look(write_pictures(tmp_path / "a", 50), progress=lambda done, total: steps.append((done, total)))
    assert steps == sorted(steps)
    assert steps[-1] == (50, 50)


def test_an_empty_dataset_scans_to_nothing(tmp_path, look):
    found = look(Dataset("none", str(tmp_path), (), ()))
    assert len(found) == len(found.pixels) == 0
    assert found.pixels.uniform is None


def test_users_files_are_not_touched(tmp_path, look):
    dataset = write_pictures(tmp_path / "a", 5)
    before = [(os.stat(e.place.path).st_mtime_ns, Path(e.place.path).read_bytes()) for e in dataset.examples]
    look(dataset)
    assert before == [(os.stat(e.place.path).st_mtime_ns, Path(e.place.path).read_bytes()) for e in dataset.examples]


@pytest.mark.skipif(not FLOWERS.is_dir(), reason="shared/data/flowers is not here")
def test_real_photographs_scan_without_a_problem(look):
    files = sorted(FLOWERS.glob("*/*.jpg"))[::40]
    examples = tuple(Example(str(path.relative_to(FLOWERS)), Place(str(path)), path.parent.name) for path in files)
    found = look(Dataset("flowers", str(FLOWERS), examples, ()))
    assert not found.problems
    assert {min(pixels.shape[:2]) for pixels in found.pixels} == {20}
    assert set(found.formats) == {"JPEG"}
