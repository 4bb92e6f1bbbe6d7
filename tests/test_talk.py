import time

import pytest

from linnaeus.talk import Clock, Talk


def test_silence_is_the_default(capsys):
    talk = Talk()
    talk.say("hello")
    talk.progress("reading", 1, None)
    assert capsys.readouterr() == ("", "")


def test_stages_are_timed_and_added_up(monkeypatch):
    ticks = iter([0.0, 2.0, 10.0, 13.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    talk = Talk()
    for _ in range(2):
        with talk.stage("audit"):
            pass
    assert talk.seconds == {"audit": 5.0}


def test_a_stage_that_fails_is_timed_too():
    talk = Talk()
    with pytest.raises(ValueError, match="x"), talk.stage("train"):
        raise ValueError("x")
    assert "train" in talk.seconds


def test_two_talks_share_nothing():
    Talk().seconds["a"] = 1
    assert Talk().seconds == {}


def test_a_clock_without_a_budget_never_ends():
    assert Clock().left() == float("inf")


def test_a_clock_counts_from_its_start(monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 107.0)
    assert Clock(10, started=100.0).left() == 3.0
    assert Clock(5, started=100.0).left() == -2.0
