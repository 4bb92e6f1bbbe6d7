"""Features of every picture from a frozen network: computed once, kept by content, so that a second look takes seconds."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn

from linnaeus.config import MEMORY_GB
from linnaeus.data.cache import Scan
from linnaeus.data.kept import Kept
from linnaeus.data.shards import evict
from linnaeus.errors import ModelError
from linnaeus.learn.engine import Engine, Machine
from linnaeus.learn.infer import infer
from linnaeus.learn.spill import gather
from linnaeus.nn import zoo
from linnaeus.nn.head import features, head_parameters, headless
from linnaeus.records import Preprocessing
from linnaeus.talk import Talk

NETWORK = "tf_efficientnet_lite0"
"""Its weights are installed with Linnaeus."""
LEAST_PX, MOST_PX = 128, 224
"""Smaller pictures are enlarged to the first, larger ones shrunk to the second (docs/labels.md has what was measured)."""
VERSION = 1
"""Raise it when features change for another reason than those in the key."""
PICTURES_AT_ONCE, ROWS_AT_ONCE = 64, 4096


@dataclass(frozen=True)
class Backbone:
    """A frozen network whose features describe pictures.

    Attributes:
        network: Ends in one linear layer, which is left out.
        preprocessing: What the network sees; its `size_px` may differ from that of the stored pixels.
        engine: The machine and precision.
        key: Names all that changes the features, and nothing else.
    """

    network: nn.Module
    preprocessing: Preprocessing
    engine: Engine
    key: str

    @classmethod
    def make(
        cls,
        stored: Preprocessing,
        network: str | nn.Module = NETWORK,
        *,
        weights: str = "default",
        precision: str = "",
    ) -> Backbone:
        """Build the network for pictures that are stored in some way.

        Args:
            stored: How the scan stored them.
            network: A name, as `zoo.create` takes it, with its own mean and deviation; or a network that was trained
                on pictures as they are stored, which sees them just so.
            weights: As `zoo.create` takes it.
            precision: "bf16" or "fp32"; "" is bf16 where the processor has it.

        Raises:
            ModelError: No such network, or one that does not end in one linear layer.
        """
        seen = stored
        if isinstance(network, str):
            seen = _as_published(network, stored)
            built = zoo.create(network, num_classes=2, channels=stored.channels, size_px=seen.size_px, weights=weights)
        else:
            built = network
        engine = Engine(precision or ("bf16" if Machine.here().bf16 else "fp32"))
        built = engine.place(built).eval()
        example = torch.zeros(1, seen.channels, seen.size_px, seen.size_px, device=engine.device)
        with torch.no_grad():
            features(built, example)  # tells whether what enters the last layer describes the picture
        return cls(built, seen, engine, _key(built, stored, seen, engine.precision))

    def describe(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield features, float16 [n, D], for blocks of stored pictures, uint8 [n, S, S, C], in order.

        Raises:
            ModelError: A feature is no finite number.
        """
        enlarged = (resized(block, self.preprocessing.size_px) for block in blocks)
        with headless(self.network):
            for part in infer(self.network, enlarged, self.preprocessing, self.engine):
                limit = float(np.finfo(np.float16).max)
                found = part.clamp(-limit, limit).numpy().astype(np.float16)
                if not np.isfinite(found).all():
                    raise ModelError(
                        "the features of a network should be finite numbers.",
                        got=f"NaN from {type(self.network).__name__}",
                        fix="check its weights, or take another network.",
                    )
                yield found


def embed(
    scan: Scan,
    stored: Preprocessing,
    *,
    cache_dir: Path,
    cache_gb: float,
    memory_gb: float = MEMORY_GB,
    backbone: Backbone | None = None,
    talk: Talk | None = None,
) -> np.ndarray:
    """Describe every picture of a scan by the features of a frozen network; those that are known are not computed.

    Args:
        scan: What was stored of each picture.
        stored: How it was stored.
        cache_dir: The cache folder that the scan used: features lie in it as pixels do, and are evicted alike.
        cache_gb: Most that the folder may take.
        memory_gb: See `spill.gather`.
        backbone: By default EfficientNet-Lite0 with its ImageNet weights.
        talk: Where progress goes.

    Returns:
        float32 [N, D]; NaN in the rows of pictures that cannot be decoded.

    Raises:
        SettingsError: The cache folder cannot be written.
        ModelError: The network gives NaN.

    Source:
        float16, 2.6 KB a picture for 1,280 features: it changed no prediction of a head in 10,000 (docs/labels.md).
    """
    talk = talk or Talk()
    backbone = backbone or Backbone.make(stored)
    kept = Kept(Path(cache_dir) / f"features-{backbone.key}")
    known = kept.places()
    missing: dict[bytes, int] = {}
    for row, key in enumerate(_keys(scan)):
        if key and key not in known:
            missing.setdefault(key, row)
    if missing:
        with talk.stage("features"):
            _compute(scan, missing, stored.size_px, backbone, kept, talk)
        evict(Path(cache_dir), cache_gb * 1e9)
    return gather(_blocks(scan, kept), len(scan), memory_gb=memory_gb, folder=Path(cache_dir))


