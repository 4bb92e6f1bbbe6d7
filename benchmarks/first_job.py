"""Accuracy and seconds of the default command, from a cold cache, on digits, flowers and CIFAR-10.

    python benchmarks/first_job.py [--repeat 3] [--only digits,flowers,cifar10]

Each repeat has another seed. Prints a Markdown table: the interval is that of the first seed's test part, the spread
that over the seeds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import bench


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="digits,flowers,cifar10")
    asked = parser.parse_args()
    print(bench.header())
    print(f"n = {asked.repeat} seeds\n")
    print("| pictures | test accuracy (95 % interval, n) | over seeds | seconds: median (min to max) |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.only.split(","):
            print(row(name, source_of(name, Path(folder)), asked.repeat), flush=True)


def source_of(name: str, folder: Path) -> str | Path:
    if name == "cifar10":
        return bench.cifar10(folder)
    return bench.SHARED / "flowers" if name == "flowers" else name


def row(name: str, source: str | Path, repeat: int) -> str:
    outcomes = [bench.train(source, "--seed", str(seed)) for seed in range(repeat)]
    first = outcomes[0].accuracy
    values = [100 * one.accuracy["value"] for one in outcomes]
    seconds = [one.seconds for one in outcomes]
    interval = f"{values[0]:.1f} % ({100 * first['low']:.1f} to {100 * first['high']:.1f}, {first['n']:,})"
    spread = f"{statistics.mean(values):.1f} +- {statistics.pstdev(values):.1f}"
    took = f"{statistics.median(seconds):.0f} ({min(seconds):.0f} to {max(seconds):.0f})"
    return f"| {name} | {interval} | {spread} | {took} |"


if __name__ == "__main__":
    main()
