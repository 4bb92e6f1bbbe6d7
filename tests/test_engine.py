import os

import torch
from torch import nn

from linnaeus.learn.engine import Engine, Machine, cores_here


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


def test_networks_are_placed_channels_last():
    network = Engine().place(nn.Conv2d(3, 8, 3))
    assert network.weight.is_contiguous(memory_format=torch.channels_last)


def test_backward_adds_the_gradient():
    weight = torch.ones(2, requires_grad=True)
    engine = Engine()
    for _ in range(2):
        engine.backward((weight * torch.tensor([1.0, 2.0])).sum())
    assert weight.grad.tolist() == [2, 4]
