import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn

from linnaeus.classifier import Classifier
from linnaeus.records import Preprocessing
from linnaeus.targets import TARGETS, Blueprint
from linnaeus.targets.graph import Graph


def written(network, tmp_path):
    torch.manual_seed(0)
    classifier = Classifier(network.eval(), "made", ("a", "b", "c"), Preprocessing(16))
    (tmp_path / "scratch").mkdir()
    return classifier, TARGETS["openvino"].write(Blueprint(Graph(classifier), tmp_path / "scratch"), tmp_path)


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
