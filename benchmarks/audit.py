"""What does `linnaeus audit` cost for 1,000 to 100,000 pictures? And a second time, and with ten new pictures?

    python benchmarks/audit.py [--sizes N ...] [--repeats R] [--work FOLDER] [--pictures FOLDER] [--plot docs/audit-scale.svg]

Makes N real JPEG files of 64 px, all different, in 15 classes: pictures of CIFAR-10 (enlarged) and tiles of the flowers
that do not overlap, three to two, in an order drawn with seed 0. Of every 100 files one is a planted copy (the same bytes, or
resized, compressed again or mirrored in turn), of every 1,000 one is broken (cut off, empty, or no picture, in turn). The
set of n files is the first n. Each is audited in a process of its own with a cache of its own: from nothing, again,
and with ten more files. Given are CPU seconds (user and system, all threads: what else runs on the machine counts
little), seconds on the clock, and the peak of resident memory, with and without mapped files. With --repeats, the
first audit of sets up to 10,000 is repeated from nothing, and the spread is given.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

import bench
import plots

SIDE = 64
CIFAR_SHARE = 0.6
NEW = 10
REPEATED_UP_TO = 10_000
COPY_EVERY, BROKEN_EVERY = 100, 1000
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)


@dataclass(frozen=True)
class Cost:
    """What one audit took: processor seconds, seconds on the clock, peaks of memory in GB, and what it found.

    `peak_gb` counts all that is resident, also files that are mapped and that the system may drop at any time (stored
    pixels); `own_gb` is without them, sampled ten times a second; NaN where the system does not tell.
    """

    cpu_s: float
    wall_s: float
    peak_gb: float
    own_gb: float
    used: int
    found: dict[str, int]


def main() -> None:
    arguments = parse()
    print(bench.header())
    sizes = arguments.sizes
    if arguments.draw:
        return plot(json.loads(arguments.draw.read_text()), arguments.plot)
    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        folder = Path(name)
        started = time.perf_counter()
        whole = arguments.pictures or folder / "all"
        names = there(whole) if whole.is_dir() else write_pictures(whole, max(sizes) + NEW)
        print(f"{len(names):,} files written in {time.perf_counter() - started:.0f} s\n", flush=True)
        print("| files | | CPU s | s | peak memory GB | without mapped files | used | found |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        rows = []
        for n in sizes:
            rows.append(measure(whole, folder, names, n, arguments.repeats if n <= REPEATED_UP_TO else 1))
            if arguments.plot:
                arguments.plot.with_suffix(".json").write_text(json.dumps(rows, indent=1))
    if arguments.plot and len(rows) > 1:
        plot(rows, arguments.plot)


def measure(whole: Path, folder: Path, names: list[str], n: int, repeats: int) -> dict[str, Any]:
    """Audit the first n files from nothing, again, and with ten more."""
    source, cache = folder / "set", folder / "cache"
    link(whole, source, names[:n])
    first = []
    for _ in range(repeats):
        shutil.rmtree(cache, ignore_errors=True)
        first.append(audit(source, cache, folder / "out"))
    again = audit(source, cache, folder / "out")
    link(whole, source, names[n : n + NEW])
    more = audit(source, cache, folder / "out")
    shutil.rmtree(source)
    shutil.rmtree(cache)
    for what, costs in (("first", first), ("again", [again]), (f"{NEW} more", [more])):
        print(line(n, what, costs), flush=True)
    return {"n": n, "first": [asdict(one) for one in first], "again": asdict(again), "more": asdict(more)}


def line(n: int, what: str, costs: list[Cost]) -> str:
    """Give the mean, and the spread where there is one."""

    def spread(name: str, digits: int) -> str:
        values = [getattr(one, name) for one in costs]
        several = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
        return f"{np.mean(values):.{digits}f}{several}"

    found = ", ".join(f"{count} {kind}" for kind, count in costs[0].found.items())
    cells = (
        spread("cpu_s", 1),
        spread("wall_s", 1),
        spread("peak_gb", 2),
        spread("own_gb", 2),
        f"{costs[0].used:,}",
        found,
    )
    return f"| {n:,} | {what} | " + " | ".join(cells) + " |"


def audit(source: Path, cache: Path, out: Path) -> Cost:
    """Run the command in a process of its own."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "linnaeus", "audit", str(source), "--out", str(out), "--json"]
    environment = os.environ | {"LINNAEUS_CACHE": str(cache)}
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as told:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=told, stderr=said)
        watch = Watch(process.pid)
        watch.start()
        _, status, used = os.wait4(process.pid, 0)
        watch.join()
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{said.read()}")
        told.seek(0)
        document = json.load(told)
    kinds = Counter(one["kind"] for one in document["findings"])
    print("   ", {name: value for name, value in document["seconds"].items() if value > 1}, file=sys.stderr, flush=True)
    cpu = used.ru_utime + used.ru_stime
    return Cost(cpu, seconds, used.ru_maxrss / 1e6, watch.own_gb, document["accounted"]["used"], dict(kinds))


