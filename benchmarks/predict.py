"""How fast is predicting, from JPEG files to a CSV? Against timm and fastai, and against its own limits.

    python benchmarks/predict.py rivals|limits ... [--run RUN] [--pictures FOLDER] [--count 630] [--repeats 3]
    python benchmarks/predict.py draw

`rivals`: the whole command, from its start to the finished CSV, in turns with others that have the same network and the
same weights: the loop of timm's inference.py (batch 256, two workers, fp32 as it is by default; and with channels last and
bf16), and fastai's `get_preds` on a `test_dl` (batch 64, two workers). Each has an environment of its own. Before each,
its libraries are imported and the pictures read, since a shared machine may have dropped the files from memory. A ratio is
printed only where the answers agree. `limits`: decoding alone and the runtime alone, with all cores each, beside both
together, in one process. What was measured goes to docs/predict-speed.json, from which `draw` writes the tables and the
plot of docs/predict.md.

RUN is a run of the default network for photographs; without it, one is trained here. How long one picture takes is measured by
predict_start.py, memory by predict_growth.py.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import bench
import plots
import predict_others
import rivals

PAGE, KEPT = bench.ROOT / "docs/predict.md", bench.ROOT / "docs/predict-speed.json"
AGREE = {"fp32": 0.99, "bf16": 0.97}


def main() -> None:
    arguments = parse()
    if arguments.parts != ["draw"]:
        print(bench.header(), flush=True)
        with tempfile.TemporaryDirectory(dir=arguments.work) as name:
            folder, pictures = Path(name), arguments.pictures
            given = arguments.run or bench.train_run(pictures, folder / "run", "--model", bench.PHOTOGRAPHS)
            asked = some(pictures, arguments.count, folder / "some")
            for part in (one for one in PARTS if one in arguments.parts):
                run, machine = bench.fresh(given, folder / part), bench.header()
                # Kept as it grows: a long measurement that is stopped is not lost.
                for found in PARTS[part](run, asked, arguments.repeats, folder):
                    before = json.loads(KEPT.read_text()) if KEPT.exists() else {}
                    KEPT.write_text(json.dumps(before | {part: {"machine": machine, **found}}, indent=1) + "\n")
    draw(json.loads(KEPT.read_text()))


def some(pictures: Path, count: int, folder: Path) -> Path:
    """Link so many of the pictures, evenly from all classes."""
    files = sorted(pictures.rglob("*.jpg"))
    for number in range(min(count, len(files))):
        path = files[number * len(files) // min(count, len(files))]
        link = folder / path.relative_to(pictures)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    return folder


def against_rivals(run: Path, pictures: Path, repeats: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Run all commands in turns; who begins changes from round to round."""
    model, N = str(run / "model"), sum(1 for _ in pictures.rglob("*.jpg"))

    def timm(how: str) -> Callable[[Path], dict[str, Any]]:
        return lambda out: rivals.ask("timm", predict_others.TIMM, model, str(pictures), str(out), how)

    def fastai(out: Path) -> dict[str, Any]:
        return rivals.ask("fastai-timm", predict_others.FASTAI, model, str(pictures), str(out))

    # Its Python, what it imports, and what it does.
    mine = (Path(sys.executable), "linnaeus.cli, linnaeus.classifier, openvino")
    theirs = (rivals.python("timm"), "timm.data")
    contestants: dict[str, tuple[Path, str, Callable[[Path], dict[str, Any]]]] = {
        "Linnaeus": (*mine, lambda out: ours(run, pictures, out)),
        "Linnaeus, --on pytorch": (*mine, lambda out: ours(run, pictures, out, "--on", "pytorch")),
        "timm inference.py, channels last, bf16": (*theirs, timm("better")),
        "timm inference.py": (*theirs, timm("default")),
        "fastai get_preds": (rivals.python("fastai-timm"), "timm, fastai.vision.all", fastai),
    }
    files = sorted(pictures.rglob("*.jpg"))
    started = time.perf_counter()
    ours(run, pictures, folder / "first.csv", "--on", "openvino")
    first_s, names = time.perf_counter() - started, list(contestants)
    taken: dict[str, list[float]] = {name: [] for name in names}
    loops: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    versions: dict[str, str] = {}
    for turn in range(repeats):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            python, modules, predict = contestants[name]
            bench.warm(python, modules, files)
            out, started, before_s = folder / f"{names.index(name)}.csv", time.perf_counter(), children_s()
            told = predict(out)
            taken[name].append(time.perf_counter() - started)
            cpu[name].append(children_s() - before_s)
            loops[name] += [told["loop_s"]] if "loop_s" in told else []
            versions |= told.get("versions", {})
            print(f"{name}: {taken[name][-1]:.1f} s, {cpu[name][-1]:.1f} s of the processor", flush=True)
        agreement = {name: agree(folder / "0.csv", folder / f"{number}.csv") for number, name in enumerate(names)}
        measured = {"seconds": taken, "cpu": cpu, "loops": loops, "agreement": agreement}
        yield {"N": N, "first_s": first_s, "versions": versions, **measured}
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


