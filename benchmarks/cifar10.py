"""CIFAR-10 from the command to the finished report: the presets over several seeds, and two lessons beside a short preset.

    python benchmarks/cifar10.py [--presets cifar10-75,cifar10-90,cifar10-94,cifar10-95] [--seeds 5] [--again] [--write]
    python benchmarks/cifar10.py --lessons [--write]
    python benchmarks/cifar10.py --draw

Every run is a process of its own with a cold cache. Its seconds are those of the wall clock from the command to its end:
imports, reading, learning, scoring, report; processor seconds are those of all its threads, which a busy machine hardly
changes. Runs are kept in cifar10.jsonl beside this script: a series may be stopped and gone on with. The table is made of
those with the recipe as it stands, whatever machine they ran on (it is named below the table), and a seed that is there is
not run again, unless --again is said: say it when code that trains or scores has changed. Of a seed, its last run counts.

--lessons: the first CIFAR-10 lesson of Keras (on TensorFlow, in an environment of its own) and the SimpleCNN lesson of
PyTorch, each for all its epochs; its seconds count from the start of its process to the end of the epoch that was best on
the test set, without the looking at the test set. Before them the preset `cifar10-75` with three seeds, as it is and with fewer
passes. A lesson is compared with the shortest of these of which the least accurate seed is as accurate as its best epoch. What
was measured is kept in docs/cifar10-lessons.json. --draw writes both tables of docs/cifar10.md from what is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bench
import plots
from linnaeus.config import RECIPES, recipe_names
from linnaeus.learn.engine import Machine
from linnaeus.targets.environment import python_environment

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "cifar10.md"
KEPT = HERE / "cifar10.jsonl"
LESSONS = HERE.parent / "docs" / "cifar10-lessons.json"
SHORT, SHORTER = "cifar10-75", ((), ("--epochs", "0.6"))
"""The preset that is compared with lessons, and shorter variants of it, the shortest last."""
KERAS = ("tensorflow-cpu==2.21.0", "keras==3.15.0")
TIMES = ("learned_s", "seconds", "processor_s")
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262, 20: 2.093}
"""Quantiles of Student's t for a 95 % interval of the mean of n values."""


@dataclass(frozen=True)
class Run:
    """One run of a preset; `learned_s` is when the weights were there, before scores and report."""

    machine: str
    versions: str
    recipe: str
    preset: str
    seed: int
    accuracy: float
    seconds: float
    learned_s: float
    processor_s: float


@dataclass(frozen=True)
class Best:
    """The best epoch of a lesson: accuracy on the test set, seconds and processor seconds from the start of the process."""

    accuracy: float
    seconds: float
    processor_s: float
    epoch: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", default="cifar10-75,cifar10-90,cifar10-94,cifar10-95")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--again", action="store_true", help="run kept seeds anew")
    parser.add_argument("--lessons", action="store_true")
    parser.add_argument("--source", type=Path, help="CIFAR-10 in its binary layout, if it is unpacked already")
    parser.add_argument("--write", action="store_true", help="put the table into docs/cifar10.md")
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    if asked.draw:
        plots.into_page(PAGE, "presets", presets_table())
        plots.into_page(PAGE, "lessons", lessons_table())
        return
    about = bench.header()
    print(about, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        source = asked.source or bench.cifar10(Path(folder))
        if asked.lessons:
            LESSONS.write_text(json.dumps({"about": about, **lessons(source)}, indent=1) + "\n")
        else:
            presets(source, asked)
    words = lessons_table() if asked.lessons else presets_table()
    print(f"\n{words}")
    if asked.write:
        plots.into_page(PAGE, "lessons" if asked.lessons else "presets", words)


def presets(source: Path, asked: argparse.Namespace) -> None:
    """Run what is not there yet."""
    for name in asked.presets.split(","):
        known = set() if asked.again else {one.seed for one in kept(name)}
        for seed in sorted({*range(asked.seeds)} - known):
            done = run(name, seed, source)
            with KEPT.open("a") as file:
                file.write(json.dumps(asdict(done)) + "\n")


def presets_table() -> str:
    series = [kept(name) for name in recipe_names() if name.startswith("cifar10-")]
    made = sorted({f"{one.machine}\n{one.versions}" for runs in series for one in runs})
    return "\n\n".join([table(series), *made])


def kept(name: str) -> list[Run]:
    """Read the runs of a preset as it stands now."""
    runs = [Run(**json.loads(line)) for line in KEPT.read_text().splitlines()] if KEPT.is_file() else []
    return list({one.seed: one for one in runs if (one.preset, one.recipe) == (name, digest(name))}.values())


def digest(name: str) -> str:
    """Tell recipes apart by what stands in their file, comments aside."""
    settings = tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def machine() -> str:
    here = Machine.here()
    return f"{here.name}, {here.cores} cores, bf16 {here.bf16}"


def run(name: str, seed: int, source: Path, *options: str) -> Run:
    """Run the command, and say on stderr how it went."""
    before = os.times()
    done = bench.train(source, "--recipe", name, "--seed", str(seed), *options)
    after = os.times()
    processor = sum(getattr(after, one) - getattr(before, one) for one in ("children_user", "children_system"))
    stages = done.document["summary"]["stages"]
    told = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in stages.items())
    print(f"{name}, seed {seed}: {done.accuracy['value']:.2%} in {done.seconds:.0f} s ({told})", file=sys.stderr)
    made = (machine(), bench.header().splitlines()[1], digest(name))
    return Run(*made, name, seed, done.accuracy["value"], done.seconds, done.learned_s, processor)


