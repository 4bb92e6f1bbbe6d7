"""Nothing but pixels or a PictureError comes out of a decoder, whatever goes in."""

import contextlib
import faulthandler
import io
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from linnaeus.data.cache import scan
from linnaeus.data.decode import glance, prepare
from linnaeus.errors import PictureError
from linnaeus.records import Dataset, Example, Place, Preprocessing

PREPROCESSING = Preprocessing(16, resize_px=18, max_pixels=250_000)
NOISE = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def samples():
    rgb = Image.fromarray(NOISE)
    deep = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = rgb.convert("RGBA")
    clear.putalpha(128)
    return {
        "jpeg": encoded(rgb, "JPEG", exif=exif),
        "jpeg-progressive": encoded(rgb, "JPEG", progressive=True),
        "jpeg-cmyk": encoded(rgb.convert("CMYK"), "JPEG"),
        "jpeg-grey": encoded(rgb.convert("L"), "JPEG"),
        "mpo": encoded(rgb, "MPO", save_all=True, append_images=[rgb]),
        "png": encoded(rgb, "PNG", exif=exif),
        "png-palette": encoded(rgb.quantize(16), "PNG", transparency=2),
        "png-16": encoded(deep, "PNG"),
        "png-alpha": encoded(clear, "PNG"),
        "webp": encoded(rgb, "WEBP"),
        "webp-lossless": encoded(clear, "WEBP", lossless=True),
        "webp-animated": encoded(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
        "avif": encoded(rgb, "AVIF"),
        "bmp": encoded(rgb, "BMP"),
        "bmp-palette": encoded(rgb.quantize(16), "BMP"),
        "tiff": encoded(rgb, "TIFF"),
        "tiff-lzw": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "tiff-jpeg": encoded(rgb, "TIFF", compression="jpeg"),
        "tiff-16": encoded(deep, "TIFF"),
        "gif": encoded(rgb.quantize(16), "GIF"),
        "gif-animated": encoded(rgb, "GIF", save_all=True, append_images=[rgb.rotate(180)]),
        "ppm": encoded(rgb, "PPM"),
    }


SAMPLES = samples()
bounded = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def hang_is_a_failure():
    faulthandler.dump_traceback_later(60, exit=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    faulthandler.cancel_dump_traceback_later()


def survives(data, layout=""):
    """Say whether the outcome is one of the two that are allowed; anything else is raised."""
    with contextlib.suppress(PictureError):
        glance(data, layout)
    try:
        stored = prepare(data, layout, PREPROCESSING)
    except PictureError as error:
        return error.reason in PictureError.REASONS
    return stored.dtype == np.uint8 and stored.shape[2] == 3 and min(stored.shape[:2]) == 18


@bounded
@given(st.binary(max_size=400))
def test_random_bytes_never_break_a_decoder(data):
    assert survives(data)


@bounded
@given(st.sampled_from(sorted(SAMPLES)), st.binary(max_size=400))
def test_random_bytes_behind_a_true_beginning_never_break_a_decoder(name, tail):
    assert survives(SAMPLES[name][:32] + tail)


@pytest.mark.parametrize("name", sorted(SAMPLES))
@bounded
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_pictures_never_break_a_decoder(name, share):
    data = SAMPLES[name]
    assert survives(data[: int(len(data) * share)])


@pytest.mark.parametrize("name", sorted(SAMPLES))
@bounded
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=12))
def test_flipped_bits_never_break_a_decoder(name, flips):
    data = bytearray(SAMPLES[name])
    for share, bit in flips:
        data[int(len(data) * share)] ^= 1 << bit
    assert survives(bytes(data))


@pytest.mark.parametrize("name", sorted(SAMPLES))
@bounded
@given(place=st.integers(0, 120), value=st.binary(min_size=1, max_size=6))
def test_damaged_headers_never_break_a_decoder(name, place, value):
    data = SAMPLES[name]
    assert survives(data[:place] + value + data[place + len(value) :])


@bounded
@given(st.binary(max_size=200), st.sampled_from(["3x4x4", "1x8x8"]))
def test_raw_pixels_of_any_length_never_break_the_reader(data, layout):
    assert survives(data, layout)


@settings(bounded, max_examples=15)
@given(damage=st.lists(st.tuples(st.sampled_from(sorted(SAMPLES)), st.integers(0, 5000)), min_size=1, max_size=20))
def test_a_scan_never_loses_a_row(tmp_path_factory, damage):
    folder = tmp_path_factory.mktemp("damaged")
    examples = []
    for number, (name, where) in enumerate(damage):
        file = folder / f"{number}.jpg"
        file.write_bytes(SAMPLES[name][: where or None])
        examples.append(Example(file.name, Place(str(file)), "a"))
    dataset = Dataset("damaged", str(folder), tuple(examples), ("a",))
    found = scan(dataset, PREPROCESSING, cache_dir=folder / "cache", cache_gb=1, workers=2)
    good = [row for row in range(len(damage)) if row not in found.problems]
    assert len(found) == len(damage) == len(found.pixels)
    assert all(found.pixels[row].shape[2] == 3 for row in good)
