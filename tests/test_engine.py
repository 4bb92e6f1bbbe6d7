import os
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from linnaeus.learn.engine import Engine, Machine, cores_here
from linnaeus.learn.objectives import Batch, supervised


def test_the_machine_says_what_there_is_to_compute_with():
    here = Machine.here()
    assert here.device in ("cpu", "cuda", "mps")
    assert here.cores == cores_here() >= 1
    assert here.memory_gb > 0
    assert here.name


def test_a_process_that_is_bound_to_one_core_counts_one():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores_here() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_reseeding_depends_on_seed_and_step_only():
    def draw(seed, step):
        Engine(seed=seed).reseed(step)
        return torch.rand(3).tolist()

    assert draw(1, 5) == draw(1, 5)
    assert draw(1, 5) != draw(1, 6)
    assert draw(1, 5) != draw(2, 5)


def test_two_engines_of_different_precision_live_side_by_side():
    layer, x = nn.Linear(4, 4), torch.ones(1, 4)
    exact, quick = Engine("fp32"), Engine("bf16")
    with quick.autocast():
        rounded = layer.to(quick.device)(x.to(quick.device))
    with exact.autocast():
        full = layer(x.to(exact.device))
    assert (rounded.dtype, full.dtype) == (torch.bfloat16, torch.float32)


def test_float32_is_float32_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    Engine("fp32")
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_waiting_waits_for_the_device(monkeypatch, kind):
    waited = []
    monkeypatch.setattr(getattr(torch, kind), "synchronize", lambda: waited.append(kind))
    engine = Engine()
    engine.wait()
    engine.device = torch.device(kind)
    engine.wait()
    assert waited == [kind]


@pytest.mark.parametrize(("there", "asked"), [(False, False), (True, True)])
def test_accelerate_is_asked_for_the_device_only_where_there_is_something_to_choose(monkeypatch, there, asked):
    """Its import takes as long as the answer for one picture."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: there)
    monkeypatch.delitem(sys.modules, "accelerate", raising=False)
    assert Engine().device.type in ("cpu", "cuda", "mps")
    assert ("accelerate" in sys.modules) is asked


def test_networks_are_placed_channels_last():
    network = Engine().place(nn.Conv2d(3, 8, 3))
    assert network.weight.is_contiguous(memory_format=torch.channels_last)


def test_the_gradient_of_a_batch_is_that_of_its_mean_loss():
    torch.manual_seed(0)
    network, batch = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), Batch(torch.rand(4, 3, 2, 2), torch.arange(4) % 3)
    outcome = Engine().gradient(network, supervised(), batch)
    expected = torch.autograd.grad(functional.cross_entropy(network(batch.pictures), batch.labels), network[1].weight)
    assert torch.equal(network[1].weight.grad, expected[0])
    assert not outcome.loss.requires_grad


def test_a_shared_batch_has_the_same_gradient_and_torchs_threads_come_back():
    torch.manual_seed(0)
    network, batch = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), Batch(torch.rand(9, 3, 2, 2), torch.arange(9) % 3)
    engine, before = Engine(), torch.get_num_threads()
    whole = engine.gradient(network, supervised(), batch)
    gradient, network[1].weight.grad = network[1].weight.grad.clone(), None
    with engine.sharing(network, 2):
        shared = engine.gradient(network, supervised(), batch)
    torch.testing.assert_close(network[1].weight.grad, gradient)
    torch.testing.assert_close(shared.loss, whole.loss)
    assert (int(shared.right), shared.n) == (int(whole.right), 9)
    assert torch.get_num_threads() == before
