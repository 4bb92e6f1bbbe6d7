import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load

from conftest import weight_bytes, write_photos
from linnaeus import story
from linnaeus.config import load_recipe
from linnaeus.errors import Interrupted, ModelError, RunError, SettingsError
from linnaeus.learn import budget, fit, start
from linnaeus.learn.balance import Settled
from linnaeus.learn.engine import Engine
from linnaeus.learn.fit import Fit
from linnaeus.learn.late import Late
from linnaeus.story.planned import recipe_of
from linnaeus.talk import Clock


def weights(run):
    return load(weight_bytes(run))


def test_waiting_for_losses_is_time_that_steps_take(train_quickly, own, monkeypatch):
    note = Late.note
    monkeypatch.setattr(Late, "note", lambda late, step: time.sleep(0.05) or note(late, step))
    run = train_quickly(**own, **{"train.batch_size": 8})
    assert run.summary()["pictures_per_s"] < 8 / 0.05


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


def test_patience_needs_something_to_wait_for(train_quickly, own):
    run = train_quickly(**own, **{"split.val": 0, "train.patience": 2, "train.epochs": 6})
    assert (run.summary()["stopped"], run.summary()["epochs"]) == ("all epochs done", 6)


def test_an_average_begins_with_the_solved_head(train_quickly, epochs_of):
    head = {"model.name": "keras-cifar10", "train.start": "head", "data.size_px": 16}
    plain, averaged = (train_quickly(**head, **{"optim.ema": ema}) for ema in (None, 0.999))
    first = [epochs_of(run.folder)[0] for run in (plain, averaged)]
    assert first[0]["epoch"] == first[1]["epoch"] == 0
    assert first[1]["val_loss"] == pytest.approx(first[0]["val_loss"], rel=1e-4)


def test_a_batch_of_few_pictures_is_cut_into_few_pieces(train_quickly, uneven, own):
    """Of 8 cores each has a piece of a batch of 32, but undersampling leaves a batch of a few."""
    settings = {"train.batch_size": 32, "train.balance": "undersample", "train.pieces": 8, "model.name": "small-32"}
    run = train_quickly(uneven, **own | settings | {"data.size_px": 160})
    assert run.summary()["epochs"] == 2


@pytest.mark.parametrize("taught", [False, True])
def test_all_that_is_kept_above_frozen_stages_counts_as_memory(train_quickly, own, monkeypatch, taught):
    asked = []

    def watched(network, example, count, recipe, engine, *, more_bytes):
        asked.append((count, more_bytes))
        return None, ""

    monkeypatch.setattr(fit, "halves_of", watched)
    more = {"train.teacher": str(train_quickly(**own).model_dir)} if taught else {}
    run = train_quickly(**own | {"model.freeze": 2, "train.views": 2} | more)
    parts = [row["split"] for row in csv.DictReader((run.folder / "split.csv").open())]
    train, val = parts.count("train"), parts.count("val")
    assert asked == [(2 * train + val, 4 * 2 * train * 3 if taught else 0)]


class Countdown:
    """A clock that has time for so many looks."""

    started = 0.0

    def __init__(self, looks):
        self.looks = looks

    def left(self):
        self.looks -= 1
        return 1e9 if self.looks >= 0 else 0.0


@pytest.mark.parametrize("looks", [3, 4, 5, 7])
def test_the_end_of_the_budget_ends_the_training_with_one_event_an_epoch(
    photos, tmp_path, own, looks, epochs_of, no_report
):
    recipe = load_recipe(None, own | {"train.epochs": 9, "data.size_px": 16, "train.batch_size": 16})
    run = story.tell(str(photos), recipe, out=tmp_path / "run", clock=Countdown(looks))
    assert run.summary()["stopped"] == "budget"
    events = epochs_of(run.folder)
    assert len({event["step"] for event in events}) == len(events)
    assert all(event["train_loss"] > 0 for event in events)


