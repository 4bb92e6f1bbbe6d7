"""Features of pictures, kept by content."""

from __future__ import annotations

import multiprocessing
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from conftest import write_photos, write_picture
from linnaeus.data.cache import scan
from linnaeus.data.sources import open_source
from linnaeus.errors import ModelError
from linnaeus.learn import embeddings
from linnaeus.learn.embeddings import Backbone, embed, resized
from linnaeus.records import Preprocessing
from linnaeus.talk import Talk

STORED = Preprocessing(16)


class Net(nn.Module):
    """Averages of the picture's quarters, then a head: a network whose features are known."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.head = nn.Linear(12, 2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x):
        return self.head(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1) * self.scale)


class Counter(Talk):
    """Remembers how many pictures were computed."""

    def __init__(self):
        self.computed = 0
        super().__init__(progress=lambda _what, done, _of: setattr(self, "computed", done))


def look(folder, cache):
    dataset = open_source(str(folder), cache_dir=cache)
    return scan(dataset, STORED, cache_dir=cache / "pixels", cache_gb=1)


def compute(folder, cache, net=None, **more):
    talk = Counter()
    backbone = Backbone.make(STORED, net or Net(), precision="fp32")
    found = embed(
        look(folder, cache), STORED, cache_dir=cache / "pixels", cache_gb=1, backbone=backbone, talk=talk, **more
    )
    return found, talk.computed


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos", each=4)


def test_features_are_what_the_head_reads(photos, tmp_path):
    found, _ = compute(photos, tmp_path)
    pictures = look(photos, tmp_path).pixels.block(np.arange(12), 16)
    quarters = (pictures / 255 - 0.5) / 0.5
    expected = quarters.reshape(12, 2, 8, 2, 8, 3).mean((2, 4)).transpose(0, 3, 1, 2).reshape(12, 12)
    assert found == pytest.approx(expected, abs=2e-3)


def test_a_second_look_computes_nothing_and_is_equal(photos, tmp_path):
    first, computed = compute(photos, tmp_path)
    again, computed_again = compute(photos, tmp_path)
    assert (computed, computed_again) == (12, 0)
    assert np.array_equal(first, again)


def test_three_new_pictures_cost_three_pictures(photos, tmp_path):
    compute(photos, tmp_path)
    write_photos(photos, each=1, first=70)
    _, computed = compute(photos, tmp_path)
    assert computed == 3


def test_a_renamed_picture_costs_nothing(photos, tmp_path):
    compute(photos, tmp_path)
    (photos / "red" / "000.png").rename(photos / "red" / "other.png")
    assert compute(photos, tmp_path)[1] == 0


def test_copies_are_computed_once(photos, tmp_path):
    shutil.copy(photos / "red" / "000.png", photos / "red" / "copy.png")
    found, computed = compute(photos, tmp_path)
    assert (len(found), computed) == (13, 12)
    assert np.isfinite(found).all()


def test_other_weights_have_other_features(photos, tmp_path):
    one, _ = compute(photos, tmp_path, Net(1.0))
    two, computed = compute(photos, tmp_path, Net(2.0))
    assert computed == 12
    assert two == pytest.approx(2 * one, abs=5e-3)


def test_a_broken_picture_has_no_features_and_stops_nothing(photos, tmp_path):
    (photos / "red" / "broken.png").write_bytes((photos / "red" / "000.png").read_bytes()[:200])
    found, _ = compute(photos, tmp_path)
    assert np.isnan(found).all(axis=1).sum() == 1
    assert np.isfinite(found).all(axis=1).sum() == 12


def test_what_was_computed_before_a_stop_is_kept(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "PICTURES_AT_ONCE", 4)

    def stop(_what, done, _of):
        if done >= 4:
            raise KeyboardInterrupt

    backbone = Backbone.make(STORED, Net(), precision="fp32")
    with pytest.raises(KeyboardInterrupt):
        embed(
            look(photos, tmp_path),
            STORED,
            cache_dir=tmp_path / "pixels",
            cache_gb=1,
            backbone=backbone,
            talk=Talk(progress=stop),
        )
    assert 0 < compute(photos, tmp_path)[1] <= 8


def test_a_damaged_file_of_features_is_computed_again(photos, tmp_path):
    first, _ = compute(photos, tmp_path)
    (kept,) = (tmp_path / "pixels").glob("features-*/*.shard")
    kept.rename(kept.with_name("cut.shard"))
    kept.with_name("cut.shard").write_bytes(kept.with_name("cut.shard").read_bytes()[:-9])
    again, computed = compute(photos, tmp_path)
    assert computed == 12
    assert np.array_equal(first, again)


def _in_process(folder, cache, queue):
    torch.manual_seed(0)
    queue.put(compute(folder, cache)[0])


def test_two_processes_at_once_get_the_same(photos, tmp_path):
    look(photos, tmp_path)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    both = [context.Process(target=_in_process, args=(photos, tmp_path, queue)) for _ in range(2)]
    for one in both:
        one.start()
    found = [queue.get(timeout=60) for _ in both]
    for one in both:
        one.join()
    assert np.array_equal(found[0], found[1])


def test_the_cache_is_bounded(photos, tmp_path):
    old = tmp_path / "pixels" / "features-0000000000000000"
    old.mkdir(parents=True)
    (old / "old.shard").write_bytes(bytes(2_000_000))
    backbone = Backbone.make(STORED, Net(), precision="fp32")
    embed(look(photos, tmp_path), STORED, cache_dir=tmp_path / "pixels", cache_gb=0.001, backbone=backbone)
    assert not (old / "old.shard").exists()


def test_no_pictures_have_no_features(photos, tmp_path):
    backbone = Backbone.make(STORED, Net(), precision="fp32")
    nothing = look(photos, tmp_path).take([])
    assert len(embed(nothing, STORED, cache_dir=tmp_path / "pixels", cache_gb=1, backbone=backbone)) == 0


def test_a_network_that_gives_nan_is_refused(photos, tmp_path):
    backbone = Backbone.make(STORED, Net(), precision="fp32")
    backbone.network.scale.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="finite"):
        embed(look(photos, tmp_path), STORED, cache_dir=tmp_path / "pixels", cache_gb=1, backbone=backbone)


def test_a_network_without_a_linear_head_is_refused():
    with pytest.raises(ModelError, match="linear"):
        Backbone.make(STORED, nn.Sequential(nn.Conv2d(3, 2, 16), nn.Flatten()), precision="fp32")


def test_small_pictures_are_enlarged_and_large_ones_shrunk():
    sizes = [Backbone.make(Preprocessing(px), weights="none").preprocessing.size_px for px in (32, 160, 512)]
    assert sizes == [128, 160, 224]


def test_grey_pictures_have_features(tmp_path):
    grey = Preprocessing(8, channels=1, mean=(0.5,), std=(0.5,))
    backbone = Backbone.make(grey, weights="none", precision="fp32")
    (found,) = backbone.describe(iter([np.zeros((2, 8, 8, 1), np.uint8)]))
    assert found.shape == (2, 1280)


def test_enlarging_keeps_what_a_picture_shows():
    picture = np.zeros((1, 8, 8, 3), np.uint8)
    picture[:, :4] = 200
    large = resized(picture, 32)
    assert large.shape == (1, 32, 32, 3)
    assert large[0, 4, 4].tolist() == [200] * 3
    assert large[0, 28, 4].tolist() == [0] * 3


def test_the_installed_backbone_tells_colours_apart(tmp_path):
    for name, colour in (("red", (220, 30, 30)), ("blue", (30, 30, 220))):
        for i in range(3):
            write_picture(tmp_path / "two" / name / f"{i}.png", colour, i)
    found = embed(look(tmp_path / "two", tmp_path), STORED, cache_dir=tmp_path / "pixels", cache_gb=1)
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    same = unit @ unit.T
    assert found.shape == (6, 1280)
    assert min(same[0, 1], same[0, 2], same[3, 4]) > same[:3, 3:].max()


def test_the_same_network_has_the_same_key_whatever_its_random_head():
    """Each backbone gets a head of random numbers, which has no part in the features."""
    stored = Preprocessing(32)
    torch.manual_seed(0)
    first = Backbone.make(stored).key
    torch.manual_seed(1)
    assert Backbone.make(stored).key == first
