"""The measured tables of both READMEs and their plot, from what the other scripts have kept.

    python benchmarks/readme.py

Reads docs/first-job.json, docs/cifar10-lessons.json, docs/decode.json, docs/fine-tune.json, docs/first-model.json,
docs/predict-speed.json, docs/predict-start.json and benchmarks/cifar10.jsonl, and writes between the marks `accuracy`, `lessons`,
`decode`, `beside` and `start` of README.md and README.zh-CN.md, and docs/beside.svg. A test compares them.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import bench
import cifar10
import decode as decoding
import fine_tune
import plots
from linnaeus.metrics.intervals import wilson

PAGES = (bench.ROOT / "README.md", bench.ROOT / "README.zh-CN.md")
DOCS = bench.ROOT / "docs"
PLOT, FIRST_JOB = DOCS / "beside.svg", DOCS / "first-job.json"
HEAD = ("pictures", "test accuracy (95 % interval, n)", "over seeds", "seconds: median (min to max)")
PRESETS = ("cifar10-95", "cifar10-94", "cifar10-90", "cifar10-75")
CIFAR_TEST = 10_000


def main() -> None:
    for page in PAGES:
        for name, table in TABLES.items():
            plots.into_page(page, name, table())
    plots.bars(PLOT, bars(), "two cores; but for CIFAR-10: photographs of flowers, EfficientNet-Lite0")
    print("\n\n".join(table() for table in TABLES.values()))


def kept(name: str) -> Any:
    return json.loads((DOCS / f"{name}.json").read_text(encoding="utf-8"))


def accuracy() -> str:
    """Lay out what the commands reach, and in which time."""
    return plots.table(HEAD, [*first_job(kept("first-job")["runs"]), *flowers(), *presets()])


def first_job(kept: Mapping[str, list[Mapping[str, float]]]) -> list[tuple[str, ...]]:
    return [
        (
            name,
            shown(runs[0], runs[0]["n"]),
            over([one["value"] for one in runs]),
            took([one["seconds"] for one in runs]),
        )
        for name, runs in kept.items()
    ]


def flowers() -> list[tuple[str, ...]]:
    rows, runs = [], list(kept("fine-tune")["gain"]["runs"].values())
    for effort, words in (("balanced", "flowers"), ("quick", "flowers, `--effort quick`")):
        values, sizes = [100 * one[effort]["accuracy"] for one in runs], [one[effort]["n"] for one in runs]
        mean, low, high = fine_tune.interval(values)
        spread = f"{mean:.1f} +- {statistics.stdev(values):.1f} ({len(runs)} splits of {min(sizes)} to {max(sizes)})"
        seconds = took([one[effort]["seconds"] for one in runs])
        rows.append((words, f"{mean:.1f} % ({low:.1f} to {high:.1f}, mean of {len(runs)} splits)", spread, seconds))
    return rows


def presets() -> list[tuple[str, ...]]:
    rows = []
    for name in PRESETS:
        runs = sorted(cifar10.kept(name), key=lambda one: one.seed)
        right = wilson(round(runs[0].accuracy * CIFAR_TEST), CIFAR_TEST)
        first = {"value": right.value, "low": right.low, "high": right.high}
        values, seconds = [one.accuracy for one in runs], [one.seconds for one in runs]
        rows.append((f"cifar10, `--recipe {name}`", shown(first, CIFAR_TEST, 2), over(values, 2), took(seconds)))
    return rows


def shown(one: Mapping[str, float], n: int, digits: int = 1) -> str:
    return f"{100 * one['value']:.{digits}f} % ({100 * one['low']:.1f} to {100 * one['high']:.1f}, {n:,})"


def over(shares: Sequence[float], digits: int = 1) -> str:
    values = [100 * one for one in shares]
    spread = f" +- {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread} ({len(values)})"


def took(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.0f} ({min(seconds):.0f} to {max(seconds):.0f})"


def lessons() -> str:
    """Lay out how soon we are as accurate as the lessons."""

    def reached(one: Mapping[str, Any], seconds: str) -> str:
        return f"{100 * one['accuracy']:.1f} % in {one[seconds]:.0f} s"

    rows = []
    for lesson, ours in cifar10.beside_lessons():
        found = ["less accurate", "none", "none"]
        if ours is not None:
            ratios = (times(lesson["seconds"], ours[kind]) for kind in ("learned_s", "seconds"))
            found = [reached(ours, "learned_s"), *ratios]
        rows.append((f"{lesson['name']}, its best epoch", reached(lesson, "seconds"), *found))
    return plots.table(("CIFAR-10 from nothing", "the lesson", "Linnaeus", "times", "to the whole report"), rows)


def decode() -> str:
    """Lay out how much sooner photographs are at the network's size than with other programs."""
    sets = decoded()
    rows = [
        (name, *(f"{statistics.median(decoding.ratios(rates, name)):.2g} times" for rates in sets.values()))
        for name in next(iter(sets.values()))
        if not name.startswith(("limit", "Linnaeus"))
    ]
    return plots.table(("beside", *sets), rows)


