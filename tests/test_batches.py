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


def unequal(counts, **changes):
    """A feed whose class k has counts[k] pictures."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return feed(rows=np.arange(len(labels)), labels=labels, **changes)


def epoch_of(made, epoch):
    return np.concatenate(made.order(epoch))


@given(counts=st.lists(st.integers(1, 30), min_size=1, max_size=6), epoch=st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_oversampling_shows_every_class_equally_often_in_epochs_as_long_as_before(counts, epoch):
    made = unequal(counts, sampling="oversample")
    shown = np.bincount(made.labels[epoch_of(made, epoch)], minlength=len(counts))
    assert shown.sum() == sum(counts)
    assert shown.max() - shown.min() <= 1
    assert made.steps_per_epoch == unequal(counts).steps_per_epoch


@given(counts=st.lists(st.integers(1, 30), min_size=1, max_size=6), epoch=st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_undersampling_shows_as_many_of_each_class_as_the_rarest_has(counts, epoch):
    made = unequal(counts, sampling="undersample", batch_size=4)
    rows = epoch_of(made, epoch)
    assert np.bincount(made.labels[rows], minlength=len(counts)).tolist() == [min(counts)] * len(counts)
    assert len(made.order(epoch)) == made.steps_per_epoch


@pytest.mark.parametrize("sampling", ["oversample", "undersample"])
def test_pictures_of_a_class_take_turns_so_that_none_is_left_out(sampling):
    made = unequal([20, 4], sampling=sampling)
    shown = np.bincount(np.concatenate([epoch_of(made, epoch) for epoch in range(15)]), minlength=24)
    assert shown[:20].max() - shown[:20].min() <= 1
    assert shown[20:].max() - shown[20:].min() <= 1
    assert shown.min() > 0


@pytest.mark.parametrize("sampling", ["oversample", "undersample"])
def test_sampled_batches_depend_on_seed_and_number_only(sampling):
    made = unequal([20, 4, 9], sampling=sampling, batch_size=5)
    later = list(made.batches(4, 9, threads=2))
    for one, other in zip(later, list(made.batches(0, 9))[4:], strict=True):
        assert np.array_equal(one.pictures, other.pictures)
        assert np.array_equal(one.labels, other.labels)


def test_a_repeated_picture_is_changed_anew_each_time():
    made = unequal([11, 1], sampling="oversample", batch_size=12)
    batch = next(made.batches(0, 1))
    assert len({picture.tobytes() for picture in batch.pictures[batch.labels == 1]}) > 3


def test_labels_without_pictures_in_training_do_not_matter():
    labels = np.array([0, 0, 0, 5, 9, 9])
    made = feed(rows=np.array([0, 1, 2, 4]), labels=labels, sampling="undersample")
    assert sorted(labels[epoch_of(made, 0)]) == [0, 9]
