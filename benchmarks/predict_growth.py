"""Does memory stay flat however many files are predicted?

    python benchmarks/predict_growth.py [--run RUN] [--pictures FOLDER] [--work FOLDER]
    python benchmarks/predict_growth.py --draw

Seconds and peak memory of `linnaeus predict` for 1,000 to 100,000 names of files, which are links to photographs, with a small
network: RUN, or a run on digits that is trained here. What was measured goes to docs/predict-growth.json, from which --draw
writes the table and the plot of docs/predict.md. benchmarks/scale.py goes to a million, of small made-up pictures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import audit
import bench
import plots

PAGE, KEPT = bench.ROOT / "docs/predict.md", bench.ROOT / "docs/predict-growth.json"
SIZES = (1_000, 10_000, 100_000)


def main() -> None:
    arguments = parse()
    if not arguments.draw:
        machine = bench.header()
        print(machine, flush=True)
        with tempfile.TemporaryDirectory(dir=arguments.work) as name:
            folder = Path(name)
            given = arguments.run or bench.train_run("digits", folder / "run")
            # Kept as it grows: a long measurement that is stopped is not lost.
            for rows in measured(bench.fresh(given, folder / "fresh"), arguments.pictures, folder):
                KEPT.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    draw(json.loads(KEPT.read_text()))


def measured(run: Path, pictures: Path, folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Predict more and more files with a small network: seconds, and the most memory that the process had of its own."""
    originals, rows = sorted(pictures.rglob("*.jpg")), []
    names = folder / "names"
    names.mkdir()
    there = 0
    for n in SIZES:
        for number in range(there, n):
            target = names / f"{number // 1000:03}"
            target.mkdir(exist_ok=True)
            (target / f"{number:06}.jpg").symlink_to(originals[number % len(originals)].resolve())
        there = n
        # PyTorch itself only as far as shows that it does not differ.
        for on in ("openvino", *(["pytorch"] if n < SIZES[-1] else [])):
            words = ["predict", str(run), str(names), "--on", on, "--out", str(folder / "growth.csv")]
            started = time.perf_counter()
            process = subprocess.Popen([sys.executable, "-m", "linnaeus", *words], stderr=subprocess.DEVNULL)
            # Not the peak that the system counts: it begins with that of the process which started it.
            watch = audit.Watch(process.pid)
            watch.start()
            status, seconds = process.wait(), time.perf_counter() - started
            if status:
                raise SystemExit(f"predicting {n} files failed")
            rows.append({"n": n, "on": on, "seconds": seconds, "peak_mb": 1e3 * watch.own_gb})
            print(rows[-1], flush=True)
        yield rows


def draw(found: dict[str, Any]) -> None:
    """Write the table and the plot of the page."""
    rows = [(f"{one['n']:,}", one["on"], one["seconds"], one["peak_mb"]) for one in found["rows"]]

    def lines(name: str) -> list[plots.Line]:
        return [
            plots.Line(on, [(one["n"], one[name]) for one in found["rows"] if one["on"] == on])
            for on in ("openvino", "pytorch")
        ]

    panels = [
        plots.Panel("Time", "files", "s", lines("seconds")),
        plots.Panel("Peak memory", "files", "MB, without mapped files", lines("peak_mb")),
    ]
    plots.lines(
        bench.ROOT / "docs/predict-growth.svg", panels, "photographs of flowers, a network for digits, two cores"
    )
    table = plots.table(("files", "`--on`", "s", "peak memory without mapped files, MB"), rows)
    plots.into_page(PAGE, "predict growth", f"{table}\n\n![Time and memory](predict-growth.svg)")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--run", type=Path, help="a run of a small network")
    parser.add_argument("--pictures", type=Path, default=bench.FLOWERS)
    parser.add_argument("--work", type=Path, help="for links and answers; removed at the end")
    return parser.parse_args()


if __name__ == "__main__":
    main()
