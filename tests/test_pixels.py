import numpy as np
from PIL import Image

from linnaeus.data.decode import prepare
from linnaeus.records import Preprocessing
from made_pictures import raw_dataset, write_pictures


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
