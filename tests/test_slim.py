from dataclasses import replace

import numpy as np
import pytest
import torch

from linnaeus.classifier import Classifier
from linnaeus.config import validate
from linnaeus.errors import ModelError, SettingsError
from linnaeus.learn.engine import Engine
from linnaeus.learn.material import Material
from linnaeus.learn.slim import Slimming, slim
from linnaeus.nn.sparse import zero_share
from linnaeus.records import Preprocessing, Split
from linnaeus.run import Run

HOW = Preprocessing(32, "squash", 32, "bilinear", (0, 0, 0), 3, (0.5,) * 3, (0.25,) * 3, 10**6)


class Made:
    """Noisy pictures of three colours, of any size."""

    def __init__(self, N=72):
        self.colours = np.array([[200, 60, 50], [60, 180, 70], [50, 80, 200]])[np.arange(N) % 3]

    def __len__(self):
        return len(self.colours)

    def __getitem__(self, row):
        noise = np.random.default_rng(row).normal(0, 60, (32, 32, 3))
        return np.clip(self.colours[row] + noise, 0, 255).astype(np.uint8)

    def block(self, rows, size_px):
        return np.stack([self[int(row)][:size_px, :size_px] for row in rows])


def material(size_px=32):
    parts = np.array(["train", "train", "val", "train", "test", "train"] * 12)
    how = replace(HOW, size_px=size_px, resize_px=size_px)
    return Material(Made(), np.arange(72) % 3, tuple(map(str, range(72))), Split(parts, parts), ("a", "b", "c"), how)


@pytest.fixture(scope="module")
def recipe():
    """What plans a small training, nothing left open."""
    model = {"name": "small-32", "weights": "none", "freeze": "none", "hold_depthwise": False, "keep_statistics": False}
    augment = {"flip": "none", "shift": 0.0, "fill": "edge", "color": 0.0}
    train = {"start": "fresh", "epochs": 4, "batch_size": 12, "precision": "fp32", "balance": "none", "views": 0}
    optim = {"name": "adamw", "lr": 1e-3, "schedule": "cosine", "weight_decay": 0.0}
    return validate({"model": model, "augment": augment, "train": train | {"label_smoothing": 0.0}, "optim": optim})


@pytest.fixture(scope="module")
def original(recipe, tmp_path_factory):
    """A trained network."""
    from linnaeus.talk import Clock, Talk
    from linnaeus.verbs.train import train

    run = Run.create(tmp_path_factory.mktemp("slim") / "run", "made", recipe, {})
    return train(run, material(), recipe, clock=Clock(), talk=Talk()).classifier


@pytest.fixture
def slimmed(original, recipe, tmp_path):
    """Make the network cheaper: slimmed(**settings)."""

    def make(at_size=material, folder="slim", **settings):
        run = Run.create(tmp_path / folder, "made", recipe, {})
        return slim(original.network, material(), Slimming(**settings), run=run, recipe=recipe, at_size=at_size)

    return make


def accuracy(made):
    pictures = material(made.preprocessing.size_px)
    rows = pictures.split.rows("test")
    about = Classifier(made.network, "small-32", pictures.classes, made.preprocessing)
    return (about.logits(pictures.blocks(rows), Engine()).argmax(1) == pictures.labels[rows]).mean()


def test_a_pruned_network_keeps_the_share_and_answers_well(slimmed):
    made = slimmed(ways=("channels",), importances=("taylor",), epochs=6)
    assert made.after <= 0.5 * made.before
    assert accuracy(made) > 0.8


def test_the_way_with_the_best_validation_loss_is_taken(slimmed):
    made = slimmed(ways=("channels", "size"), epochs=1, importances=("taylor", "magnitude"))
    assert set(made.tried) == {"channels by taylor", "channels by magnitude", "size"}
    assert made.way == min(made.tried, key=made.tried.get)


def test_smaller_pictures_halve_the_arithmetic(slimmed):
    made = slimmed(ways=("size",), epochs=1)
    assert made.preprocessing.size_px < 32
    assert 0.35 < made.after / made.before <= 0.5


def test_a_way_that_cannot_be_gone_is_told_and_another_taken(slimmed):
    made = slimmed(ways=("blocks", "channels"), importances=("magnitude",), epochs=1)
    assert "blocks" in made.failed
    assert made.way == "channels"


def test_ways_that_all_fail_are_an_error(slimmed):
    with pytest.raises(ModelError, match="blocks"):
        slimmed(ways=("blocks",))


def test_smaller_pictures_need_the_originals(slimmed):
    with pytest.raises(ModelError, match="originals"):
        slimmed(ways=("size",), at_size=None)


def test_zeros_stay_zeros_through_the_training(slimmed):
    made = slimmed(ways=(), zeros=0.7, epochs=2)
    assert zero_share(made.network) > 0.6
    assert made.after == made.before


def test_zeros_are_held_in_weights_from_a_checkpoint_that_has_fewer(original, recipe, tmp_path):
    run = Run.create(tmp_path / "slim", "made", recipe, {})
    for zeros in (0.2, 0.8):
        made = slim(original.network, material(), Slimming(ways=(), zeros=zeros, epochs=1), run=run, recipe=recipe)
    assert zero_share(made.network) > 0.7


def test_another_network_can_be_the_student(slimmed):
    made = slimmed(student="keras-cifar10", epochs=1)
    assert made.architecture == "keras-cifar10"
    assert made.network(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


def test_the_original_stays_as_it_is(slimmed, original):
    before = {name: value.clone() for name, value in original.network.state_dict().items()}
    slimmed(ways=("channels",), importances=("taylor",), epochs=1)
    assert all(torch.equal(value, before[name]) for name, value in original.network.state_dict().items())


def test_slimming_twice_gives_the_same_network(slimmed):
    first, second = (slimmed(folder=name, ways=("channels",), importances=("taylor",), epochs=1) for name in "ab")
    ours, theirs = first.network.state_dict(), second.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("asked", [{"ways": ("depth",)}, {"importances": ("luck",)}, {"ways": ()}, {"importances": ()}])
def test_a_demand_that_does_not_hold_is_refused(asked):
    with pytest.raises(SettingsError):
        Slimming(**asked)
