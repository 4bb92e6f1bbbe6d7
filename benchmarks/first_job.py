"""Accuracy and seconds of the default command, from a cold cache, on digits, flowers and CIFAR-10.

    python benchmarks/first_job.py [--repeat 3] [--only digits,flowers,cifar10] [--write]

Each repeat has another seed. Prints Markdown tables: the interval is that of the first seed's test part, the spread
that over the seeds. --write keeps them in docs/first-job.json, from which `readme.py` draws its table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import bench
import plots
import readme


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="digits,flowers,cifar10")
    parser.add_argument("--write", action="store_true", help="keep what was measured in docs/first-job.json")
    asked = parser.parse_args()
    about, runs = bench.header(), {}
    print(f"{about}\nn = {asked.repeat} seeds\n")
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.only.split(","):
            source = source_of(name, Path(folder))
            outcomes = [bench.train(source, "--seed", str(seed)) for seed in range(asked.repeat)]
            runs[name] = [one.accuracy | {"seconds": one.seconds} for one in outcomes]
            print(plots.table(readme.HEAD, readme.first_job({name: runs[name]})), flush=True)
    if asked.write:
        readme.FIRST_JOB.write_text(json.dumps({"about": about, "runs": runs}, indent=1) + "\n")


def source_of(name: str, folder: Path) -> str | Path:
    if name == "cifar10":
        return bench.cifar10(folder)
    return bench.SHARED / "flowers" if name == "flowers" else name


if __name__ == "__main__":
    main()
