"""Made pictures for the tests of the cache: files with noise, and plain pixels in one file."""

import numpy as np
from PIL import Image

from linnaeus.data import cache
from linnaeus.data.cache import scan
from linnaeus.records import Dataset, Example, Place, Preprocessing

CROP = Preprocessing(16, resize_px=20)
NEAREST = Preprocessing(16, "squash", interpolation="nearest")


def write_pictures(folder, count, *, first=0, size=(30, 40)):
    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        noise = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number:04}.png")
    return listing(folder)


def listing(folder):
    files = sorted(path for path in folder.iterdir() if path.is_file())
    examples = tuple(Example(path.name, Place(str(path)), "a") for path in files)
    return Dataset("pictures", str(folder), examples, ("a",))


def raw_dataset(folder, count, *, skip=1):
    """Plain pixels as in CIFAR's files: a label byte before each picture."""
    pictures = np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    records = np.concatenate([np.zeros((count, skip), np.uint8), pictures.reshape(count, -1)], axis=1)
    file = folder / "batch.bin"
    file.write_bytes(records.tobytes())
    places = (Place(str(file), row * (skip + 192) + skip, 192, "3x8x8") for row in range(count))
    examples = tuple(Example(f"batch.bin#{row}", place, "a") for row, place in enumerate(places))
    return Dataset("raw", str(file), examples, ("a",)), pictures.transpose(0, 2, 3, 1)


def look_into(cache_dir):
    """Scan with a cache of the test's own."""

    def look(dataset, preprocessing=CROP, cache_gb=1.0, **options):
        return scan(dataset, preprocessing, cache_dir=cache_dir, cache_gb=cache_gb, **options)

    return look


def count_decoded(monkeypatch):
    """Count the pictures that are decoded: a list that grows by the length of each."""
    lengths = []
    original = cache.prepare_and_glance

    def counting(data, *rest):
        lengths.append(len(data))
        return original(data, *rest)

    monkeypatch.setattr(cache, "prepare_and_glance", counting)
    return lengths
