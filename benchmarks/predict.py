"""How fast is predicting, from JPEG files to a CSV? Against timm and fastai, against its own limits, and from a cold start.

    python benchmarks/predict.py rivals|limits|start|growth ... [--run RUN] [--small RUN] [--pictures FOLDER] [--repeats 3]
    python benchmarks/predict.py draw

`rivals`: the whole command, from its start to the finished CSV, in turns with others that have the same network and the
same weights: the loop of timm's inference.py (batch 256, two workers, fp32 as it is by default; and with channels last and
bf16), and fastai's `get_preds` on a `test_dl` (batch 64, two workers). Each has an environment of its own. A ratio is
printed only where the answers agree. `limits`: decoding alone and the runtime alone, with all cores each, beside both
together, in one process. `start`: one picture in a new process, and where the time goes. `growth`: seconds and peak
memory for 1,000 to 100,000 names of files (links to the pictures) with a small network. What was measured goes to
docs/predict-speed.json, from which `draw` writes the tables and plots of docs/predict.md.

RUN is a run of the default network for photographs, SMALL any small one; without them, both are trained here.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import audit
import bench
import plots
import predict_others
import rivals

PAGE, KEPT = bench.ROOT / "docs/predict.md", bench.ROOT / "docs/predict-speed.json"
AGREE = {"fp32": 0.99, "bf16": 0.97}
SIZES = (1_000, 10_000, 100_000)
STAGES = """
import gc, json, sys, time
from pathlib import Path

# As the command does.
gc.disable()

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
    if arguments.parts != ["draw"]:
        print(bench.header(), flush=True)
        with tempfile.TemporaryDirectory(dir=arguments.work) as name:
            for part in arguments.parts:
                measure(part, arguments, Path(name))
    draw(json.loads(KEPT.read_text()))


def measure(part: str, arguments: argparse.Namespace, folder: Path) -> None:
    """Measure one part and keep what was found."""
    if part == "growth":
        given = arguments.small or bench.train_run("digits", folder / "small")
    else:
        given = arguments.run or bench.train_run(arguments.pictures, folder / "run", "--model", "tf_efficientnet_lite0")
    run = folder / f"run-{part}"
    # The file for the runtime is written into the copy.
    shutil.copytree(given / "model", run / "model", ignore=shutil.ignore_patterns("runtimes"))
    pictures = some(arguments.pictures, arguments.count, folder) if part in ("rivals", "limits") else arguments.pictures
    parts = {"rivals": against_rivals, "limits": against_limits, "start": starts, "growth": growth}
    machine = bench.header()
    # Kept as it grows: a long measurement that is stopped is not lost.
    for found in parts[part](run, pictures, arguments.repeats, folder):
        before = json.loads(KEPT.read_text()) if KEPT.exists() else {}
        KEPT.write_text(json.dumps(before | {part: {"machine": machine, **found}}, indent=1) + "\n")


