import numpy as np
import pytest
import torch
from torch import nn

from linnaeus.learn.engine import Engine
from linnaeus.learn.infer import _one_behind, infer
from linnaeus.nn.input import FromBytes
from linnaeus.records import Preprocessing

HOW = Preprocessing(16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 4)
    )


def pictures(n, size=16, channels=3):
    return np.random.default_rng(n).integers(0, 256, (n, size, size, channels), dtype=np.uint8)


def plain(net, data):
    with torch.no_grad():
        return net.eval()(FromBytes(HOW.mean, HOW.std)(torch.from_numpy(data)))


@pytest.mark.parametrize("sizes", [[1], [3, 1, 5], [600], [250, 250, 7], [0, 4]])
def test_answers_come_in_order_and_equal_a_plain_forward(sizes):
    net, data = network(), pictures(sum(sizes))
    blocks = np.split(data, np.cumsum(sizes)[:-1])
    got = torch.cat(list(infer(net, blocks, HOW, Engine())))
    torch.testing.assert_close(got, plain(net, data), rtol=0, atol=1e-5)


def test_large_pictures_go_in_small_pieces():
    how, seen = Preprocessing(1024), []

    class Watched(nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return x.mean(dim=(2, 3))

    parts = list(infer(Watched(), [np.zeros((3, 1024, 1024, 3), np.uint8)], how, Engine()))
    assert sum(map(len, parts)) == 3
    assert seen == [1, 1, 1]


def test_nothing_in_gives_nothing_out():
    assert list(infer(network(), [], HOW, Engine())) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_torchs_threads_are_as_before(threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        list(infer(network(), [pictures(40)], HOW, Engine()))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_torchs_threads_are_as_before_when_the_reader_stops_early():
    before = torch.get_num_threads()
    answers = infer(network(), (pictures(300) for _ in range(20)), HOW, Engine())
    next(answers)
    answers.close()
    assert torch.get_num_threads() == before


def test_blocks_are_taken_as_they_are_needed():
    taken = []

    def blocks():
        for number in range(50):
            taken.append(number)
            yield pictures(256)

    answers = infer(network(), blocks(), HOW, Engine())
    next(answers)
    assert len(taken) <= 2 * Engine().cores + 2
    answers.close()


def test_a_failing_network_is_not_silent():
    with pytest.raises(RuntimeError):
        list(infer(nn.Linear(7, 2), [pictures(3)], HOW, Engine()))


def test_dropout_sleeps_and_no_gradient_is_kept():
    net = network()
    net.train()
    one, two = (torch.cat(list(infer(net, [pictures(5)], HOW, Engine()))) for _ in range(2))
    assert torch.equal(one, two)
    assert not one.requires_grad


def test_a_device_is_asked_for_an_answer_when_it_has_got_the_next_piece_of_work():
    asked = []

    def answers():
        for number in range(4):
            asked.append(number)
            yield torch.tensor(number)

    got = []
    for answer in _one_behind(answers()):
        got.append((int(answer), len(asked)))
    assert got == [(0, 2), (1, 3), (2, 4), (3, 4)]