def resized(block: np.ndarray, size_px: int) -> np.ndarray:
    """Bring square pictures, uint8 [n, S, S, C], to another side: cubic where they grow, the mean where they shrink."""
    if block.shape[1] == size_px or not len(block):
        return block
    import cv2

    how = cv2.INTER_CUBIC if block.shape[1] < size_px else cv2.INTER_AREA
    large = [cv2.resize(picture, (size_px, size_px), interpolation=how) for picture in block]
    return np.stack(large).reshape(len(block), size_px, size_px, block.shape[-1])


def _keys(scan: Scan) -> Iterator[bytes]:
    """Yield the content hash of each picture; empty for one that cannot be decoded."""
    return (b"" if row in scan.problems else bytes.fromhex(digest) for row, digest in enumerate(scan.hashes))


def _blocks(scan: Scan, kept: Kept) -> Iterator[np.ndarray]:
    """Yield the features in the order of the scan, float32 [n, D], NaN where there are none."""
    places = kept.places()
    tables = [shard.pixels.view(np.float16).reshape(len(shard.index), -1) for shard in kept.shards]
    keys = _keys(scan)
    while some := list(islice(keys, ROWS_AT_ONCE)):
        block = np.full((len(some), tables[0].shape[1] if tables else 0), np.nan, np.float32)
        for row, key in enumerate(some):
            if key:
                number, place = places[key]
                block[row] = tables[number][place]
        yield block


def _compute(scan: Scan, missing: dict[bytes, int], size_px: int, backbone: Backbone, kept: Kept, talk: Talk) -> None:
    """Compute features and publish them; after Ctrl-C those that are ready."""
    keys, rows = deque(missing), np.array(list(missing.values()), np.int64)
    some = (rows[first : first + PICTURES_AT_ONCE] for first in range(0, len(rows), PICTURES_AT_ONCE))
    with kept.adding() as add:
        for part in backbone.describe(scan.pixels.block(block, size_px) for block in some):
            for one in part:
                add(keys.popleft(), one.view(np.uint8))
            talk.progress("features", len(rows) - len(keys), len(rows))


def _as_published(name: str, stored: Preprocessing) -> Preprocessing:
    """Say what a network with published weights sees of stored pictures: its own normalisation, and a side it is good at."""
    cfg = zoo.published_cfg(name)
    mean, deviation = tuple(cfg["mean"]), tuple(cfg["std"])
    if stored.channels == 1:
        mean, deviation = (sum(mean) / len(mean),), (sum(deviation) / len(deviation),)
    size_px = cfg["input_size"][-1] if cfg.get("fixed_input_size") else min(max(stored.size_px, LEAST_PX), MOST_PX)
    return replace(stored, size_px=size_px, resize="squash", resize_px=size_px, mean=mean, std=deviation)


def _key(network: nn.Module, stored: Preprocessing, seen: Preprocessing, precision: str) -> str:
    """Name a folder by the network with its weights, by what it sees, and by the precision.

    The head has no part in the features, and is a new one of random numbers each time.
    """
    digest, head = hashlib.sha256(), set(head_parameters(network))
    for name, value in network.state_dict().items():
        if name in head:
            continue
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    ways = [VERSION, type(network).__name__, precision]
    ways += [[one.size_px, one.resize, one.resize_px, one.interpolation, one.background] for one in (stored, seen)]
    digest.update(json.dumps([*ways, seen.channels, seen.mean, seen.std]).encode())
    return digest.hexdigest()[:16]
