import io
import os
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms

from linnaeus.data.decode import decode, glance, middle, picture_to_stored, prepare, read_bytes, resize
from linnaeus.errors import PictureError
from linnaeus.records import Place, Preprocessing

ROWS, COLUMNS = np.mgrid[0:40, 0:60].astype(np.uint8)
PICTURE = np.stack([COLUMNS * 4, ROWS * 6, 255 - COLUMNS * 2 - ROWS], axis=-1)


def encoded(picture, format="PNG", **options):
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def furthest(a, b):
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize(
    ("format", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("PPM", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 20),
        ("AVIF", {"quality": 95}, 20),
        ("JPEG", {"quality": 98, "subsampling": 0}, 8),
        ("JPEG", {"quality": 98, "subsampling": 0, "progressive": True}, 8),
    ],
)
def test_every_format_gives_the_picture_that_was_saved(format, options, tolerance):
    decoded = decode(encoded(PICTURE, format, **options))
    assert decoded.shape == PICTURE.shape
    assert decoded.dtype == np.uint8
    assert furthest(decoded, PICTURE) <= tolerance


def test_jpegs_decode_to_what_pillow_decodes():
    data = encoded(PICTURE, "JPEG")
    assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_turns_are_undone_in_every_format(format, orientation):
    lay = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(PICTURE)
    lying = image if lay is None else image.transpose(Image.Transpose(lay))
    data = encoded(lying, format, exif=exif, **({} if format in ("PNG", "TIFF") else {"quality": 98}))
    assert decode(data).shape == PICTURE.shape
    assert np.abs(decode(data).astype(int) - PICTURE).mean() < 4
    assert (glance(data).width, glance(data).height) == (60, 40)


def test_alpha_is_composed_on_the_background():
    clear = np.zeros((4, 4, 4), np.uint8)
    assert (decode(encoded(clear), background=(10, 20, 30)) == (10, 20, 30)).all()


def test_half_transparent_pixels_mix_with_the_background():
    half = np.full((4, 4, 4), 128, np.uint8)
    half[..., :3] = 0
    assert furthest(decode(encoded(half), background=(255, 255, 255)), np.full((4, 4, 3), 127, np.uint8)) <= 1


def test_grey_with_alpha_is_composed():
    grey = Image.new("LA", (3, 3), (0, 0))
    assert (decode(encoded(grey), background=(9, 9, 9), channels=1) == 9).all()


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_the_transparent_colour_of_a_palette_is_background(format):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((0, 0), 0)
    decoded = decode(encoded(image, format, transparency=0), background=(0, 0, 255))
    assert decoded[0, 0].tolist() == [0, 0, 255]
    assert decoded[1, 1].tolist() == [255, 0, 0]


def test_sixteen_bits_keep_their_upper_byte():
    deep = (PICTURE[..., 0].astype(np.uint16) << 8) + 77
    for format in ("PNG", "TIFF"):
        assert np.array_equal(decode(encoded(deep, format), channels=1)[..., 0], PICTURE[..., 0])


def test_the_transparent_level_of_sixteen_bit_grey_is_background():
    deep = np.array([[1000, 1001], [0, 65535]], np.uint16)
    decoded = decode(encoded(deep, transparency=1000), background=(77, 77, 77), channels=1)
    assert decoded[..., 0].tolist() == [[77, 1001 >> 8], [0, 255]]


def test_the_transparent_colour_of_sixteen_bits_is_background():
    key = (513, 1000, 40_000)
    decoded = decode(deep_png([key, (65535, 0, 0)], key), background=(7, 8, 9))
    assert decoded[0].tolist() == [[7, 8, 9], [255, 0, 0]]


