"""Numbers of all pictures that memory should not hold lie in a file, and nothing that rests on them changes."""

import errno
import tempfile

import numpy as np
import pytest
import torch

from linnaeus.errors import SettingsError
from linnaeus.learn.head import solve_head
from linnaeus.learn.spill import fits, gather, gather_features

TINY = 1e-6
"""1,000 bytes."""


@pytest.fixture
def table():
    return np.random.default_rng(0).normal(size=(100, 7)).astype(np.float32)


def blocks(table):
    return (table[first : first + 32] for first in range(0, len(table), 32))


def test_a_file_holds_what_memory_should_not_and_the_numbers_are_the_same(table, tmp_path):
    small = gather(blocks(table), 100, memory_gb=1, folder=tmp_path / "spilled")
    assert type(small) is np.ndarray
    assert not (tmp_path / "spilled").exists()
    large = gather(blocks(table), 100, memory_gb=TINY, folder=tmp_path / "spilled")
    assert isinstance(large, np.memmap)
    assert np.array_equal(small, table)
    assert np.array_equal(large, table)


def test_the_file_has_no_name_that_could_be_left_behind(table, tmp_path):
    kept = gather(blocks(table), 100, memory_gb=TINY, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert kept[99, 6] == table[99, 6]


def test_other_numbers_become_float32(table, tmp_path):
    for memory_gb in (1, TINY):
        found = gather(blocks(table.astype(np.float16)), 100, memory_gb=memory_gb, folder=tmp_path)
        assert found.dtype == np.float32
        assert np.array_equal(found, table.astype(np.float16))


def test_no_rows_are_no_error(tmp_path):
    assert len(gather(iter(()), 0, memory_gb=1, folder=tmp_path)) == 0


def test_a_full_disk_is_told_with_the_setting_that_helps(table, tmp_path, monkeypatch):
    class Full(tempfile.SpooledTemporaryFile):
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(SettingsError, match=r"(?s)No space left on device.*data\.memory_gb"):
        gather(blocks(table), 100, memory_gb=TINY, folder=tmp_path)


def test_a_folder_that_cannot_be_made_is_told(table, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(SettingsError, match="room for"):
        gather(blocks(table), 100, memory_gb=TINY, folder=tmp_path / "taken")


def test_an_error_of_the_blocks_stays_what_it_is(tmp_path):
    def broken():
        yield np.zeros((32, 7))
        raise OSError(errno.EIO, "a picture could not be read")

    with pytest.raises(OSError, match="a picture could not be read"):
        gather(broken(), 100, memory_gb=TINY, folder=tmp_path)


def test_a_head_solved_on_a_file_is_that_of_memory(table, tmp_path, monkeypatch):
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path))
    labels, folds = torch.arange(100) % 3, np.arange(100) // 3 % 3
    spilled = gather_features((torch.from_numpy(block) for block in blocks(table)), 100, TINY)
    one, other = (
        solve_head(features, labels, 3, folds, memory_gb=TINY) for features in (torch.from_numpy(table), spilled)
    )
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(one.bias, other.bias)


def test_five_times_the_table_has_to_fit():
    assert fits(50_000_000, 1.0)
    assert not fits(50_000_001, 1.0)


def test_blocks_without_rows_are_passed_over(table, tmp_path):
    for memory_gb in (1, TINY):
        found = gather(iter([table[:0], table, table[:0]]), 100, memory_gb=memory_gb, folder=tmp_path)
        assert np.array_equal(found, table)
