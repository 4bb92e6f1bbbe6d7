import time

import pytest
import torch

from linnaeus.learn.course import Pulse
from linnaeus.learn.objectives import Batch


def batches(count, wait_s):
    for number in range(count):
        time.sleep(wait_s)
        yield Batch(torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64), (0, 0, number))


def measured(wait_s, step_s):
    pulse = Pulse()
    for batch in pulse.watch(batches(5, wait_s)):
        time.sleep(step_s)
        pulse.stepped(len(batch.labels))
        time.sleep(0.02)  # the caller's own business: validation, saving
    return pulse


def test_time_without_a_batch_is_waiting():
    assert measured(0.02, 0.002).waited > 0.7
    assert measured(0.0, 0.02).waited < 0.2


def test_what_happens_between_steps_is_neither_waiting_nor_learning():
    pulse = measured(0.002, 0.002)
    assert pulse.waited_s + pulse.busy_s < 0.09
    assert pulse.pictures_per_s == pytest.approx(20 / (pulse.waited_s + pulse.busy_s), rel=0.01)


def test_waiting_for_the_end_of_steps_that_were_sent_off_is_their_time():
    pulse = Pulse()
    for batch in pulse.watch(batches(3, 0)):
        pulse.stepped(len(batch.labels))
    time.sleep(0.05)
    pulse.stepped(0)
    assert pulse.busy_s >= 0.05
    assert pulse.pictures == 12


def test_without_a_step_nothing_is_known():
    pulse = Pulse()
    assert not list(pulse.watch([]))
    assert pulse.waited is None
    assert pulse.pictures_per_s is None
