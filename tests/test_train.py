import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from linnaeus import story
from linnaeus.config import load_recipe
from linnaeus.errors import Interrupted, NonFiniteError
from linnaeus.learn.engine import Engine
from linnaeus.nn import stages, zoo
from linnaeus.run import Run
from linnaeus.talk import Clock
from linnaeus.verbs import train as module
from linnaeus.verbs.train import Material

OWN = """
from torch import nn

def network(num_classes, in_chans=3):
    return nn.Sequential(
        nn.Conv2d(in_chans, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3),
        nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))
"""


@pytest.fixture
def own(tmp_path):
    """A small network with dropout and batch norm, and settings to train it on."""
    (tmp_path / "net.py").write_text(OWN)
    return {"model.name": f"{tmp_path / 'net.py'}:network", "optim.name": "adamw", "optim.lr": 0.01, "optim.ema": 0.9}


def weights(run):
    return load_file(Run.open(getattr(run, "folder", run)).model_dir / "model.safetensors")


def weight_bytes(run):
    return (Run.open(getattr(run, "folder", run)).model_dir / "model.safetensors").read_bytes()


def test_the_same_seed_gives_the_same_model_byte_by_byte(train_quickly):
    one, again, other = (train_quickly(seed=seed) for seed in (3, 3, 4))
    assert weight_bytes(one) == weight_bytes(again)
    assert weight_bytes(one) != weight_bytes(other)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_gives_the_same_model_with_everything_on(train_quickly, own, precision):
    extras = {"augment.mixup": 0.2, "augment.cutmix": 1, "augment.erase": 0.3, "augment.rotate_deg": 10}
    more = {"train.precision": precision, "train.class_weights": True, "optim.clip_norm": 1, "model.layer_decay": 0.7}
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
        train_quickly(**own | {"optim.name": "sgd", "optim.lr": 1e30, "optim.ema": None}, **{"train.batch_size": 64, "train.epochs": 1})


@pytest.mark.parametrize("name", ["keras-cifar10", "torch-simplecnn", "small-32", "resnet18"])
@pytest.mark.parametrize("how", ["none", "backbone", 1])
def test_what_is_frozen_stays_and_the_head_learns(train_quickly, name, how):
    settings = {"model.name": name, "model.weights": "none", "data.size_px": 32, "train.epochs": 1, "model.freeze": how}
    run = train_quickly(**settings, **{"optim.name": "sgd", "optim.lr": 0.05, "train.start": "fresh", "train.batch_size": 25})
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
    settings = own | {"model.unfreeze_every": 1, "optim.ema": None, "optim.clip_norm": 1, "train.keep": "last", "optim.schedule": "constant"}
    torch.manual_seed(0)
    start = zoo.create(own["model.name"], num_classes=3, channels=3, size_px=16, weights="none")
    groups = stages.stages(start)
    run = train_quickly(**settings, **{"train.epochs": 2})
    after = weights(run)
    changed = [any(not torch.equal(dict(start.named_parameters())[key], after[key]) for key in group) for group in groups]
    assert changed == [False] * (len(groups) - 2) + [True, True]


def test_smaller_steps_for_lower_layers_move_them_less(train_quickly, own):
    def moved(decay):
        torch.manual_seed(0)
        start = dict(zoo.create(own["model.name"], num_classes=3, channels=3, size_px=16, weights="none").named_parameters())
        run = train_quickly(**own | {"optim.name": "sgd", "optim.lr": 0.01, "optim.ema": None, "train.epochs": 1, "model.layer_decay": decay})
        return (weights(run)["0.weight"] - start["0.weight"]).norm()

    assert moved(0.1) < 0.5 * moved(1.0)


def test_patience_ends_a_training_that_no_longer_gains(train_quickly, own, epochs_of):
    run = train_quickly(**own | {"optim.lr": 1e-12, "train.epochs": 30, "train.patience": 2, "optim.ema": None})
    assert run.summary()["stopped"] == "patience"
    assert len(epochs_of(run.folder)) < 30


