"""What many tests share: a small folder of pictures that is learned in seconds, and one finished run on it."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Tests share their cores, with each other and with whatever else runs: threads that wait for each other would cost more
# than they bring. Set before torch is imported, and inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

CLASSES = ("blau, kühl", "green", "red")
"""One name has a comma and an umlaut: names are a contract, whatever they look like."""
HUES = {"blau, kühl": (50, 80, 200), "green": (60, 180, 70), "red": (200, 60, 50)}
QUICK = {"train.epochs": 5, "data.size_px": 16, "train.batch_size": 16, "train.precision": "fp32"}

OWN_CODE = """
from torch import nn

def network(num_classes, in_chans=3):
    return nn.Sequential(
        nn.Conv2d(in_chans, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3),
        nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))
"""


def write_picture(path: Path, colour: tuple[int, int, int], seed: int, side: int = 20) -> Path:
    """Save a noisy picture of about one colour: classes overlap a little, so that no probability is 0 or 1."""
    draw = np.random.default_rng(seed)
    pixels = np.array(colour) + draw.normal(0, 35, 3) + draw.normal(0, 40, (side, side, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return path


def write_photos(folder: Path, each: int = 24, names: dict[str, str] | None = None, first: int = 0) -> Path:
    """Write a folder per class; `names` renames classes."""
    for k, (name, colour) in enumerate(HUES.items()):
        for i in range(first, first + each):
            write_picture(folder / (names or {}).get(name, name) / f"{i:03}.png", colour, 1000 * k + i)
    return folder


def weight_bytes(run: object) -> bytes:
    """Read the weights of a run, or of the folder of one."""
    return (Path(getattr(run, "folder", run)) / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory):
    """Keep caches, trust and the hub of this machine out of the tests."""
    base = tmp_path_factory.mktemp("machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINNAEUS_CACHE", str(base / "cache"))
        patch.setenv("XDG_STATE_HOME", str(base / "state"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """72 pictures of 20 px in three classes; not to be changed."""
    return write_photos(tmp_path_factory.mktemp("pictures") / "photos")


@pytest.fixture(scope="session")
def trained(photos, tmp_path_factory):
    """A finished run on `photos`; not to be changed."""
    from linnaeus import story
    from linnaeus.config import load_recipe

    return story.tell(str(photos), load_recipe(None, QUICK), out=tmp_path_factory.mktemp("runs") / "trained")


@pytest.fixture(scope="session")
def careful(tmp_path_factory):
    """A finished run with enough validation pictures to say what it does not know; not to be changed."""
    from linnaeus import story
    from linnaeus.config import load_recipe

    many = write_photos(tmp_path_factory.mktemp("pictures") / "many", each=150)
    return story.tell(str(many), load_recipe(None, QUICK), out=tmp_path_factory.mktemp("runs") / "careful")


@pytest.fixture(scope="module")
def careful_copy(careful, tmp_path_factory):
    """A copy of `careful` that may be changed."""
    from linnaeus.run import Run

    return Run(shutil.copytree(careful.folder, tmp_path_factory.mktemp("copy") / "run"))


@pytest.fixture(scope="session")
def classifier(trained):
    """The classifier of `trained`."""
    from linnaeus.classifier import Classifier

    return Classifier.load(trained.folder)


@pytest.fixture
def kept_environments(monkeypatch):
    """Environments made on demand are kept on this machine: the first test that needs one makes it, and no other."""
    from linnaeus.targets import TARGETS

    if why := TARGETS["tfjs"].why_not_here():
        pytest.skip(why)
    monkeypatch.delenv("LINNAEUS_CACHE")


@pytest.fixture
def no_report(monkeypatch):
    """Write an empty report, which takes a second else and has tests of its own."""
    from linnaeus.story import telling

    monkeypatch.setattr(telling, "report", lambda run: run.report_path.touch())


@pytest.fixture
def train_quickly(photos, tmp_path, no_report):
    """Train on `photos` with other settings, without a report: train_quickly(**{"optim.name": "sgd"}) gives the run."""
    from linnaeus import story
    from linnaeus.config import load_recipe

    count = 0

    def run(source=photos, out=None, recipe=None, **settings):
        nonlocal count
        count += 1
        settings = QUICK | {"train.epochs": 2} | settings if recipe is None else settings
        return story.tell(str(source), load_recipe(recipe, settings), out=out or tmp_path / f"run-{count}")

    return run


@pytest.fixture
def own(tmp_path):
    """A small network with dropout and batch norm, and settings to train it: train_quickly(**own)."""
    (tmp_path / "net.py").write_text(OWN_CODE)
    return {"model.name": f"{tmp_path / 'net.py'}:network", "optim.name": "adamw", "optim.lr": 0.01, "optim.ema": 0.9}


@pytest.fixture
def command(monkeypatch, capsys):
    """Run the command line in this process: command("predict", run, "x.png") -> (exit code, stdout, stderr)."""
    from linnaeus.cli import main

    def run(*words):
        monkeypatch.setattr("sys.argv", ["linnaeus", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Cyclopts application invoked without tokens")
                main()
        except SystemExit as end:
            code = end.code or 0
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def tree_hash():
    """Fingerprint a folder: names, sizes, times and contents."""
    import hashlib

    def digest(folder: Path) -> str:
        seen = hashlib.sha256()
        for path in sorted(Path(folder).rglob("*")):
            status = os.lstat(path)
            seen.update(f"{path.relative_to(folder)} {status.st_mode} {status.st_mtime_ns}".encode())
            seen.update(path.read_bytes() if path.is_file() else b"")
        return seen.hexdigest()

    return digest


@pytest.fixture
def read_csv():
    """Read a CSV as a list of dictionaries."""

    def read(path: Path) -> list[dict[str, str]]:
        with Path(path).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    return read


@pytest.fixture
def epochs_of():
    """List the epoch events of a run's journal."""

    def read(run: Path) -> list[dict]:
        lines = (Path(run) / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == "epoch"]

    return read


@pytest.fixture(scope="module")
def browser():
    """Open pages in headless Chromium: browser(width=360, java_script_enabled=False) gives a playwright page."""
    import shutil

    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    kept = sorted((Path.home() / ".cache" / "chromium-headless").glob("**/headless_shell"))
    found = next(filter(None, map(shutil.which, names)), None) or (str(kept[-1]) if kept else None)
    if found is None:
        pytest.skip("no Chromium on this machine")
    # A module at a time: while it runs, playwright keeps an event loop in this thread, which others may want.
    with api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=found, args=["--no-sandbox"])

        def open_page(width=1280, height=900, **options):
            return chromium.new_context(viewport={"width": width, "height": height}, **options).new_page()

        yield open_page
        chromium.close()


@pytest.fixture
def look(tmp_path):
    """Scan a data set with a cache of the test's own."""
    from made_pictures import look_into

    return look_into(tmp_path / "cache")


@pytest.fixture
def decoded(monkeypatch):
    """Count the pictures that are decoded."""
    from made_pictures import count_decoded

    return count_decoded(monkeypatch)


@pytest.fixture
def only_readable(monkeypatch):
    """Refuse to mark files as used, as systems do with files of another user."""

    def refuse(path, *_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr(os, "utime", refuse)
