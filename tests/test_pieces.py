import contextlib

import pytest
import torch
from torch import nn

from linnaeus.learn.objectives import Batch, Loss, supervised
from linnaeus.learn.pieces import Pieces, piece_count


def network(dropout=0.0):
    torch.manual_seed(0)
    body = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*body, nn.Dropout(dropout), nn.Linear(8, 4))


def batch(n=11):
    draw = torch.Generator().manual_seed(1)
    return Batch(torch.rand(n, 3, 8, 8, generator=draw), torch.randint(4, (n,), generator=draw))


def gradients(net):
    return {name: parameter.grad.clone() for name, parameter in net.named_parameters() if parameter.grad is not None}


@pytest.fixture
def shared():
    """Compute the gradients of a network in pieces: shared(net, batch, pieces, objective)."""
    with contextlib.ExitStack() as stack:

        def run(net, one, count=2, objective=None):
            pieces = Pieces(net, count)
            stack.callback(pieces.close)
            return pieces(objective or supervised(), one, contextlib.nullcontext)

        yield run


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("gamma", [0, 2.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_pieces_have_the_gradient_and_the_loss_of_the_whole(shared, count, weighted, gamma):
    weights = torch.tensor([1.0, 5.0, 0.5, 2.0]) if weighted else None
    objective = supervised(Loss(class_weights=weights, gamma=gamma))
    net, other = network(), network()
    outcome = shared(net, batch(), count, objective)
    whole = objective(other, batch())
    whole.loss.backward()
    for name, expected in gradients(other).items():
        torch.testing.assert_close(gradients(net)[name], expected, msg=name)
    torch.testing.assert_close(outcome.loss, whole.loss.detach())
    assert (int(outcome.right), outcome.n) == (int(whole.right), 11)


def test_the_same_batch_gives_the_same_bits(shared):
    one, two = network(), network()
    shared(one, batch())
    shared(two, batch())
    assert all(torch.equal(value, gradients(two)[name]) for name, value in gradients(one).items())


def test_statistics_are_averaged_over_the_pieces(shared):
    net = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    one = batch(8)
    shared(net, one)
    torch.testing.assert_close(net[0].running_mean, 0.1 * one.pictures.mean(dim=(0, 2, 3)))


def test_frozen_weights_get_no_gradient(shared):
    net = network()
    net[0].requires_grad_(False)
    shared(net, batch())
    assert set(gradients(net)) == {"5.weight", "5.bias"}


def test_weights_that_thaw_later_get_a_gradient():
    net = network()
    net[0].requires_grad_(False)
    pieces = Pieces(net, 2)
    try:
        pieces(supervised(), batch(), contextlib.nullcontext)
        net[0].requires_grad_(True)
        pieces(supervised(), batch(), contextlib.nullcontext)
    finally:
        pieces.close()
    assert "0.weight" in gradients(net)


def test_networks_with_dropout_are_not_cut():
    assert piece_count(network(0.5), 512, 224, 8) == 1
    assert piece_count(network(), 512, 224, 8) == 8


@pytest.mark.parametrize(("pictures", "size_px"), [(1, 512), (2, 1024), (64, 32), (500, 32)])
def test_there_are_never_more_pieces_than_pictures_or_cores(pictures, size_px):
    assert 1 <= piece_count(network(), pictures, size_px, 16) <= min(pictures, 16)


def test_a_batch_of_small_pictures_is_shared_by_two_cores():
    assert piece_count(network(), 250, 32, 2) == 2
