"""What an audit keeps of a whole set of pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from linnaeus.records import Estimate, Finding, Preprocessing
from linnaeus.verbs.audit.pairs import Pairs, Rule
from linnaeus.verbs.audit.remembered import remembered, remembered_result


@dataclass(frozen=True)
class Answer:
    """Something that takes long to find."""

    score: Estimate
    findings: tuple[Finding, ...]
    document: dict[str, object]


ANSWER = Answer(Estimate(0.5, 0.4, 0.6, 9, "wilson"), (Finding("odd", ("ä.png",), "why"),), {"list": [1, None, "x"]})


def test_what_is_known_is_not_found_again(tmp_path):
    remembered_result(tmp_path, ("a", 1), Answer, lambda: ANSWER)
    again = remembered_result(tmp_path, ("a", 1), Answer, lambda: pytest.fail("found again"))
    assert again == ANSWER


def test_anything_that_differs_is_found_anew(tmp_path):
    asked = []
    for about in (("a", 1), ("a", 2), ("a1",), ("a", 1, "\udcff")):
        remembered_result(tmp_path, about, Answer, lambda: asked.append(1) or ANSWER)
    assert len(asked) == 4


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\x00", b'{"score": 1}'])
def test_a_damaged_file_is_written_again(tmp_path, content):
    remembered_result(tmp_path, ("a",), Answer, lambda: ANSWER)
    (path,) = (tmp_path / "audits").iterdir()
    path.write_bytes(content)
    assert remembered_result(tmp_path, ("a",), Answer, lambda: ANSWER) == ANSWER
    assert remembered_result(tmp_path, ("a",), Answer, lambda: pytest.fail("found again")) == ANSWER


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path):
    (tmp_path / "audits").write_text("a file")
    assert remembered_result(tmp_path, ("a",), Answer, lambda: ANSWER) == ANSWER


def test_what_another_user_found_is_not_found_again(tmp_path, only_readable):
    remembered_result(tmp_path, ("a",), Answer, lambda: ANSWER)
    assert remembered_result(tmp_path, ("a",), Answer, lambda: pytest.fail("found again")) == ANSWER


def test_pairs_that_another_user_found_are_not_searched_again(tmp_path, only_readable):
    searched = []

    class Search:
        def all(self, rule):
            searched.append(rule)
            return Pairs(np.array([0]), np.array([1]), np.zeros((1, 4)), np.ones(1, np.float32))

    hashes = ["0a" * 32, "0b" * 32]
    for _ in range(2):
        pairs, _ = remembered(tmp_path, hashes, np.arange(2), Preprocessing(8), Rule(), Search())
    assert len(searched) == len(pairs) == 1
