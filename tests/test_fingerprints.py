import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from linnaeus.data import fingerprints as module
from linnaeus.data.alignment import align, look_closer, texture
from linnaeus.data.cache import scan
from linnaeus.data.fingerprints import (
    BYTES,
    WINDOWS,
    condense,
    describe,
    fingerprints,
    grey,
    mirror_signs,
    perceptual_hashes,
)
from linnaeus.records import Dataset, Example, Place, Preprocessing

HOW = Preprocessing(48)


def scene(seed, width=96, height=72):
    """Noise whose power falls with the square of the frequency, as that of photographs does."""
    draw = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    frequency[0, 0] = 1
    layers = [np.fft.ifft2(np.fft.fft2(draw.normal(size=(height, width))) / frequency).real for _ in range(3)]
    mixed = np.stack([layers[0], layers[0] + 0.3 * layers[1], layers[0] + 0.3 * layers[2]], axis=-1)
    return (128 + 45 * (mixed - mixed.mean()) / mixed.std()).clip(0, 255).astype(np.uint8)


def altered(picture, kind):
    image = Image.fromarray(picture)
    if kind == "resized":
        image = image.resize((150, 90))
    if kind == "compressed":
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=30)
        image = Image.open(buffer)
    if kind == "cropped":
        image = image.crop((11, 2, 93, 64))
    if kind == "mirrored":
        image = ImageOps.mirror(image)
    if kind == "darker":
        image = image.point(lambda value: round(value * 0.8))
    return np.asarray(image)


ALL = np.array([scene(seed) for seed in range(12)])
KINDS = ("resized", "compressed", "cropped", "mirrored", "darker")


@pytest.fixture
def scanned(tmp_path):
    def scanned(pictures, how=HOW):
        """Save pictures as PNG and scan them."""
        examples = []
        for number, picture in enumerate(pictures):
            path = tmp_path / f"{number}.png"
            if not path.exists():
                Image.fromarray(picture).save(path)
            examples.append(Example(f"{number}.png", Place(str(path)), "a"))
        dataset = Dataset("d", str(tmp_path), tuple(examples), ("a",))
        return scan(dataset, how, cache_dir=tmp_path / "cache", cache_gb=1, workers=1)

    return scanned


def files(tmp_path):
    return sorted((tmp_path / "cache").glob("fingerprints-*/*.shard"))


def test_every_picture_that_can_be_read_has_a_fingerprint(scanned, tmp_path):
    (tmp_path / "1.png").write_bytes(b"no picture")
    prints = fingerprints(scanned(ALL[:3]), HOW, cache_dir=tmp_path / "cache")
    assert prints.known.tolist() == [True, False, True]
    assert prints.bytes(np.array([0, 2])).shape == (2, BYTES)


def test_fingerprints_are_those_of_the_stored_pixels(scanned, tmp_path):
    found = scanned(ALL[:4])
    prints = fingerprints(found, HOW, cache_dir=tmp_path / "cache")
    assert (prints.bytes(np.array([3, 1])) == condense([found.pixels[3], found.pixels[1]])).all()


def test_the_second_time_nothing_is_computed_and_new_pictures_cost_only_themselves(scanned, tmp_path, monkeypatch):
    fingerprints(scanned(ALL[:5]), HOW, cache_dir=tmp_path / "cache")
    made = []
    monkeypatch.setattr(module, "condense", lambda pictures: made.append(len(pictures)) or condense(pictures))
    fingerprints(scanned(ALL[:5]), HOW, cache_dir=tmp_path / "cache")
    assert made == []
    prints = fingerprints(scanned(ALL[:8]), HOW, cache_dir=tmp_path / "cache")
    assert made == [3]
    assert prints.known.all()
    assert len(files(tmp_path)) == 2


def test_a_damaged_file_of_fingerprints_is_made_again(scanned, tmp_path):
    before = fingerprints(scanned(ALL[:3]), HOW, cache_dir=tmp_path / "cache").bytes(np.arange(3))
    (path,) = files(tmp_path)
    path.write_bytes(b"broken")
    after = fingerprints(scanned(ALL[:3]), HOW, cache_dir=tmp_path / "cache").bytes(np.arange(3))
    assert (before == after).all()


def test_two_that_fill_the_same_cache_do_not_disturb_each_other(scanned, tmp_path):
    found = scanned(ALL)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        several = list(pool.map(lambda _: fingerprints(found, HOW, cache_dir=tmp_path / "cache"), range(4)))
    rows = np.arange(len(ALL))
    assert all((one.bytes(rows) == several[0].bytes(rows)).all() for one in several)


def test_other_preprocessing_has_other_fingerprints(scanned, tmp_path):
    for how in (HOW, Preprocessing(32)):
        fingerprints(scanned(ALL[:2], how), how, cache_dir=tmp_path / "cache")
    assert len({path.parent for path in files(tmp_path)}) == 2