def test_a_budget_shortens_the_run_and_says_how_many_epochs_fit(photos, tmp_path, own, no_report):
    recipe = load_recipe(None, own | {"train.epochs": 1e6, "data.size_px": 16, "budget_s": budget.FINISH_S + 4})
    run = story.tell(str(photos), recipe, out=tmp_path / "run", clock=Clock(recipe.budget_s))
    decided = [one for one in run.summary()["decisions"] if one["setting"] == "train.epochs"]
    assert len(decided) == 1
    assert 0 < decided[0]["value"] < 1e6
    assert "budget" in decided[0]["reason"]
    assert run.summary()["epochs"] < 1e6


def test_a_budget_too_small_for_an_epoch_still_ends_with_a_model(photos, tmp_path, no_report):
    recipe = load_recipe(None, {"train.epochs": 5, "budget_s": 0.5, "data.size_px": 16})
    run = story.tell(str(photos), recipe, out=tmp_path / "run", clock=Clock(recipe.budget_s))
    assert run.summary()["stopped"] == "budget"
    assert run.has_scores("test")


def test_a_budget_too_small_to_look_at_the_pictures_is_refused_in_words(photos, tmp_path):
    asked = {
        "budget_s": 0.5,
        "model.name": "resnet18",
        "model.weights": "none",
        "data.size_px": 32,
        "train.start": "head",
    }
    with pytest.raises(SettingsError, match="--budget"):
        story.tell(str(photos), load_recipe(None, asked), out=tmp_path / "run", clock=Clock(0.5))


def test_rare_classes_may_weigh_more(train_quickly, own):
    plain, weighted = train_quickly(**own), train_quickly(**own, **{"train.balance": "weights"})
    assert weight_bytes(plain) != weight_bytes(weighted)


def test_the_moving_average_is_what_is_saved(train_quickly, own):
    without, averaged = train_quickly(**own | {"optim.ema": None}), train_quickly(**own)
    assert weight_bytes(without) != weight_bytes(averaged)


def test_without_validation_pictures_the_last_weights_are_kept(train_quickly, own, epochs_of):
    run = train_quickly(**own, **{"split.val": 0})
    assert "val_loss" not in epochs_of(run.folder)[0]
    assert not run.has_scores("val")
    assert run.has_scores("test")


SMALL = {"model.name": "small-32", "model.weights": "none", "train.precision": "bf16"}
WAYS = {
    "dropout and average": {"own": True},
    "muon": SMALL,
    "two pieces": SMALL | {"pieces": 2},
    "thawing": {"own": True, "model.unfreeze_every": 1, "optim.clip_norm": 1.0},
    "thawing by sgd": {"own": True, "model.unfreeze_every": 1, "optim.name": "sgd"},
    "freezing in two pieces": SMALL | {"model.freeze_after": (0.3, 0.6), "pieces": 2},
    "thawing in two pieces": SMALL | {"model.unfreeze_every": 1, "pieces": 2},
    "kept outputs of frozen stages": {"own": True, "model.freeze": 2, "train.views": 2, "train.precision": "bf16"},
    "oversampled": {"own": True, "train.balance": "oversample"},
    "undersampled kept outputs": {"own": True, "model.freeze": 2, "train.views": 2, "train.balance": "undersample"},
    "from a solved head": {
        "model.name": "keras-cifar10",
        "train.start": "head",
        "augment.mixup": 0.2,
        "model.layer_decay": 0.7,
    },
}


def stop_after(steps, monkeypatch):
    """Press Ctrl-C after so many steps."""
    note, count = Fit._note, 0

    def stop(fit, step):
        nonlocal count
        count += 1
        if count == steps:
            os.kill(os.getpid(), signal.SIGINT)
        note(fit, step)

    monkeypatch.setattr(Fit, "_note", stop)