def decoded() -> dict[str, dict[str, decoding.Rates]]:
    """Give the rates of all sides for each set of photographs."""
    return decoding.rates_of(kept("decode"))


def start() -> str:
    """Lay out how long one picture takes in a new process."""
    names = {
        "--help": "`linnaeus --help`",
        "kept": "`linnaeus predict` of one picture, the runtime's file kept",
        "pytorch": "`linnaeus predict` of one picture by PyTorch",
    }
    found = kept("predict-start")["seconds"]
    rows = [(words, plots.spread(found[name])) for name, words in names.items()]
    return plots.table(("in a new process", "seconds: median (least to most)"), rows)


def beside() -> str:
    """Lay out ours beside other programs."""
    first, ours = first_models(), "Linnaeus"
    tuned, predicted = fine_tune.rates(kept("fine-tune")["speed"]), predictions()
    rows = [
        (
            "a first model, from the command to the report",
            f"{first['ours'][0]:.1f} s, {first['ours'][1]:.1f} % right",
            f"fastai `fine_tune(1)`: {first['fastai'][0]:.0f} s, {first['fastai'][1]:.1f} % right",
            f"{first['fastai'][0] / first['ours'][0]:.0f}",
        ),
        tuning(
            "fine-tuning as it is by default", tuned["ours, as it is by default"], fine_tune.both_epochs(tuned), tuned
        ),
        tuning(
            "fine-tuning every layer",
            tuned["ours, everything trained"],
            tuned["fastai, fine_tune(1), everything"],
            tuned,
        ),
        (
            "predicting, from JPEG files to a CSV",
            f"{plots.number(predicted[ours])} pictures/s",
            f"timm {plots.number(predicted['timm inference.py'])}, with bf16 "
            f"{plots.number(predicted['timm inference.py, channels last, bf16'])}; "
            f"fastai {plots.number(predicted['fastai get_preds'])}",
            ", ".join(times(predicted[ours], predicted[name]) for name in OTHERS),
        ),
    ]
    return plots.table(("", "Linnaeus", "beside it", "times"), rows)


OTHERS = ("timm inference.py", "timm inference.py, channels last, bf16", "fastai get_preds")


def first_models() -> dict[str, tuple[float, float]]:
    """Give seconds and percent right of both sides."""
    return {
        side: (statistics.median(one["seconds"] for one in runs), 100 * runs[0]["right"] / runs[0]["n"])
        for side, runs in kept("first-model").items()
        if side in ("ours", "fastai")
    }


def predictions() -> dict[str, float]:
    found = kept("predict-speed")["rivals"]
    return {name: found["N"] / statistics.median(seconds) for name, seconds in found["seconds"].items()}


def tuning(what: str, ours: float, fastai: float, rates: Mapping[str, float]) -> tuple[str, ...]:
    others = (fastai, rates["timm"], rates["timm, amp"])
    words = "fastai {}, timm {}, with bf16 {}".format(*map(plots.number, others))
    return what, f"{plots.number(ours)} pictures/s", words, ", ".join(times(ours, one) for one in others)


def times(ours: float, theirs: float) -> str:
    ratio = ours / theirs
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"


def bars() -> list[plots.Bars]:
    names = {"ours": "linnaeus train --effort quick", "fastai": "fastai, fine_tune(1)"}
    first = [plots.Bar(names[side], found[0], ours=side == "ours") for side, found in first_models().items()]
    predicted = [
        plots.Bar(name, value, ours=name == "Linnaeus")
        for name, value in predictions().items()
        if name in ("Linnaeus", *OTHERS)
    ]
    lessons_ = []
    for lesson, ours in cifar10.beside_lessons():
        told = [(lesson["name"], lesson, "seconds")]
        told += [(" ".join((cifar10.SHORT, *ours["options"])), ours, "learned_s")] if ours else []
        lessons_ += [
            plots.Bar(f"{name}, {one['accuracy']:.1%}", one[kind], ours=one is ours) for name, one, kind in told
        ]
    return [
        *(decoding.chart(title, rates) for title, rates in decoded().items()),
        plots.Bars("CIFAR-10 from nothing, to the weights", "s", lessons_),
        plots.Bars("To a first, tested model", "s", first),
        plots.Bars("Fine-tuning", "pictures/s", fine_tune.bars(kept("fine-tune")["speed"])),
        plots.Bars("Predicting, JPEG files to CSV", "pictures/s", predicted),
    ]


TABLES = {"accuracy": accuracy, "lessons": lessons, "decode": decode, "beside": beside, "start": start}


if __name__ == "__main__":
    main()