PARTS = {"rivals": against_rivals, "limits": against_limits}


def draw(found: dict[str, Any]) -> None:
    """Write the tables and the plot of the page."""
    for part, write in (("rivals", draw_rivals), ("limits", draw_limits)):
        if part in found:
            plots.into_page(PAGE, f"predict {part}", write(found[part]))


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
            plots.spread(
                [theirs / mine for mine, theirs in zip(found[what]["Linnaeus"], found[what][name], strict=False)]
            )
            for what in ("seconds", "cpu")
        ]
        steady = plots.spread([N / one for one in loops]) if loops else "-"
        cells = (
            plots.spread(seconds),
            plots.spread(cpu),
            plots.spread([N / one for one in seconds]),
            steady,
            f"{100 * share:.1f} %",
        )
        rows.append((name, *cells, *(ratios if fair else ["other answers"] * 2)))
        bars.append(plots.Bar(name, median(cpu) / N * 1000, ours=name.startswith("Linnaeus")))
    times = ("times as long", "times the processor")
    head = ("", "s", "of the processor, s", "pictures/s", "without start", "same class", *times)
    note = f"{N:,} photographs of flowers, EfficientNet-Lite0 at 256 px, start included"
    bars = [plots.Bars("JPEG files to CSV: processor time of a picture", "ms", bars)]
    plots.bars(bench.ROOT / "docs/predict-rivals.svg", bars, note)
    told = f"{N:,} photographs, {rounds} round{'s' * (rounds > 1)}, start included; load of the two cores before: {load(found)}."
    first = f"The first time, when the file for OpenVINO is written, Linnaeus took {found['first_s']:.0f} s."
    first = f"{first} {rivals.told(found['versions']).capitalize()}."
    return f"{told}\n\n{plots.table(head, rows)}\n\n{first}\n\n![Processor time of a picture](predict-rivals.svg)"


def draw_limits(found: dict[str, Any]) -> str:
    speeds = found["speeds"]
    limits = [1 / (1 / d + 1 / r) for d, r in zip(speeds["decode"], speeds["runtime"], strict=True)]
    rows = [
        ("decoding alone", plots.spread(speeds["decode"])),
        ("the runtime alone", plots.spread(speeds["runtime"])),
        ("one after the other on the same cores", plots.spread(limits)),
        ("predicting, CSV included: each thread decodes and answers", plots.spread(speeds["both"])),
        ("without the CSV, decoding and answering in threads of their own", plots.spread(speeds["apart"])),
    ]

    def share(of: Sequence[float]) -> str:
        return plots.number(100 * median([one / limit for one, limit in zip(speeds["both"], of, strict=True)]))

    told = f"Predicting reaches {share(limits)} % of what the cores can do, and {share(speeds['runtime'])} % of the runtime alone."
    return f"{plots.table(('', 'pictures/s'), rows)}\n\n{told} Load before: {load(found)}."


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=(*PARTS, "draw"))
    parser.add_argument("--run", type=Path, help="a run of tf_efficientnet_lite0 on the pictures")
    parser.add_argument("--pictures", type=Path, default=bench.FLOWERS)
    parser.add_argument("--count", type=int, default=630, help="how many of the pictures")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, help="for links and answers; removed at the end")
    return parser.parse_args()


if __name__ == "__main__":
    main()