class Watch(threading.Thread):
    """Follow the memory that a process has of its own (RssAnon) until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.status, self.own_gb = Path(f"/proc/{pid}/status"), float("nan")

    def run(self) -> None:
        while True:
            try:
                lines = self.status.read_text().splitlines()
            except OSError:
                return
            own = [int(line.split()[1]) / 1e6 for line in lines if line.startswith("RssAnon")]
            if not own:
                return
            self.own_gb = float(np.nanmax([self.own_gb, *own]))
            time.sleep(0.1)


def link(whole: Path, source: Path, names: list[str]) -> None:
    """Put some files into a folder, by hard links."""
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(whole / name, source / name)


def there(folder: Path) -> list[str]:
    """List files that an earlier run wrote, in their order."""
    return [f"{path.parent.name}/{path.name}" for path in sorted(folder.glob("*/*.jpg"), key=lambda path: path.name)]


def write_pictures(folder: Path, count: int) -> list[str]:
    """Write so many files: names in the order in which sets take them."""
    draw = np.random.default_rng(0)
    names: list[str] = []
    pictures = mixed(folder.parent, count, draw)
    before: tuple[str, bytes] | None = None
    for number in range(count):
        copies, breaks = number // COPY_EVERY, number // BROKEN_EVERY
        if number % COPY_EVERY == COPY_EVERY - 1 and before:
            label, data = before[0], altered(before[1], copies)
        else:
            label, picture = next(pictures)
            data = encoded(picture)
            before = label, data
            if number % BROKEN_EVERY == BROKEN_EVERY // 2:
                data, before = broken(data, breaks), None
        name = f"{label}/{number:06}.jpg"
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        names.append(name)
    return names


def mixed(folder: Path, count: int, draw: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Mix the two sources, each picture once."""
    small, tiles = cifar(folder, draw), flowers(draw, round(count * (1 - CIFAR_SHARE) * 1.1) + 1000)
    while True:
        yield next(small if draw.random() < CIFAR_SHARE else tiles)


def cifar(folder: Path, draw: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Enlarge the pictures of CIFAR-10 to SIDE."""
    binary = bench.cifar10(folder / "unpacked")
    classes = (binary / "batches.meta.txt").read_text().split()
    files = sorted(binary.glob("*.bin"))
    records = np.concatenate([np.fromfile(one, np.uint8).reshape(-1, 3073) for one in files])
    for row in draw.permutation(len(records)).tolist():
        picture = records[row, 1:].reshape(3, 32, 32).transpose(1, 2, 0)
        large = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        yield classes[records[row, 0]], np.asarray(large)


def flowers(draw: np.random.Generator, count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Cut the flowers into tiles, those of all pictures mixed."""
    tiles = []
    for path in sorted(bench.FLOWERS.glob("*/*.jpg")):
        with Image.open(path) as image:
            picture = np.asarray(image.convert("RGB"))
        for top in range(0, picture.shape[0] - SIDE + 1, SIDE):
            for left in range(0, picture.shape[1] - SIDE + 1, SIDE):
                tiles.append((path.parent.name, picture[top : top + SIDE, left : left + SIDE].copy()))
    order = draw.permutation(len(tiles))[:count].tolist()
    yield from (tiles[row] for row in order)


def altered(data: bytes, which: int) -> bytes:
    """Copy a file: the same bytes, half again as large, compressed more, or mirrored, in turn."""
    if which % 4 == 0:
        return data
    image = Image.open(io.BytesIO(data))
    if which % 4 == 1:
        return encoded(np.asarray(image.resize((SIDE * 3 // 2, SIDE * 3 // 2), Image.Resampling.BICUBIC)))
    if which % 4 == 2:
        return encoded(np.asarray(image), quality=60)
    return encoded(np.asarray(ImageOps.mirror(image)))


def broken(data: bytes, which: int) -> bytes:
    """Break a file: cut off, empty, or no picture, in turn."""
    return (data[: len(data) // 3], b"", b"no picture at all")[which % 3]


def encoded(picture: np.ndarray, quality: int = 90) -> bytes:
    held = io.BytesIO()
    Image.fromarray(picture).save(held, "JPEG", quality=quality)
    return held.getvalue()


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw processor time and memory against the number of files, beside what n log n would be."""
    rows = sorted(rows, key=lambda row: row["n"])
    kinds = {"first": "first audit", "again": "second, unchanged", "more": f"with {NEW} new pictures"}

    def line(which: str, what: str, name: str) -> plots.Line:
        points = [(row["n"], float(np.mean([one[what] for one in np.atleast_1d(row[which])]))) for row in rows]
        return plots.Line(name, points)

    time_s = [line(which, "cpu_s", name) for which, name in kinds.items()]
    peak = [line(which, "peak_gb", name) for which, name in kinds.items()]
    own = line("first", "own_gb", "first audit, without mapped files")
    # Starting the program costs the same for every n, so that the guide goes through the middle size, not the first.
    n, seconds = time_s[0].points[len(rows) // 2]
    guide = [(row["n"], seconds * row["n"] * np.log(row["n"]) / (n * np.log(n))) for row in rows]
    panels = [
        plots.Panel(
            "Processor time", "files", "CPU seconds (all threads)", [*time_s, plots.Line("n log n", guide, True)]
        ),
        plots.Panel("Peak of resident memory", "files", "GB", [*peak, own]),
    ]
    plots.lines(path, panels)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="files of each set")
    parser.add_argument("--repeats", type=int, default=1, help="first audits of sets up to 10,000 files")
    parser.add_argument("--work", type=Path, help="where pictures and caches are put for the time; 4 GB for 100,000")
    parser.add_argument(
        "--pictures", type=Path, help="keep the files here, on the same disk, and use those that are there"
    )
    parser.add_argument("--plot", type=Path, help="write this picture, and the numbers beside it as JSON")
    parser.add_argument("--draw", type=Path, help="only draw the picture, from such a JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
