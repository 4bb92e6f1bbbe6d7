"""Do altered copies of pictures end up on both sides of the split? And are unrelated pictures left alone?

    python benchmarks/copies.py [--flowers N] [--cifar N] [--seed S]
    python benchmarks/copies.py --whole
    python benchmarks/copies.py --scale [--most N]

Plants copies of the flowers (each kind of change on its own, and all at once), looks for copies, splits, and counts how
many planted pairs lie on both sides with and without near-duplicate clusters, and which clusters hold
pictures of several originals. The same for pictures of CIFAR-10 (32 px) and for crops of other textures. Those
are near-duplicates from the start, or mistakes: they are named, to be looked at. With --whole: time for all of CIFAR-10 as
it is, and how many clusters it has. With --scale: time and memory of search
for made-up descriptions and hashes, without pictures; of large sets 20,000 are asked for their neighbours, and the time
is scaled.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

import bench
from linnaeus.config import SplitSettings
from linnaeus.data.cache import Scan, scan
from linnaeus.data.sources import open_source
from linnaeus.learn.engine import one_blas_thread
from linnaeus.metrics import wilson
from linnaeus.records import Dataset, Example, Place, Preprocessing
from linnaeus.verbs.audit import Copies, find_copies
from linnaeus.verbs.split import split

KINDS = ("same bytes", "same pixels", "resized", "compressed", "cropped", "mirrored", "brighter", "all at once")
PHOTOS = Preprocessing(256, resize_px=293, interpolation="bicubic")
SMALL = Preprocessing(32)
ASKED = 20_000
"""Of a larger set only so many are asked for their neighbours; the time is scaled, since each costs the same."""


@dataclass(frozen=True)
class Planted:
    """A dataset with copies in it.

    Attributes:
        dataset: Originals, then copies.
        source: Row of each example's original, [N].
        kind: "original" or one of KINDS, [N].
    """

    dataset: Dataset
    source: np.ndarray
    kind: np.ndarray


def main() -> None:
    arguments = parse()
    if arguments.one:
        return one_size(arguments.one)
    print(bench.header())
    if arguments.scale:
        return scale(arguments.most)
    if arguments.whole:
        return whole()
    flowers = sorted((bench.SHARED / "flowers").glob("*/*.jpg"))
    draw = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        judge("flowers", plant(flowers, arguments.flowers, folder / "flowers", draw), PHOTOS, folder)
        small = [*write_cifar(bench.cifar10(folder), folder / "small", draw, 10 * arguments.cifar)]
        judge("CIFAR-10", plant(small, arguments.cifar, folder / "small copies", draw), SMALL, folder)
        textures = [*write_textures(folder / "textures")]
        judge("textures", plant(textures, len(textures) // 4, folder / "texture copies", draw), PHOTOS, folder)


def whole() -> None:
    with tempfile.TemporaryDirectory() as name:
        dataset = open_source(bench.cifar10(Path(name)), cache_dir=Path(name))
        _, copies, seconds = look(dataset, SMALL, Path(name) / "cache")
    print(f"\nCIFAR-10: {len(dataset):,} pictures, {len(copies.clusters):,} clusters; {seconds}")


def plant(originals: list[Path], count: int, folder: Path, draw: np.random.Generator) -> Planted:
    """Write one copy of each kind of `count` originals."""
    folder.mkdir(parents=True)
    examples = [Example(str(path), Place(str(path)), path.parent.name) for path in originals]
    source, kind = list(range(len(originals))), ["original"] * len(originals)
    for row in draw.permutation(len(originals))[:count].tolist():
        for number, change in enumerate(KINDS):
            path = folder / f"{row}-{number}.{'png' if change == 'same pixels' else 'jpg'}"
            write_copy(originals[row], path, change, draw)
            examples.append(Example(f"copies/{path.name}", Place(str(path)), originals[row].parent.name))
            source.append(row)
            kind.append(change)
    classes = tuple(sorted({example.label for example in examples}))
    return Planted(Dataset("planted", str(folder), tuple(examples), classes), np.array(source), np.array(kind))


def write_copy(original: Path, path: Path, kind: str, draw: np.random.Generator) -> None:
    if kind == "same bytes":
        path.write_bytes(original.read_bytes())
        return
    image = ImageOps.exif_transpose(Image.open(original)).convert("RGB")
    everything = kind == "all at once"
    if kind == "same pixels":
        image.save(path, compress_level=1)
        return
    if kind == "resized" or everything:
        factor = draw.uniform(0.4, 1.6) if max(image.size) > 100 else draw.uniform(1, 2)
        image = image.resize(tuple(max(16, round(side * factor)) for side in image.size), Image.Resampling.BICUBIC)
    if kind == "cropped" or everything:
        width, height = (round(side * (1 - draw.uniform(0.05, 0.15))) for side in image.size)
        left, top = (int(draw.integers(0, 1 + room)) for room in (image.width - width, image.height - height))
        image = image.crop((left, top, left + width, top + height))
    if kind == "mirrored" or (everything and draw.random() < 0.5):
        image = ImageOps.mirror(image)
    if kind == "brighter" or everything:
        factor = draw.uniform(0.8, 1.2)
        image = image.point(lambda value: min(255, round(value * factor)))
    quality = int(draw.integers(30, 96)) if kind == "compressed" or everything else 92
    image.save(path, quality=quality)


def judge(name: str, planted: Planted, preprocessing: Preprocessing, folder: Path) -> None:
    found, copies, seconds = look(planted.dataset, preprocessing, folder / f"cache {name}")
    originals = int((planted.kind == "original").sum())
    print(f"\n{name}: {originals:,} pictures and {len(planted.dataset) - originals:,} copies; {seconds}")
    print("\n| kind | pairs | split apart without | split apart with clusters | not in the cluster |")
    print("| --- | --- | --- | --- | --- |")
    without = split(planted.dataset, found.hashes, SplitSettings()).parts
    parts = split(planted.dataset, found.hashes, SplitSettings(), clusters=copies.keys).parts
    keys = np.array(copies.keys)
    plain = np.isin(np.arange(len(keys)), copies.plain)
    for kind in KINDS:
        rows = np.flatnonzero((planted.kind == kind) & ~plain)
        sources = planted.source[rows]
        cells = [share(one[rows] != one[sources]) for one in (without, parts, keys)]
        print(f"| {kind} | {len(rows):,} | " + " | ".join(cells) + " |")
    altered = np.flatnonzero(~np.isin(planted.kind, ("original", "same bytes", "same pixels")) & ~plain)
    print(f"\nall altered ones split apart: {share(parts[altered] != parts[planted.source[altered]])}")
    print(f"too plain to be compared, and left out above: {plain.sum():,} pictures")
    told = list(strangers(planted, copies))
    print(f"clusters with pictures of several originals: {len(told)}")
    for one in told[:40]:
        print("  " + " | ".join(one))


def look(dataset: Dataset, preprocessing: Preprocessing, cache: Path) -> tuple[Scan, Copies, str]:
    found = scan(dataset, preprocessing, cache_dir=cache, cache_gb=20)
    times = []
    for _ in range(2):
        started, processor = time.perf_counter(), time.process_time()
        with one_blas_thread():  # as an audit does
            copies = find_copies(dataset, found, preprocessing, cache_dir=cache)
        times.append(
            f"{time.perf_counter() - started:.1f} s ({time.process_time() - processor:.1f} s of processor time)"
        )
    return found, copies, f"copies found in {times[0]}, again in {times[1]}; {copies.rule}"


def strangers(planted: Planted, copies: Copies) -> Iterator[list[str]]:
    """List the originals of each cluster that has several: near-duplicates from the start, or mistakes."""
    for one in copies.clusters:
        sources = sorted({int(planted.source[row]) for row in one.rows})
        if len(sources) > 1:
            yield ["/".join(Path(planted.dataset.examples[row].id).parts[-2:]) for row in sources]


def share(wrong: np.ndarray) -> str:
    if not len(wrong):
        return "none"
    return f"{int(wrong.sum())} = {wilson(int(wrong.sum()), len(wrong)).percent()}"


def write_cifar(binary: Path, folder: Path, draw: np.random.Generator, count: int) -> Iterator[Path]:
    dataset = open_source(binary, cache_dir=folder)
    (folder / "0").mkdir(parents=True, exist_ok=True)
    for row in np.sort(draw.permutation(len(dataset))[:count]).tolist():
        place = dataset.examples[row].place
        with open(place.path, "rb") as file:
            file.seek(place.offset)
            pixels = np.frombuffer(file.read(place.length), np.uint8).reshape(3, 32, 32).transpose(1, 2, 0)
        path = folder / "0" / f"{row}.png"
        Image.fromarray(pixels).save(path)
        yield path


def write_textures(folder: Path, side: int = 64) -> Iterator[Path]:
    """Cut scikit-learn's two photographs, and noise of several roughnesses, into tiles that do not overlap."""
    from sklearn.datasets import load_sample_images

    draw = np.random.default_rng(7)
    sheets = dict(zip(("china", "flower"), load_sample_images().images, strict=True))
    for power in (0.5, 1.0, 1.5, 2.0):
        sheets[f"noise{power}"] = noise(power, draw)
    for name, sheet in sheets.items():
        (folder / name).mkdir(parents=True)
        for top in range(0, sheet.shape[0] - side + 1, side):
            for left in range(0, sheet.shape[1] - side + 1, side):
                path = folder / name / f"{top}-{left}.png"
                Image.fromarray(sheet[top : top + side, left : left + side]).save(path)
                yield path


