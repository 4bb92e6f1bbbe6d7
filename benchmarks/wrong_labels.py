"""Are planted wrong labels found, and does leaving them out help? And does it cost nothing where labels are right?

    python benchmarks/wrong_labels.py [--seeds N] [--cifar N] [--kinds uniform similar] [--shares 0 5 10 20] [--sets flowers]
    python benchmarks/wrong_labels.py --outliers
    python benchmarks/wrong_labels.py --fine-tune [--seeds N] [--first-seed N] [--kinds uniform similar] [--shares 20]

Flips labels of the flowers and of a part of CIFAR-10, to any other class or to the most similar one, and prints for each:
precision and recall of the findings beside plain cleanlab (cross-validated logistic regression on the same features, all
settings as they come) and FiftyOne's mistakenness by its published formula, (m exp(-entropy) + 1) / 2 with m = 1 where the
model disagrees and -1 else, from the same logistic regression; it has no threshold, so that it gets as many findings as
there are wrong labels, which it could not know. (FiftyOne itself comes with a database and a server.) Then test accuracy
of a head trained on clean, dirty, pruned, down-weighted and repaired labels. Each seed has another test part
and other flips. Intervals: Student's over seeds; of the gain, paired by seed.

With --outliers: how many pictures are called outliers in the flowers, 5,000 pictures of CIFAR-10 and the digits as they are,
and how many of some that are planted there with random labels.

With --fine-tune: whole networks in place of heads, on the flowers. `linnaeus train` is run as anybody would, on a table
with the flipped labels, with and without --clean auto, and on the repaired labels: EfficientNet-Lite0 is fine-tuned from
its solved head at 96 px for 2 epochs, all stages of it (on a CPU without the depthwise filters). Labels of validation
pictures are flipped like those for training; test labels are right.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import bench
from linnaeus.data.cache import scan
from linnaeus.data.sources import open_source
from linnaeus.learn.clean import clean
from linnaeus.learn.components import components
from linnaeus.learn.crossfit import cross_fit, folds_of_keys
from linnaeus.learn.discriminant import FoldSums
from linnaeus.learn.embeddings import embed
from linnaeus.metrics.labels import judge_labels, overall_noise
from linnaeus.records import Preprocessing
from linnaeus.verbs.audit.labels import strangers

TEST_OF_CIFAR = 2000
PENALTY = 0.1


@dataclass(frozen=True)
class Source:
    """Features, labels and content hashes of one set."""

    name: str
    x: np.ndarray
    y: np.ndarray
    keys: list[str]
    test: float

    def split(self, seed: int) -> Data:
        """Deal out a test part whose labels are never touched; copies stay together."""
        salted = folds_of_keys([f"{seed} {key}" for key in self.keys], 1000)
        return Data(self, salted < 1000 * self.test)


class Data:
    """A training part and a test part."""

    def __init__(self, source: Source, test: np.ndarray) -> None:
        self.out = test
        self.test_x, self.test_y = source.x[test], source.y[test]
        self.x, self.y = source.x[~test], source.y[~test]
        self.keys = [key for key, out in zip(source.keys, test, strict=True) if not out]
        self.K = int(source.y.max()) + 1
        self.folds = folds_of_keys(self.keys)
        given = np.eye(self.K, dtype=np.float32)[self.y]
        logits = FoldSums.of(components(self.x), self.folds).out_of_fold(given, 0.4)
        confused = np.zeros((self.K, self.K))
        np.add.at(confused, (self.y, logits.argmax(1)), 1)
        np.fill_diagonal(confused, -1)
        self.similar = confused.argmax(1)

    def dirty(self, share: float, kind: str, seed: int) -> np.ndarray:
        draw, dirty = np.random.default_rng(seed), self.y.copy()
        rows = draw.permutation(len(dirty))[: round(share * len(dirty))]
        shift = draw.integers(1, self.K, len(rows))
        dirty[rows] = self.similar[dirty[rows]] if kind == "similar" else (dirty[rows] + shift) % self.K
        return dirty


def main() -> None:
    arguments = parse()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    print(bench.header())
    if arguments.outliers:
        return planted_outliers(arguments.cache)
    if arguments.fine_tune:
        return fine_tune(arguments)
    for name in arguments.sets:
        source = flowers(arguments.cache) if name == "flowers" else cifar10(arguments.cache, arguments.cifar)
        first = source.split(0)
        print(f"\n{source.name}: {len(first.y)} for training, {len(first.test_y)} for testing, {first.K} classes")
        for kind in arguments.kinds:
            for share in arguments.shares:
                if share or kind == arguments.kinds[0]:
                    one(source, share / 100, kind, arguments.seeds)


def one(source: Source, share: float, kind: str, seeds: int) -> None:
    found: dict[str, list[tuple[float, float, float]]] = {}
    accuracy: dict[str, list[float]] = {}
    counts, noises, seconds = [], [], []
    for seed in range(seeds):
        data = source.split(seed)
        dirty = data.dirty(share, kind, seed)
        bad = dirty != data.y
        started = time.perf_counter()
        fitted = cross_fit(data.x, dirty, data.folds)
        judged = judge_labels(fitted.noise, fitted.labels)
        seconds.append(time.perf_counter() - started)
        likely, wrong = np.zeros(len(bad), bool), np.zeros(len(bad))
        likely[fitted.rows], wrong[fitted.rows] = judged.likely, judged.wrong
        counts.append(likely.sum())
        noises.append(overall_noise(wrong).value)
        if share:
            theirs = rivals(data, dirty, bad)
            # As many findings as cleanlab has, from our order: precision and recall can then be compared directly.
            as_many = wrong >= np.sort(wrong)[-max(1, theirs["cleanlab"][0].sum())]
            ours = {"linnaeus": (likely, wrong), "... as many": (as_many, wrong)}
            for name, (flags, order) in {**ours, **theirs}.items():
                found.setdefault(name, []).append(judge(flags, order, bad))
        for name, value in trainings(data, dirty, bad, seed).items():
            accuracy.setdefault(name, []).append(value)
    words = f"estimated {100 * np.mean(noises):.1f} % wrong, {np.mean(counts):.0f} likely, {np.mean(seconds):.1f} s"
    print(f"{kind} {100 * share:.0f} %: {words}", flush=True)
    for name, values in found.items():
        precision, recall, average = np.mean(values, axis=0)
        print(f"  {name:13} precision {precision:.3f}  recall {recall:.3f}  average precision {average:.3f}")
    for name, scores in accuracy.items():
        gain = "" if name == "dirty" else f"  gain over dirty {interval(np.array(scores) - accuracy['dirty'])}"
        print(f"  trained on {name:9} {interval(np.array(scores))}{gain}", flush=True)


PLANTED = (("flowers", "CIFAR-10", 5), ("flowers", "CIFAR-10", 60), ("flowers", "CIFAR-10", 200), ("CIFAR-10", "flowers", 100),
           ("digits", "flowers", 40), ("digits", "CIFAR-10", 40))  # fmt: skip


def planted_outliers(cache: Path) -> None:
    """Count what is told in sets as they are, and with pictures of another set among them."""
    sets = {one.name: one for one in (flowers(cache), cifar10(cache, 5000 - TEST_OF_CIFAR), digits(cache))}
    for one in sets.values():
        told, limit, chance = outlying(one.x, one.y, one.keys)
        print(
            f"{one.name}: {told.sum()} of {len(told):,} (limit {limit:.1f}, by chance about {chance:.0f})", flush=True
        )
    for name, other, count in PLANTED:
        one, draw = sets[name], np.random.default_rng(1)
        rows = draw.permutation(len(sets[other].x))[:count]
        labels = np.concatenate([one.y, draw.integers(0, one.y.max() + 1, count)])
        keys = one.keys + [sets[other].keys[row] for row in rows.tolist()]
        told, limit, _ = outlying(np.concatenate([one.x, sets[other].x[rows]]), labels, keys)
        inside = told[: len(one.x)].sum()
        print(
            f"{name} + {count} of {other}: {told.sum() - inside} of these, {inside} others (limit {limit:.1f})",
            flush=True,
        )


def outlying(x: np.ndarray, y: np.ndarray, keys: list[str]) -> tuple[np.ndarray, float, float]:
    _, found = strangers(x, keys, cross_fit(x, y, folds_of_keys(keys)))
    return found.strange, found.threshold, found.by_chance


FINE_TUNING = ("--epochs", "2", "--set", "data.size_px=96", "--set", "model.freeze=none")
VALIDATED = 0.15


def fine_tune(arguments: argparse.Namespace) -> None:
    """Train whole networks on dirty, cleaned and repaired labels of the flowers."""
    source = flowers(arguments.cache)
    paths = [str(bench.FLOWERS / one.id) for one in open_source(str(bench.FLOWERS), cache_dir=arguments.cache).examples]
    for kind in arguments.kinds:
        for share in (one / 100 for one in arguments.shares if one):
            accuracy: dict[str, list[float]] = {"dirty": [], "cleaned": [], "repaired": []}
            for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
                started = time.perf_counter()
                for name, value in trained(source, paths, share, kind, seed, arguments.cache):
                    accuracy[name].append(value)
                told = ", ".join(f"{name} {100 * values[-1]:.1f}" for name, values in accuracy.items())
                print(
                    f"  {kind} {100 * share:.0f} %, seed {seed}: {told} ({time.perf_counter() - started:.0f} s)",
                    flush=True,
                )
            for name, scores in accuracy.items():
                gain = interval(np.array(scores) - accuracy["dirty"])
                more = "" if name == "dirty" else f"  gain over dirty {gain}"
                print(f"  fine-tuned on {name:9} {interval(np.array(scores))}{more}", flush=True)


def trained(
    source: Source, paths: list[str], share: float, kind: str, seed: int, cache: Path
) -> Iterator[tuple[str, float]]:
    """Run the command on three tables that differ in labels only."""
    data = source.split(seed)
    names = sorted({Path(path).parent.name for path in paths})
    dirty = source.y.copy()
    dirty[~data.out] = data.dirty(share, kind, seed)
    validated = folds_of_keys([f"val {seed} {key}" for key in source.keys], 1000) < 1000 * VALIDATED
    part = np.where(data.out, "test", np.where(validated, "val", "train"))
    for name, labels, options in (
        ("dirty", dirty, ()),
        ("cleaned", dirty, ("--clean", "auto")),
        ("repaired", source.y, ()),
    ):
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "flowers.csv"
            rows = zip(paths, labels.tolist(), part.tolist(), strict=True)
            table.write_text("path,label,split\n" + "".join(f"{path},{names[k]},{side}\n" for path, k, side in rows))
            outcome = bench.train(table, *FINE_TUNING, *options, "--seed", str(seed), cache=cache)
        yield name, outcome.accuracy["value"]


def rivals(data: Data, dirty: np.ndarray, bad: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Give flags and an order, the likeliest wrong with the largest number."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    probabilities = np.empty((len(dirty), data.K))
    for fold in np.unique(data.folds):
        out = data.folds == fold
        probabilities[out] = predict(data.x[~out], dirty[~out], data.x[out], data.K)
    entropy = -(probabilities * np.log(probabilities + 1e-12)).sum(1)
    disagrees = np.where(probabilities.argmax(1) == dirty, -1, 1)
    mistakenness = (disagrees * np.exp(-entropy) + 1) / 2
    cleanlab = find_label_issues(dirty, probabilities, n_jobs=1)
    top = mistakenness >= np.sort(mistakenness)[-bad.sum()]
    return {
        "cleanlab": (cleanlab, 1 - get_label_quality_scores(dirty, probabilities)),
        "mistakenness": (top, mistakenness),
    }


def judge(flags: np.ndarray, order: np.ndarray, bad: np.ndarray) -> tuple[float, float, float]:
    from sklearn.metrics import average_precision_score

    return (
        (flags & bad).sum() / max(1, flags.sum()),
        (flags & bad).sum() / bad.sum(),
        average_precision_score(bad, order),
    )


def trainings(data: Data, dirty: np.ndarray, bad: np.ndarray, seed: int) -> dict[str, float]:
    dropped = clean(data.x, dirty, data.keys, seed=seed)
    weighed = clean(data.x, dirty, data.keys, how="weigh", seed=seed)

    def score(labels: np.ndarray, weights: np.ndarray) -> float:
        return float((predict(data.x, labels, data.test_x, data.K, weights).argmax(1) == data.test_y).mean())

    one = np.ones(len(dirty))
    scores = {
        "dirty": score(dirty, one),
        "pruned": score(dirty, dropped.weights),
        "weighed": score(dirty, weighed.weights),
    }
    return {**scores, "repaired": score(data.y, one)} if bad.any() else scores


def predict(x: np.ndarray, y: np.ndarray, test: np.ndarray, K: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Fit a logistic regression on standardised features and give probabilities for others."""
    mean, deviation = x.mean(0), np.maximum(x.std(0), 1e-6)
    standard, labels = torch.from_numpy((x - mean) / deviation), torch.from_numpy(y)
    weight = torch.ones(len(y)) if weights is None else torch.from_numpy(weights).float()
    kept = weight > 0
    standard, labels, weight = standard[kept], labels[kept], weight[kept]
    both = torch.zeros(K, x.shape[1] + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([both], max_iter=60, tolerance_grad=1e-4, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        losses = torch.nn.functional.cross_entropy(standard @ both[:, :-1].T + both[:, -1], labels, reduction="none")
        loss = (losses * weight).sum() / weight.sum() + 0.5 * PENALTY * both[:, :-1].square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        logits = torch.from_numpy((test - mean) / deviation) @ both[:, :-1].T + both[:, -1]
        return logits.softmax(1).double().numpy()


def interval(values: np.ndarray) -> str:
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{100 * values.mean():+.2f} +- {100 * half:.2f}"


def flowers(cache: Path) -> Source:
    stored = Preprocessing(224, resize_px=256, interpolation="bicubic")
    dataset = open_source(str(bench.SHARED / "flowers"), cache_dir=cache)
    looked = scan(dataset, stored, cache_dir=cache / "pixels", cache_gb=8)
    x = embed(looked, stored, cache_dir=cache / "pixels", cache_gb=8)
    return Source("flowers", x, dataset.labels, list(looked.hashes), 0.25)


def cifar10(cache: Path, count: int) -> Source:
    stored = Preprocessing(32)
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_source(str(bench.cifar10(Path(folder))), cache_dir=cache)
        rows = np.random.default_rng(0).permutation(len(dataset))[: count + TEST_OF_CIFAR]
        dataset = dataset.take(rows)
        looked = scan(dataset, stored, cache_dir=cache / "pixels", cache_gb=8)
        x = embed(looked, stored, cache_dir=cache / "pixels", cache_gb=8)
    return Source("CIFAR-10", x, dataset.labels, list(looked.hashes), TEST_OF_CIFAR / len(rows))


def digits(cache: Path) -> Source:
    stored = Preprocessing(8, channels=1, mean=(0.5,), std=(0.5,))
    dataset = open_source("digits", cache_dir=cache)
    looked = scan(dataset, stored, cache_dir=cache / "pixels", cache_gb=8)
    x = embed(looked, stored, cache_dir=cache / "pixels", cache_gb=8)
    return Source("digits", x, dataset.labels, list(looked.hashes), 0.25)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cifar", type=int, default=4000, help="training pictures of CIFAR-10")
    parser.add_argument("--kinds", nargs="+", default=["uniform", "similar"], choices=["uniform", "similar"])
    parser.add_argument("--shares", nargs="+", type=float, default=[0, 5, 10, 20], help="percent of flipped labels")
    parser.add_argument("--sets", nargs="+", default=["flowers", "CIFAR-10"], choices=["flowers", "CIFAR-10"])
    parser.add_argument("--outliers", action="store_true", help="look for pictures of no class instead")
    parser.add_argument("--fine-tune", action="store_true", help="train whole networks, of the flowers only")
    parser.add_argument("--first-seed", type=int, default=0, help="of --fine-tune, to go on with more seeds")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "linnaeus-wrong-labels")
    return parser.parse_args()


if __name__ == "__main__":
    main()
