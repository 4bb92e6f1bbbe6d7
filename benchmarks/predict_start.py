"""How long does predicting one picture take from a cold start, and where does the time go?

    python benchmarks/predict_start.py [--run RUN] [--pictures FOLDER] [--repeats 5]
    python benchmarks/predict_start.py --draw

Times `linnaeus --help`, and `linnaeus predict` of one picture with the file that an earlier call kept and with PyTorch itself;
then the stages of both in a process of their own, and what importing each package takes. RUN is a run of the default network for
photographs; without it, one is trained here. What was measured goes to docs/predict-start.json, from which --draw writes
the table of docs/predict.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import bench
import plots

PAGE, KEPT = bench.ROOT / "docs/predict.md", bench.ROOT / "docs/predict-start.json"
STAGES = """
import gc, json, sys, time
from pathlib import Path

# As the command does.
gc.set_threshold(20_000, 10, 10)

began = time.perf_counter()
run, picture, on = sys.argv[1:]
from linnaeus.targets.fastest import open_fastest
from linnaeus.verbs.predict import predict
if on == "pytorch":
    import linnaeus.classifier
else:
    import openvino
imported = time.perf_counter()
model = open_fastest(Path(run), [picture], on=on)
opened = time.perf_counter()
next(predict(model, [picture])).columns()
print(json.dumps([imported - began, opened - imported, time.perf_counter() - opened]))
"""
"""What the command for one picture does, a stage after the other."""


def main() -> None:
    arguments = parse()
    if not arguments.draw:
        machine = bench.header()
        print(machine, flush=True)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            given = arguments.run or bench.train_run(arguments.pictures, folder / "run", "--model", bench.PHOTOGRAPHS)
            found = measured(bench.fresh(given, folder / "fresh"), arguments.pictures, arguments.repeats)
        KEPT.write_text(json.dumps({"machine": machine, **found}, indent=1) + "\n")
    draw(json.loads(KEPT.read_text()))


def measured(run: Path, pictures: Path, repeats: int) -> dict[str, Any]:
    """Time one picture from a cold start, with a kept file and with PyTorch, and `--help`."""
    picture = str(next(pictures.rglob("*.jpg")))
    predict = ["predict", str(run), picture]
    subprocess.run([sys.executable, "-m", "linnaeus", *predict, "--on", "openvino"], check=True, capture_output=True)
    commands = {"--help": ["--help"], "kept": predict, "pytorch": [*predict, "--on", "pytorch"]}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, words in commands.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-m", "linnaeus", *words], check=True, capture_output=True)
            taken[name].append(time.perf_counter() - started)
    shares = {name: imports(words) for name, words in commands.items()}
    stages: dict[str, list[list[float]]] = {"kept": [], "pytorch": []}
    for _ in range(repeats):
        for name, on in (("kept", "openvino"), ("pytorch", "pytorch")):
            command = [sys.executable, "-c", STAGES, str(run), picture, on]
            stages[name].append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    print({name: round(median(values), 2) for name, values in taken.items()}, shares)
    return {"seconds": taken, "imports": shares, "stages": stages}


def imports(words: Sequence[str]) -> dict[str, float]:
    """Give the seconds that importing each package took."""
    command = [sys.executable, "-X", "importtime", "-m", "linnaeus", *words]
    lines = subprocess.run(command, capture_output=True, text=True).stderr.splitlines()
    total: Counter[str] = Counter()
    for line in lines:
        if line.startswith("import time:") and line.split("|")[0].split(":")[1].strip().isdigit():
            total[line.split("|")[2].strip().partition(".")[0]] += int(line.split("|")[0].split(":")[1])
    return {name: value / 1e6 for name, value in total.most_common(6)}


def draw(found: dict[str, Any]) -> None:
    """Write the table of the page."""
    names = {"--help": "`linnaeus --help`", "kept": "`predict`, file kept", "pytorch": "`predict --on pytorch`"}
    rows = []
    for name, seconds in found["seconds"].items():
        packages = ", ".join(
            f"{package} {plots.number(s)}" for package, s in found["imports"][name].items() if s >= 0.02
        )
        stages = [median(values) for values in zip(*found["stages"].get(name, []), strict=True)]
        # Stages are those of other processes than the whole: their sum may be a little more.
        rest = median(seconds) - sum(stages)
        parts = [*map(plots.number, stages), plots.number(rest) if rest > 0 else "0"] if stages else [""] * 4
        rows.append((names[name], plots.spread(seconds), *parts, packages))
    head = ("one picture", "s", "importing", "opening the model", "answering", "the command line, and ending")
    told = plots.table((*head, "importing, s (slower than without the clock)"), rows)
    plots.into_page(PAGE, "predict start", told)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--run", type=Path, help="a run of tf_efficientnet_lite0 on the pictures")
    parser.add_argument("--pictures", type=Path, default=bench.FLOWERS)
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
