from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnaeus.data.decode import prepare
from linnaeus.errors import PictureError
from linnaeus.records import Preprocessing
from made_pictures import CROP, raw_dataset, write_pictures


def test_raw_pixels_are_read_in_blocks_and_lie_as_one_array(tmp_path, look, decoded):
    dataset, pictures = raw_dataset(tmp_path, 3000)
    found = look(dataset, Preprocessing(8))
    assert decoded == []
    assert np.array_equal(found.pixels.uniform, pictures)
    assert not found.pixels.uniform.flags.owndata
    assert set(found.formats) == {"RAW"}


def test_raw_pixels_in_grey_are_the_same_cold_and_warm(tmp_path, look):
    dataset, pictures = raw_dataset(tmp_path, 30)
    grey = Preprocessing(8, channels=1, mean=(0.5,), std=(0.5,))
    cold, warm = look(dataset, grey).pixels.uniform, look(dataset, grey).pixels.uniform
    assert np.array_equal(cold, warm)
    assert np.array_equal(cold[7, ..., 0], np.asarray(Image.fromarray(pictures[7]).convert("L")))


def test_raw_pixels_are_resized_where_asked(tmp_path, look):
    dataset, pictures = raw_dataset(tmp_path, 20)
    found = look(dataset, Preprocessing(12))
    planar = np.ascontiguousarray(pictures[3].transpose(2, 0, 1)).tobytes()
    assert np.array_equal(found.pixels[3], prepare(planar, "3x8x8", Preprocessing(12)))


def test_a_raw_file_that_is_cut_off_loses_only_the_rows_behind_the_cut(tmp_path, look):
    dataset, pictures = raw_dataset(tmp_path, 20)
    file = tmp_path / "batch.bin"
    file.write_bytes(file.read_bytes()[: 193 * 15 + 20])
    found = look(dataset, Preprocessing(8))
    assert sorted(found.problems) == [15, 16, 17, 18, 19]
    assert np.array_equal(found.pixels[14], pictures[14])


def test_raw_rows_in_any_order_are_right(tmp_path, look):
    dataset, pictures = raw_dataset(tmp_path, 50)
    order = np.random.default_rng(1).permutation(50)
    found = look(dataset.take(order), Preprocessing(8))
    assert np.array_equal(np.stack(list(found.pixels)), pictures[order])
    assert np.array_equal(found.pixels.uniform, pictures[order])


def test_a_file_that_has_changed_since_the_scan_is_not_taken_for_the_one_that_was_there(tmp_path, look):
    dataset = write_pictures(tmp_path / "a", 2)
    found = look(dataset, cache_gb=0)
    one, other = (Path(example.place.path) for example in dataset.examples)
    assert np.array_equal(found.pixels[0], prepare(one.read_bytes(), "", CROP))
    one.write_bytes(other.read_bytes())
    with pytest.raises(PictureError, match=r"0000\.png: unreadable: the file changed"):
        found.pixels[0]
    other.unlink()
    with pytest.raises(PictureError, match=r"0001\.png: missing"):
        found.pixels[1]


def test_raw_pixels_without_room_in_the_cache_are_read_again(tmp_path, look):
    dataset, pictures = raw_dataset(tmp_path, 5)
    assert np.array_equal(np.stack(list(look(dataset, Preprocessing(8), cache_gb=0).pixels)), pictures)


def test_pictures_of_several_sizes_are_not_uniform_but_blocks_are(tmp_path, look):
    write_pictures(tmp_path / "a", 3)
    dataset = write_pictures(tmp_path / "a", 3, first=3, size=(40, 30))
    found = look(dataset)
    assert found.pixels.uniform is None
    block = found.pixels.block([5, 0], 16)
    assert block.shape == (2, 16, 16, 3)
    assert np.array_equal(block[0], found.pixels[5][5:21, 2:18])


def test_blocks_of_uniform_and_of_single_pictures_agree(tmp_path, look):
    dataset, pictures = raw_dataset(tmp_path, 30)
    found = look(dataset, Preprocessing(6, resize_px=8))
    rows = np.array([3, 17, 4])
    assert np.array_equal(found.pixels.block(rows, 6), pictures[rows, 1:7, 1:7])
