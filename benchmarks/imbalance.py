"""What helps where some classes have few pictures: every option of train.balance and train.loss on long-tailed cuts.

    python benchmarks/imbalance.py [--ratio 50] [--seeds 5] [--network-seeds 2] [--only heads,networks] [--cifar FOLDER]
        [--data flowers,cifar10] [--options none,weights,auto]

Flowers and a part of CIFAR-10 are cut so that the largest class has RATIO times as many pictures as the smallest, the
sizes between them falling exponentially; each seed has another order of the classes and other pictures. 18 % of what is
left validates. The test part is balanced: 100 flowers and 150 pictures of CIFAR-10 of each class.

heads: a linear head on the features of EfficientNet-Lite0. networks: flowers fine-tuned from such a head at 128 px, and
a small network from nothing on CIFAR-10. Prints, as means over the seeds with Student's 95 % intervals: balanced accuracy
and macro F1; their paired differences from "none"; and what calibration on the (long-tailed) validation part does to
log loss (test pictures weighted as frequent as their class is) and balanced accuracy, also where the answer is then the
class of least cost, a mistake costing by the inverse size of its class.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t as student

import bench
from linnaeus.config import Recipe, TrainSettings, load_recipe
from linnaeus.data.cache import Scan, scan
from linnaeus.data.folders import default_cache_dir
from linnaeus.data.sources import open_source
from linnaeus.learn.balance import settle_head
from linnaeus.learn.embeddings import embed
from linnaeus.learn.engine import Machine
from linnaeus.learn.head import folds_of
from linnaeus.learn.material import Material
from linnaeus.metrics.calibration import Calibration, fit_calibration
from linnaeus.metrics.costs import cheapest, costs_of_sizes
from linnaeus.records import Dataset, Preprocessing, Split
from linnaeus.run import Run
from linnaeus.talk import Clock, Talk
from linnaeus.verbs.plan import Facts, plan, preprocessing
from linnaeus.verbs.train import train

OPTIONS = {
    "none": {"balance": "none"},
    "weights": {"balance": "weights"},
    "oversample": {"balance": "oversample"},
    "undersample": {"balance": "undersample"},
    "smote": {"balance": "smote"},
    "focal": {"balance": "none", "loss": "focal"},
    "logit-adjusted": {"balance": "none", "loss": "logit-adjusted"},
    "auto": {"balance": "auto"},
}
TEST_OF_A_CLASS = {"flowers": 100, "cifar10": 150}
TRAIN_OF_A_CLASS = 600
VAL = 0.18


@dataclass(frozen=True)
class Data:
    """Pictures as they were scanned."""

    name: str
    dataset: Dataset
    found: Scan
    how: Preprocessing

    @classmethod
    def open(cls, name: str, source: str | Path, how: Preprocessing) -> Data:
        dataset = open_source(str(source), data_dir=None, cache_dir=default_cache_dir())
        if name == "cifar10":
            dataset = dataset.take(some_of_each(dataset))
        found = scan(dataset, how, cache_dir=default_cache_dir() / "pixels", cache_gb=5, progress=lambda *_: None)
        return cls(name, dataset, found, how)

    def cut(self, ratio: float, seed: int) -> Split:
        """Make a long tail, and a balanced test part; "" is not used."""
        draw, labels = np.random.default_rng(seed), self.dataset.labels
        K = len(self.dataset.classes)
        given = np.array([one.split for one in self.dataset.examples])
        parts = np.full(len(labels), "", dtype="<U5")
        pools = []
        for k in range(K):
            rows = draw.permutation(np.flatnonzero(labels == k))
            tested = rows[given[rows] == "test"] if "test" in given else rows[: TEST_OF_A_CLASS[self.name]]
            parts[tested] = "test"
            pools.append(rows[~np.isin(rows, tested)])
        most = min(map(len, pools))
        for place, k in enumerate(draw.permutation(K)):
            kept = pools[k][: max(2, round(most * ratio ** (-place / (K - 1))))]
            val = max(1, round(VAL * len(kept)))
            parts[kept[:val]], parts[kept[val:]] = "val", "train"
        return Split(parts, parts)


def some_of_each(dataset: Dataset) -> np.ndarray:
    """Take a part of CIFAR-10, so that the benchmark takes minutes."""
    draw, labels = np.random.default_rng(0), dataset.labels
    given = np.array([one.split for one in dataset.examples])
    return np.sort(
        np.concatenate(
            [
                draw.permutation(np.flatnonzero((labels == k) & (given == part)))[:count]
                for part, count in (("train", TRAIN_OF_A_CLASS), ("test", TEST_OF_A_CLASS["cifar10"]))
                for k in range(len(dataset.classes))
            ]
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratio", type=float, default=50)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--network-seeds", type=int, default=2)
    parser.add_argument("--only", default="heads,networks")
    parser.add_argument("--data", default="flowers,cifar10")
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--options", default=",".join(OPTIONS))
    asked = parser.parse_args()
    for name in set(OPTIONS) - set(asked.options.split(",")):
        del OPTIONS[name]
    print(bench.header())
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.data.split(","):
            source = bench.SHARED / "flowers" if name == "flowers" else asked.cifar or bench.cifar10(Path(folder))
            if "heads" in asked.only:
                heads(name, source, asked.ratio, asked.seeds)
            if "networks" in asked.only:
                networks(name, source, asked.ratio, asked.network_seeds)


def heads(name: str, source: str | Path, ratio: float, seeds: int) -> None:
    """Solve a head with every option."""
    data = Data.open(name, source, Preprocessing(size_px=224 if name == "flowers" else 32, resize="squash"))
    features = torch.from_numpy(
        embed(data.found, data.how, cache_dir=default_cache_dir() / "pixels", cache_gb=5).astype(np.float32)
    )

    def answer(settings: TrainSettings, split: Split, seed: int) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
        rows = split.rows("train")
        folds = folds_of([data.found.hashes[row] for row in rows])
        labels = torch.from_numpy(data.dataset.labels[rows])
        head, settled = settle_head(features[rows], labels, len(data.dataset.classes), folds, settings, seed)
        return lambda some: (features[some] @ head.weight.T + head.bias).numpy(), settled.balance

    options = {one: TrainSettings(**given) for one, given in OPTIONS.items() if one != "oversample"}
    table(f"{name}, head", data, options, answer, ratio, seeds)


def networks(name: str, source: str | Path, ratio: float, seeds: int) -> None:
    """Train networks with every option, as the command does."""
    asked = {"data.size_px": 128} if name == "flowers" else {}
    recipes = {
        one: load_recipe(None, asked | {f"train.{key}": value for key, value in given.items()})
        for one, given in OPTIONS.items()
        if name == "flowers" or one != "smote"
    }
    facts = Facts(2500, 500, 1000, 5, 300, False) if name == "flowers" else Facts(4000, 1500, 1250, 10, 32, False)
    used = {one: plan(recipe, facts, Machine.here())[0] for one, recipe in recipes.items()}
    data = Data.open(name, source, preprocessing(used["none"]))

    def answer(recipe: Recipe, split: Split, seed: int) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
        material = Material(
            data.found.pixels, data.dataset.labels, data.found.hashes, split, data.dataset.classes, data.how
        )
        with tempfile.TemporaryDirectory() as folder:
            recipe = recipe.model_copy(update={"seed": seed})
            run = Run.create(Path(folder) / "run", name, recipe, {})
            trained = train(run, material, recipe, clock=Clock(None), talk=Talk())
        settled = [one.value for one in trained.fitted.decisions if one.setting == "train.balance"]
        return lambda rows: trained.classifier.logits(material.blocks(rows)), str(settled[-1] if settled else "")

    table(f"{name}, {used['none'].model.name}", data, used, answer, ratio, seeds)


def table(
    title: str,
    data: Data,
    options: dict[str, TrainSettings] | dict[str, Recipe],
    answer: Callable[..., tuple[Callable[[np.ndarray], np.ndarray], str]],
    ratio: float,
    seeds: int,
) -> None:
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    chosen: Counter[str] = Counter()
    for seed in range(seeds):
        split = data.cut(ratio, seed)
        for name, settings in options.items():
            started = time.perf_counter()
            logits_of, settled = answer(settings, split, seed)
            scores[name, "s"].append(time.perf_counter() - started)
            chosen.update([settled] if name == "auto" else [])
            for score, value in measured(data, split, logits_of, kinds[name]):
                scores[name, score].append(value)
        told = (
            f"{name} {100 * scores[name, 'balanced'][-1]:.1f}, {100 * scores[name, 'f1'][-1]:.1f}" for name in options
        )
        print(f"  {title}, seed {seed}: {'; '.join(told)}", file=sys.stderr, flush=True)
    sizes = np.bincount(data.dataset.labels[data.cut(ratio, 0).rows("train")])
    print(
        f"\n## {title}: {int(sizes.sum())} training pictures, {sizes.max()} to {sizes.min()} of a class, {seeds} seeds\n"
    )
    print("| option | balanced accuracy | against none | macro F1 | against none | log loss raw, calibrated |", end="")
    print(" balanced accuracy, calibrated | and by cost | calibration | s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in options:
        print(row(name, scores, kinds[name]), flush=True)
    if "auto" not in options:
        return
    worse = [
        one for one in ("balanced", "f1") if interval(np.subtract(scores["auto", one], scores["none", one]))[2] < 0
    ]
    print(
        f"\nauto took {dict(chosen)}; against none it is {'WORSE in ' + ', '.join(worse) if worse else 'never worse'}."
    )


def measured(
    data: Data, split: Split, logits_of: Callable[[np.ndarray], np.ndarray], kinds: Counter[str]
) -> Iterator[tuple[str, float]]:
    """Score the logits of the test part, as they are and calibrated on the validation part."""
    labels, K = data.dataset.labels, len(data.dataset.classes)
    test, val = split.rows("test"), split.rows("val")
    logits = logits_of(test).astype(np.float64)
    calibration = fit_calibration(logits_of(val), labels[val])
    kinds[calibration.kind] += 1
    share = np.bincount(labels[split.rows("train")], minlength=K)[labels[test]].astype(float)
    sizes = costs_of_sizes(np.bincount(labels[split.rows("train")], minlength=K))
    plain, calibrated = Calibration().probabilities(logits), calibration.probabilities(logits)
    ways = {"": plain.argmax(1), "calibrated ": calibrated.argmax(1), "by cost ": cheapest(calibrated, sizes)}
    for name, predicted in ways.items():
        p = calibrated if name else plain
        confusion = np.zeros((K, K))
        np.add.at(confusion, (labels[test], predicted), 1)
        hits = confusion.diagonal()
        yield f"{name}balanced", float((hits / confusion.sum(1)).mean())
        yield f"{name}f1", float((2 * hits / (confusion.sum(0) + confusion.sum(1))).mean())
        surprise = -np.log(np.maximum(p[np.arange(len(test)), labels[test]], 1e-12))
        yield f"{name}loss", float(np.average(surprise, weights=share))


def row(name: str, scores: dict[tuple[str, str], list[float]], kinds: Counter[str]) -> str:
    cells = [name]
    for one in ("balanced", "f1"):
        cells.append(percent(scores[name, one]))
        difference = np.subtract(scores[name, one], scores["none", one])
        cells.append("" if name == "none" else percent(difference, sign="+"))
    losses = (np.mean(scores[name, f"{one}loss"]) for one in ("", "calibrated "))
    cells.append(", ".join(f"{one:.3f}" for one in losses))
    cells += [percent(scores[name, f"{one} balanced"]) for one in ("calibrated", "by cost")]
    cells.append(", ".join(f"{count} {kind}" for kind, count in kinds.most_common()))
    cells.append(f"{np.median(scores[name, 's']):.0f}")
    return "| " + " | ".join(cells) + " |"


def percent(values: list[float] | np.ndarray, sign: str = "") -> str:
    mean, low, high = (100 * one for one in interval(values))
    return f"{mean:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"


def interval(values: list[float] | np.ndarray) -> tuple[float, float, float]:
    """Compute the mean over seeds with Student's interval."""
    mean, n = float(np.mean(values)), len(values)
    half = float(student.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5) if n > 1 else 0.0
    return mean, mean - half, mean + half


if __name__ == "__main__":
    main()
