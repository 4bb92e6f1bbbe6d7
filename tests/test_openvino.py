import shutil
import subprocess
import sys
import threading

import numpy as np
import openvino
import pytest
import torch
from torch import nn

from linnaeus.classifier import Classifier
from linnaeus.errors import ModelError
from linnaeus.records import Preprocessing
from linnaeus.targets import TARGETS, Blueprint
from linnaeus.targets.graph import Graph
from linnaeus.targets.openvino import COMPILED


def written(network, tmp_path, **how):
    torch.manual_seed(0)
    classifier = Classifier(network.eval(), "made", ("a", "b", "c"), Preprocessing(16))
    (tmp_path / "scratch").mkdir()
    return classifier, TARGETS["openvino"].write(Blueprint(Graph(classifier), tmp_path / "scratch", **how), tmp_path)


@pytest.mark.parametrize("activation", [nn.GELU, nn.SiLU, nn.Mish])
def test_a_falling_activation_after_a_pooling_stays_there(activation, tmp_path):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.MaxPool2d(2), activation(), nn.Conv2d(16, 8, 3)]
    classifier, path = written(nn.Sequential(*layers, nn.Flatten(), nn.Linear(288, 3)), tmp_path)
    pictures = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    found = TARGETS["openvino"].open(path).run(pictures)["probabilities"]
    assert np.abs(found - classifier.judge(pictures).probabilities).max() < 1e-5


def test_threads_that_begin_together_all_get_their_answers(tmp_path):
    _, path = written(nn.Sequential(nn.Flatten(), nn.Linear(768, 3)), tmp_path)
    runner, answers = TARGETS["openvino"].open(path), []
    picture = np.zeros((1, 16, 16, 3), np.uint8)
    threads = [threading.Thread(target=lambda: answers.append(runner.run(picture)), daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 4


def convolutions():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(1152, 3))


@pytest.mark.parametrize("cores", [1, 2])
def test_a_file_that_stays_is_compiled_once_and_answers_the_same(tmp_path, monkeypatch, cores):
    _, path = written(convolutions(), tmp_path, stays=True)
    pictures = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    travelled = tmp_path / "elsewhere" / path.name
    travelled.parent.mkdir()
    for one in (path, path.with_suffix(".bin")):
        shutil.copy(one, travelled.parent)
    anew = TARGETS["openvino"].open(travelled).run(pictures)
    monkeypatch.setattr(openvino.Core, "compile_model", None)
    monkeypatch.setattr("linnaeus.targets.openvino.cores_here", lambda: cores)
    kept = TARGETS["openvino"].open(path).run(pictures)
    assert set(kept) == set(anew)
    assert all(np.array_equal(kept[name], anew[name]) for name in anew)


def test_an_export_travels_without_what_one_processor_made_of_it(tmp_path):
    _, path = written(convolutions(), tmp_path)
    assert sorted(one.name for one in path.parent.glob("*.*")) == ["model.bin", "model.xml"]


@pytest.mark.parametrize("left", [0, 50, -7])
def test_a_compiled_file_that_is_damaged_is_an_error(tmp_path, left):
    _, path = written(convolutions(), tmp_path, stays=True)
    made = path.with_name(COMPILED)
    made.write_bytes(made.read_bytes()[:left])
    with pytest.raises(ModelError, match="should be an OpenVINO model"):
        TARGETS["openvino"].open(path)


STOPPED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from linnaeus.learn.interrupt import interruptible
from linnaeus.targets.openvino import OpenVinoRunner
OpenVinoRunner(Path(sys.argv[1])).run(np.zeros((1, 16, 16, 3), np.uint8))
with interruptible() as stopped:
    os.kill(os.getpid(), signal.SIGINT)
    assert stopped.wait(10)
"""


def test_ctrl_c_is_heard_after_a_file_was_run(tmp_path):
    _, path = written(nn.Sequential(nn.Flatten(), nn.Linear(768, 3)), tmp_path)
    done = subprocess.run([sys.executable, "-c", STOPPED, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
