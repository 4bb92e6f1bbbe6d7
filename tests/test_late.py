import torch

from linnaeus.learn.late import TOGETHER, Late
from linnaeus.learn.loop import Step


def step(number):
    return Step(number, torch.tensor(number / 7), torch.tensor(number % 5), 10, 1.0)


def test_every_step_is_read_once_in_order_and_with_its_own_numbers():
    late, read = Late(), []
    for number in range(3 * TOGETHER + 7):
        read += late.note(step(number))
    read += late.everything()
    assert [one.step.number for one in read] == list(range(3 * TOGETHER + 7))
    assert all(one.loss == torch.tensor(one.step.number / 7).item() for one in read)
    assert [one.right for one in read] == [one.step.number % 5 for one in read]


def test_steps_are_not_read_before_the_next_ones_were_sent():
    late = Late()
    assert not any(late.note(step(number)) for number in range(2 * TOGETHER - 1))
    assert len(late.note(step(2 * TOGETHER - 1))) == TOGETHER


def test_it_tells_whether_something_is_left_to_read():
    late = Late()
    assert not late
    late.note(step(0))
    assert late
    late.everything()
    assert not late
    assert late.everything() == []
