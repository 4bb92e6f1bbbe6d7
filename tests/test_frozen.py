from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from linnaeus.config import AugmentSettings, DataSettings, Recipe
from linnaeus.data.batches import Feed
from linnaeus.learn.engine import Engine
from linnaeus.learn.frozen import FrozenFeed, halves_of
from linnaeus.nn import stages
from linnaeus.nn.input import FromBytes
from linnaeus.nn.zoo import create
from linnaeus.records import Preprocessing
from linnaeus.talk import Talk

HOW = Preprocessing(size_px=8, resize="squash")


@pytest.fixture
def feed():
    pictures = list(np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3), dtype=np.uint8))
    rows = np.array([3, 5, 7, 8, 11, 13, 19])
    return Feed(pictures, rows, np.arange(20) % 3, AugmentSettings(flip="random", shift=0.25), 8, 3, seed=1)


def make(feed, views=2, precision="fp32"):
    torch.manual_seed(0)
    lower = nn.Conv2d(3, 4, 3)
    return lower, FrozenFeed.make(lower, feed, views, HOW, Engine(precision), Talk())


def test_each_kept_output_is_that_of_one_view_of_its_picture(feed):
    lower, frozen = make(feed)
    in_turns = replace(feed, settings=feed.settings.model_copy(update={"flip": "alternating"}))
    view = torch.from_numpy(in_turns.view(feed.rows, 1).pictures)
    wanted = lower(FromBytes(HOW.mean, HOW.std)(view))
    torch.testing.assert_close(frozen.outputs[len(feed.rows) :], wanted)


def test_views_differ_and_each_picture_comes_once_an_epoch_with_its_label(feed):
    _, frozen = make(feed)
    assert not torch.equal(frozen.outputs[:7], frozen.outputs[7:])
    labels = torch.cat([batch.labels for batch in frozen.batches(0, feed.steps_per_epoch, torch.device("cpu"))])
    assert sorted(labels.tolist()) == sorted((feed.rows % 3).tolist())


def test_batches_are_a_function_of_their_number(feed):
    _, frozen = make(feed)
    whole = list(frozen.batches(0, 6, torch.device("cpu")))
    tail = list(frozen.batches(4, 6, torch.device("cpu")))
    for one, other in zip(whole[4:], tail, strict=True):
        assert torch.equal(one.pictures, other.pictures)
        assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize(("precision", "bytes_each"), [("fp32", 4), ("bf16", 2)])
def test_outputs_that_take_more_than_the_memory_are_not_kept_and_that_is_told(precision, bytes_each):
    network = create("mobilenetv3_small_050", num_classes=3, channels=3, size_px=32, weights="none").eval()
    stages.freeze(network, 1)
    example, engine = torch.zeros(2, 3, 32, 32), Engine(precision)
    halves, _ = halves_of(network, example, 1, Recipe(), engine)
    room = Recipe(data=DataSettings(memory_gb=bytes_each * halves[0](example[:1]).numel() * 100 / 1e9))
    assert halves_of(network, example, 100, room, engine)[1] == ""
    halves, why_not = halves_of(network, example, 101, room, engine)
    assert halves is None
    assert "data.memory_gb" in why_not
    assert halves_of(network, example, 100, room, engine, more_bytes=1)[0] is None


def test_outputs_are_kept_in_the_precision_of_the_engine(feed):
    assert make(feed)[1].outputs.dtype is torch.float32
    assert make(feed, precision="bf16")[1].outputs.dtype is torch.bfloat16


@pytest.mark.parametrize("sampling", ["oversample", "undersample"])
def test_sampling_deals_the_kept_outputs_as_it_deals_pictures(feed, sampling):
    uneven = replace(feed, sampling=sampling, labels=np.array([0] * 12 + [1] * 8))
    _, frozen = make(uneven)
    number = 2 * uneven.steps_per_epoch
    dealt = list(frozen.batches(0, number, torch.device("cpu")))
    rows = np.concatenate([np.concatenate(uneven.order(epoch)) for epoch in range(2)])
    assert torch.cat([batch.labels for batch in dealt]).tolist() == uneven.labels[rows].tolist()
    (last,) = frozen.batches(number - 1, number, torch.device("cpu"))
    assert torch.equal(last.pictures, dealt[-1].pictures)
