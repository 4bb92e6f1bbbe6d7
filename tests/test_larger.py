"""Data larger than memory, than the disk cache, or than the memory that is allowed are learned from in the same way."""

import subprocess
import sys

import numpy as np
import pytest

from conftest import QUICK, weight_bytes, write_photos
from linnaeus import story
from linnaeus.config import load_recipe
from linnaeus.data import pixels, shards
from linnaeus.learn import head
from linnaeus.story import inspected

PICTURES, SIDE = 700, 256
STORED = "pixels/????????????????/*.shard"

READ_UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
import numpy as np
from linnaeus.config import AugmentSettings
from linnaeus.data.batches import Feed
from linnaeus.data.cache import scan
from linnaeus.records import Dataset, Example, Place, Preprocessing

file, count, side = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
size = 3 * side * side
examples = tuple(Example(str(row), Place(str(file), row * size, size, f"3x{side}x{side}"), "a") for row in range(count))
data = Dataset("raw", str(file), examples, ("a",))
scan(data.take(np.arange(4)), Preprocessing(side), cache_dir=file.parent / "warm", cache_gb=1, workers=1)
held = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
limit = held + size * count // 2
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
found = scan(data, Preprocessing(side), cache_dir=file.parent / "cache", cache_gb=1, workers=1)
feed = Feed(found.pixels, np.arange(count), np.zeros(count, np.int64), AugmentSettings(), side, 16, 0)
print(sum(int(batch.pictures.sum(dtype=np.int64)) for batch in feed.batches(0, feed.steps_per_epoch)))
"""


@pytest.fixture
def made(tmp_path, photos, monkeypatch):
    """Train on `photos` with a cache of a given size, from nothing."""

    def made(name, cache_gb):
        monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / f"cache {name}"))
        recipe = load_recipe(None, QUICK | {"data.cache_gb": cache_gb})
        return story.tell(str(photos), recipe, out=tmp_path / name)

    return made


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    return story.tell(str(photos), load_recipe(None, QUICK), out=tmp_path_factory.mktemp("whole") / "run")


def test_a_cache_that_holds_a_tenth_gives_the_same_weights(made, whole, tmp_path):
    small = made("small", 72 * 16 * 16 * 3 / 10 / 1e9)
    kept = sum(path.stat().st_size for path in (tmp_path / "cache small").glob(STORED))
    assert 0 < kept < 10_000
    assert weight_bytes(small) == weight_bytes(whole)


def test_many_small_shards_that_are_not_gathered_give_the_same_weights(made, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "FULL_BYTES", 5_000)
    monkeypatch.setattr(pixels, "GATHER_BYTES", 0)
    split = made("split", 1.0)
    assert len(list((tmp_path / "cache split").glob(STORED))) > 5
    assert weight_bytes(split) == weight_bytes(whole)


@pytest.mark.parametrize("more", [{"train.epochs": 0}, {"model.freeze": 2, "train.views": 0}])
def test_features_that_lie_in_a_file_give_the_same_weights(train_quickly, monkeypatch, more):
    monkeypatch.setattr(head, "MANY", 0)
    settings = {"model.name": "mobilenetv3_small_050", "model.weights": "none", "train.start": "head"} | more
    roomy, tight = (train_quickly(**settings, **{"data.memory_gb": memory_gb}) for memory_gb in (5.0, 1e-6))
    assert weight_bytes(tight) == weight_bytes(roomy)


def test_outputs_of_frozen_stages_that_memory_should_not_hold_are_not_kept(train_quickly, own):
    run = train_quickly(**own, **{"model.freeze": 2, "train.views": 2, "data.memory_gb": 1e-6})
    (told,) = (one for one in run.summary()["decisions"] if one["setting"] == "train.views")
    assert told["value"] == 0
    assert "data.memory_gb" in told["reason"]
    assert "frozen stages" not in run.summary()["stages"]


def test_an_audit_with_little_memory_finds_the_same(tmp_path, monkeypatch):
    folder, kinds, found = write_photos(tmp_path / "photos", each=16), [], []
    embed = inspected.embed

    def watched(*asked, **more):
        features = embed(*asked, **more)
        kinds.append(type(features))
        return features

    monkeypatch.setattr(inspected, "embed", watched)
    for memory_gb in (5.0, 1e-6):
        # An audit remembers what it found.
        monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / f"cache {memory_gb}"))
        found.append(story.inspect(str(folder), load_recipe(None, {"data.memory_gb": memory_gb})).document())
    assert kinds == [np.ndarray, np.memmap]
    assert found[1]["findings"] == found[0]["findings"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is limited as Linux does it")
def test_pictures_that_take_twice_the_memory_that_is_left_are_read(tmp_path):
    file = tmp_path / "pictures.bin"
    drawn = np.random.default_rng(0).integers(0, 256, (PICTURES, SIDE * SIDE * 3), dtype=np.uint8)
    drawn.tofile(file)
    command = [sys.executable, "-c", READ_UNDER_A_LIMIT, str(file), str(PICTURES), str(SIDE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) == int(drawn.sum(dtype=np.int64))
