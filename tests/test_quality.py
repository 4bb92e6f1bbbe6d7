from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from linnaeus.data.cache import scan
from linnaeus.data.sources import open_source
from linnaeus.data.traits import measure
from linnaeus.records import Preprocessing
from linnaeus.verbs.audit.quality import find_odd, rules, threshold

FLOWERS = Path(__file__).parents[2] / "shared" / "data" / "flowers"
STORED = Preprocessing(64)


def scene(seed, side=96):
    """Shapes with edges in many grey levels, as photographs have."""
    draw = np.random.default_rng(seed)
    rough = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    sharp = cv2.resize(rough, (side, side), interpolation=cv2.INTER_NEAREST).astype(int)
    return np.clip(sharp + draw.integers(-12, 13, sharp.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def judge(tmp_path):
    """Write forty sound pictures in two classes and some odd ones, and judge them: judge({"a/x.png": array})."""

    def run(odd, change=lambda picture: picture, count=40, preprocessing=STORED):
        sound = {f"{'ab'[n % 2]}/{n:03}.png": change(scene(n)) for n in range(count)}
        for id, picture in {**sound, **odd}.items():
            path = tmp_path / "data" / id
            path.parent.mkdir(parents=True, exist_ok=True)
            (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path)
        dataset = open_source(str(tmp_path / "data"), cache_dir=tmp_path / "cache")
        found = scan(dataset, preprocessing, cache_dir=tmp_path / "cache", cache_gb=1)
        return find_odd(dataset, found, measure(dataset, found, preprocessing), preprocessing)

    return run


def ids_of(findings):
    return {one.kind: one.ids for one in findings}


def test_an_evenly_good_set_gives_nothing(judge):
    assert judge({}) == []


def test_a_dark_picture_is_found_and_its_number_stands_in_the_evidence(judge):
    (finding,) = judge({"a/x.png": (scene(99) * 0.12).astype(np.uint8)})
    assert (finding.kind, finding.ids, finding.severity) == ("dark", ("a/x.png",), "note")
    assert "a/x.png (0.1" in finding.evidence
    assert "never before 0.25" in finding.evidence


def test_a_bright_picture_is_found(judge):
    found = judge({"b/x.png": (225 + scene(99) * 0.12).astype(np.uint8)})
    assert ids_of(found) == {"bright": ("b/x.png",)}


def test_a_small_light_thing_on_black_is_not_dark(judge):
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[30:66, 30:66] = scene(99)[30:66, 30:66]
    assert "dark" not in ids_of(judge({"a/x.png": picture}))


def test_an_evenly_dark_set_is_not_found_dark(judge):
    assert judge({}, change=lambda picture: (picture * 0.15).astype(np.uint8)) == []


def test_a_blurred_picture_is_found_and_one_of_low_contrast_is_not(judge):
    found = judge(
        {"a/x.png": cv2.GaussianBlur(scene(99), (0, 0), 5), "a/y.png": (scene(98) * 0.3 + 90).astype(np.uint8)}
    )
    assert ids_of(found)["blurred"] == ("a/x.png",)


def test_an_evenly_soft_set_is_not_found_blurred(judge):
    assert "blurred" not in ids_of(judge({}, change=lambda picture: cv2.GaussianBlur(picture, (0, 0), 5)))


def test_a_plain_picture_is_near_uniform_and_a_warning(judge):
    found = judge({"a/x.png": np.full((96, 96, 3), 120, np.uint8)})
    assert ids_of(found)["near-uniform"] == ("a/x.png",)
    assert next(one for one in found if one.kind == "near-uniform").severity == "warning"


def test_a_picture_of_two_levels_has_low_information(judge):
    picture = np.where(scene(99) > 127, np.uint8(200), np.uint8(60)).max(axis=2)
    assert ids_of(judge({"b/x.png": picture})) == {"low information": ("b/x.png",), "unusual mode": ("b/x.png",)}


def test_a_long_picture_is_found_and_an_evenly_long_set_is_not(judge):
    long = np.tile(scene(99), (1, 4, 1))
    assert ids_of(judge({"a/x.png": long})) == {"odd shape": ("a/x.png",)}


def test_evenly_long_pictures_are_how_the_set_is(judge):
    assert judge({}, change=lambda picture: np.tile(picture, (1, 3, 1))) == []


def test_a_tiny_picture_is_found_by_what_the_network_is_shown(judge):
    assert ids_of(judge({"a/x.png": scene(99)[:20, :20]}))["tiny"] == ("a/x.png",)


def test_small_pictures_are_not_tiny_where_all_are_small(judge):
    found = judge({}, change=lambda picture: picture[:24, :24])
    assert "tiny" not in ids_of(found)


def test_the_worst_comes_first_and_at_most_a_twentieth_is_named(judge):
    odd = {f"a/x{n}.png": (scene(90 + n) * (0.06 + 0.01 * n)).astype(np.uint8) for n in range(6)}
    (finding,) = (one for one in judge(odd) if one.kind == "dark")
    assert finding.ids == ("a/x0.png", "a/x1.png")
    assert "the worst of 6" in finding.evidence


def test_of_a_few_pictures_only_empty_ones_are_found(judge):
    odd = {"a/x.png": (scene(99) * 0.1).astype(np.uint8), "a/y.png": np.zeros((96, 96, 3), np.uint8)}
    assert ids_of(judge(odd, count=4)) == {"near-uniform": ("a/y.png",)}


@pytest.mark.parametrize(
    ("mode", "name", "severity"),
    [("P", "x.png", "note"), ("1", "x.png", "note"), ("RGBA", "x.png", "note"), ("L", "x.png", "note"),
     ("CMYK", "x.jpg", "note"), ("I;16", "x.png", "warning")],
)  # fmt: skip
def test_an_odd_mode_is_found_also_on_a_second_look(judge, mode, name, severity):
    grey = (scene(99)[:, :, 0].astype(np.uint16) << 8) + 7
    picture = Image.fromarray(grey) if mode == "I;16" else Image.fromarray(scene(99)).convert(mode)
    first, second = ([one for one in judge({f"a/{name}": picture}) if one.kind == "unusual mode"] for _ in range(2))
    assert first == second
    assert [(one.ids, one.severity) for one in first] == [((f"a/{name}",), severity)]
    assert f"of mode {mode} (" in first[0].evidence


def test_a_mode_that_all_have_is_only_told_where_depth_is_lost(judge):
    assert judge({}, change=lambda picture: Image.fromarray(picture).convert("RGBA")) == []


def test_sixteen_bits_are_told_even_if_all_have_them(judge):
    (finding,) = judge({}, change=lambda picture: Image.fromarray(picture[:, :, 0].astype(np.uint16) << 8))
    assert (finding.kind, len(finding.ids), finding.severity) == ("unusual mode", 40, "warning")


def test_all_of_one_class_is_pointed_out(judge):
    odd = {f"a/x{n}.png": (scene(200 + n) * 0.1).astype(np.uint8) for n in range(6)}
    (finding,) = (one for one in judge(odd, count=120) if one.kind == "dark")
    assert "all are of class 'a'" in finding.evidence


def test_the_fence_is_three_quartile_distances_beyond_the_quartile():
    rule = replace(next(one for one in rules(STORED) if one.kind == "dark"), bound=9.0)
    values = np.random.default_rng(1).normal(5, 1, 4001)
    q1, median = np.quantile(values, (0.25, 0.5))
    begin, _ = threshold(values, rule)
    assert begin == pytest.approx(q1 - 3 * (median - q1))


def test_of_a_normal_distribution_a_third_of_a_percent_lies_beyond_the_fence():
    rule = replace(next(one for one in rules(STORED) if one.kind == "dark"), bound=9.0)
    values = np.random.default_rng(2).normal(5, 1, 200_000)
    begin, _ = threshold(values, rule)
    assert (values < begin).mean() == pytest.approx(0.0035, abs=0.0006)


@pytest.mark.skipif(not FLOWERS.is_dir(), reason="no shared data")
def test_of_real_photographs_few_are_named(tmp_path):
    dataset = open_source(str(FLOWERS), cache_dir=tmp_path)
    dataset = dataset.take(np.arange(0, len(dataset), 8))
    stored = Preprocessing(112)
    found = scan(dataset, stored, cache_dir=tmp_path, cache_gb=1)
    findings = find_odd(dataset, found, measure(dataset, found, stored), stored)
    assert len({id for one in findings for id in one.ids}) < 0.02 * len(dataset)
    assert {one.severity for one in findings} <= {"note"}
