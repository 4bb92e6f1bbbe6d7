import copy
import time

import numpy as np
import torch
from torch import nn

from linnaeus.config import OptimSettings
from linnaeus.learn.engine import Engine
from linnaeus.learn.objectives import Batch, supervised
from linnaeus.learn.pace import seconds_per_picture, seconds_per_step
from linnaeus.records import Preprocessing

HOW = Preprocessing(size_px=8, resize="squash")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3))


def test_timing_steps_leaves_the_network_as_it_is():
    net = network().train()
    before = copy.deepcopy(net.state_dict())
    batches = [Batch(torch.randn(6, 3, 8, 8), torch.arange(6) % 3) for _ in range(4)]
    settings = OptimSettings(name="sgd", lr=1.0, weight_decay=0.0)
    assert seconds_per_step(net, batches, supervised(), settings, Engine(), 2) > 0
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Resting(nn.Module):
    def forward(self, x):
        time.sleep(0.05)
        return x.mean((2, 3))


def test_what_a_network_takes_is_told_for_one_picture():
    # At least one call for all eight of them.
    assert seconds_per_picture(Resting(), np.zeros((8, 8, 8, 3), np.uint8), HOW, Engine()) >= 0.05 / 8


def test_too_few_batches_to_time_count_as_no_time():
    batches = [Batch(torch.randn(6, 3, 8, 8), torch.arange(6) % 3)]
    settings = OptimSettings(name="sgd", lr=1.0, weight_decay=0.0)
    assert seconds_per_step(network(), batches, supervised(), settings, Engine(), 1) == 0.0
