"""How many pictures per second go from JPEG files to uint8 at training size, and how far is that from the decoder alone?

    python benchmarks/decode.py [--rounds N] [--every N]
    python benchmarks/decode.py --draw

Two sets: photographs as they are (flowers, 0.1 megapixels), and some of them enlarged to 12 megapixels. Each side takes
the same files to the same size, with as many threads or processes as there are cores, in turns (fastai after them), N rounds
after one to warm up; files are in the system's cache on all sides. Given are pictures per second of processor time (all threads
and processes, user and system: what else runs on the machine counts little) and per second on the clock. The sides:

* Linnaeus's scan from an empty cache: read, hash, decode, resize, store. And a second scan, with a look at every pixel.
* Pillow: draft, convert, resize bilinear, in threads. torchvision: its decoder and v2's resize on bytes, in threads; and
  its usual way, ImageFolder and DataLoader. fastai: its loader with Resize, without turning bytes into floats.
  fastai has an environment of its own; the others are called from this process.
* The limits: libjpeg-turbo alone at the same scale, from bytes in memory, in threads; and with the resize.

Every side reports the mean of the middle square of each picture; where these differ from Pillow's by more than GREY, the
script stops: it did other work. What was measured goes to docs/decode.json, from which --draw writes table and plot of
docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import io
from torchvision.transforms import v2

import bench
import plots
import rivals
from linnaeus import records
from linnaeus.data.cache import scan
from linnaeus.data.decode import middle, resize
from linnaeus.data.jpeg import jpeg_scale
from linnaeus.machine import cores_here

PAGE, KEPT = bench.ROOT / "docs/performance.md", bench.ROOT / "docs/decode.json"
SIDE = 256
HOW = records.Preprocessing(SIDE, resize_px=SIDE, interpolation="bilinear")
LARGE, LARGE_COUNT = (4000, 3000), 64
"""Two batches, so that both workers of a loader have one."""
GREY = 1.5
checking = True
OURS, AGAIN = "Linnaeus: scan into the cache", "Linnaeus: second run, from the cache"
SMALL, BIG = "0.1 megapixels", "12 megapixels"
DECODER, KERNELS = "limit: decoder alone", "limit: decoder and resize alone"

FASTAI = """
import json, os, sys, time, warnings
warnings.filterwarnings("ignore")
from pathlib import Path
from fastai.vision.all import *
folder, workers, side, rounds, every = Path(sys.argv[1]), *map(int, sys.argv[2:6])
files = sorted(folder.glob("*/*.jpg"))[::every]
block = DataBlock(blocks=(ImageBlock, CategoryBlock), get_y=parent_label, item_tfms=Resize(side),
                  splitter=IndexSplitter(list(range(len(files) // 2))))
block.batch_tfms = []
loaders = block.dataloaders(files, path=folder, bs=32, num_workers=workers)
loader = loaders.test_dl(files, bs=32, num_workers=workers)
loader.after_batch = Pipeline([])
seconds, cpu, means = [], [], []
for turn in range(rounds + 1):
    started, before, seen = time.perf_counter(), sum(os.times()[:4]), []
    for batch in loader:
        seen.append(batch[0])
    seconds.append(time.perf_counter() - started)
    cpu.append(sum(os.times()[:4]) - before)
    assert seen[0].dtype == torch.uint8, seen[0].dtype
means = torch.cat([TensorBase(part).float().mean((1, 2, 3)) for part in seen]).tolist()
print(json.dumps({"seconds": seconds[1:], "cpu": cpu[1:], "means": means}))
"""


class Files(Dataset):
    """torchvision's usual way: Pillow, v2 on the Pillow image, one item at a time in worker processes."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.change = v2.Compose([v2.Resize(SIDE), v2.CenterCrop(SIDE), v2.PILToTensor()])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> torch.Tensor:
        with Image.open(self.files[row]) as image:
            return self.change(image.convert("RGB"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--every", type=int, default=1, help="take every N-th flower")
    parser.add_argument("--draw", action="store_true")
    arguments = parser.parse_args()
    if not arguments.draw:
        KEPT.write_text(json.dumps(measured(arguments.rounds, arguments.every), indent=1) + "\n")
    draw(json.loads(KEPT.read_text()))


def measured(rounds: int, every: int) -> dict[str, Any]:
    """Measure small and large photographs; take every N-th flower."""
    about = bench.header()
    print(about)
    rivals.python("fastai")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folders = {SMALL: (bench.FLOWERS, every), BIG: (enlarge(Path(name)), 1)}
        sets = [
            {
                "title": title,
                "files": len(sorted(folder.glob("*/*.jpg"))[::step]),
                "sides": {
                    side: asdict(found)
                    for side, found in measure(title, folder, Path(name) / "cache", rounds, step).items()
                },
            }
            for title, (folder, step) in folders.items()
        ]
    command = f"python benchmarks/decode.py --every {every} --rounds {rounds}"
    return {"about": about, "command": command, "beside": rivals.PACKAGES["fastai"], "sets": sets}


def draw(kept: dict[str, Any]) -> None:
    """Write tables and plot of the page."""
    machine = kept["about"].splitlines()[0]
    rates = rates_of(kept)
    told = [f"{one['title']}, {one['files']:,} files:\n\n{table(rates[one['title']])}" for one in kept["sets"]]
    versions = "\n".join([*kept["about"].splitlines(), f"beside {', '.join(kept['beside'])}"])
    words = "\n\n".join([*told, f"`{kept['command']}`, median of the rounds:\n\n```text\n{versions}\n```"])
    print(f"\n{words}")
    plots.bars(bench.ROOT / "docs/decode.svg", [chart(title, found) for title, found in rates.items()], machine)
    plots.into_page(PAGE, "decode", f"\n![Pictures per second from JPEG files](decode.svg)\n\n{words}\n")


def rates_of(kept: dict[str, Any]) -> dict[str, dict[str, Rates]]:
    """Give the rates of all sides for each set of photographs."""
    return {one["title"]: {side: Rates(**found) for side, found in one["sides"].items()} for one in kept["sets"]}


def enlarge(folder: Path) -> Path:
    """Write photographs of 12 megapixels: flowers, enlarged."""
    files = sorted(bench.FLOWERS.glob("*/*.jpg"))
    for path in files[:: len(files) // LARGE_COUNT][:LARGE_COUNT]:
        target = folder / "large" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.resize(LARGE, Image.Resampling.BICUBIC).save(target, quality=90)
    return folder / "large"


@dataclass
class Rates:
    """Pictures per second of processor time, and on the clock, by round."""

    cpu: list[float] = field(default_factory=list)
    clock: list[float] = field(default_factory=list)

    def add(self, pictures: int, cpu_s: float, seconds: float) -> None:
        self.cpu.append(pictures / cpu_s)
        self.clock.append(pictures / seconds)


def measure(title: str, folder: Path, cache: Path, rounds: int, every: int = 1) -> dict[str, Rates]:
    """Take all sides in turns, but for fastai, which comes after them in a process of its own."""
    files = sorted(folder.glob("*/*.jpg"))[::every]
    sides = sides_for(files, cache)
    global checking
    checking = True
    means = {name: work() for name, work in sides.items()}
    checking = False
    rates = {name: Rates() for name in (*sides, "fastai: DataLoaders")}
    for _ in range(rounds):
        for name, work in sides.items():
            started, before = time.perf_counter(), processor_s()
            work()
            rates[name].add(len(files), processor_s() - before, time.perf_counter() - started)
    other = rivals.ask("fastai", FASTAI, str(folder), str(cores_here()), str(SIDE), str(rounds), str(every))
    for cpu_s, seconds in zip(other["cpu"], other["seconds"], strict=True):
        rates["fastai: DataLoaders"].add(len(files), cpu_s, seconds)
    check(title, means | {"fastai: DataLoaders": np.array(other["means"])})
    return rates


def processor_s() -> float:
    """Add up processor time of this process and of those that it waited for, to the microsecond."""
    both = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(one.ru_utime + one.ru_stime for one in both)


def sides_for(files: list[Path], cache: Path) -> dict[str, Callable[[], np.ndarray]]:
    """Name the sides; each gives the mean of the middle square of every picture."""
    bytes_of = [path.read_bytes() for path in files]
    examples = tuple(records.Example(str(path), records.Place(str(path)), "") for path in files)
    dataset = records.Dataset("files", str(files[0].parents[1]), examples, ())

    def ours() -> np.ndarray:
        shutil.rmtree(cache, ignore_errors=True)
        found = scan(dataset, HOW, cache_dir=cache, cache_gb=20)
        assert not found.problems
        return np.array([mean_of(pixels) for pixels in found.pixels] if checking else [])

    def again() -> np.ndarray:
        found = scan(dataset, HOW, cache_dir=cache, cache_gb=20)
        return np.array([mean_of(pixels.copy()) for pixels in found.pixels])

    def threads(work: Callable[[int], float]) -> Callable[[], np.ndarray]:
        def all_of_them() -> np.ndarray:
            with ThreadPoolExecutor(cores_here()) as pool:
                return np.array(list(pool.map(work, range(len(files)))))

        return all_of_them

    def alone(row: int) -> float:
        decoded(bytes_of[row])
        return float("nan")

    def usual() -> np.ndarray:
        loader = DataLoader(Files(files), batch_size=32, num_workers=cores_here())
        return torch.cat([batch.float().mean((1, 2, 3)) if checking else batch[:, 0, 0, 0] for batch in loader]).numpy()

    return {
        DECODER: threads(alone),
        KERNELS: threads(lambda row: mean_of(resize(decoded(bytes_of[row]), HOW))),
        OURS: ours,
        AGAIN: again,
        "torchvision: its decoder, v2": threads(lambda row: with_torchvision(files[row])),
        "torchvision: DataLoader on Pillow": usual,
        "Pillow: draft and resize": threads(lambda row: with_pillow(files[row])),
    }


def decoded(data: bytes) -> np.ndarray:
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    scale = jpeg_scale(width, height, SIDE)
    H, W = (-(-height // scale), -(-width // scale)) if scale > 1 else (0, 0)
    return simplejpeg.decode_jpeg(data, "RGB", min_height=H, min_width=W, min_factor=scale)


def with_pillow(path: Path) -> float:
    with Image.open(path) as image:
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
        W, H = image.size
        size = (SIDE, int(SIDE * H / W)) if W <= H else (int(SIDE * W / H), SIDE)
        return mean_of(np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR)))


def with_torchvision(path: Path) -> float:
    picture = io.decode_jpeg(io.read_file(str(path)), io.ImageReadMode.RGB)
    return mean_of(v2.functional.resize(picture, [SIDE], antialias=True).permute(1, 2, 0).numpy())


def mean_of(stored: np.ndarray) -> float:
    """Describe the pixels in the first round; in those that are timed it would cost more than some sides do."""
    return float(middle(stored, SIDE).mean()) if checking else 0.0


def check(title: str, means: dict[str, np.ndarray]) -> None:
    """Stop where a side did other work."""
    reference = means["Pillow: draft and resize"]
    for name, mean in means.items():
        if name == DECODER or not len(mean):
            continue
        if len(mean) != len(reference) or np.abs(mean - reference).max() > GREY:
            raise SystemExit(f"{title}: {name} did other work than Pillow; no ratio")


def chart(title: str, rates: dict[str, Rates]) -> plots.Bars:
    bars = [
        plots.Bar(name, *plots.spread(found.cpu), name == OURS, name in (DECODER, KERNELS))
        for name, found in rates.items()
        if name != AGAIN
    ]
    return plots.Bars(f"From JPEG files of {title} to {SIDE} px", "pictures per second of processor time", bars)


def table(rates: dict[str, Rates]) -> str:
    """Give each side beside ours."""
    rows = [
        (name, plots.spread(found.cpu), plots.spread(found.clock), plots.spread(ratios(rates, name)))
        for name, found in rates.items()
    ]
    head = ("", "pictures/s of processor time", "pictures/s on the clock", "our scan, so many times as fast")
    return plots.table(head, rows)


def ratios(rates: dict[str, Rates], name: str) -> list[float]:
    """Divide ours by another side's, round by round, by processor time."""
    return [ours / other for ours, other in zip(rates[OURS].cpu, rates[name].cpu, strict=True)]


if __name__ == "__main__":
    main()