def some(pictures: Path, count: int, folder: Path) -> Path:
    """Link so many of the pictures, evenly from all classes."""
    files = sorted(pictures.rglob("*.jpg"))
    for number in range(min(count, len(files))):
        path = files[number * len(files) // min(count, len(files))]
        link = folder / "some" / path.relative_to(pictures)
        link.parent.mkdir(parents=True, exist_ok=True)
        # Another part may have made it.
        if not link.is_symlink():
            link.symlink_to(path.resolve())
    return folder / "some"


def against_rivals(run: Path, pictures: Path, repeats: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Run all commands in turns; who begins changes from round to round."""
    model, N = str(run / "model"), sum(1 for _ in pictures.rglob("*.jpg"))
    rivals.python("timm"), rivals.python("fastai-timm")
    contestants: dict[str, Callable[[Path], dict[str, Any]]] = {
        "Linnaeus": lambda out: ours(run, pictures, out),
        "Linnaeus, --on pytorch": lambda out: ours(run, pictures, out, "--on", "pytorch"),
        "timm inference.py, channels last, bf16": lambda out: rivals.ask(
            "timm", predict_others.TIMM, model, str(pictures), str(out), "better"
        ),
        "timm inference.py": lambda out: rivals.ask(
            "timm", predict_others.TIMM, model, str(pictures), str(out), "default"
        ),
        "fastai get_preds": lambda out: rivals.ask(
            "fastai-timm", predict_others.FASTAI, model, str(pictures), str(out)
        ),
    }
    started = time.perf_counter()
    ours(run, pictures, folder / "first.csv", "--on", "openvino")
    first_s, names = time.perf_counter() - started, list(contestants)
    taken: dict[str, list[float]] = {name: [] for name in names}
    loops: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            out, started, before_s = folder / f"{names.index(name)}.csv", time.perf_counter(), children_s()
            told = contestants[name](out)
            taken[name].append(time.perf_counter() - started)
            cpu[name].append(children_s() - before_s)
            loops[name] += [told["loop_s"]] if "loop_s" in told else []
            print(f"{name}: {taken[name][-1]:.1f} s, {cpu[name][-1]:.1f} s of the processor", flush=True)
        agreement = {name: agree(folder / "0.csv", folder / f"{number}.csv") for number, name in enumerate(names)}
        yield {"N": N, "first_s": first_s, "seconds": taken, "cpu": cpu, "loops": loops, "agreement": agreement}
    print({name: round(share, 4) for name, share in agreement.items()})


def children_s() -> float:
    """Give the processor seconds of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours(run: Path, pictures: Path, out: Path, *options: str) -> dict[str, Any]:
    """Run the command."""
    command = [sys.executable, "-m", "linnaeus", "predict", str(run), str(pictures), "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return {}


def agree(ours: Path, theirs: Path) -> float:
    """Give the share of files that get the same class from both; class numbers are in the order of the names."""

    def read(path: Path) -> dict[str, str]:
        with path.open(newline="") as file:
            return {os.path.realpath(row["path"]): row["predicted"] for row in csv.DictReader(file)}

    mine, other = read(ours), read(theirs)
    classes = sorted(set(mine.values()))
    named = {path: classes[int(label)] if label.isdigit() else label for path, label in other.items()}
    if mine.keys() != named.keys():
        return 0.0
    return sum(mine[path] == named[path] for path in mine) / len(mine)


def against_limits(run: Path, pictures: Path, repeats: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Measure decoding alone, the runtime alone, and both together, in turns."""
    from linnaeus.data.decode import read_bytes
    from linnaeus.machine import cores_here
    from linnaeus.records import Place
    from linnaeus.tables import TableWriter
    from linnaeus.targets.fastest import open_fastest
    from linnaeus.verbs.predict import predict

    files = sorted(str(path) for path in pictures.rglob("*.jpg"))
    model = open_fastest(run, files, on="openvino")
    import torch  # noqa: F401, I001  For its resizing, which a long prediction fetches too.

    import numpy as np

    def read(path: str) -> np.ndarray:
        return model.read(read_bytes(Place(path)))

    held = np.stack([read(path) for path in files[:256]])
    portions = [held[at : at + model.portion] for at in range(0, len(held), model.portion)]

    def decode(pool: ThreadPoolExecutor) -> int:
        return sum(1 for _ in pool.map(read, files))

    def compute(pool: ThreadPoolExecutor) -> int:
        work = [portions[number % len(portions)] for number in range(len(files) // model.portion)]
        return sum(len(one.probabilities) for one in pool.map(model.judge, work))

    def both(_pool: ThreadPoolExecutor) -> int:
        with TableWriter(folder / "limits.csv") as writer:
            for answers in predict(model, files):
                writer.write(answers.columns())
        return len(files)

    def apart(_pool: ThreadPoolExecutor) -> int:
        """Let threads of their own decode the next 128 pictures while all cores answer these."""
        with ThreadPoolExecutor(4) as readers:
            chunks = [files[at : at + 128] for at in range(0, len(files), 128)]
            ahead = [readers.submit(read, path) for path in chunks[0]]
            for following in [*chunks[1:], []]:
                now, ahead = ahead, [readers.submit(read, path) for path in following]
                model.judge(np.stack([one.result() for one in now]))
        return len(files)

    ways = {"decode": decode, "runtime": compute, "both": both, "apart": apart}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    with ThreadPoolExecutor(cores_here()) as pool:
        for turn in range(repeats + 3):
            for name, work in ways.items():
                started = time.perf_counter()
                done = work(pool)
                if turn:
                    speeds[name].append(done / (time.perf_counter() - started))
    print({name: round(median(values)) for name, values in speeds.items()})
    yield {"N": len(files), "speeds": speeds}


def starts(run: Path, pictures: Path, repeats: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Time one picture from a cold start, with a kept file and with PyTorch, and `--help`."""
    picture = str(next(pictures.rglob("*.jpg")))
    predict = ["predict", str(run), picture]
    subprocess.run([sys.executable, "-m", "linnaeus", *predict, "--on", "openvino"], check=True, capture_output=True)
    commands = {"--help": ["--help"], "kept": predict, "pytorch": [*predict, "--on", "pytorch"]}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats + 2):
        for name, words in commands.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-m", "linnaeus", *words], check=True, capture_output=True)
            taken[name].append(time.perf_counter() - started)
    shares = {name: imports(words) for name, words in commands.items()}
    stages: dict[str, list[list[float]]] = {"kept": [], "pytorch": []}
    for _ in range(repeats + 2):
        for name, on in (("kept", "openvino"), ("pytorch", "pytorch")):
            command = [sys.executable, "-c", STAGES, str(run), picture, on]
            stages[name].append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    print({name: round(median(values), 2) for name, values in taken.items()}, shares)
    yield {"seconds": taken, "imports": shares, "stages": stages}


def imports(words: Sequence[str]) -> dict[str, float]:
    """Give the seconds that importing each package took."""
    command = [sys.executable, "-X", "importtime", "-m", "linnaeus", *words]
    lines = subprocess.run(command, capture_output=True, text=True).stderr.splitlines()
    total: Counter[str] = Counter()
    for line in lines:
        if line.startswith("import time:") and line.split("|")[0].split(":")[1].strip().isdigit():
            total[line.split("|")[2].strip().partition(".")[0]] += int(line.split("|")[0].split(":")[1])
    return {name: value / 1e6 for name, value in total.most_common(6)}


def growth(run: Path, pictures: Path, repeats: int, folder: Path) -> Iterator[dict[str, Any]]:
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
        yield {"rows": rows}


def draw(found: dict[str, Any]) -> None:
    """Write the tables and plots of the page."""
    for part, write in (
        ("rivals", draw_rivals),
        ("limits", draw_limits),
        ("start", draw_start),
        ("growth", draw_growth),
    ):
        if part in found:
            plots.into_page(PAGE, f"predict {part}", write(found[part]))


def spread(values: Sequence[float]) -> float | tuple[float, float, float]:
    return (median(values), min(values), max(values)) if len(values) > 1 else values[0]


def load(found: dict[str, Any]) -> str:
    return found["machine"].partition("\n")[0].rpartition("load ")[2]


def draw_rivals(found: dict[str, Any]) -> str:
    N, rows, bars = found["N"], [], []
    rounds = min(len(seconds) for seconds in found["seconds"].values())
    for name in found["seconds"]:
        seconds, cpu = found["seconds"][name][:rounds], found["cpu"][name][:rounds]
        share, loops = found["agreement"][name], found["loops"][name][:rounds]
        fair = share >= AGREE["bf16" if "bf16" in name else "fp32"]
        ratios = [
            spread([theirs / mine for mine, theirs in zip(found[what]["Linnaeus"], found[what][name], strict=False)])
            for what in ("seconds", "cpu")
        ]
        steady = spread([N / one for one in loops]) if loops else "-"
        cells = (spread(seconds), spread(cpu), spread([N / one for one in seconds]), steady, f"{100 * share:.1f} %")
        rows.append((name, *cells, *(ratios if fair else ["other answers"] * 2)))
        bars.append(plots.Bar(name, median(cpu) / N * 1000, ours=name.startswith("Linnaeus")))
    times = ("times as long", "times the processor")
    head = ("", "s", "of the processor, s", "pictures/s", "without start", "same class", *times)
    note = f"{N:,} photographs of flowers, EfficientNet-Lite0 at 256 px, start included"
    bars = [plots.Bars("JPEG files to CSV: processor time of a picture", "ms", bars)]
    plots.bars(bench.ROOT / "docs/predict-rivals.svg", bars, note)
    told = f"{N:,} photographs, {rounds} round{'s' * (rounds > 1)}, start included; load of the two cores before: {load(found)}."
    first = f"The first time, when the file for OpenVINO is written, Linnaeus took {found['first_s']:.0f} s."
    return f"{told}\n\n{plots.table(head, rows)}\n\n{first}\n\n![Processor time of a picture](predict-rivals.svg)"


def draw_limits(found: dict[str, Any]) -> str:
    speeds = found["speeds"]
    limits = [1 / (1 / d + 1 / r) for d, r in zip(speeds["decode"], speeds["runtime"], strict=True)]
    rows = [
        ("decoding alone", spread(speeds["decode"])),
        ("the runtime alone", spread(speeds["runtime"])),
        ("one after the other on the same cores", spread(limits)),
        ("predicting, CSV included: each thread decodes and answers", spread(speeds["both"])),
        ("without the CSV, decoding and answering in threads of their own", spread(speeds["apart"])),
    ]

    def share(of: Sequence[float]) -> str:
        return plots.number(100 * median([one / limit for one, limit in zip(speeds["both"], of, strict=True)]))

    told = f"Predicting reaches {share(limits)} % of what the cores can do, and {share(speeds['runtime'])} % of the runtime alone."
    return f"{plots.table(('', 'pictures/s'), rows)}\n\n{told} Load before: {load(found)}."


def draw_start(found: dict[str, Any]) -> str:
    names = {"--help": "`linnaeus --help`", "kept": "`predict`, file kept", "pytorch": "`predict --on pytorch`"}
    rows = []
    for name, seconds in found["seconds"].items():
        packages = ", ".join(
            f"{package} {plots.number(s)}" for package, s in found["imports"][name].items() if s >= 0.02
        )
        stages = [median(values) for values in zip(*found["stages"].get(name, []), strict=True)]
        parts = (
            [*map(plots.number, stages), plots.number(median(seconds) - sum(stages))] if stages else ["", "", "", ""]
        )
        rows.append((names[name], spread(seconds), *parts, packages))
    head = ("one picture", "s", "importing", "opening the model", "answering", "the command line, and ending")
    return plots.table((*head, "importing, s (slower than without the clock)"), rows)


def draw_growth(found: dict[str, Any]) -> str:
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
    return f"{table}\n\n![Time and memory](predict-growth.svg)"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=("rivals", "limits", "start", "growth", "draw"))
    parser.add_argument("--run", type=Path, help="a run of tf_efficientnet_lite0 on the pictures")
    parser.add_argument("--small", type=Path, help="a run of a small network, for growth")
    parser.add_argument("--pictures", type=Path, default=bench.FLOWERS)
    parser.add_argument("--count", type=int, default=630, help="pictures for rivals and limits")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, help="for links and answers; removed at the end")
    return parser.parse_args()


if __name__ == "__main__":
    main()
