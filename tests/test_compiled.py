import os
import shutil

import pytest
import torch
from torch import nn

from linnaeus.learn.compiled import USUAL, Compiling


def test_a_short_run_is_not_compiled_and_a_long_one_is(tmp_path):
    enough = USUAL.compile_s / USUAL.saves / 0.01
    short, long = (Compiling("auto", round(enough * factor), "a network", tmp_path) for factor in (0.9, 1.1))
    assert not short.pays(0.01)
    assert long.pays(0.01)
    assert "60 s (as is usual)" in short.reason


@pytest.mark.parametrize(("asked", "answer"), [("on", True), ("off", False)])
def test_what_the_user_asks_for_is_done(tmp_path, asked, answer):
    one = Compiling(asked, 10**9 if asked == "off" else 1, "a network", tmp_path)
    assert one.pays(1.0) is answer
    assert one.reason == "as asked for"


def test_the_next_run_of_the_same_network_decides_by_what_was_measured(tmp_path):
    first = Compiling("on", 10, "a network", tmp_path)
    first.took(2.0)
    first.remember({"as usual": 0.010, "compiled": 0.005})
    again, other = (Compiling("auto", 500, what, tmp_path) for what in ("a network", "another"))
    assert again.pays(0.010)
    assert "2 s (as last time)" in again.reason
    assert not other.pays(0.010)


def test_what_brought_nothing_is_not_tried_again(tmp_path):
    first = Compiling("on", 10, "a network", tmp_path)
    first.took(1.0)
    first.remember({"as usual": 0.010, "compiled": 0.012})
    assert not Compiling("auto", 10**6, "a network", tmp_path).pays(0.010)


def test_what_compiling_brings_is_judged_by_the_quickest_ways(tmp_path):
    first = Compiling("on", 10, "a network", tmp_path)
    first.took(1.0)
    first.remember({"as usual": 0.040, "replayed": 0.010, "compiled": 0.020, "compiled and replayed": 0.010})
    assert not Compiling("auto", 10**6, "a network", tmp_path).pays(0.010)


def test_a_further_kind_of_step_adds_to_the_seconds_of_compiling(tmp_path):
    first = Compiling("on", 10, "a network", tmp_path)
    first.took(2.0)
    first.remember({"as usual": 0.010, "compiled": 0.005})
    first.took(3.0)
    assert "5 s (as last time)" in _reason(Compiling("auto", 10, "a network", tmp_path))


def test_a_broken_note_is_as_good_as_none(tmp_path):
    first = Compiling("on", 10, "a network", tmp_path)
    first.took(1.0)
    first.remember({"as usual": 0.010, "compiled": 0.005})
    for path in tmp_path.glob("*.json"):
        path.write_text("{")
    assert "as is usual" in _reason(Compiling("auto", 10, "a network", tmp_path))


def _reason(one):
    one.pays(0.01)
    return one.reason


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_code_answers_alike_and_is_kept_in_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(144, 2)), torch.randn(2, 3, 8, 8)
    compiled = Compiling("on", 10, "a network", tmp_path).compiled(network)
    try:
        assert torch.allclose(compiled(x), network(x), atol=1e-5)
        assert list((tmp_path / "code").rglob("*.so"))
    finally:
        os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)
