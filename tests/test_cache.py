import hashlib
import io
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnaeus.data import cache, shards
from linnaeus.data.cache import scan
from linnaeus.data.decode import prepare
from linnaeus.errors import PictureError, SettingsError
from linnaeus.records import Dataset, Example, Place, Preprocessing

FLOWERS = Path(__file__).parents[2] / "shared" / "data" / "flowers"
CROP = Preprocessing(16, resize_px=20)
NEAREST = Preprocessing(16, "squash", interpolation="nearest")


def write_pictures(folder, count, *, first=0, size=(30, 40)):
    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        noise = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number:04}.png")
    return listing(folder)


def listing(folder):
    files = sorted(path for path in folder.iterdir() if path.is_file())
    examples = tuple(Example(path.name, Place(str(path)), "a") for path in files)
    return Dataset("pictures", str(folder), examples, ("a",))


def raw_dataset(folder, count, *, skip=1):
    """Plain pixels as in CIFAR's files: a label byte before each picture."""
    pictures = np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    records = np.concatenate([np.zeros((count, skip), np.uint8), pictures.reshape(count, -1)], axis=1)
    file = folder / "batch.bin"
    file.write_bytes(records.tobytes())
    places = (Place(str(file), row * (skip + 192) + skip, 192, "3x8x8") for row in range(count))
    examples = tuple(Example(f"batch.bin#{row}", place, "a") for row, place in enumerate(places))
    return Dataset("raw", str(file), examples, ("a",)), pictures.transpose(0, 2, 3, 1)


@pytest.fixture
def look(tmp_path):
    def look(dataset, preprocessing=CROP, cache_gb=1.0, **options):
        return scan(dataset, preprocessing, cache_dir=tmp_path / "cache", cache_gb=cache_gb, **options)

    return look


@pytest.fixture
def decoded(monkeypatch):
    """Count the pictures that are decoded."""
    lengths = []
    original = cache.prepare_and_glance

    def counting(data, *rest):
        lengths.append(len(data))
        return original(data, *rest)

    monkeypatch.setattr(cache, "prepare_and_glance", counting)
    return lengths


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
    with pytest.raises(PictureError, match="truncated"):
        found.pixels[7]
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


def test_what_does_not_fit_into_the_cache_is_decoded_when_touched(tmp_path, look):
    dataset = write_pictures(tmp_path / "a", 30)
    found = look(dataset, cache_gb=20_000 / 1e9)
    whole = [prepare(Path(example.place.path).read_bytes(), "", CROP) for example in dataset.examples]
    assert all(np.array_equal(a, b) for a, b in zip(found.pixels, whole, strict=True))
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*/*.shard")) < 22_000


def test_the_longest_unused_shards_go_first(tmp_path, look):
    stored = lambda: set((tmp_path / "cache").glob("*/*.shard"))  # noqa: E731
    shards_of = []
    for name, last_used in (("newer", 2), ("oldest", 1), ("newest", 3)):
        before = stored()
        look(write_pictures(tmp_path / name, 20, first=100 * last_used))
        (shard,) = stored() - before
        os.utime(shard, (last_used, last_used))
        shards_of.append(shard)
    newer, _, newest = shards_of
    shards.evict(tmp_path / "cache", 2.5 * newest.stat().st_size)
    assert stored() == {newer, newest}
    shards.evict(tmp_path / "cache", 1.5 * newest.stat().st_size)
    assert stored() == {newest}


def test_looking_again_makes_a_shard_young(tmp_path, look):
    for name, first in (("a", 0), ("b", 100)):
        look(write_pictures(tmp_path / name, 20, first=first))
    kept = look(listing(tmp_path / "a"), cache_gb=50_000 / 1e9)
    assert len(list((tmp_path / "cache").glob("*/*.shard"))) == 1
    assert kept.pixels[19].shape == (20, 26, 3)


