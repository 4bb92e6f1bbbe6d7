"""How do time and memory grow with the number of pictures, and of classes?

    python benchmarks/scale.py [pictures | classes | draw] [--sizes N ...] [--only train] [--pictures FOLDER] [--write]

Synthetic PNG files of 16 px, each class with a pattern of its own under noise: their content hardly matters for the cost, and
a million of them fit on a disk. `pictures` takes 10 classes, and trains once more with data.memory_gb = 0.1; `classes` shares
20,000 pictures out to them. Measured are, each in a process of its own and from a cache of its own: `train` (files, copies,
split, features of a mobile network, head, scores, report), `predict` (of all files, or of 2,000 for `classes`, to a CSV), and
`audit` (its own features, of EfficientNet-Lite0 at 128 px, labels and shortcuts besides; benchmarks/audit.py takes real pictures).
Given are processor seconds of all threads (what else runs on the machine counts little) and the peak of memory without mapped
files, sampled ten times a second.

`head` is the solver alone: processor seconds for 60,000 pictures with 1,280 features, by number of classes.

FOLDER keeps pictures for further calls with the same size. Memory is a good place for a million (/dev/shm): their first reading
from a disk takes longer than all the work.

Every size that was measured is kept in docs/scale.json; `draw`, or --write, draws docs/scale.svg from it, and puts the table
into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import audit
import bench
import plots

SIDE, CLASSES, SHARED_OUT, ASKED = 16, 10, 20_000, 2_000
TIGHT_GB = 0.1
SIZES = {
    "pictures": (1_000, 3_000, 10_000, 30_000),
    "classes": (2, 10, 100, 1_000, 10_000),
    "head": (2, 10, 100, 1_000, 10_000),
}
NETWORK = (
    "model.name=mobilenetv3_small_050",
    "model.weights=none",
    "train.start=head",
    "train.epochs=0",
    "data.size_px=32",
)
COMMANDS = ("train", "predict", "tight", "audit")
TITLES = ("train", "predict", f"train with {TIGHT_GB} GB", "audit")
KEPT = bench.ROOT / "docs" / "scale.json"
HEAD_ROWS, HEAD_FEATURES = 60_000, 1_280


def main() -> None:
    arguments = parse()
    print(bench.header())
    if arguments.what != "draw":
        for size in arguments.sizes or SIZES[arguments.what]:
            row = head(size) if arguments.what == "head" else commands(arguments.what, size, arguments)
            print(arguments.what, size, row, flush=True)
            # Read anew: sizes may be measured by several calls, and commands of one size, too.
            kept = read()
            kept.setdefault(arguments.what, {}).setdefault(str(size), {}).update(row)
            KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    if arguments.what == "draw" or arguments.write:
        draw(read())


def read() -> dict[str, Any]:
    """Read what was measured so far."""
    known: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    return known


def commands(what: str, size: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and predict in processes of their own, or do some of it only."""
    only = arguments.only
    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        folder = Path(name)
        pictures, classes = (size, CLASSES) if what == "pictures" else (SHARED_OUT, size)
        source = (arguments.pictures or folder) / f"{pictures} of {classes} classes"
        if not source.is_dir():
            # Whole or not at all: a call that is stopped leaves nothing that looks like pictures.
            write_pictures(source.with_suffix(".unfinished"), pictures, classes)
            source.with_suffix(".unfinished").rename(source)
        asked = source
        if what == "classes":
            # A table of all pictures by 10,000 classes would have gigabytes.
            asked = folder / "asked"
            write_pictures(asked, ASKED, classes)
        options = [part for setting in NETWORK for part in ("--set", setting)]
        row: dict[str, Any] = {"pictures": pictures}
        if "train" in only or "predict" in only:
            row["train"] = run(folder, "train", source, "--out", folder / "run", *options)
        if "predict" in only:
            row["predict"] = run(folder, "predict", folder / "run", asked, "--out", folder / "answers.csv")
        if "tight" in only and what == "pictures":
            options += ["--set", f"data.memory_gb={TIGHT_GB}"]
            row["tight"] = run(folder, "train", source, "--out", folder / "tight", *options, cache="other")
        if "audit" in only:
            row["audit"] = run(folder, "audit", source, "--out", folder / "audit", cache="third")
        return row


def run(folder: Path, *words: object, cache: str = "cache") -> dict[str, Any]:
    """Run a command with a cache of some name; processor seconds, seconds, GB, and on what."""
    environment = os.environ | {"LINNAEUS_CACHE": str(folder / cache)}
    command = [sys.executable, "-m", "linnaeus", *map(str, words)]
    with tempfile.TemporaryFile("w+") as said:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        watch = audit.Watch(process.pid)
        watch.start()
        _, status, used = os.wait4(process.pid, 0)
        watch.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{said.read()[-3000:]}")
    took = {"cpu_s": used.ru_utime + used.ru_stime, "s": time.perf_counter() - started}
    return took | {"own_gb": watch.own_gb, "peak_gb": used.ru_maxrss / 1e6, "machine": machine()}


def machine() -> str:
    return bench.header().splitlines()[0].partition(", load")[0]


