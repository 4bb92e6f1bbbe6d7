"""Run K. Jordan's CIFAR-10 script, which is not ours to ship, and read what it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def airbench(script: Path) -> tuple[list[float], list[float]]:
    """Run the rival's script as it is; read accuracy and seconds of each run from the table that it prints."""
    done = subprocess.run(
        [sys.executable, script.resolve().name], cwd=script.resolve().parent, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr[-2000:]}")
    return read_airbench(done.stdout)


def read_airbench(told: str) -> tuple[list[float], list[float]]:
    """Take the last rows of its runs: their last two cells are the test accuracy and the seconds; the first run warms up."""
    rows = [line for line in told.splitlines() if re.search(r"\|\s*eval\s*\|", line) and "warmup" not in line]
    cells = [[float(one) for one in re.findall(r"(?<=\|)\s*(\d+\.\d+)\s*(?=\|)", row)] for row in rows]
    if not cells or any(len(one) < 2 for one in cells):
        raise SystemExit("the rival's table was not understood: its rows should end in accuracy and seconds")
    return [100 * one[-2] for one in cells], [one[-1] for one in cells]