def test_shards_in_use_by_this_process_are_never_evicted(tmp_path, look):
    found = look(write_pictures(tmp_path / "a", 20))
    shards.evict(tmp_path / "cache", 0)
    assert found.pixels[19].shape == (20, 26, 3)
    assert list((tmp_path / "cache").glob("*/*.shard"))


def test_a_shard_evicted_by_another_process_does_no_harm(tmp_path, look):
    dataset = write_pictures(tmp_path / "a", 5)
    first = look(dataset)
    for path in (tmp_path / "cache").glob("*/*.shard"):
        path.unlink()
    second = look(dataset)
    assert np.array_equal(second.pixels[4], first.pixels[4])


@pytest.mark.parametrize("damage", [b"", b"rubbish", b"\0" * 5000])
def test_a_damaged_shard_is_passed_over(tmp_path, look, damage):
    dataset = write_pictures(tmp_path / "a", 5)
    look(dataset)
    for path in (tmp_path / "cache").glob("*/*"):
        path.write_bytes(damage)
    shards._in_use.clear()
    assert np.array_equal(look(dataset).pixels[2], prepare(Path(dataset.examples[2].place.path).read_bytes(), "", CROP))


def _fill(folder, cache_dir, delay_s):
    original = cache.prepare_and_glance

    def slow(*arguments):
        time.sleep(delay_s)
        return original(*arguments)

    cache.prepare_and_glance = slow
    shards.FULL_AFTER_S = 0.0
    scan(listing(folder), NEAREST, cache_dir=cache_dir, cache_gb=1, workers=2)


def test_two_processes_may_fill_the_cache_at_once(tmp_path, look):
    write_pictures(tmp_path / "a", 60)
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_fill, args=(tmp_path / "a", tmp_path / "cache", 0)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(50)
    assert [process.exitcode for process in both] == [0, 0]
    found = look(listing(tmp_path / "a"), NEAREST)
    assert np.array_equal(found.pixels[59], prepare((tmp_path / "a" / "0059.png").read_bytes(), "", NEAREST))


def test_a_kill_half_way_is_harmless_and_keeps_what_was_published(tmp_path, look, decoded):
    write_pictures(tmp_path / "a", 200)
    process = multiprocessing.get_context("spawn").Process(
        target=_fill, args=(tmp_path / "a", tmp_path / "cache", 0.01)
    )
    process.start()
    while not list((tmp_path / "cache").glob("*/*.shard")) and process.is_alive():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    found = look(listing(tmp_path / "a"), NEAREST)
    assert 0 < len(decoded) < 200
    assert len(found) == 200
    assert np.array_equal(found.pixels[199], prepare((tmp_path / "a" / "0199.png").read_bytes(), "", NEAREST))


def test_an_interrupt_keeps_what_was_done(tmp_path, look, decoded):
    dataset = write_pictures(tmp_path / "a", 200)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look(dataset, progress=interrupt)
    decoded.clear()
    look(dataset)
    assert len(decoded) < 200
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scan")]


def test_progress_counts_up_to_all(tmp_path, look):
    steps = []
    look(write_pictures(tmp_path / "a", 50), progress=lambda done, total: steps.append((done, total)))
    assert steps == sorted(steps)
    assert steps[-1] == (50, 50)


def test_a_cache_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cache folder"):
        scan(write_pictures(tmp_path / "a", 2), CROP, cache_dir=tmp_path / "file", cache_gb=1)


def test_a_full_disk_is_a_clear_error_and_leaves_nothing_half_done(tmp_path, look, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    dataset = write_pictures(tmp_path / "a", 3)
    monkeypatch.setattr("builtins.open", _opening_to_write(Full()))
    with pytest.raises(SettingsError, match="No space left"):
        look(dataset)
    assert not list((tmp_path / "cache").glob("*/*.shard"))


def _opening_to_write(target):
    original = open
    return lambda path, mode="r", *rest, **more: target if "w" in mode else original(path, mode, *rest, **more)


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
