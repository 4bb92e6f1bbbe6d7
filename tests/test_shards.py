import io
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from linnaeus.data import cache, shards
from linnaeus.data.cache import scan
from linnaeus.data.decode import prepare
from linnaeus.data.shards import ShardWriter
from linnaeus.errors import SettingsError
from made_pictures import CROP, NEAREST, listing, write_pictures


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


def shard_of(folder, count, size=70_000):
    """Write a shard; pictures are so large that they go to the file at once."""
    writer = ShardWriter(folder)
    for number in range(count):
        writer.append((bytes(31) + bytes([number]), -1, writer.bytes, 1, size, 1, size, 0, 0), pixels_of(number, size))
    return writer.close()


def pixels_of(number, size=70_000):
    return np.full(size, number, np.uint8)


def test_ctrl_c_while_a_picture_is_written_keeps_those_before_it(tmp_path):
    writer = ShardWriter(tmp_path)
    writer.append((bytes(32), -1, 0, 1, 70_000, 1, 70_000, 0, 0), pixels_of(7))

    class Stopped:
        """Pixels after the writing of which Ctrl-C comes."""

        __array_interface__ = pixels_of(8).__array_interface__

        @property
        def nbytes(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.append((bytes(31) + b"x", -1, writer.bytes, 1, 70_000, 1, 70_000, 0, 0), Stopped())
    shard = writer.close()
    assert len(shard.index) == 1
    assert np.array_equal(shard.pixels, pixels_of(7))


def test_more_shards_than_a_process_may_have_files_open_at_first(tmp_path):
    resource = pytest.importorskip("resource")
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [shard_of(tmp_path, 1) for _ in range(12)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 5, most))
    try:
        assert all(shard.take_up() for shard in held)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (now, most))


def test_what_the_system_does_not_permit_is_told(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(shards, "allow_more_files", lambda: False)
    held = [shard_of(tmp_path, 1) for _ in range(12)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 5, most))
    try:
        with pytest.raises(SettingsError, match="ulimit"):
            for shard in held:
                shard.take_up()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (now, most))


def test_what_another_user_left_behind_may_stay(tmp_path, monkeypatch):
    left = tmp_path / "pixels" / "left.part"
    left.parent.mkdir()
    left.touch()
    os.utime(left, (1, 1))

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        shards.evict(tmp_path, 0)
    shards.evict(tmp_path, 0)
    assert not left.exists()


def test_pixels_in_a_cache_that_another_user_wrote_are_read_there(tmp_path, look, only_readable):
    dataset = write_pictures(tmp_path / "a", 5)
    look(dataset)
    shards._in_use.clear()
    found = look(dataset)
    for example in dataset.examples:
        Path(example.place.path).unlink()
    assert found.pixels[4].shape == (20, 26, 3)


def test_a_shard_whose_pixels_are_gone_is_not_taken_up(tmp_path):
    path = shard_of(tmp_path, 1).path
    shards._in_use.clear()
    (found,) = shards.open_shards(tmp_path)
    path.unlink()
    assert not found.take_up()
