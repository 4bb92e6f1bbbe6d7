"""Speed of exported files: what is measured is what was called."""

import threading

import numpy as np
import pytest

from linnaeus.targets.measure import Subject, measure, race, size_bytes, time_in_turns

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
QUICK = {"rounds": 6, "batches": (1, 4), "lap_s": 0.0}


class Fake:
    """A runner that writes down what it was asked."""

    card = None

    def __init__(self, name="fake", asked=None, work=lambda N: None):
        self.name, self.asked, self.work = name, [] if asked is None else asked, work

    def run(self, pictures):
        self.asked.append((self.name, len(pictures)))
        self.work(len(pictures))
        return {"probabilities": np.ones((len(pictures), 1), np.float32)}


@pytest.fixture
def clock(monkeypatch):
    """A clock that only goes on when it is told to, on a machine of one core: clock.works(seconds)."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

        def works(self, seconds):
            self.now += seconds

    one = Clock()
    monkeypatch.setattr("linnaeus.targets.measure.time", one)
    monkeypatch.setattr("linnaeus.targets.measure.cores_here", lambda: 1)
    return one


def test_every_subject_gets_its_speed(clock):
    slow, quick = (Subject(lambda s=s: Fake(work=lambda N: clock.works(s * N))) for s in (0.02, 0.005))
    found = measure({"slow": slow, "quick": quick}, PICTURES, **QUICK)
    assert [(name, round(one.p50_ms, 6), round(one.per_second, 6)) for name, one in found.items()] == [
        ("slow", 20.0, 50.0),
        ("quick", 5.0, 200.0),
    ]


def test_percentiles_are_those_of_the_timed_calls(clock):
    # Two openings and the warm-up are five calls; the first of each turn of three is not timed.
    takes = iter([9.0] * 5 + [9.0, 0.001, 0.002, 9.0, 0.003, 0.004])
    speed = measure(
        {"a": Subject(lambda: Fake(work=lambda _N: clock.works(next(takes, 1.0))))}, PICTURES, **QUICK | {"rounds": 4}
    )["a"]
    assert (speed.p50_ms, speed.p95_ms, speed.p99_ms) == pytest.approx((2.5, 3.85, 3.97))


def test_percentiles_are_in_order_and_come_from_as_many_calls_as_asked():
    speed = measure({"one": Subject(Fake)}, PICTURES, **QUICK | {"rounds": 7})["one"]
    assert speed.rounds == 7
    assert 0 < speed.p50_ms <= speed.p95_ms <= speed.p99_ms


def test_subjects_take_turns_and_who_begins_changes():
    asked = []
    time_in_turns({"a": Fake("a", asked), "b": Fake("b", asked)}, PICTURES, rounds=4)
    turns = [name for name, _ in asked[6:]]  # after the warm-up of three calls each
    assert turns == list("aaabbb" + "bbbaaa")


def test_one_picture_at_a_time_is_timed():
    asked = []
    time_in_turns({"a": Fake("a", asked)}, PICTURES, rounds=4)
    assert {size for _, size in asked} == {1}


def test_a_call_that_is_not_timed_goes_before_the_timed_ones_of_a_turn():
    asked = []
    taken = time_in_turns({"a": Fake("a", asked)}, PICTURES, rounds=4)
    assert len(taken["a"]) == 4
    assert len(asked) == 3 + 2 + 4


def test_all_cores_answer_at_once(monkeypatch):
    monkeypatch.setattr("linnaeus.targets.measure.cores_here", lambda: 3)
    together = threading.Barrier(3, timeout=30)
    race({"a": Fake(work=lambda _N: together.wait())}, PICTURES, batches=(2,), lap_s=0.0)


def test_the_pictures_of_all_cores_count(monkeypatch):
    monkeypatch.setattr("linnaeus.targets.measure.cores_here", lambda: 2)
    asked = []
    rate = race({"a": Fake("a", asked)}, PICTURES, batches=(2,), lap_s=0.0)["a"][2]
    assert asked == [("a", 2)] * (2 * (3 + 1))  # two cores, three laps, and before the first a call that is not timed
    assert rate > 0


def test_calls_that_have_several_threads_are_so_many_fewer(monkeypatch):
    monkeypatch.setattr("linnaeus.targets.measure.cores_here", lambda: 8)
    speed = measure({"a": Subject(Fake)}, PICTURES, **QUICK, threads=4)["a"]
    assert (speed.threads, speed.calls) == (4, 2)


def test_a_slow_machine_is_not_kept_for_long(clock):
    asked = []
    race({"a": Fake("a", asked, work=lambda _N: clock.works(40.0))}, PICTURES, batches=(1,))
    assert len(asked) == 2  # one lap of three, and a call before it


def test_the_best_batch_size_is_named(clock):
    speed = measure({"a": Subject(lambda: Fake(work=lambda _N: clock.works(0.01)))}, PICTURES, **QUICK)["a"]
    assert speed.batch == 4
    assert speed.by_batch == pytest.approx({1: 100.0, 4: 400.0})
    assert speed.per_second == speed.by_batch[4]


def test_a_failing_subject_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("linnaeus.targets.measure.cores_here", lambda: 2)

    class NoBatches(Fake):
        def run(self, pictures):
            if len(pictures) > 1:
                raise ValueError("one at a time")
            return {}

    with pytest.raises(ValueError, match="one at a time"):
        race({"a": NoBatches()}, PICTURES, batches=(1, 2), lap_s=0.0)


def test_loading_is_timed_without_what_the_library_needs_only_once(clock):
    takes = iter([3.0, 0.05])

    def open_slowly_at_first():
        clock.works(next(takes))
        return Fake(work=lambda _N: clock.works(0.01))

    speed = measure({"a": Subject(open_slowly_at_first)}, PICTURES, **QUICK)["a"]
    assert speed.load_s == pytest.approx(0.05)


def test_memory_that_a_file_holds_is_counted():
    class Large(Fake):
        def __init__(self):
            super().__init__()
            self.weights = np.ones(8_000_000)

    memory = measure({"a": Subject(Large)}, PICTURES, **QUICK)["a"].memory_bytes
    if memory is None:
        pytest.skip("this system does not tell a process's memory in /proc")
    assert 60e6 < memory < 90e6


def test_weights_beside_a_file_and_all_of_a_folder_count_as_its_size(tmp_path):
    for name, size in {"model.xml": 10, "model.bin": 100, "model.onnx": 3, "model.onnx.data": 40}.items():
        (tmp_path / name).write_bytes(bytes(size))
    assert size_bytes(tmp_path / "model.xml") == 110
    assert size_bytes(tmp_path / "model.onnx") == 43
    assert size_bytes(tmp_path) == 153


def test_progress_is_told_to_its_end():
    told = []
    measure({"a": Subject(Fake)}, PICTURES, **QUICK, progress=lambda *what: told.append(what))
    last = {what: (done, total) for what, done, total in told}
    assert set(last) == {"measuring one picture", "measuring many pictures"}
    assert all(done == total for done, total in last.values())


@pytest.fixture(scope="module")
def eager(classifier):
    from linnaeus.targets.eager import EagerRunner

    return EagerRunner(classifier)


def some_pictures(classifier, N=4):
    size = classifier.preprocessing.size_px
    return np.random.default_rng(1).integers(0, 256, (N, size, size, 3), dtype=np.uint8)


def test_pytorch_itself_stands_in_the_same_table(classifier, eager):
    pictures = some_pictures(classifier)
    wanted = classifier.calibration.probabilities(classifier.logits([pictures]))
    np.testing.assert_allclose(eager.run(pictures)["probabilities"], wanted, atol=1e-5)
    assert measure({"pytorch": Subject(lambda: eager)}, pictures, **QUICK)["pytorch"].p50_ms > 0


def test_pytorch_computes_with_the_threads_asked_for_and_leaves_those_of_others(classifier):
    import torch

    from linnaeus.targets.eager import EagerRunner

    before = torch.get_num_threads()
    runner = EagerRunner(classifier, threads=before + 2)
    assert runner._pool.submit(torch.get_num_threads).result() == before + 2
    assert torch.get_num_threads() == before
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    seen = []
    later.start()
    later.join()
    assert seen == [before]