def test_the_best_weights_are_kept_or_the_last(train_quickly, own, epochs_of):
    settings = own | {"optim.name": "sgd", "optim.lr": 3.0, "train.epochs": 8, "optim.ema": None}
    best, last = train_quickly(**settings), train_quickly(**settings, **{"train.keep": "last"})
    losses = [event["val_loss_calibrated"] for event in epochs_of(best.folder)]
    assert best.summary()["best_epoch"] == 1 + int(np.argmin(losses))
    assert last.summary()["best_epoch"] == 8


class Countdown:
    """A clock that has time for so many looks."""

    def __init__(self, looks):
        self.looks = looks

    def left(self):
        self.looks -= 1
        return 1e9 if self.looks >= 0 else 0.0


@pytest.mark.parametrize("looks", [3, 4, 5, 7])
def test_the_end_of_the_budget_ends_the_training_with_one_event_an_epoch(photos, tmp_path, own, looks, epochs_of, monkeypatch):
    monkeypatch.setattr(story, "report", lambda run: None)
    recipe = load_recipe(None, own | {"train.epochs": 9, "data.size_px": 16, "train.batch_size": 16})
    run = story.tell(str(photos), recipe, out=tmp_path / "run", clock=Countdown(looks))
    assert run.summary()["stopped"] == "budget"
    events = epochs_of(run.folder)
    assert len({event["step"] for event in events}) == len(events)
    assert all(event["train_loss"] > 0 for event in events)


def test_a_budget_shortens_the_run_and_says_how_many_epochs_fit(photos, tmp_path, own, monkeypatch):
    monkeypatch.setattr(story, "report", lambda run: None)
    recipe = load_recipe(None, own | {"train.epochs": 1e6, "data.size_px": 16, "budget_s": module.FINISH_S + 4})
    run = story.tell(str(photos), recipe, out=tmp_path / "run", clock=Clock(recipe.budget_s))
    decided = [one for one in run.summary()["decisions"] if one["setting"] == "train.epochs"]
    assert len(decided) == 1
    assert 0 < decided[0]["value"] < 1e6
    assert "budget" in decided[0]["reason"]
    assert run.summary()["epochs"] < 1e6


def test_rare_classes_may_weigh_more(train_quickly, own):
    plain, weighted = train_quickly(**own), train_quickly(**own, **{"train.class_weights": True})
    assert weight_bytes(plain) != weight_bytes(weighted)


def test_the_moving_average_is_what_is_saved(train_quickly, own):
    without, averaged = train_quickly(**own | {"optim.ema": None}), train_quickly(**own)
    assert weight_bytes(without) != weight_bytes(averaged)


def test_without_validation_pictures_the_last_weights_are_kept(train_quickly, own, epochs_of):
    run = train_quickly(**own, **{"split.val": 0})
    assert "val_loss" not in epochs_of(run.folder)[0]
    assert not run.has_scores("val")
    assert run.has_scores("test")


def test_a_head_is_solved_on_frozen_features_without_any_epoch(train_quickly):
    run = train_quickly(**{"model.name": "resnet18", "model.weights": "none", "data.size_px": 32, "train.start": "head", "train.epochs": 0})
    assert run.summary()["epochs"] == 0
    assert "head" in run.summary()["stopped"]
    assert run.scores("val").overall["accuracy"].value > 0.5


def test_a_stop_in_the_middle_saves_and_resuming_gives_the_same_weights(photos, tmp_path, own, epochs_of, monkeypatch):
    monkeypatch.setattr(story, "report", lambda run: None)
    recipe = load_recipe(None, own | {"train.epochs": 4, "data.size_px": 16, "train.batch_size": 8})
    straight = story.tell(str(photos), recipe, out=tmp_path / "straight")
    note, count = module._Fit._note, 0

    def stop_after_nine(fit, step):
        nonlocal count
        count += 1
        if count == 9:
            os.kill(os.getpid(), signal.SIGINT)
        note(fit, step)

    monkeypatch.setattr(module._Fit, "_note", stop_after_nine)
    with pytest.raises(Interrupted, match="--resume"):
        story.tell(str(photos), recipe, out=tmp_path / "broken")
    story.resume(tmp_path / "broken")
    assert weight_bytes(tmp_path / "broken") == weight_bytes(straight)
    assert [event["step"] for event in epochs_of(tmp_path / "broken")] == [event["step"] for event in epochs_of(straight.folder)]


