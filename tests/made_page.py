"""Pictures of every kind that a browser reads, and a small classifier that answers them differently."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from linnaeus.classifier import Classifier
from linnaeus.metrics.abstention import Judgement
from linnaeus.metrics.calibration import Calibration
from linnaeus.metrics.unknown import Energy, Seen
from linnaeus.records import Predictions, Preprocessing

FLOWERS = Path(__file__).parents[2] / "shared" / "data" / "flowers"
CLASSES = ("daisy", "a, b", "玫瑰", "sun<b>flowers</b>", "tulips", "others")
SIZE = 64
ORIENTATION = 0x0112
# Forty photographs, eight of each class.
PHOTOGRAPHS = [path for folder in sorted(FLOWERS.glob("*/")) for path in sorted(folder.glob("*.jpg"))[:80:10]]


def picture(H, W, seed=0, channels=3):
    """Draw something soft with a little noise, [H, W, channels]."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (max(2, H // 20), max(2, W // 20), channels), dtype=np.uint8)
    bands = [
        np.asarray(Image.fromarray(coarse[..., c]).resize((W, H), Image.Resampling.BICUBIC)) for c in range(channels)
    ]
    pixels = np.stack(bands, -1) + draw.normal(0, 6, (H, W, channels))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def saved(folder, name, image, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(folder / name, **options)
    return folder / name


def turned(folder, image, orientation, ending, **options):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return saved(folder, f"turned-{orientation}.{ending}", image, exif=exif, **options)


def moving(folder, image):
    """Write a photo with a film behind it, in which bytes stand that look like the start of a scan."""
    path = saved(folder, "moving.jpg", image, quality=90)
    path.write_bytes(path.read_bytes() + b"\0\0\0\x18ftypmp42\x12\xff\xda\x77")
    return path


def write_kinds(folder):
    """Write files of all kinds, by name."""
    rgb = Image.fromarray(picture(150, 220))
    clear = Image.fromarray(picture(120, 160, 1, 4))
    hole = rgb.quantize(20)
    files = [
        *(turned(folder, rgb, k, "jpg", quality=90) for k in range(1, 9)),
        turned(folder, rgb, 6, "png"),
        *(turned(folder, rgb, k, "webp", lossless=True) for k in (1, 2, 5, 6, 7, 8)),
        saved(folder, "plain.png", rgb),
        saved(folder, "plain.bmp", rgb),
        saved(folder, "plain.webp", rgb, lossless=True),
        saved(folder, "lossy.webp", rgb, quality=80),
        saved(folder, "plain.gif", rgb.quantize(64)),
        saved(folder, "progressive.jpg", rgb, progressive=True),
        saved(folder, "cmyk.jpg", rgb.convert("CMYK")),
        saved(folder, "grey.jpg", rgb.convert("L")),
        saved(folder, "grey.png", rgb.convert("L")),
        saved(folder, "bits.png", rgb.convert("1")),
        saved(folder, "palette.png", rgb.quantize(64)),
        saved(folder, "hole.png", hole, transparency=3),
        saved(folder, "sixteen.png", picture(90, 90, 2, 1)[..., 0].astype(np.uint16) * 257),
        saved(folder, "clear.png", clear),
        saved(folder, "clear.webp", clear, lossless=True),
        saved(folder, "wide.png", picture(30, 700, 3)),
        saved(folder, "tall.png", picture(900, 41, 4)),
        saved(folder, "tiny.png", picture(2, 3, 5)),
        saved(folder, "dot.png", Image.new("RGB", (1, 1), (9, 99, 199))),
        saved(folder, "fits.png", picture(73, 99, 6)),
        saved(folder, "large.png", picture(900, 2000, 7)),
        saved(folder, "large.jpg", picture(900, 2000, 7), quality=92),
        moving(folder, rgb),
    ]
    return {path.name: path for path in files}


def make_classifier(paths):
    """Make a small network that has learned nothing, but answers pictures differently, and knows a threshold of strangeness."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3, stride=2), nn.ReLU(),
        nn.AvgPool2d(4), nn.Flatten(), nn.Linear(96, len(CLASSES)),
    ).eval()  # fmt: skip
    about = {
        "data": {"name": "<i>flowers</i>", "used": 2521, "fingerprint": "abc"},
        "scores": {"test": {"accuracy": [0.93, 0.9, 0.95, 398]}},
    }
    preprocessing = Preprocessing(SIZE, "crop", 73, "bicubic", background=(250, 200, 90))
    bare = Classifier(network, "small", CLASSES, preprocessing, about=about)
    pictures = np.stack([bare.read(path.read_bytes()) for path in paths])
    logits = bare.logits([pictures])
    with torch.no_grad():
        network[-1].weight *= 2 / torch.tensor(logits.std(0), dtype=torch.float32)[:, None]
        network[-1].bias *= 2 / torch.tensor(logits.std(0), dtype=torch.float32)
        network[-1].bias -= torch.tensor(2 * logits.mean(0) / logits.std(0), dtype=torch.float32)
    above = float(np.median(Energy().score(Seen(bare.logits([pictures])))))
    judgement = replace(Judgement.make(held()), detector=Energy(), strange_above=above + 1e-3)
    return replace(bare, judgement=judgement, calibration=Calibration("temperature", temperature=1.3))


def held():
    """Judge 400 pictures: right where the model is sure, by chance else."""
    draw = np.random.default_rng(0)
    p = draw.dirichlet(np.full(len(CLASSES), 0.4), 400)
    labels = np.where(p.max(1) > 0.45, p.argmax(1), draw.integers(0, len(CLASSES), 400))
    return Predictions(p, labels, tuple(map(str, range(400))), CLASSES)
