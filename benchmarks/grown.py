"""What does it cost to judge the labels of a folder that has grown by ten pictures? And are the answers those of a fit?

    python benchmarks/grown.py [--sizes N ...] [--new N] [--fresh]

Makes features of N pictures in 15 classes that overlap, 5 % of the labels wrong (no pictures: these features are as many
and as wide as those of an audit). All but NEW of them are fitted, from an empty cache; then all are judged, which takes the
kept heads. Given are processor seconds of both and their ratio, the size of what is kept, and the peak of memory. With
--fresh everything is also fitted from scratch, and the answers are compared: the largest and the mean difference of the
probability that a label is right, of new pictures and of the others, and how many suspects both name.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import bench
from linnaeus.learn.engine import one_blas_thread
from linnaeus.records import Dataset, Example, Place
from linnaeus.verbs.audit import audit_labels, opinions_on
from linnaeus.verbs.audit.labels import LabelAudit

D, K, HIDDEN, WRONG = 1280, 15, 64, 0.05
BLOCK = 8192


def main() -> None:
    arguments = parse()
    if arguments.one:
        with one_blas_thread():
            return one_size(arguments.one, arguments.new, arguments.fresh)
    print(bench.header())
    print(f"\n| pictures | fitted, CPU s | {arguments.new} more, CPU s | ratio | kept MB | peak memory GB | compared |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    more = ["--new", str(arguments.new), *(["--fresh"] if arguments.fresh else [])]
    for n in arguments.sizes:
        # A process each, so that the peak is its own.
        subprocess.run([sys.executable, __file__, "--one", str(n), *more], check=True)


def one_size(n: int, new: int, fresh: bool) -> None:
    dataset, hashes, features = made_up(n)
    keys = [f"hash:{one}" for one in hashes]

    def judged(cache: str, count: int) -> LabelAudit:
        some = dataset.take(range(count))
        opinions, _, _ = opinions_on(Path(cache), "made up", some, hashes[:count], keys[:count], features[:count])
        return audit_labels(some, features[:count], keys[:count], opinions)

    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as other:
        _, fitted_s = timed(lambda: judged(cache, n - new))
        kept_mb = sum(path.stat().st_size for path in Path(cache).glob("*/*")) / 1e6
        grown, grown_s = timed(lambda: judged(cache, n))
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        compared = differences(grown, judged(other, n), new) if fresh else ""
    print(
        f"| {n:,} | {fitted_s:.1f} | {grown_s:.1f} | {fitted_s / grown_s:.0f} | {kept_mb:.0f} | {peak_gb:.1f} | {compared} |",
        flush=True,
    )


def differences(grown: LabelAudit, fresh: LabelAudit, new: int) -> str:
    quality = np.array([[row.quality for row in one.rows] for one in (grown, fresh)], float)
    apart = np.abs(quality[0] - quality[1])
    ours, theirs = ({row.id for row in one.rows if row.suggested} for one in (grown, fresh))
    parts = (("new", apart[-new:]), ("others", apart[:-new]))
    told = ", ".join(f"{name} {part.max():.3f} at most, {part.mean():.5f} on average" for name, part in parts)
    return f"{told}; suspects {len(ours)} and {len(theirs)}, {len(ours & theirs)} in both"


def made_up(n: int) -> tuple[Dataset, list[str], np.ndarray]:
    """Make features as a network with a last ReLU gives them."""
    draw = np.random.default_rng(0)
    right = draw.integers(0, K, n)
    given = np.where(draw.random(n) < WRONG, draw.integers(0, K, n), right)
    spread = (draw.normal(size=(HIDDEN, D)) / 8).astype(np.float32)
    centres = draw.normal(0, 0.6, (K, HIDDEN)).astype(np.float32)
    features = np.empty((n, D), np.float32)
    for begin in range(0, n, BLOCK):
        some = right[begin : begin + BLOCK]
        hidden = centres[some] + draw.standard_normal((len(some), HIDDEN), dtype=np.float32)
        noise = 0.3 * draw.standard_normal((len(some), D), dtype=np.float32)
        features[begin : begin + BLOCK] = np.maximum(hidden @ spread + noise + 0.3, 0)
    names = tuple(f"class {k:02}" for k in range(K))
    examples = tuple(Example(f"{row}.jpg", Place(""), names[k]) for row, k in enumerate(given.tolist()))
    hashes = [hashlib.sha256(str(row).encode()).hexdigest() for row in range(n)]
    return Dataset("made up", "made up", examples, names), hashes, features


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Seconds of processor time: what else runs on the machine counts little."""
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=(10_000, 30_000, 100_000), help="pictures of each set")
    parser.add_argument("--new", type=int, default=10, help="pictures that come later")
    parser.add_argument("--fresh", action="store_true", help="compare with a fit from scratch")
    parser.add_argument("--one", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
