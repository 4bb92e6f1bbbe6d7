import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from linnaeus.data import decode
from linnaeus.data.jpeg import decode_jpeg, plain_header

FLOWERS = Path(__file__).parents[2] / "shared" / "data" / "flowers"


def encoded(mode="RGB", size=(40, 30), **options):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], len(mode)), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(pixels.squeeze(), mode).save(held, "JPEG", **options)
    return held.getvalue()


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"comment": b"hello"}, {"restart_marker_rows": 1}]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_plain_header_says_what_pillow_says(mode, options):
    data = encoded(mode, **options)
    assert plain_header(data) == (40, 30, mode)
    with Image.open(io.BytesIO(data)) as image:
        assert (*image.size, image.mode) == (40, 30, mode)


def exif():
    said = Image.Exif()
    said[decode.ORIENTATION] = 6
    return said


@pytest.mark.parametrize(
    "data",
    [
        encoded(exif=exif()),
        encoded(icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
        encoded("CMYK"),
        encoded()[:200],
        encoded()[:2],
        b"",
        b"\xff\xd8\xff" + bytes(100),
        b"\x89PNG\r\n\x1a\n",
    ],
    ids=["exif", "profile", "cmyk", "cut off", "two bytes", "empty", "rubbish", "png"],
)
def test_what_is_not_plain_is_left_to_pillow(data):
    assert plain_header(data) is None


def test_a_header_that_names_two_frames_is_left_to_pillow():
    data = encoded()
    at = data.index(b"\xff\xc0")
    assert plain_header(data[:at] + data[at : at + 19] + data[at:]) is None


def test_a_turned_picture_is_still_turned():
    assert decode.decode(encoded(exif=exif())).shape == (40, 30, 3)


def test_a_picture_above_the_limit_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(decode, "decode_jpeg", lambda *rest: pytest.fail("it was decoded"))
    with pytest.raises(decode.PictureError, match="max_pixels"):
        decode.decode(encoded(), max_pixels=1000)


def test_a_doubtful_file_is_given_to_pillow_which_says_what_is_wrong():
    data = encoded(size=(400, 300))
    assert plain_header(data[:3000])
    with pytest.raises(decode.PictureError, match="truncated"):
        decode.decode(data[:3000])


def test_a_large_picture_is_decoded_at_the_smallest_scale_that_leaves_twice_the_size():
    data = encoded(size=(1600, 1200))
    assert decode_jpeg(data, 1600, 1200, "RGB", 150).shape == (300, 400, 3)
    assert decode_jpeg(data, 1600, 1200, "RGB", 151).shape == (600, 800, 3)
    assert decode_jpeg(data, 1600, 1200, "RGB", None).shape == (1200, 1600, 3)


@pytest.mark.skipif(not FLOWERS.is_dir(), reason="shared/data/flowers is not here")
def test_photographs_are_the_same_with_and_without_pillows_header(monkeypatch):
    data = [path.read_bytes() for path in sorted(FLOWERS.glob("*/*.jpg"))[::100]]
    fast = [(decode.glance(one), decode.decode(one)) for one in data]
    monkeypatch.setattr(decode, "plain_header", lambda one: None)
    for one, (seen, pixels) in zip(data, fast, strict=True):
        assert decode.glance(one) == seen
        assert np.array_equal(decode.decode(one), pixels)