def noise(power: float, draw: np.random.Generator, side: int = 640) -> np.ndarray:
    """Coloured noise whose spectrum falls with a power of the frequency."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None, :])
    frequency[0, 0] = 1
    layers = [np.fft.ifft2(np.fft.fft2(draw.normal(size=(side, side))) / frequency**power).real for _ in range(3)]
    stacked = np.stack(layers, axis=-1)
    return (128 + 50 * (stacked - stacked.mean()) / stacked.std()).clip(0, 255).astype(np.uint8)


def scale(most: int) -> None:
    print(
        "\n| pictures | index, CPU s | search of 12 windows, CPU s | hashes, CPU s | planted pairs found | peak memory GB |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    count = 1000
    while count <= most:
        # A process each, so that the peak is its own.
        subprocess.run([sys.executable, __file__, "--one", str(count)], check=True)
        count *= 10


def one_size(count: int) -> None:
    """Search made-up descriptions, one in ten of them a slightly changed copy of another."""
    from linnaeus.data.fingerprints import mirror_signs
    from linnaeus.learn.neighbours import Index, similar_hashes

    draw = np.random.default_rng(0)
    dimensions, copied = len(mirror_signs()), count // 10
    spectrum = (1 / np.sqrt(1 + np.arange(dimensions))).astype(np.float32)
    vectors = draw.standard_normal((count, dimensions), dtype=np.float32) * spectrum
    vectors[-copied:] = vectors[:copied] + 0.3 * draw.standard_normal((copied, dimensions), dtype=np.float32) * spectrum
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    hashes = draw.integers(2**63, size=count, dtype=np.uint64)
    hashes[-copied:] = hashes[:copied] ^ (np.uint64(1) << draw.integers(63, size=copied, dtype=np.uint64))
    index, index_s = timed(lambda: Index(vectors))
    asked = np.arange(max(0, count - ASKED), count)
    found, search_s = timed(lambda: index.search(vectors[asked], count=3, least=0.75, own=asked))
    pairs, hash_s = timed(lambda: similar_hashes(hashes, most_bits=8))
    looked_for = np.arange(copied)[-len(asked) :, None]
    right = (found.rows[-len(looked_for) :] == looked_for).any(axis=1).mean()
    by_hash = np.isin(np.arange(copied), pairs[pairs[:, 1] == pairs[:, 0] + count - copied][:, 0]).mean()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"| {count:,} | {index_s:.1f} | {12 * search_s * count / len(asked):.1f} | {hash_s:.1f} | "
        f"{100 * right:.1f} % by description, {100 * by_hash:.1f} % by hash | {peak:.2f} |",
        flush=True,
    )


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Seconds of processor time, all threads together: what else runs on the machine does not count."""
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flowers", type=int, default=500, help="originals that get a copy of each kind")
    parser.add_argument("--cifar", type=int, default=500, help="the same for CIFAR-10, among ten times as many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole", action="store_true", help="all of CIFAR-10, without planted copies")
    parser.add_argument("--scale", action="store_true", help="time and memory of search instead")
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--one", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