def test_grey_pictures_have_no_colour():
    picture = ALL[0][:, :, :1]
    assert (condense([picture]) == condense([np.repeat(picture, 3, axis=2)])).all()
    assert (module.colour_of(condense([picture])) == 0).all()


@pytest.mark.parametrize("kind", ["resized", "compressed", "darker"])
def test_the_hash_of_a_copy_differs_in_few_bits(kind):
    originals = perceptual_hashes(describe(condense(ALL)))
    copies = perceptual_hashes(describe(condense([altered(one, kind) for one in ALL])))
    assert np.bitwise_count(originals ^ copies).max() <= 6
    assert np.bitwise_count(originals ^ np.roll(copies, 1)).min() > 12


def test_the_signs_make_a_description_that_of_the_mirror_image():
    mirrored = describe(condense(ALL[:, :, ::-1]))
    assert describe(condense(ALL)) * mirror_signs() == pytest.approx(mirrored, abs=0.01)


def test_a_window_of_a_picture_looks_like_its_crop():
    whole = describe(condense(ALL))
    crops = describe(condense(ALL[:, :65, 3:90]))
    best = np.max([(describe(condense(ALL), window) * crops).sum(axis=1) for window in WINDOWS], axis=0)
    assert best.min() > 0.75
    assert ((whole * np.roll(crops, 1, axis=0)).sum(axis=1) < 0.75).all()


def test_brightness_and_contrast_do_not_change_a_description():
    calm = (ALL * 0.5 + 40).astype(np.uint8)
    assert (describe(condense(ALL)) * describe(condense(calm))).sum(axis=1).min() > 0.98


def compare(here, there, mirrored=False, window=WINDOWS[0]):
    n = len(here)
    return align(condense(here), condense(there), np.tile(window, (n, 1)), np.full(n, mirrored))


@pytest.mark.parametrize("kind", KINDS)
def test_copies_agree_once_they_lie_over_each_other(kind):
    window = (0.0, 0.9, 0.1, 1.0) if kind == "cropped" else WINDOWS[0]
    found = compare(ALL, [altered(one, kind) for one in ALL], kind == "mirrored", window)
    assert found.details.min() > 0.8
    assert found.colours.min() > 0.9
    assert found.overlap.min() > 0.65


def test_strangers_do_not_agree():
    assert compare(ALL, np.roll(ALL, 1, axis=0)).details.max() < 0.6


def test_alignment_finds_which_part_was_cut_out():
    found = compare(ALL, ALL[:, 2:64, 11:93], window=(0.0, 0.9, 0.1, 1.0))
    assert found.warps.mean(axis=0) == pytest.approx([2 / 72, 62 / 72, 11 / 96, 82 / 96], abs=0.02)
    assert found.overlap == pytest.approx(62 * 82 / (72 * 96), abs=0.05)


def framed(pictures):
    framed = pictures.copy()
    framed[:, :8], framed[:, -8:], framed[:, :, :10], framed[:, :, -10:] = 255, 255, 255, 255
    return framed


def test_a_frame_that_strangers_share_is_not_taken_for_agreement():
    found = compare(framed(ALL), np.roll(framed(ALL), 1, axis=0))
    assert found.details.max() < 0.6


def test_copies_with_a_frame_agree():
    assert compare(framed(ALL), framed((ALL * 0.9).astype(np.uint8))).details.min() > 0.9


def test_the_same_shape_in_another_colour_disagrees_by_colour():
    disc = np.hypot(*np.mgrid[-32:32, -32:32]) < 20
    red, green = (np.where(disc[..., None], colour, 255).astype(np.uint8) for colour in ((220, 30, 30), (30, 160, 30)))
    found = compare([red], [green])
    assert found.details[0] > 0.9
    assert found.colours[0] < 0.6


def test_a_closer_look_tells_apart_what_differs_only_in_fine_detail():
    coarse = [np.asarray(Image.fromarray(one).resize((24, 18)).resize((96, 72))) for one in ALL]
    there = [one // 2 + other // 2 for one, other in zip(coarse, np.roll(ALL, 1, axis=0), strict=True)]
    first = compare(coarse, coarse)
    same, _ = look_closer(grey(ALL, 64), grey(ALL, 64), first.warps, np.zeros(len(ALL), bool))
    other, _ = look_closer(grey(ALL, 64), grey(there, 64), first.warps, np.zeros(len(ALL), bool))
    assert same.min() > 0.99
    assert (other < same).all()


def test_a_plain_picture_has_no_texture():
    ramp = np.repeat(np.linspace(0, 255, 96).astype(np.uint8)[None, :, None], 72, axis=0)
    assert texture(condense([ramp, np.full_like(ramp, 7)])).max() < 1.5
    assert texture(condense(ALL)).min() > 3
