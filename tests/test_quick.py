"""The way of a GPU, gone on a CPU: a device with memory of its own, and steps that are replayed."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import weight_bytes
from linnaeus import story
from linnaeus.config import load_recipe
from linnaeus.errors import Interrupted
from linnaeus.learn import quick
from linnaeus.learn.captured import Captured, Twin
from linnaeus.learn.engine import Engine
from linnaeus.learn.quick import why_not_recorded

SMALL = {
    "model.name": "small-32", "model.weights": "none", "train.precision": "fp32", "train.epochs": 18, "data.size_px": 16,
    "train.batch_size": 16, "augment.flip": "alternating", "augment.shift": 0.1, "train.compile": "off",
}  # fmt: skip


@pytest.fixture
def like_a_gpu(monkeypatch):
    """Keep pictures "on the device", and replay steps."""
    monkeypatch.setattr(Engine, "free_bytes", lambda self: 10**12)
    monkeypatch.setattr(quick, "recorder_of", lambda engine: Twin())
    # Which of two ways was faster in three steps beside other tests is chance.
    monkeypatch.setattr(Twin, "timed", lambda self, work: (work(), 0.01))


def told(run):
    return {one["setting"]: one for one in run.summary()["decisions"]}


@pytest.mark.parametrize("optimizer", ["muon", "sgd"])
def test_a_run_goes_the_way_of_a_gpu_to_the_same_weights(photos, tmp_path, no_report, request, optimizer):
    recipe = load_recipe(None, SMALL | {"optim.name": optimizer})
    usual = story.tell(str(photos), recipe, out=tmp_path / "usual")
    request.getfixturevalue("like_a_gpu")
    other = story.tell(str(photos), recipe, out=tmp_path / "other")
    assert told(other)["pictures are kept"]["value"] == "on the device"
    assert "replayed" in told(other)["a step is taken"]["reason"]
    assert "a step is taken" not in told(usual)
    one, two = (load_file(run.folder / "model" / "model.safetensors") for run in (usual, other))
    for name, value in one.items():
        assert torch.allclose(value.double(), two[name].double(), rtol=1e-3, atol=1e-4), name


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(photos, tmp_path, no_report, like_a_gpu, monkeypatch):
    recipe = load_recipe(None, SMALL | {"train.checkpoint_every_s": 1e-6})
    straight = story.tell(str(photos), recipe, out=tmp_path / "straight")
    step, count = Captured.__call__, 0

    def stop(self, batch):
        nonlocal count
        count += 1
        if count == 31:
            raise KeyboardInterrupt
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Captured, "__call__", stop)
        with pytest.raises(Interrupted):
            story.tell(str(photos), recipe, out=tmp_path / "broken")
    story.resume(tmp_path / "broken")
    assert weight_bytes(tmp_path / "broken") == weight_bytes(straight)


@pytest.mark.parametrize("asked", [{"augment.mixup": 0.2}, {"augment.cutmix": 1.0}, {"train.adversarial": 8}])
def test_what_draws_on_the_host_is_not_recorded(asked):
    assert why_not_recorded(load_recipe(None, asked))
    assert not why_not_recorded(load_recipe(None, {}))


def test_mixed_pictures_are_trained_on_without_a_recording(photos, tmp_path, no_report, like_a_gpu):
    run = story.tell(str(photos), load_recipe(None, SMALL | {"augment.mixup": 0.2}), out=tmp_path / "run")
    assert told(run)["a step is taken"]["value"] == "as usual"
    assert "mixup" in told(run)["a step is taken"]["reason"]
    assert run.scores("test").overall["accuracy"].value > 1 / 3


def test_a_short_run_is_taken_as_usual(photos, tmp_path, no_report, like_a_gpu):
    run = story.tell(str(photos), load_recipe(None, SMALL | {"train.epochs": 2}), out=tmp_path / "run")
    assert "a step is taken" not in told(run)
    assert np.isfinite(run.scores("test").overall["log_loss"].value)
