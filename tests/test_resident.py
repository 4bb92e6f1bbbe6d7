import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from linnaeus.config import AugmentSettings
from linnaeus.data.batches import Feed
from linnaeus.learn.engine import Engine
from linnaeus.learn.resident import Resident, Streamed, supply_of

MOVED = AugmentSettings(flip="alternating", shift=0.2, fill="reflect")
TURNED = AugmentSettings(flip="random", rotate_deg=10, zoom=(0.8, 1.2), color=0.3, erase=0.5, fill="edge")


class Pictures(list):
    """Stored pictures as `Pixels` gives them."""

    uniform = None

    @property
    def sizes(self):
        return np.array([picture.shape[:2] for picture in self], np.int32)


def pictures(alike=True):
    random = np.random.default_rng(0)
    sides = np.full((50, 2), 10) if alike else random.integers(9, 16, (50, 2))
    made = Pictures(random.integers(0, 256, (*side, 3), dtype=np.uint8) for side in sides)
    if alike:
        made.uniform = np.stack(made)
    return made


def feed(stored, **changes):
    rows, labels = np.random.default_rng(1).permutation(50)[:37], np.arange(50) * 10
    return replace(Feed(stored, rows, labels, MOVED, size_px=8, batch_size=8, seed=1), **changes)


def as_bytes(pictures):
    return pictures


class OwnMemory(Engine):
    """A device with memory of its own."""

    def __init__(self, free):
        super().__init__()
        self.free = free

    def free_bytes(self):
        return self.free


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("sampling", ["all", "oversample", "undersample"])
def test_batches_are_those_of_the_feed_byte_by_byte(alike, sampling):
    stored = pictures(alike)
    made = feed(stored, sampling=sampling)
    resident = Resident(made.rows, stored, as_bytes, Engine())
    for one, other in zip(resident.batches(made, 0, 12), made.batches(0, 12), strict=True):
        assert np.array_equal(one.pictures.numpy(), other.pictures)
        assert np.array_equal(one.labels.numpy(), other.labels)
        assert one.seed == other.seed


def test_interpolated_pictures_differ_by_rounding_only():
    """Noise is the worst case: neighbouring pixels differ most, and OpenCV counts places in 32nds of a pixel."""
    stored = pictures(alike=False)
    made = feed(stored, settings=TURNED.model_copy(update={"erase": 0}))
    resident = Resident(made.rows, stored, as_bytes, Engine())
    for one, other in zip(resident.batches(made, 0, 5), made.batches(0, 5), strict=True):
        assert np.abs(one.pictures.numpy().astype(int) - other.pictures).mean() < 1.5


@pytest.mark.parametrize(("first", "stop"), [(0, 0), (3, 3), (5, 5), (3, 4), (4, 11), (12, 17)])
def test_it_begins_and_ends_wherever_it_is_told(first, stop):
    stored = pictures()
    made = feed(stored)
    resident = Resident(made.rows, stored, as_bytes, Engine())
    got = [one.seed for one in resident.batches(made, first, stop)]
    assert got == [one.seed for one in made.batches(first, stop)]


def test_no_thread_is_left_when_the_reader_stops_early():
    stored = pictures()
    made = feed(stored)
    batches = Resident(made.rows, stored, as_bytes, Engine()).batches(made, 0, 100)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("draws")]


def test_streamed_batches_are_those_of_the_feed():
    stored = pictures()
    made = feed(stored, settings=TURNED)
    for one, other in zip(Streamed(as_bytes, Engine()).batches(made, 2, 9), made.batches(2, 9), strict=True):
        assert np.array_equal(one.pictures.numpy(), other.pictures)
        assert np.array_equal(one.labels.numpy(), other.labels)


def test_a_step_on_a_processor_finds_its_batch_ready():
    """Bytes are turned into numbers by another thread, while the step before computes."""
    made_by = []

    def note(pictures):
        made_by.append(threading.current_thread())
        return pictures

    engine, made = Engine(), feed(pictures())
    engine.device = torch.device("cpu")
    assert [one.seed for one in Streamed(note, engine).batches(made, 0, 3)] == [one.seed for one in made.batches(0, 3)]
    assert len(made_by) == 3
    assert threading.main_thread() not in made_by


def test_pictures_stay_where_they_fit_and_are_streamed_where_they_do_not():
    stored = pictures()
    bytes_of_all = 37 * 10 * 10 * 3
    fits, told = supply_of(feed(stored).rows, stored, as_bytes, OwnMemory(2 * bytes_of_all))
    assert isinstance(fits, Resident)
    assert told[0].value == "on the device"
    streamed, told = supply_of(feed(stored).rows, stored, as_bytes, OwnMemory(2 * bytes_of_all - 1))
    assert isinstance(streamed, Streamed)
    assert told[0].value == "in main memory"


def test_a_processor_reads_pictures_where_they_are():
    supply, told = supply_of(np.arange(50), pictures(), as_bytes, Engine())
    assert isinstance(supply, Resident if torch.cuda.is_available() else Streamed)
    assert bool(told) == torch.cuda.is_available()
