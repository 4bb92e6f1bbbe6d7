"""The CIFAR-10 lessons in full, and the default command beside them in the same run.

    python benchmarks/lessons.py [--only keras-cifar10,torch-simplecnn,keras-cifar10-dropout]

All epochs of a lesson on 32x32 pictures take minutes to an hour on two cores. Prints, for each, accuracy on the test
set with its interval, seconds, and the ratio of the lesson's seconds to the default command's. Then the default command
once more, with a budget of a quarter of what the most accurate of these lessons took.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import bench

LESSONS = "keras-cifar10,torch-simplecnn,keras-cifar10-dropout"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=LESSONS)
    asked = parser.parse_args()
    print(bench.header())
    print("\n| command | test accuracy (95 % interval) | epochs | seconds | lesson / default |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        source = bench.cifar10(Path(folder))
        default = bench.train(source)
        print(row("linnaeus train cifar10", default, default.seconds), flush=True)
        lessons = []
        for name in asked.only.split(","):
            lessons.append(bench.train(source, "--recipe", name))
            print(row(f"linnaeus train cifar10 --recipe {name}", lessons[-1], default.seconds), flush=True)
        best = max(lessons, key=lambda one: one.accuracy["value"])
        budget = f"{best.seconds / 4:.0f}s"
        print(
            row(f"linnaeus train cifar10 --budget {budget}", bench.train(source, "--budget", budget), default.seconds)
        )


def row(command: str, one: bench.Outcome, default_seconds: float) -> str:
    accuracy = one.accuracy
    interval = f"{100 * accuracy['value']:.1f} % ({100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f})"
    epochs = one.document["summary"]["epochs"]
    return f"| `{command}` | {interval} | {epochs:g} | {one.seconds:.0f} | {one.seconds / default_seconds:.2f} |"


if __name__ == "__main__":
    main()