@pytest.mark.parametrize("way", WAYS)
def test_a_stop_in_the_middle_saves_and_resuming_gives_the_same_weights(
    photos, tmp_path, own, epochs_of, monkeypatch, no_report, way
):
    asked = dict(WAYS[way])
    if pieces := asked.pop("pieces", None):
        monkeypatch.setattr(fit, "piece_count", lambda *_: pieces)
    settings = {"train.epochs": 3, "data.size_px": 16, "train.batch_size": 12} | (own if asked.pop("own", None) else {})
    recipe = load_recipe(None, settings | asked)
    straight = story.tell(str(photos), recipe, out=tmp_path / "straight")
    stop_after(7, monkeypatch)
    with pytest.raises(Interrupted, match="--resume"):
        story.tell(str(photos), recipe, out=tmp_path / "broken")
    story.resume(tmp_path / "broken")
    assert weight_bytes(tmp_path / "broken") == weight_bytes(straight)
    steps = [[event["step"] for event in epochs_of(folder)] for folder in (straight.folder, tmp_path / "broken")]
    assert steps[0] == steps[1]


@pytest.fixture
def uneven(tmp_path):
    """Pictures of three classes, of which one has few."""
    folder = write_photos(tmp_path / "uneven")
    for path in sorted((folder / "red").iterdir())[4:]:
        path.unlink()
    return folder


def test_what_auto_settled_is_told_and_kept_when_a_run_is_resumed(uneven, tmp_path, monkeypatch, no_report):
    settle = start.settle_head

    def settle_for_weights(*args):
        return settle(*args)[0], Settled("weights", "it helps")

    recipe = load_recipe(
        None,
        {"model.name": "keras-cifar10", "train.start": "head", "train.balance": "auto", "data.size_px": 16}
        | {"train.epochs": 3, "train.batch_size": 8},
    )
    monkeypatch.setattr(start, "settle_head", settle_for_weights)
    straight = story.tell(str(uneven), recipe, out=tmp_path / "straight")
    with monkeypatch.context() as patch:
        stop_after(7, patch)
        with pytest.raises(Interrupted):
            story.tell(str(uneven), recipe, out=tmp_path / "broken")
    monkeypatch.setattr(start, "settle_head", None)
    resumed = story.resume(tmp_path / "broken")
    assert weight_bytes(resumed) == weight_bytes(straight)
    for run in (straight, resumed):
        assert recipe_of(run).train.balance == "weights"
        assert ("train.balance", "weights", "it helps") in [tuple(one.values()) for one in run.summary()["decisions"]]


@pytest.mark.parametrize("balance", ["none", "weights", "oversample", "undersample", "smote"])
def test_every_way_trains_on_from_a_solved_head(uneven, train_quickly, balance):
    asked = {"model.name": "keras-cifar10", "train.start": "head", "train.balance": balance, "data.size_px": 16}
    run = train_quickly(uneven, **asked)
    assert run.summary()["epochs"] == 2
    assert run.plan()["used"]["train"]["balance"] == balance


@pytest.mark.parametrize("loss", ["focal", "logit-adjusted"])
def test_every_loss_gives_other_weights(uneven, train_quickly, own, loss):
    plain, other = train_quickly(uneven, **own), train_quickly(uneven, **own, **{"train.loss": loss})
    assert weight_bytes(plain) != weight_bytes(other)


def test_a_balanced_set_is_trained_as_if_nobody_had_thought_of_balance(train_quickly, own):
    settings = own | {"train.start": "head", "model.name": "keras-cifar10"}
    default, none, auto = (
        train_quickly(**settings, **({"train.balance": one} if one else {})) for one in (None, "none", "auto")
    )
    assert weight_bytes(default) == weight_bytes(none) == weight_bytes(auto)


def unfinish(run):
    """Put a finished run back to the moment before its summary was written."""
    (run.folder / "summary.json").unlink()


def test_a_kill_after_the_last_epoch_resumes_to_the_same_model(train_quickly, own):
    run = train_quickly(**own)
    before = weight_bytes(run)
    unfinish(run)
    story.resume(run.folder)
    assert weight_bytes(run) == before


def test_a_training_does_not_go_on_with_code_that_was_edited_meanwhile(train_quickly, own):
    run = train_quickly(**own)
    unfinish(run)
    code = Path(own["model.name"].rpartition(":")[0])
    code.write_text(code.read_text().replace("nn.Dropout(0.3)", "nn.Dropout(0.1)"))
    with pytest.raises(RunError, match="begun with other code"):
        story.resume(run.folder)


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
    run.checkpoint_path.unlink()
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
    sets = own | {
        "train.checkpoint_every_s": 0.05,
        "data.size_px": 16,
        "train.batch_size": 8,
        "train.precision": "fp32",
    }
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
    sets = own | {
        "train.checkpoint_every_s": 0.05,
        "data.size_px": 16,
        "train.batch_size": 8,
        "train.precision": "fp32",
    }
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