def deep_png(pixels, key):
    """Write one row of 16 bits per channel, which Pillow cannot."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + b"".join(struct.pack(">3H", *pixel) for pixel in pixels)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", len(pixels), 1, 16, 2, 0, 0, 0))
    parts = chunk(b"tRNS", struct.pack(">3H", *key)), chunk(b"IDAT", zlib.compress(row)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(parts)


@pytest.mark.parametrize("kind", [np.int32, np.int16])
def test_tiffs_of_whole_numbers_without_a_known_white_are_an_odd_mode(kind):
    with pytest.raises(PictureError, match="odd mode"):
        decode(whole_numbers(PICTURE[..., 0].astype(kind)))


def whole_numbers(array):
    """Write a TIFF of numbers with a sign, as instruments do."""
    H, W = array.shape
    bits = 8 * array.itemsize
    tags = {256: W, 257: H, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: H, 279: array.nbytes, 339: 2}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    pixels = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + struct.pack("<H", len(tags)) + directory + bytes(4)


def test_float_tiffs_are_read_as_nought_to_one():
    levels = PICTURE[..., 0].astype(np.float32) / 255
    assert np.array_equal(decode(encoded(levels, "TIFF"), channels=1)[..., 0], PICTURE[..., 0])


def test_floats_outside_of_nought_to_one_are_an_odd_mode():
    with pytest.raises(PictureError, match="odd mode"):
        decode(encoded(np.full((4, 4), 300, np.float32), "TIFF"))


def test_one_bit_pictures_are_black_and_white():
    image = Image.new("1", (4, 4), 1)
    assert (decode(encoded(image)) == 255).all()


def test_cmyk_jpegs_come_out_in_their_colours():
    image = Image.fromarray(PICTURE).convert("CMYK")
    assert furthest(decode(encoded(image, "JPEG", quality=98, subsampling=0)), PICTURE) <= 16


@pytest.mark.parametrize("format", ["GIF", "WEBP", "AVIF", "TIFF", "MPO", "PNG"])
def test_the_first_of_several_frames_is_taken(format):
    first, second = Image.new("RGB", (32, 32), (255, 0, 0)), Image.new("RGB", (32, 32), (0, 0, 255))
    data = encoded(first, format, save_all=True, append_images=[second])
    assert furthest(decode(data)[0, 0], np.array([255, 0, 0])) <= 6


def test_a_foreign_colour_profile_is_converted_to_srgb():
    lab = ImageCms.createProfile("LAB")
    swapped = _profile_with_red_and_blue_swapped()
    plain = decode(encoded(PICTURE, "PNG"))
    assert np.array_equal(decode(encoded(PICTURE, "PNG", icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())), plain)
    converted = decode(encoded(PICTURE, "PNG", icc_profile=swapped))
    assert furthest(converted, plain[..., ::-1]) <= 2
    assert (
        np.abs(decode(encoded(PICTURE, "JPEG", quality=98, icc_profile=swapped)) - plain[..., ::-1].astype(int)).mean()
        < 4
    )


def _profile_with_red_and_blue_swapped():
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"tmp!").replace(b"bXYZ", b"rXYZ").replace(b"tmp!", b"bXYZ")


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_an_srgb_profile_or_a_broken_one_changes_nothing(format):
    plain = decode(encoded(PICTURE, format))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"no profile at all", srgb[:200]):
        assert np.array_equal(decode(encoded(PICTURE, format, icc_profile=profile)), plain)


def test_a_large_jpeg_may_be_decoded_smaller_but_not_too_small():
    large = encoded(Image.fromarray(PICTURE).resize((1600, 1200), Image.Resampling.BICUBIC), "JPEG")
    assert decode(large).shape == (1200, 1600, 3)
    assert decode(large, at_least_px=224).shape == (600, 800, 3)
    assert decode(large, at_least_px=75).shape == (150, 200, 3)
    assert decode(large, at_least_px=601).shape == (1200, 1600, 3)


def test_decoding_smaller_hardly_shows_after_resizing():
    large = encoded(Image.fromarray(PICTURE).resize((1600, 1200), Image.Resampling.BICUBIC), "JPEG")
    preprocessing = Preprocessing(64)
    whole = resize(decode(large), preprocessing)
    assert np.abs(prepare(large, "", preprocessing).astype(int) - whole).mean() < 0.5


def test_raw_planar_pixels_are_reordered():
    planar = np.ascontiguousarray(PICTURE.transpose(2, 0, 1)).tobytes()
    assert np.array_equal(decode(planar, "3x40x60"), PICTURE)
    assert glance(planar, "3x40x60").width == 60


def test_grey_raw_pixels_become_rgb_on_request():
    assert np.array_equal(decode(bytes(range(64)), "1x8x8")[..., 2].ravel(), np.arange(64))


def test_grey_is_luma_for_every_source():
    luma = np.asarray(Image.fromarray(PICTURE).convert("L"))[..., None]
    planar = PICTURE.transpose(2, 0, 1).tobytes()
    assert np.array_equal(decode(encoded(PICTURE), channels=1), luma)
    assert np.array_equal(decode(planar, "3x40x60", channels=1), luma)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "PPM"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_said_to_be_truncated(format, share):
    data = encoded(PICTURE, format)
    with pytest.raises(PictureError) as caught:
        decode(data[: int(len(data) * share)])
    assert caught.value.reason == "truncated"


def test_harmless_bytes_after_a_jpeg_are_forgiven():
    data = encoded(PICTURE, "JPEG")
    assert np.array_equal(decode(data + b"appended by a camera"), decode(data))


@pytest.mark.parametrize("data", [b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<html></html>", b"\0" * 100])
def test_what_is_no_picture_is_called_so(data):
    with pytest.raises(PictureError) as caught:
        decode(data)
    assert caught.value.reason == "not a picture"


def test_formats_that_are_not_read_are_named():
    with pytest.raises(PictureError, match="HEIC"):
        decode(b"\0\0\0\x18ftypheic" + b"\0" * 20)


def test_no_bytes_are_an_empty_picture():
    with pytest.raises(PictureError, match="empty"):
        decode(b"")


def test_too_many_pixels_are_refused_before_decoding():
    with pytest.raises(PictureError, match="too large"):
        decode(encoded(PICTURE), max_pixels=40 * 60 - 1)
    assert decode(encoded(PICTURE), max_pixels=40 * 60).shape == (40, 60, 3)


@pytest.mark.parametrize("shape", [(1, 65_536), (65_536, 1)])
def test_a_side_longer_than_any_jpegs_is_refused_before_decoding(shape, monkeypatch):
    row = encoded(np.zeros(shape, np.uint8))
    with pytest.raises(PictureError, match="too large"):
        picture_to_stored(np.zeros(shape, np.uint8), Preprocessing(16, "pad"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    for way in ("squash", "pad", "crop"):
        with pytest.raises(PictureError, match="too large"):
            prepare(row, "", Preprocessing(16, way))


def test_the_longest_side_that_is_allowed_is_decoded():
    assert decode(encoded(np.zeros((1, 65_535), np.uint8))).shape == (1, 65_535, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP"])
def test_no_pixel_is_decoded_of_what_is_refused_or_only_glanced_at(format, monkeypatch):
    data, decoded = encoded(PICTURE, format), []
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: decoded.append(image))
    assert (glance(data).width, glance(data).height) == (60, 40)
    with pytest.raises(PictureError, match="60 x 40 pixels"):
        decode(data, max_pixels=40 * 60 - 1)
    assert decoded == []


def test_a_glance_sees_the_turn_that_stands_behind_the_pixels_of_a_png(monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(PICTURE, "PNG", exif=exif)
    at = data.index(b"eXIf") - 4
    size = int.from_bytes(data[at : at + 4], "big") + 12
    chunk, rest = data[at : at + size], data[:at] + data[at + size :]
    end = rest.index(b"IEND") - 4
    late = rest[:end] + chunk + rest[end:]
    assert decode(late).shape == (60, 40, 3)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    assert glance(late).orientation == 6


def test_a_decompression_bomb_is_refused_by_its_header():
    header = bytearray(encoded(PICTURE[:1, :1], "BMP"))
    header[18:26] = (60_000).to_bytes(4, "little") * 2
    with pytest.raises(PictureError, match="too large"):
        decode(bytes(header))


def test_reading_takes_the_range_of_a_place(tmp_path):
    file = tmp_path / "many.bin"
    file.write_bytes(bytes(range(100)))
    assert read_bytes(Place(str(file), 10, 5)) == bytes(range(10, 15))
    assert read_bytes(Place(str(file), 95)) == bytes(range(95, 100))


def test_reading_tells_missing_empty_truncated_and_unreadable_apart(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "short.bin").write_bytes(b"12")
    os.mkfifo(tmp_path / "pipe.jpg")
    cases = {
        "gone.jpg": "missing",
        "empty.jpg": "empty",
        "pipe.jpg": "unreadable",
        "": "unreadable",
        "a\0b": "unreadable",
    }
    for name, reason in cases.items():
        with pytest.raises(PictureError) as caught:
            read_bytes(Place(f"{tmp_path}/{name}"))
        assert caught.value.reason == reason, name
    with pytest.raises(PictureError, match="truncated"):
        read_bytes(Place(str(tmp_path / "short.bin"), 0, 3))


def test_a_file_of_gigabytes_is_refused_without_reading_it(tmp_path):
    with open(tmp_path / "disk.jpg", "wb") as file:
        file.truncate(2**31)
    with pytest.raises(PictureError, match="too large"):
        read_bytes(Place(str(tmp_path / "disk.jpg")))


def test_crop_keeps_the_shape_and_brings_the_short_side_to_its_size():
    assert resize(PICTURE, Preprocessing(16, resize_px=20)).shape == (20, 30, 3)
    assert resize(PICTURE.transpose(1, 0, 2), Preprocessing(16, resize_px=20)).shape == (30, 20, 3)


def test_a_panorama_loses_its_ends():
    panorama = np.zeros((10, 1000, 3), np.uint8)
    panorama[:, 490:510] = 255
    stored = resize(panorama, Preprocessing(16))
    assert stored.shape == (16, 32, 3)
    assert (stored == 255).all()


def test_squash_makes_a_square():
    assert resize(PICTURE, Preprocessing(16, "squash")).shape == (16, 16, 3)


def test_pad_fills_up_with_the_background():
    stored = resize(np.zeros((10, 20, 3), np.uint8), Preprocessing(20, "pad", background=(1, 2, 3)))
    assert stored.shape == (20, 20, 3)
    assert (stored[:5] == (1, 2, 3)).all()
    assert (stored[5:15] == 0).all()


@pytest.mark.parametrize("way", ["crop", "squash", "pad"])
def test_the_right_size_is_left_alone(way):
    square = PICTURE[:32, :32]
    assert np.array_equal(resize(square, Preprocessing(32, way)), square)


@pytest.mark.parametrize(("interpolation", "filter"), [("bilinear", 2), ("bicubic", 3)])
def test_resizing_agrees_with_pillow(interpolation, filter):
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    ours = resize(noise, Preprocessing(32, "squash", interpolation=interpolation))
    assert furthest(ours, np.asarray(Image.fromarray(noise).resize((32, 32), Image.Resampling(filter)))) <= 1


def test_nearest_picks_the_pixels_that_pillow_picks():
    for size in (7, 16, 33, 99, 150):
        ours = resize(PICTURE, Preprocessing(size, "squash", interpolation="nearest"))
        theirs = Image.fromarray(PICTURE).resize((size, size), Image.Resampling.NEAREST)
        assert np.array_equal(ours, np.asarray(theirs))


def test_the_middle_is_the_middle():
    assert middle(PICTURE, 20)[0, 0].tolist() == PICTURE[10, 20].tolist()
    assert middle(np.stack([PICTURE, PICTURE]), 20).shape == (2, 20, 20, 3)


@pytest.mark.parametrize("way", ["crop", "squash", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_in_memory_becomes_what_its_file_becomes(tmp_path, way, channels):
    mean = (0.5,) * channels
    preprocessing = Preprocessing(24, way, channels=channels, mean=mean, std=mean)
    file = tmp_path / "a.png"
    file.write_bytes(encoded(PICTURE))
    stored = prepare(file.read_bytes(), "", preprocessing)
    for same in (
        file,
        str(file),
        file.read_bytes(),
        PICTURE,
        Image.open(file),
        PICTURE / 255,
        PICTURE.astype(">u2") * 257,
    ):
        assert np.array_equal(picture_to_stored(same, preprocessing), stored)


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1", "CMYK"])
def test_an_opened_image_of_any_mode_becomes_what_its_file_becomes(mode):
    data = encoded(Image.fromarray(PICTURE).convert(mode), "TIFF")
    opened = Image.open(io.BytesIO(data))
    assert np.array_equal(picture_to_stored(opened, Preprocessing(24)), prepare(data, "", Preprocessing(24)))


def test_an_opened_turned_jpeg_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(PICTURE, "JPEG", exif=exif)
    opened = Image.open(io.BytesIO(data))
    assert np.array_equal(picture_to_stored(opened, Preprocessing(24)), prepare(data, "", Preprocessing(24)))


@pytest.mark.parametrize("array", [PICTURE.astype(int), PICTURE * 1.0, PICTURE[None], np.zeros((0, 4, 3), np.uint8)])
def test_an_array_that_is_no_picture_is_refused(array):
    with pytest.raises(PictureError, match="odd mode"):
        picture_to_stored(array, Preprocessing(24))


def test_threads_decode_the_same():
    data = [encoded(PICTURE, format) for format in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")] * 8
    alone = [prepare(one, "", Preprocessing(24)) for one in data]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: prepare(one, "", Preprocessing(24)), data))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_decoding_leaves_pillows_limits_alone():
    before = Image.MAX_IMAGE_PIXELS
    decode(encoded(PICTURE), max_pixels=10_000)
    assert before == Image.MAX_IMAGE_PIXELS


def test_importing_does_not_load_torch():
    code = (
        "import sys, linnaeus.data.cache, linnaeus.verbs.audit, linnaeus.verbs.split; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