def head(classes: int) -> dict[str, Any]:
    """Solve a head on made-up features, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "solve", "--sizes", str(classes)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1]) | {"machine": machine()}


def solve(classes: int) -> None:
    from linnaeus.learn.head import solve_head

    seed = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, HEAD_FEATURES, generator=seed)
    labels = torch.arange(HEAD_ROWS) % classes
    # So much noise that some held-out pictures are wrong, as they are in earnest.
    features = 0.3 * centres[labels] + 2 * torch.randn(HEAD_ROWS, HEAD_FEATURES, generator=seed)
    watch, before = audit.Watch(os.getpid()), time.process_time()
    watch.start()
    held_gb = audit_gb()
    solve_head(features, labels, classes, np.arange(HEAD_ROWS) // classes % 3)
    cpu_s = time.process_time() - before
    time.sleep(0.2)
    print(json.dumps({"cpu_s": cpu_s, "own_gb": watch.own_gb - held_gb}), flush=True)
    os._exit(0)


def audit_gb() -> float:
    """Read the memory that this process has of its own, in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e6 for line in lines if line.startswith("RssAnon"))


def write_pictures(folder: Path, pictures: int, classes: int) -> None:
    """Write files, all different; pictures of a class have a pattern in common."""
    patterns = np.random.default_rng(0).integers(0, 256, (classes, 4, 4, 3))
    for number in range(pictures):
        label, draw_ = number % classes, np.random.default_rng((1, number))
        noisy = patterns[label].repeat(4, 0).repeat(4, 1) + draw_.normal(0, 40, (SIDE, SIDE, 3))
        path = folder / f"class {label:05}" / f"{number:07}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path, compress_level=0)


def draw(kept: dict[str, Any]) -> None:
    """Draw docs/scale.svg and write the tables."""

    def line(what: str, name: str, column: str, key: str = "") -> plots.Line:
        rows = sorted((int(size), row.get(key or name, {})) for size, row in kept.get(what, {}).items())
        return plots.Line(name, [(size, row[column]) for size, row in rows if column in row])

    time_ = [line("pictures", name, "cpu_s") for name in ("train", "predict", "audit")]
    memory = [line("pictures", name, "own_gb") for name in ("train", "predict", "audit")]
    memory.append(line("pictures", f"train with {TIGHT_GB} GB", "own_gb", "tight"))
    solved = sorted((int(size), row) for size, row in kept.get("head", {}).items())
    classes, taken = ([line("classes", name, of) for name in COMMANDS if name != "tight"] for of in ("cpu_s", "own_gb"))
    classes.append(plots.Line("head alone, 60,000 pictures", [(size, row["cpu_s"]) for size, row in solved]))
    plots.lines(
        bench.ROOT / "docs" / "scale.svg",
        [
            plots.Panel("Time by pictures", "pictures", "processor seconds", time_),
            plots.Panel("Memory by pictures", "pictures", "GB, without mapped files", memory),
            plots.Panel("Time by classes, 20,000 pictures", "classes", "processor seconds", classes),
            plots.Panel("Memory by classes, 20,000 pictures", "classes", "GB, without mapped files", taken),
        ],
        f"{'; '.join(machines(kept))}; train: features of a mobile network at 32 px, head, scores, report",
    )
    rows = [
        (
            what,
            size,
            row["pictures"],
            *(row.get(name, {}).get(column, "") for name in COMMANDS for column in ("cpu_s", "own_gb")),
        )
        for what in ("pictures", "classes")
        for size, row in sorted(kept.get(what, {}).items(), key=lambda one: int(one[0]))
    ]
    measured = (word for title in TITLES for word in (f"{title}, CPU s", "GB"))
    told = plots.table(("by", "", "pictures", *measured), rows)
    more = plots.table(
        ("classes", "head alone, CPU s", "GB beside the features"),
        [(size, row["cpu_s"], row["own_gb"]) for size, row in solved],
    )
    told += f"\n\nMeasured on: {'; '.join(machines(kept))}."
    words = f"\n![Time and memory by pictures and classes](scale.svg)\n\n{told}\n\n{more}\n"
    plots.into_page(bench.ROOT / "docs" / "performance.md", "scale", words)


def machines(kept: dict[str, Any]) -> list[str]:
    """Name what the rows were measured on."""
    rows = [row for what in ("pictures", "classes") for row in kept.get(what, {}).values()]
    found = [row[name] for row in rows for name in COMMANDS if name in row] + [*kept.get("head", {}).values()]
    return sorted({one["machine"] for one in found})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pictures", "classes", "head", "draw", "solve"])
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--only", choices=COMMANDS, nargs="+", default=COMMANDS, help="predict needs train")
    parser.add_argument("--work", type=Path, help="where pictures are put for the time")
    parser.add_argument("--pictures", type=Path, help="where they are kept; written unless they are there")
    parser.add_argument("--write", action="store_true", help="draw the plot and write the table as well")
    return parser.parse_args()


if __name__ == "__main__":
    solve(parse().sizes[0]) if parse().what == "solve" else main()
