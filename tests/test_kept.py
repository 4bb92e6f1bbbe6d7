"""Rows made from pictures are kept by content; what stops their making loses none that were made."""

import errno

import numpy as np
import pytest

from linnaeus.data import shards
from linnaeus.data.kept import Kept
from linnaeus.errors import SettingsError


def digest(number):
    return bytes(31) + bytes([number])


def fill(kept, numbers):
    with kept.adding() as add:
        for number in numbers:
            add(digest(number), np.full(5, number, np.uint8))


def rows_of(kept):
    return {
        key: kept.shards[number].pixels.reshape(-1, 5)[row].tolist() for key, (number, row) in kept.places().items()
    }


def test_what_was_added_is_found_again_by_its_content(tmp_path):
    fill(Kept(tmp_path), [3, 4])
    fill(Kept(tmp_path), [7])
    assert rows_of(Kept(tmp_path)) == {digest(number): [number] * 5 for number in (3, 4, 7)}


def test_nothing_added_leaves_nothing(tmp_path):
    kept = Kept(tmp_path / "folder")
    fill(kept, [])
    assert kept.places() == {}
    assert not (tmp_path / "folder").exists()


def test_what_was_added_before_a_stop_is_published(tmp_path):
    def stopped():
        yield from (1, 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(Kept(tmp_path), stopped())
    assert set(Kept(tmp_path).places()) == {digest(1), digest(2)}


def test_a_full_disk_is_told_with_its_folder_and_what_was_published_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "FULL_BYTES", 5)
    write = shards.ShardWriter.append

    class Full:
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    def append(writer, entry, pixels):
        if entry[0] == digest(2):
            writer._file.close()
            writer._file = Full()
        write(writer, entry, pixels)

    monkeypatch.setattr(shards.ShardWriter, "append", append)
    with pytest.raises(SettingsError, match="No space left on device"):
        fill(Kept(tmp_path), [1, 2, 3])
    assert set(Kept(tmp_path).places()) == {digest(1)}
    assert not list(tmp_path.glob("*.part"))


def test_what_another_process_evicts_while_more_is_added_can_still_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "FULL_BYTES", 5)
    kept = Kept(tmp_path)
    with kept.adding() as add:
        add(digest(1), np.full(5, 1, np.uint8))
        for path in tmp_path.glob("*.shard"):
            path.unlink()
        add(digest(2), np.full(5, 2, np.uint8))
    assert rows_of(kept) == {digest(1): [1] * 5, digest(2): [2] * 5}
