import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.config import AugmentSettings
from linnaeus.data.batches import Feed

CHANGES = AugmentSettings(flip="alternating", shift=0.2, rotate_deg=10, color=0.2, erase=0.5)
PICTURES = np.random.default_rng(0).integers(0, 256, (50, 10, 10, 3), dtype=np.uint8)


def feed(**changes):
    made = Feed(
        pictures=list(PICTURES),
        rows=np.arange(3, 40),
        labels=np.arange(50) * 10,
        settings=CHANGES,
        size_px=8,
        batch_size=8,
        seed=1,
    )
    return replace(made, **changes)


def test_batches_depend_on_seed_and_number_only():
    later = list(feed().batches(5, 9))
    for one, other in zip(later, list(feed().batches(0, 9))[5:], strict=True):
        assert np.array_equal(one.pictures, other.pictures)
        assert np.array_equal(one.labels, other.labels)
        assert one.seed == other.seed


@pytest.mark.parametrize("options", [{"threads": 4}, {"ahead": 0}, {"ahead": 20, "threads": 2}])
def test_threads_and_read_ahead_change_nothing(options):
    for one, other in zip(feed().batches(0, 12), feed().batches(0, 12, **options), strict=True):
        assert np.array_equal(one.pictures, other.pictures)


@given(n=st.integers(1, 60), batch_size=st.integers(1, 70), epoch=st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_every_row_comes_once_an_epoch_in_batches_of_nearly_equal_size(n, batch_size, epoch):
    made = feed(rows=np.arange(n) * 7, batch_size=batch_size)
    order = made.order(epoch)
    sizes = [len(rows) for rows in order]
    assert sorted(np.concatenate(order)) == list(range(0, 7 * n, 7))
    assert len(order) == made.steps_per_epoch
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= batch_size


def test_an_epoch_ends_where_the_next_begins():
    made = feed()
    labels = [batch.labels for batch in made.batches(0, 2 * made.steps_per_epoch)]
    first, second = np.concatenate(labels[: len(labels) // 2]), np.concatenate(labels[len(labels) // 2 :])
    assert sorted(first) == sorted(second) == [row * 10 for row in range(3, 40)]
    assert list(first) != list(second)


def test_another_seed_gives_another_order_and_other_changes():
    one, other = next(feed().batches(0, 1)), next(feed(seed=2).batches(0, 1))
    assert not np.array_equal(one.labels, other.labels)
    assert one.seed != other.seed


def test_labels_belong_to_their_pictures():
    plain = AugmentSettings(flip="none", shift=0, color=0)
    for batch in feed(settings=plain).batches(0, 5):
        for picture, label in zip(batch.pictures, batch.labels, strict=True):
            assert np.array_equal(picture, PICTURES[label // 10, 1:9, 1:9])


def test_the_same_picture_changes_differently_in_each_epoch():
    made = feed(rows=np.array([3]), batch_size=1)
    assert len({batch.pictures.tobytes() for batch in made.batches(0, 10)}) > 5


def test_batches_of_one_epoch_change_differently():
    alike = feed(pictures=[PICTURES[0]] * 50, rows=np.arange(16))
    one, other = alike.batches(0, 2)
    assert not np.array_equal(one.pictures, other.pictures)


def test_nothing_to_do_gives_nothing():
    assert list(feed().batches(4, 4)) == []


def test_a_picture_that_cannot_be_read_is_an_error_not_a_gap():
    class Broken:
        def __getitem__(self, row):
            raise OSError(f"row {row} is gone")

    with pytest.raises(OSError, match="is gone"):
        list(feed(pictures=Broken()).batches(0, 2))


def test_no_thread_is_left_when_the_reader_stops_early():
    made = feed().batches(0, 100)
    next(made)
    made.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]