def test_stages_that_thaw_are_trained_when_a_batch_is_shared_between_cores(train_quickly, own, monkeypatch):
    monkeypatch.setattr(fit, "piece_count", lambda *_: 2)
    settings = own | {"model.unfreeze_every": 1, "optim.ema": None, "train.keep": "last", "optim.schedule": "constant"}
    head_only, one_more = (train_quickly(**settings, **{"train.epochs": epochs}) for epochs in (1, 2))
    assert not torch.equal(weights(head_only)["4.weight"], weights(one_more)["4.weight"])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_frozen_stages_may_be_computed_once_in_either_precision(train_quickly, own, precision):
    run = train_quickly(**own, **{"model.freeze": 2, "train.views": 2, "train.precision": precision})
    assert "frozen stages" in run.summary()["stages"]


@pytest.mark.parametrize(("freeze", "kept"), [("backbone", False), (2, True)])
def test_cutmix_keeps_outputs_of_frozen_stages_where_there_is_something_to_cut(train_quickly, own, freeze, kept):
    run = train_quickly(**own, **{"model.freeze": freeze, "train.views": 2, "augment.cutmix": 1.0})
    told = {one["setting"]: one["value"] for one in run.summary()["decisions"]}
    assert ("frozen stages" in run.summary()["stages"]) is kept
    assert told.get("train.views") == (None if kept else 0)


def test_adversarial_training_learns_something_else_and_the_same_every_time(train_quickly, own):
    own = own | {"optim.ema": None}
    plain = train_quickly(**own)
    first, second = (train_quickly(**own, **{"train.adversarial": 8, "train.adversarial_steps": 1}) for _ in range(2))
    assert weight_bytes(first) == weight_bytes(second) != weight_bytes(plain)


def test_stages_stand_still_one_after_the_other_once_their_share_of_the_run_is_over(train_quickly, monkeypatch):
    seen, note = [], Fit._note

    def noted(fit, step):
        seen.append(
            [fit.network.get_parameter(name).detach().clone() for name in ("stem.bias", "blocks.0.conv1.weight")]
        )
        note(fit, step)

    monkeypatch.setattr(Fit, "_note", noted)
    train_quickly(**SMALL, **{"model.freeze_after": (0.3, 0.6), "train.epochs": 4, "optim.schedule": "constant"})
    steps = len(seen)
    for which, share in enumerate((0.3, 0.6)):
        last = [step for step in range(1, steps) if not torch.equal(seen[step][which], seen[step - 1][which])][-1]
        assert last == round(share * steps) - 1


def test_more_stages_than_there_are_cannot_be_frozen(train_quickly):
    with pytest.raises(ModelError, match="freeze_after"):
        train_quickly(**SMALL, **{"model.freeze_after": (0.1, 0.2, 0.3, 0.4, 0.5)})


TORCHS_WORDS = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB of which 1.20 GiB is free. "
    "If reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True."
)


@pytest.mark.parametrize(("batch_size", "advised"), [(16, "train.batch_size=8"), (1, "data.size_px=10")])
def test_a_batch_that_does_not_fit_into_memory_is_told_with_one_that_may(
    train_quickly, own, monkeypatch, batch_size, advised
):
    def full(*_):
        raise torch.OutOfMemoryError(TORCHS_WORDS)

    monkeypatch.setattr(Engine, "gradient", full)
    with pytest.raises(SettingsError, match="memory") as caught:
        train_quickly(**own, **{"train.batch_size": batch_size, "data.size_px": 20})
    assert caught.value.got.startswith(
        f"batches of {batch_size} pictures of 20 px: CUDA out of memory. Tried to allocate 2"
    )
    assert "1.20 GiB" in caught.value.got
    assert "PYTORCH" not in caught.value.got
    assert caught.value.fix.startswith(f"--set {advised},")
