"""Numbers that are kept by content."""

from __future__ import annotations

import numpy as np
import pytest

from linnaeus.data.measured import Measured

A, B = "0a" * 32, "0b" * 32


def kept(folder, values, about="x"):
    Measured(folder, about, 2).keep({digest: np.array(value) for digest, value in values.items()})


def filled(folder, hashes, about="x"):
    values = np.full((len(hashes), 2), np.nan)
    return Measured(folder, about, 2).fill(hashes, values).tolist(), values


def test_what_was_kept_is_filled_in_by_content(tmp_path):
    kept(tmp_path, {A: (1.0, 2.5)})
    known, values = filled(tmp_path, [B, A, "", A])
    assert known == [False, True, False, True]
    assert values[1].tolist() == values[3].tolist() == [1.0, 2.5]
    assert np.isnan(values[[0, 2]]).all()


def test_several_runs_add_to_each_other(tmp_path):
    kept(tmp_path, {A: (1.0, 2.0)})
    kept(tmp_path, {B: (3.0, 4.0)})
    assert filled(tmp_path, [A, B])[0] == [True, True]


def test_numbers_that_were_measured_otherwise_are_not_taken(tmp_path):
    kept(tmp_path, {A: (1.0, 2.0)})
    assert filled(tmp_path, [A], about="y")[0] == [False]


def test_a_damaged_file_is_passed_over(tmp_path):
    kept(tmp_path, {A: (1.0, 2.0)})
    kept(tmp_path, {B: (3.0, 4.0)})
    first = next(tmp_path.glob("*/*.shard"))
    first.write_bytes(b"nothing")
    assert sum(filled(tmp_path, [A, B])[0]) == 1


@pytest.mark.parametrize("values", [{}, {A: (1.0, 2.0)}])
def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path, values):
    folder = tmp_path / "file"
    folder.write_text("")
    kept(folder, values)
    assert filled(folder, [A])[0] == [False]


def test_numbers_in_files_of_another_user_are_filled_in(tmp_path, only_readable):
    kept(tmp_path, {A: (1.0, 2.0)})
    assert filled(tmp_path, [A])[0] == [True]
