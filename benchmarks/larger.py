"""Are pictures learned as well where they do not fit into memory, or into the disk cache?

    python benchmarks/larger.py [--pictures FOLDER] [--seeds 0,1,2] [--write]

Trains `--effort quick` on the same splits three times: as it is by default; with a disk cache that holds a tenth of the pixels;
and with `data.memory_gb` so small that features lie in a file and the head is a discriminant in closed form. Each begins
with an empty cache. Gives what each has right on the same test pictures, and the paired difference with a t interval.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import bench
import fine_tune
import plots

PAGE = bench.ROOT / "docs/performance.md"
BYTES = 256 * 256 * 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, default=bench.FLOWERS)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    asked = parser.parse_args()
    about = bench.header()
    words = f"{measured(asked.pictures, asked.seeds.split(','))}\n\n```text\n{about}\n```"
    print(words)
    if asked.write:
        plots.into_page(PAGE, "larger", words)


def measured(pictures: Path, seeds: list[str]) -> str:
    tenth = sum(1 for _ in pictures.rglob("*.jpg")) * BYTES / 10 / 1e9
    sides = {
        "all fits": (),
        f"a disk cache of {tenth:.3f} GB, a tenth": ("--set", f"data.cache_gb={tenth:.3f}"),
        "features of at most 0.01 GB in memory": ("--set", "data.memory_gb=0.01"),
    }
    right: dict[str, list[float]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            for number, (name, options) in enumerate(sides.items()):
                split = ("--effort", "quick", "--seed", seed, "--set", f"split.salt=seed {seed}")
                run = fine_tune.linnaeus(pictures, Path(folder) / f"{seed}-{number}" / "run", *split, *options)
                right[name].append(100 * run["accuracy"])
                print(f"seed {seed}, {name}: {right[name][-1]:.2f} % of {run['n']}", flush=True)
    base = right["all fits"]
    rows = [
        (name, f"{statistics.mean(values):.2f} %", "" if values is base else differs(base, values))
        for name, values in right.items()
    ]
    return plots.table(("flowers, `--effort quick`", f"test accuracy, mean of {len(seeds)} splits", "points"), rows)


def differs(before: list[float], after: list[float]) -> str:
    gains = [b - a for a, b in zip(before, after, strict=True)]
    if not any(gains):
        return "the same in each"
    mean, low, high = fine_tune.interval(gains)
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


if __name__ == "__main__":
    main()