def table(presets: Iterable[list[Run]]) -> str:
    head = ("preset", "n", "test accuracy, mean (95 % of it)", "sd", "least to most", "seconds", "processor seconds")
    return plots.table(head, (row(runs) for runs in presets if runs))


def row(runs: list[Run]) -> list[str]:
    values = [100 * one.accuracy for one in runs]
    mean, n = statistics.mean(values), len(runs)
    inside, spread = f"{mean:.2f} %", ""
    if n > 1:
        deviation = statistics.stdev(values)
        half = STUDENT.get(n, 1.96) * deviation / math.sqrt(n)
        inside, spread = f"{inside} ({mean - half:.2f} to {mean + half:.2f})", f"{deviation:.2f}"
    times = [middle([getattr(one, kind) for one in runs]) for kind in ("seconds", "processor_s")]
    return [f"`{runs[0].preset}`", str(n), inside, spread, f"{min(values):.2f} to {max(values):.2f}", *times]


def middle(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def lessons(source: Path) -> dict[str, Any]:
    """Measure variants of our short preset, then the lessons."""
    ours, rivals = [], []
    for options in SHORTER:
        runs = [run(SHORT, seed, source, *options) for seed in range(3)]
        times = {kind: statistics.median(getattr(one, kind) for one in runs) for kind in TIMES}
        ours.append({"options": options, "accuracy": min(one.accuracy for one in runs), **times})
    keras = python_environment("rival-keras", KERAS, title="the Keras lesson", size_mb=600, say=print)
    scripts = (("Keras lesson", keras, "rival_keras.py", 15), ("PyTorch lesson", sys.executable, "rival_torch.py", 20))
    # Python compiles its files when they are first imported.
    subprocess.run([str(keras), "-c", "import keras, tensorflow"], check=True, capture_output=True)
    for name, python, script, epochs in scripts:
        best = best_of([str(python), str(HERE / script), str(source), str(epochs)])
        rivals.append({"name": name, "epochs": epochs, **asdict(best)})
    return {"versions": [*KERAS, f"torch=={version('torch')}"], "ours": ours, "lessons": rivals}


def beside_lessons() -> list[tuple[Mapping[str, Any], Mapping[str, Any] | None]]:
    """Give each lesson, and the shortest of ours that is as accurate as it, if there is one."""
    found = json.loads(LESSONS.read_text(encoding="utf-8"))
    return [
        (lesson, next((one for one in reversed(found["ours"]) if one["accuracy"] >= lesson["accuracy"]), None))
        for lesson in found["lessons"]
    ]


def lessons_table() -> str:
    found, rows = json.loads(LESSONS.read_text(encoding="utf-8")), []
    for one in found["ours"]:
        name = " ".join(("linnaeus train cifar10 --recipe", SHORT, *one["options"]))
        told = f"`{name}` (accuracy: the least of 3 seeds; seconds: their median)"
        times = f"{one['learned_s']:.1f}; {one['seconds']:.1f}"
        rows.append([told, f"{one['accuracy']:.2%}", times, f"{one['processor_s']:.0f}", "", ""])
    for lesson, one in beside_lessons():
        told = f"{lesson['name']}, to the weights of its best epoch, {lesson['epoch']} of {lesson['epochs']}; once"
        ratios = ["none", "none"]
        if one is not None:
            wall = "; ".join(f"{lesson['seconds'] / one[kind]:.1f}" for kind in ("learned_s", "seconds"))
            ratios = [wall, f"{lesson['processor_s'] / one['processor_s']:.1f}"]
        times = [f"{lesson['seconds']:.0f}", f"{lesson['processor_s']:.0f}"]
        rows.append([told, f"{lesson['accuracy']:.2%}", *times, *ratios])
    head = ("what", "test accuracy", "seconds: weights; report", "processor seconds", "times", "times, processor")
    return f"{plots.table(head, rows)}\n\n{', '.join(found['versions'])}\n\n{found['about']}"


def best_of(command: list[str]) -> Best:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, env=kept, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    epochs = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    top = max(epochs, key=lambda one: one["accuracy"])
    return Best(top["accuracy"], top["seconds"], top["processor"], top["epoch"])


if __name__ == "__main__":
    main()
