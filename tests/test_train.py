import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load

from conftest import weight_bytes
from linnaeus.errors import NonFiniteError
from linnaeus.learn.engine import Engine
from linnaeus.learn.material import Material
from linnaeus.nn import stages, zoo


def weights(run):
    return load(weight_bytes(run))


def test_the_same_seed_gives_the_same_model_byte_by_byte(train_quickly):
    one, again, other = (train_quickly(seed=seed) for seed in (3, 3, 4))
    assert weight_bytes(one) == weight_bytes(again)
    assert weight_bytes(one) != weight_bytes(other)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_gives_the_same_model_with_everything_on(train_quickly, own, precision):
    extras = {"augment.mixup": 0.2, "augment.cutmix": 1, "augment.erase": 0.3, "augment.rotate_deg": 10}
    more = {"train.precision": precision, "train.balance": "oversample", "optim.clip_norm": 1, "model.layer_decay": 0.7}
    one, again = (train_quickly(**own, **extras, **more) for _ in range(2))
    assert weight_bytes(one) == weight_bytes(again)


def test_pictures_are_learned(trained):
    assert trained.scores("test").overall["accuracy"].value > 0.6
    first, *_, last = [event for event in trained.journal() if event["event"] == "epoch"]
    assert last["train_loss"] < first["train_loss"]


def test_a_hopeless_rate_stops_with_step_and_cause(train_quickly):
    with pytest.raises(NonFiniteError, match=r"step \d+") as caught:
        train_quickly(**{"optim.name": "sgd", "optim.lr": 1e25, "model.name": "keras-cifar10", "train.epochs": 8})
    assert "weights" in caught.value.got


def test_weights_that_break_in_the_very_last_step_are_noticed(train_quickly, own):
    with pytest.raises(NonFiniteError):
        train_quickly(
            **own | {"optim.name": "sgd", "optim.lr": 1e30, "optim.ema": None},
            **{"train.batch_size": 64, "train.epochs": 1},
        )


@pytest.mark.parametrize("name", ["keras-cifar10", "torch-simplecnn", "small-32", "resnet18"])
@pytest.mark.parametrize("how", ["none", "backbone", 1])
def test_what_is_frozen_stays_and_the_head_learns(train_quickly, name, how):
    settings = {"model.name": name, "model.weights": "none", "data.size_px": 32, "train.epochs": 1, "model.freeze": how}
    run = train_quickly(
        **settings, **{"optim.name": "sgd", "optim.lr": 0.05, "train.start": "fresh", "train.batch_size": 25}
    )
    torch.manual_seed(0)
    start = zoo.create(name, num_classes=3, channels=3, size_px=32, weights="none")
    frozen, after = stages.freeze(start, how), weights(run)
    changed = {key for key, value in start.named_parameters() if not torch.equal(value, after[key])}
    assert not changed & set(frozen) - {"stem.weight", "stem.bias"}
    assert set(stages.stages(start)[-1]) & changed
    if how == "none":
        assert len(changed) > 0.8 * sum(value.requires_grad for value in start.parameters())
    else:
        statistics = [key for key in after if "running" in key and key.rpartition(".")[0] + ".weight" in frozen]
        assert all(torch.equal(after[key], start.state_dict()[key]) for key in statistics)


def test_gradual_unfreezing_reaches_one_stage_further_each_time(train_quickly, own, epochs_of):
    settings = own | {
        "model.unfreeze_every": 1,
        "optim.ema": None,
        "optim.clip_norm": 1,
        "train.keep": "last",
        "optim.schedule": "constant",
    }
    torch.manual_seed(0)
    start = zoo.create(own["model.name"], num_classes=3, channels=3, size_px=16, weights="none")
    groups = stages.stages(start)
    run = train_quickly(**settings, **{"train.epochs": 2})
    after = weights(run)
    changed = [
        any(not torch.equal(dict(start.named_parameters())[key], after[key]) for key in group) for group in groups
    ]
    assert changed == [False] * (len(groups) - 2) + [True, True]


def test_smaller_steps_for_lower_layers_move_them_less(train_quickly, own):
    def moved(decay):
        torch.manual_seed(0)
        start = dict(
            zoo.create(own["model.name"], num_classes=3, channels=3, size_px=16, weights="none").named_parameters()
        )
        run = train_quickly(
            **own
            | {"optim.name": "sgd", "optim.lr": 0.01, "optim.ema": None, "train.epochs": 1, "model.layer_decay": decay}
        )
        return (weights(run)["0.weight"] - start["0.weight"]).norm()

    assert moved(0.1) < 0.5 * moved(1.0)


def test_a_head_is_solved_on_frozen_features_without_any_epoch(train_quickly):
    run = train_quickly(
        **{
            "model.name": "resnet18",
            "model.weights": "none",
            "data.size_px": 32,
            "train.start": "head",
            "train.epochs": 0,
        }
    )
    assert run.summary()["epochs"] == 0
    assert "head" in run.summary()["stopped"]
    assert run.scores("val").overall["accuracy"].value > 0.5


def test_material_counts_training_pictures_only(trained):
    columns = trained.split()
    parts, labels = np.array(columns["split"]), np.unique(columns["label"], return_inverse=True)[1]
    from linnaeus.records import Split

    material = Material(None, labels, (), Split(parts, parts), ("a", "b", "c"), None)
    assert material.counts().tolist() == [int((labels[parts == "train"] == k).sum()) for k in range(3)]


def test_a_training_leaves_torch_and_signals_as_they_were(train_quickly, own):
    before = torch.get_num_threads(), signal.getsignal(signal.SIGINT), torch.is_grad_enabled()
    train_quickly(**own)
    assert (torch.get_num_threads(), signal.getsignal(signal.SIGINT), torch.is_grad_enabled()) == before
    assert Engine().precision == "fp32"
