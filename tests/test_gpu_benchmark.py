"""The script that waits for a GPU: it says that there is none, and tries itself on a CPU."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
RECIPE = """
[model]
name = "small-32"
weights = "none"
[train]
epochs = 1
batch_size = 60
precision = "fp32"
"""
TABLE = """
|  run     |  epoch  |  train_acc  |  val_acc  |  tta_val_acc  |  time_seconds  |
|  warmup  |      0  |     0.0995  |   0.1000  |               |       69.1234  |
|          |   eval  |     0.1002  |   0.1000  |       0.1000  |       70.1234  |
|       0  |      0  |     0.5012  |   0.5329  |               |        0.3010  |
|          |      7  |     0.9812  |   0.9329  |               |        2.5010  |
|          |   eval  |     0.9812  |   0.9329  |       0.9399  |        2.6010  |
|       1  |      0  |     0.5112  |   0.5129  |               |        0.3010  |
|          |   eval  |     0.9845  |   0.9341  |       0.9412  |        2.5900  |
"""


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_and_measures_nothing():
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / "gpu.py"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no CUDA device" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_on_a_cpu_it_tries_all_of_itself_and_calls_that_no_measurement(tmp_path, monkeypatch, capsys, script):
    import gpu

    (tmp_path / "recipe.toml").write_text(RECIPE)
    options = "--device cpu --pictures 200 --steps 1 --runs 1 --commands 0"
    ways = ["--ways", "as usual,replayed", "--recipe", str(tmp_path / "recipe.toml")]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *options.split(), *ways])
    gpu.main()
    told = capsys.readouterr().out
    assert "says nothing about a GPU" in told
    for row in ("| as usual |", "| replayed |", "| resident |", "| streamed |", "| linnaeus |"):
        assert row in told
    assert "other weights" not in told


def test_the_rivals_table_is_read_without_its_warm_up(script):
    from airbench import RivalError, read_airbench

    assert read_airbench(TABLE) == (pytest.approx([93.99, 94.12]), [2.601, 2.59])
    with pytest.raises(RivalError, match="not understood"):
        read_airbench("nothing")


RIVAL = """
import torch
for name, count in (("train", 200), ("test", 100)):
    found = torch.load(f"cifar10/{name}.pt")
    assert found["images"].shape == (count, 32, 32, 3) and found["images"].dtype == torch.uint8
    assert found["labels"].tolist() == [k % 10 for k in range(count)]
    assert len(found["classes"]) == 10
for accuracy in (0.1, 0.94, 0.95):
    print(f"|  |  eval  |  1.0  |  {accuracy}  |  2.5  |")
"""


def test_the_rival_finds_the_pictures_and_one_that_fails_is_told(tmp_path, script):
    from airbench import RivalError, airbench
    from gpu import made_up

    source = made_up(tmp_path, 200)
    (tmp_path / "rival.py").write_text(RIVAL)
    assert airbench(tmp_path / "rival.py", source, tmp_path / "one") == (pytest.approx([94, 95]), [2.5, 2.5])
    (tmp_path / "rival.py").write_text("raise MemoryError('no room')")
    with pytest.raises(RivalError, match="no room"):
        airbench(tmp_path / "rival.py", source, tmp_path / "two")


def test_no_ratio_is_given_where_one_side_missed_the_goal(script):
    from gpu import compared

    assert compared(([94.1, 94.0], [2.0, 2.2]), ([94.0, 94.2], [2.5, 2.7])).endswith("0.81.")
    assert compared(([93.1], [1.0]), ([94.0], [2.5])).startswith("No ratio")