def unfinish(run):
    """Put a finished run back to the moment before its summary was written."""
    (run.folder / "summary.json").unlink()


def test_a_kill_after_the_last_epoch_resumes_to_the_same_model(train_quickly, own):
    run = train_quickly(**own)
    before = weight_bytes(run)
    unfinish(run)
    story.resume(run.folder)
    assert weight_bytes(run) == before


def test_a_kill_after_patience_ran_out_does_not_train_on(train_quickly, own, epochs_of):
    run = train_quickly(**own | {"optim.lr": 1e-12, "train.epochs": 30, "train.patience": 2, "optim.ema": None})
    before, events = weight_bytes(run), len(epochs_of(run.folder))
    unfinish(run)
    story.resume(run.folder)
    assert len(epochs_of(run.folder)) == events
    assert weight_bytes(run) == before


def test_a_kill_between_journal_and_first_checkpoint_writes_each_epoch_once(train_quickly, own, epochs_of):
    run = train_quickly(**own)
    before, events = weight_bytes(run), [event["step"] for event in epochs_of(run.folder)]
    unfinish(run)
    (run.checkpoint_dir / "state.safetensors").unlink()
    story.resume(run.folder)
    assert [event["step"] for event in epochs_of(run.folder)] == events
    assert weight_bytes(run) == before


def command_line(*words):
    return [sys.executable, "-m", "linnaeus", *map(str, words)]


def wait_for(path, process, seconds=60):
    end = time.monotonic() + seconds
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(photos, tmp_path, own, epochs_of):
    sets = own | {"train.checkpoint_every_s": 0.05, "data.size_px": 16, "train.batch_size": 8, "train.precision": "fp32"}
    words = [word for name, value in sets.items() for word in ("--set", f"{name}={value}")]
    start = ("train", photos, "--epochs", 60, *words)
    run, draw, kills = tmp_path / "killed", random.Random(4), 0
    todo = command_line(*start, "--out", run)
    for watched in ("recipe.json", "checkpoint/state.safetensors", "checkpoint/state.safetensors"):
        process = subprocess.Popen(todo, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if watched.endswith(".safetensors") and (run / watched).exists():
            seen = (run / watched).stat().st_mtime_ns
            while process.poll() is None and (run / watched).stat().st_mtime_ns == seen:
                time.sleep(0.01)
        wait_for(run / watched, process)
        time.sleep(draw.uniform(0, 0.4))
        kills += process.poll() is None
        process.kill()
        process.communicate()
        todo = command_line("train", "--resume", run)
    if not (run / "summary.json").exists():
        done = subprocess.run(todo, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    straight = subprocess.run(command_line(*start, "--out", tmp_path / "straight"), capture_output=True, text=True)
    assert straight.returncode == 0, straight.stderr
    assert kills >= 2
    assert weight_bytes(run) == weight_bytes(tmp_path / "straight")
    assert [event["epoch"] for event in epochs_of(run)] == list(range(1, 61))


@pytest.mark.slow
def test_ctrl_c_saves_says_how_to_go_on_and_resumes_equal(photos, tmp_path, own, epochs_of):
    sets = own | {"train.checkpoint_every_s": 0.05, "data.size_px": 16, "train.batch_size": 8, "train.precision": "fp32"}
    words = [word for name, value in sets.items() for word in ("--set", f"{name}={value}")]
    run = tmp_path / "stopped"
    todo = command_line("train", photos, "--epochs", 2000, "--out", run, *words)
    process = subprocess.Popen(todo, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_for(run / "journal.jsonl", process)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert f"linnaeus train --resume {run}" in said
    assert "Traceback" not in said
    steps = [event["step"] for event in epochs_of(run)]
    assert steps == sorted(set(steps))
    assert json.loads((run / "recipe.json").read_text())["recipe"]["train"]["epochs"] == 2000


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
