"""How fast is fine-tuning photographs, and what does it bring? Against fastai, timm's train loop, and the solved head alone.

    python benchmarks/fine_tune.py speed [--pictures FOLDER] [--size 256] [--rival-pictures 256] [--rounds 3]
    python benchmarks/fine_tune.py gain [--pictures FOLDER] [--seeds 5,6,7] [--again]
    python benchmarks/fine_tune.py draw

All train EfficientNet-Lite0 on the same photographs at the same size, on the CPU. `speed` gives pictures learned from per
second of wall-clock. Ours by default: the outputs of frozen lower stages are computed once for each view (that time counts),
depthwise filters stay as they are. fastai by default: `fine_tune(1)`, in its first epoch the head and the batch norms are
trained, in its second everything. timm: the loop of its train.py from its public parts (`create_dataset`, `create_loader`
with two workers and its augmentation, `create_optimizer_v2` with SGD, label smoothing), since train.py is not in the wheel;
everything is trained, in fp32 as it is by default, and with `--amp --amp-dtype bfloat16 --channels-last`. So that like can be
compared with like, ours is measured with every layer trained, too. The rivals' first batch warms them up. A ratio is written
only where all sides took pictures of the same size through equally many filters.

`gain` splits the pictures anew for each seed, and trains twice: `--effort quick`, which keeps the solved head, and the
default. The difference on the same test pictures has a t interval over the seeds. Runs that are in docs/fine-tune.json already
are kept unless --again is said, so seeds may be added; the settings were chosen on seeds 0 and 4. `draw` writes table and
plot of docs/train.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

import bench
import first_model
import plots
import rivals

PAGE, KEPT = bench.ROOT / "docs/train.md", bench.ROOT / "docs/fine-tune.json"
EVERYTHING = ("model.freeze=none", "train.views=0", "model.hold_depthwise=false", "model.keep_statistics=false")

FASTAI = """
import json, sys, time
import fastai, timm, torch
from fastai.vision.all import *

folder, size = sys.argv[1], int(sys.argv[2])
make = timm.create_model
# What the weights are does not change the pace; none are fetched.
timm.create_model = lambda name, pretrained=False, **others: make(name, pretrained=False, **others)

class Pace(Callback):
    def before_train(self): self.marks = []
    def after_batch(self):
        if self.training:
            self.marks.append((time.perf_counter(), len(self.xb[0])))
            sides.add(tuple(self.xb[0].shape[-2:]))
    def after_train(self): epochs.append(self.marks)

epochs, sides = [], set()
dls = ImageDataLoaders.from_folder(folder, valid_pct=0.02, item_tfms=Resize(size), bs=32, seed=0)
learn = vision_learner(dls, "tf_efficientnet_lite0", metrics=accuracy, cbs=Pace())
learn.fine_tune(1)
rates = [sum(n for _, n in marks[1:]) / (marks[-1][0] - marks[0][0]) for marks in epochs]
filters = sum(one.weight.numel() for one in learn.model.modules() if isinstance(one, torch.nn.Conv2d))
print(json.dumps({"head": rates[0], "everything": rates[1], "work": [filters, *max(sides)],
    "versions": {"fastai": fastai.__version__, "timm": timm.__version__, "torch": torch.__version__}}))
"""

TIMM = """
import json, sys, time
from contextlib import nullcontext
import timm, torch
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2

def main():
    folder, size, better = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "better"
    device = torch.device("cpu")
    model = timm.create_model("tf_efficientnet_lite0", num_classes=5)
    if better:
        model = model.to(memory_format=torch.channels_last)
    data = resolve_data_config({"input_size": (3, size, size)}, model=model)
    loader = create_loader(
        create_dataset("", root=folder, is_training=True), input_size=data["input_size"], batch_size=32, is_training=True,
        interpolation="random", mean=data["mean"], std=data["std"], num_workers=2, color_jitter=0.4, hflip=0.5, device=device,
    )
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.05, weight_decay=2e-5, momentum=0.9)
    loss_of, marks = LabelSmoothingCrossEntropy(smoothing=0.1), []
    autocast = (lambda: torch.autocast("cpu", torch.bfloat16)) if better else nullcontext
    model.train()
    for pictures, labels in loader:
        if better:
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        with autocast():
            loss = loss_of(model(pictures), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        marks.append((time.perf_counter(), len(labels)))
    rate = sum(n for _, n in marks[1:]) / (marks[-1][0] - marks[0][0])
    filters = sum(one.weight.numel() for one in model.modules() if isinstance(one, torch.nn.Conv2d))
    work = [filters, *pictures.shape[-2:]]
    print(json.dumps({"everything": rate, "work": work, "versions": {"timm": timm.__version__, "torch": torch.__version__}}))

if __name__ == "__main__":
    main()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=("speed", "gain", "draw"))
    parser.add_argument("--pictures", type=Path, default=bench.FLOWERS)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rival-pictures", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3, help="of speed")
    parser.add_argument("--seeds", default="5,6,7,8,9,10,11,12,13,14", help="for gain")
    parser.add_argument("--again", action="store_true", help="measure kept seeds anew")
    asked = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        if "speed" in asked.what:
            about = {"about": bench.header(), "size": asked.size}
            for turn in range(asked.rounds):
                found = speed(asked.pictures, asked.size, asked.rival_pictures, Path(folder) / f"speed {turn}")
                kept["speed"] = about | (merged(kept["speed"], found) if turn else found)
                # Kept as it grows: a long measurement that is stopped is not lost.
                KEPT.write_text(json.dumps(kept, indent=1) + "\n")
        if "gain" in asked.what:
            for seed in asked.seeds.split(","):
                gains = kept.setdefault("gain", {"runs": {}})
                if asked.again or seed not in gains["runs"]:
                    gains["runs"][seed] = gain(asked.pictures, seed, Path(folder) / seed)
                KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    draw(kept)


