import json

import pytest
import torch
from safetensors import safe_open
from torch import nn

from linnaeus.config import OptimSettings
from linnaeus.errors import RunError
from linnaeus.learn import checkpoint
from linnaeus.learn.checkpoint import Progress, TrainState
from linnaeus.learn.optim import Average, make_optimizer


def state(name="adamw", seed=0, width=8):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4)
    )
    net = net.to(memory_format=torch.channels_last)
    return TrainState(net, make_optimizer(net, OptimSettings(name=name, lr=0.01), set(), {}), Average(net, 0.9))


def go_on(one, steps, first=0):
    for step in range(first, first + steps):
        x = torch.randn(6, 3, 9, 9, generator=torch.Generator().manual_seed(step))
        one.optimizer.zero_grad()
        one.network(x.to(memory_format=torch.channels_last)).square().mean().backward()
        one.optimizer.step()
        one.average.update(one.network)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "checkpoint" / "state.safetensors"


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "muon"])
def test_a_training_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(file, name):
    straight, broken, taken_up = state(name), state(name), state(name, seed=9)
    go_on(straight, 8)
    go_on(broken, 5)
    broken.save(file)
    assert taken_up.load(file)
    go_on(taken_up, 3, first=5)
    for key, value in straight.network.state_dict().items():
        assert torch.equal(taken_up.network.state_dict()[key], value), key
        assert torch.equal(taken_up.average.values[key], straight.average.values[key]), key


def test_counters_and_best_weights_come_back(file):
    one = state()
    one.progress = Progress(step=7, best_loss=0.25, best_epoch=1.5, loss_sum=3.25, seen=90, steps_planned=40)
    one.best = {name: value + 1 for name, value in one.network.state_dict().items()}
    one.save(file)
    other = state(seed=3)
    other.load(file)
    assert other.progress == one.progress
    assert all(torch.equal(other.best[name], value) for name, value in one.best.items())


def test_a_best_loss_that_is_not_known_yet_comes_back_as_infinity(file):
    state().save(file)
    other = state()
    other.load(file)
    assert other.progress.best_loss == float("inf")


def test_without_a_checkpoint_nothing_is_loaded(file):
    one = state()
    before = one.network[0].weight.detach().clone()
    assert not one.load(file)
    assert torch.equal(one.network[0].weight, before)


def test_a_checkpoint_of_another_network_is_refused_in_words(file):
    state().save(file)
    with pytest.raises(RunError, match="should fit the network"):
        state(width=16).load(file)


def test_a_write_that_fails_leaves_the_old_checkpoint(file, monkeypatch):
    one = state()
    one.progress.step = 1
    one.save(file)

    def full_disk(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    one.progress.step = 2
    with pytest.raises(OSError, match="no space"):
        one.save(file)
    monkeypatch.undo()
    other = state()
    assert other.load(file)
    assert other.progress.step == 1


def test_the_file_is_safetensors_with_the_progress_as_json(file):
    one = state()
    go_on(one, 1)
    one.save(file)
    assert list(file.parent.iterdir()) == [file]
    with safe_open(file, "pt") as opened:
        assert json.loads(opened.metadata()["progress"])["step"] == 0
        assert {name.split("/")[0] for name in opened.keys()} == {"network", "average", "optimizer"}  # noqa: SIM118
