"""Run K. Jordan's CIFAR-10 script, which is not ours to ship, and read what it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch


class RivalError(Exception):
    """The rival's script did not run, or said something that is not understood."""


def airbench(script: Path, source: Path, folder: Path) -> tuple[list[float], list[float]]:
    """Run the rival's script as it is; read accuracy and seconds of each run from the table that it prints.

    Args:
        script: A copy of airbench94_muon.py; it runs two hundred times.
        source: CIFAR-10 in its binary layout, from which the script finds its pictures where it would download them to.
        folder: To run it in.

    Raises:
        RivalError: It failed, or its table is another.
    """
    (folder / "cifar10").mkdir(parents=True)
    for name, files in (("train", "data_batch_*.bin"), ("test", "test_batch.bin")):
        torch.save(pictures(sorted(source.glob(files))), folder / "cifar10" / f"{name}.pt")
    done = subprocess.run([sys.executable, str(script.resolve())], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RivalError(f"{script.name} failed: {done.stderr.strip().splitlines()[-1:]}")
    return read_airbench(done.stdout)


def pictures(files: list[Path]) -> dict[str, object]:
    """Read files of the binary layout as the rival keeps them: images uint8 [N, 32, 32, 3], labels int64 [N], classes."""
    rows = np.concatenate([np.fromfile(one, np.uint8).reshape(-1, 3073) for one in files])
    images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    classes = (files[0].parent / "batches.meta.txt").read_text().split()
    labels = torch.from_numpy(rows[:, 0].astype(np.int64))
    return {"images": torch.from_numpy(np.ascontiguousarray(images)), "labels": labels, "classes": classes}


def read_airbench(told: str) -> tuple[list[float], list[float]]:
    """Take the last rows of its runs: their last two cells are the test accuracy and the seconds.

    The first run warms up on labels drawn at random. Its last row does not say so: only the first epoch of a run has a name.
    """
    rows = [line for line in told.splitlines() if re.search(r"\|\s*eval\s*\|", line)]
    cells = [[float(one) for one in re.findall(r"(?<=\|)\s*(\d+\.\d+)\s*(?=\|)", row)] for row in rows]
    if len(cells) < 2 or any(len(one) < 2 for one in cells):
        raise RivalError(
            "the rival's table was not understood: rows after the first should end in accuracy and seconds"
        )
    return [100 * one[-2] for one in cells[1:]], [one[-1] for one in cells[1:]]