def speed(pictures: Path, size: int, count: int, folder: Path) -> dict[str, Any]:
    """Measure every side once; rivals on fewer pictures, at the same pace from batch to batch."""
    found: dict[str, dict[str, Any]] = {}
    source = some(pictures, 256, folder / "some")
    whole = linnaeus(pictures, folder / "ours", "--set", f"data.size_px={size}")
    learned = whole["epochs"] * whole["train"]
    frozen_s = whole["stages"].get("frozen stages", 0.0)
    found["ours, as it is by default"] = {
        "work": work_of(folder / "ours"),
        "pictures_per_s": [learned / (frozen_s + learned / whole["pictures_per_s"])],
        "waited": [whole["waited"]],
        "what": "upper stages and the head; frozen stages computed once for each view, which counts",
    }
    options = [word for setting in (*EVERYTHING, f"data.size_px={size}") for word in ("--set", setting)]
    every = linnaeus(source, folder / "everything", "--epochs", "2", *options)
    found["ours, everything trained"] = {
        "work": work_of(folder / "everything"),
        "pictures_per_s": [every["pictures_per_s"]],
        "waited": [every["waited"]],
        "what": "every layer, bf16",
    }
    fewer = some(pictures, count, folder / "fewer")
    fast = rivals.ask("fastai-timm", FASTAI, str(fewer), str(size))
    for part, what in (("head", "head and batch norms, fp32"), ("everything", "every layer, fp32")):
        found[f"fastai, fine_tune(1), {part}"] = {"work": fast["work"], "pictures_per_s": [fast[part]], "what": what}
    script = folder / "timm_loop.py"
    script.write_text(TIMM)
    for name, way, what in (
        ("timm", "plain", "every layer, fp32"),
        ("timm, amp", "better", "every layer, bf16, channels last"),
    ):
        # Its loader starts processes, which read the script again.
        printed, _ = first_model.timed([str(rivals.python("timm")), str(script), str(fewer), str(size), way], {})
        rate = json.loads(printed.strip().splitlines()[-1])
        found[name] = {"work": rate["work"], "pictures_per_s": [rate["everything"]], "what": what}
    return {"versions": fast["versions"], "sides": found}


