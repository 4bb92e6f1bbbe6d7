import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from linnaeus.config import OptimSettings
from linnaeus.errors import NonFiniteError
from linnaeus.learn.engine import Engine
from linnaeus.learn.infer import infer
from linnaeus.learn.loop import check_finite, train
from linnaeus.learn.objectives import Batch, supervised
from linnaeus.learn.optim import make_optimizer, make_schedule
from linnaeus.nn.stages import exempt
from linnaeus.records import Preprocessing


def network():
    torch.manual_seed(0)
    body = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*body, nn.Dropout(0.3), nn.Linear(8, 4)).to(memory_format=torch.channels_last)


def batches(count=12):
    draw = torch.Generator().manual_seed(1)
    for number in range(count):
        pictures = torch.randn(6, 3, 9, 9, generator=draw).to(memory_format=torch.channels_last)
        yield Batch(pictures, torch.randint(4, (6,), generator=draw), (0, number))


def by_plain_torch(net, name, clip=None):
    """Twenty-five lines of PyTorch, as anybody would write them."""
    plain = [p for n, p in net.named_parameters() if p.ndim <= 1]
    decayed = [p for n, p in net.named_parameters() if p.ndim > 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    if name == "sgd":
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, fused=True)
    else:
        optimizer = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.999), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 0.5 * (1 + math.cos(math.pi * s / 12)))
    net.train()
    losses = []
    for step, batch in enumerate(batches()):
        torch.manual_seed(7 * 1_000_003 + step)
        loss = functional.cross_entropy(net(batch.pictures), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def by_linnaeus(net, name, clip=None, **options):
    settings = OptimSettings(name=name, lr=0.1 if name == "sgd" else 0.01, weight_decay=0.01, schedule="cosine")
    optimizer = make_optimizer(net, settings, exempt(net), {})
    net.train()
    schedule = make_schedule(settings, 12, 4)
    return list(train(net, batches(), supervised(), optimizer, schedule, Engine(seed=7), clip_norm=clip, **options))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("clip", [None, 0.1])
def test_the_loop_equals_a_plain_loop_weight_by_weight(name, clip):
    ours, theirs = network(), network()
    steps = by_linnaeus(ours, name, clip)
    losses = by_plain_torch(theirs, name, clip)
    assert [step.loss.item() for step in steps] == losses
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=0, atol=0, msg=key)


def test_clipping_changes_the_weights():
    free, clipped = network(), network()
    by_linnaeus(free, "sgd")
    by_linnaeus(clipped, "sgd", clip=0.01)
    assert not torch.equal(free[0].weight, clipped[0].weight)


def test_a_step_tells_its_number_its_rate_and_how_many_were_right():
    steps = by_linnaeus(network(), "sgd", first=100)
    assert [step.number for step in steps] == list(range(100, 112))
    assert all(step.n == 6 and 0 <= int(step.right) <= 6 for step in steps)
    assert not any(step.loss.requires_grad for step in steps)


def test_the_loop_does_no_more_than_it_is_asked_for():
    net, settings = network(), OptimSettings(name="sgd", lr=0.1)
    steps = train(net, batches(), supervised(), make_optimizer(net, settings, set(), {}), lambda _: 1.0, Engine())
    before = net[0].weight.detach().clone()
    assert torch.equal(net[0].weight, before)
    next(steps)
    after = net[0].weight.detach().clone()
    assert not torch.equal(after, before)
    steps.close()
    assert torch.equal(net[0].weight, after)


def test_weights_that_thaw_on_the_way_are_clipped_as_well():
    net, settings = network(), OptimSettings(name="sgd", lr=1.0, momentum=0)
    net[0].requires_grad_(False)
    optimizer = make_optimizer(net, settings, set(), {})
    optimizer.add_param_group({"params": list(net[0].parameters()), "lr": 1.0, "peak_lr": 1.0})
    steps = train(net, batches(), supervised(), optimizer, lambda _: 1.0, Engine(), clip_norm=1e-4)
    next(steps)
    net[0].requires_grad_(True)
    before = net[0].weight.detach().clone()
    next(steps)
    assert 0 < (net[0].weight - before).norm() <= 1.01e-4


def test_a_frozen_weight_stays_as_it_is():
    net = network()
    net[0].weight.requires_grad_(False)
    before = net[0].weight.detach().clone()
    by_linnaeus(net, "sgd")
    assert torch.equal(net[0].weight, before)


def test_a_finite_loss_passes_the_check():
    net, settings = network(), OptimSettings(name="sgd", lr=0.1)
    optimizer = make_optimizer(net, settings, set(), {})
    for step in train(net, batches(), supervised(), optimizer, lambda _: 1.0, Engine()):
        check_finite(step.loss.item(), step.number, net, settings)


def test_an_infinite_rate_is_stopped_with_step_and_first_broken_weights():
    net, settings = network(), OptimSettings(name="sgd", lr=1e30)
    optimizer = make_optimizer(net, settings, set(), {})
    steps = train(net, batches(), supervised(), optimizer, lambda _: 1.0, Engine())
    with pytest.raises(NonFiniteError, match=r"step \d+") as caught:
        for step in steps:
            check_finite(step.loss.item(), step.number, net, settings)
    assert "weights" in caught.value.got
    assert "optim.lr" in caught.value.fix


def test_a_loss_that_overflows_by_itself_is_told_apart_from_broken_weights():
    net, settings = network(), OptimSettings(name="sgd", lr=0.1)
    optimizer = make_optimizer(net, settings, set(), {})

    def broken(net, batch):
        outcome = supervised()(net, batch)
        return replace(outcome, loss=outcome.loss * 0 + math.inf)

    step = next(train(net, batches(), broken, optimizer, lambda _: 0.0, Engine()))
    net.load_state_dict(network().state_dict())
    with pytest.raises(NonFiniteError, match="inf in step 0") as caught:
        check_finite(step.loss.item(), step.number, net, settings)
    assert "all weights finite" in caught.value.got


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "adamw", "lr": 0.003}, "it was 0.003: --set optim.lr=0.0003)"),
        ({"name": "muon", "lr": 0.24}, "it was 0.24: --set optim.lr=0.024)"),
        (
            {"name": "muon", "lr": 0.24, "sgd_lr": 106.0},
            "it was 0.24 and 106: --set optim.lr=0.024 --set optim.sgd_lr=11)",
        ),
    ],
)
def test_lower_rates_are_advised_than_those_that_were_asked_for(settings, said):
    with pytest.raises(NonFiniteError) as caught:
        check_finite(math.nan, 3, network(), OptimSettings(**settings))
    assert said in caught.value.fix


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_answers_after_a_step_are_those_of_the_new_weights(name):
    """Inference keeps a copy of the network, which it must not take for one that has learned since."""
    body = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = nn.Sequential(*body, nn.Linear(8, 4)).to(memory_format=torch.channels_last)
    pictures = np.random.default_rng(0).integers(0, 255, (4, 9, 9, 3), dtype=np.uint8)
    how, engine = Preprocessing(9, mean=(0.0,) * 3, std=(1.0,) * 3), Engine()
    settings = OptimSettings(name=name, lr=0.1, weight_decay=0.01, schedule="cosine")
    optimizer = make_optimizer(net, settings, exempt(net), {})
    for _ in range(2):
        list(train(net.train(), batches(2), supervised(), optimizer, make_schedule(settings, 12, 4), engine))
        told = torch.cat(list(infer(net, [pictures], how, engine)))
        with torch.no_grad():
            right = net(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
        torch.testing.assert_close(told, right, rtol=1e-4, atol=1e-5)