def merged(before: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Put the numbers of one more round after those of the rounds before."""
    sides = {
        name: one
        | {kind: one[kind] + more["sides"][name][kind] for kind in ("pictures_per_s", "waited") if kind in one}
        for name, one in before["sides"].items()
    }
    return {"versions": more["versions"], "sides": sides}


def work_of(run: Path) -> list[int]:
    """Give the numbers in all filters of a run's network, and the height and width of its pictures."""
    from linnaeus.classifier import Classifier

    classifier = Classifier.load(run)
    size = classifier.preprocessing.size_px
    filters = (one.weight.numel() for one in classifier.network.modules() if isinstance(one, nn.Conv2d))
    return [sum(filters), size, size]


def some(pictures: Path, count: int, folder: Path) -> Path:
    """Link so many pictures, evenly from all classes."""
    classes = sorted(one for one in pictures.iterdir() if one.is_dir())
    for group in classes:
        (folder / group.name).mkdir(parents=True)
        for file in sorted(group.iterdir())[: count // len(classes)]:
            (folder / group.name / file.name).symlink_to(file.resolve())
    return folder


def linnaeus(source: Path, out: Path, *options: str) -> dict[str, Any]:
    """Train in an environment of its own and give the summary, with what was right."""
    command = [
        str(first_model.plain_python()),
        "-m",
        "linnaeus",
        "train",
        str(source),
        "--out",
        str(out),
        "--json",
        *options,
    ]
    environment = {"PYTHONPATH": str(bench.ROOT / "src"), "LINNAEUS_CACHE": str(out.parent / "cache")}
    printed, took = first_model.timed(command, environment)
    document = json.loads(printed)
    accuracy = document["scores"]["test"]["overall"]["accuracy"]
    train = sum(row["split"] == "train" for row in first_model.rows_of(out / "split.csv"))
    return document["summary"] | took | {"accuracy": accuracy["value"], "n": accuracy["n"], "train": train}


def gain(pictures: Path, seed: str, folder: Path) -> dict[str, Any]:
    """Train the head alone and the default, on one split."""
    folder.mkdir(parents=True)
    kept = ("accuracy", "n", "seconds", "processor_s", "waited", "pictures_per_s", "stages")
    found: dict[str, Any] = {"about": bench.header()}
    for effort in ("quick", "balanced"):
        options = ("--effort", effort, "--seed", seed, "--set", f"split.salt=seed {seed}")
        run = linnaeus(pictures, folder / effort, *options)
        found[effort] = {name: run[name] for name in kept}
        print(f"seed {seed}, {effort}: {100 * run['accuracy']:.2f} % of {run['n']}, {run['seconds']:.0f} s", flush=True)
    return found


def interval(values: list[float]) -> tuple[float, float, float]:
    """Give the mean and its 95 % interval by Student's t."""
    from scipy.stats import t

    mean, n = statistics.mean(values), len(values)
    half = float(t.ppf(0.975, n - 1)) * statistics.stdev(values) / n**0.5 if n > 1 else float("nan")
    return mean, mean - half, mean + half


def draw(kept: Mapping[str, Any]) -> None:
    """Write tables and plot into the page."""
    words = []
    if "speed" in kept:
        words.append(speed_words(kept["speed"]))
    runs = list(kept.get("gain", {}).get("runs", {}).values())
    if len(runs) > 1:
        words.append(gain_words(runs))
    plots.into_page(PAGE, "fine-tune", "\n\n".join(words))
    print("\n\n".join(words))


def speed_words(found: Mapping[str, Any]) -> str:
    sides = found["sides"]
    works = {tuple(one.get("work", ())) for one in sides.values()}
    if len(works) > 1 or () in works:
        raise SystemExit(f"the sides did different work (filters, height, width), or nobody looked: no ratio. {works}")
    rate, rounds = rates(found), len(sides["timm"]["pictures_per_s"])
    rows = [
        (
            name,
            plots.spread(one["pictures_per_s"]),
            f"{100 * max(one['waited']):.2f} %" if "waited" in one else "",
            one["what"],
        )
        for name, one in sides.items()
    ]
    table = plots.table(("fine-tuning", "pictures/s", "waited for a batch", "what is trained"), rows)
    ours, every, fastai = rate["ours, as it is by default"], rate["ours, everything trained"], both_epochs(rate)
    ratios = (
        f"{'Measured once' if rounds == 1 else f'{rounds} rounds'}. As each is by default, not the same work: "
        f"**{ours / fastai:.1f} times** fastai, **{ours / rate['timm']:.1f} times** timm "
        f"({ours / rate['timm, amp']:.1f} with its bf16). Every layer trained: "
        f"{every / rate['fastai, fine_tune(1), everything']:.1f} times fastai, {every / rate['timm']:.1f} times timm "
        f"({every / rate['timm, amp']:.1f} with its bf16)."
    )
    note = f"EfficientNet-Lite0, {found['size']} px, two cores"
    plots.bars(
        bench.ROOT / "docs/fine-tune.svg", [plots.Bars("Fine-tuning photographs", "pictures/s", bars(found))], note
    )
    return (
        f"{table}\n\n{ratios}\n\n![Pictures per second of fine-tuning](fine-tune.svg)\n\n"
        f"```text\n{found['about']}\n{rivals.told(found['versions'])}\n```"
    )


def rates(found: Mapping[str, Any]) -> dict[str, float]:
    """Give the median of each side's rounds, pictures/s."""
    return {name: statistics.median(one["pictures_per_s"]) for name, one in found["sides"].items()}


def both_epochs(rate: Mapping[str, float]) -> float:
    """Give the pictures/s of fastai's `fine_tune(1)`: its two epochs see every picture once each."""
    return 2 / (1 / rate["fastai, fine_tune(1), head"] + 1 / rate["fastai, fine_tune(1), everything"])


def bars(found: Mapping[str, Any]) -> list[plots.Bar]:
    return [
        plots.Bar(name, *plots.spread(one["pictures_per_s"]), ours=name.startswith("ours"))
        for name, one in found["sides"].items()
    ]


def gain_words(runs: list[Mapping[str, Any]]) -> str:
    both = {name: [100 * run[name]["accuracy"] for run in runs] for name in ("quick", "balanced")}
    more, low, high = interval([after - before for before, after in zip(both["quick"], both["balanced"], strict=True)])
    rows = [
        (f"`--effort {name}`", f"{statistics.mean(values):.2f} %", f"{min(values):.1f} to {max(values):.1f} %",
         statistics.median(run[name]["seconds"] for run in runs))
        for name, values in both.items()
    ]  # fmt: skip
    table = plots.table(("flowers", "test accuracy, mean", "over the splits", "seconds, median"), rows)
    told = f"Fine-tuning gains {more:.2f} points ({low:.2f} to {high:.2f}, paired, n = {len(runs)} splits)."
    return f"{table}\n\n{told}"


if __name__ == "__main__":
    main()
