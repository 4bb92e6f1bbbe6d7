"""Small networks of every kind, written for every target, and what PyTorch answers."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from linnaeus.classifier import Classifier
from linnaeus.data.decode import middle, prepare
from linnaeus.errors import ModelError
from linnaeus.metrics.abstention import Judgement
from linnaeus.metrics.calibration import Calibration
from linnaeus.metrics.unknown import Choice, Energy, Mahalanobis, Neighbours
from linnaeus.nn import zoo
from linnaeus.nn.head import features, linear_head, set_head
from linnaeus.records import Predictions, Preprocessing
from linnaeus.targets import TARGETS, Blueprint, require
from linnaeus.targets.graph import Graph

FLOWERS = Path(__file__).parents[2] / "shared" / "data" / "flowers"
CLASSES = ("blau, kühl", "green", "red", "straw", "ültra")
TOLERANCE = 1e-4
"""What single precision may differ by in a probability."""
RAMP = ((0.0, 0.02), (0.3, 0.2), (0.3, 0.35), (0.8, 0.7), (1.0, 0.97))


@dataclass(frozen=True)
class Case:
    """A network, and one way each to calibrate, to lay out bytes and to tell unknown pictures."""

    size_px: int
    calibration: Calibration
    detector: type | None = None
    outputs: tuple[str, ...] = ("probabilities", "features", "unknown_score")
    layout: str = "nhwc"
    channels: int = 3
    weights: str = "none"
    options: dict = field(default_factory=dict)


CASES = {
    "keras-cifar10": Case(32, Calibration("isotonic", knots=(RAMP,) * 5), Energy, channels=1),
    "small-32": Case(32, Calibration("temperature", 0.8), Energy, options={"views": 6}),
    "resnet18": Case(64, Calibration(), outputs=("probabilities",), layout="nchw", options={"zero_init_last": False}),
    "tf_efficientnet_lite0": Case(
        64, Calibration("temperature", 1.5), Mahalanobis, ("probabilities", "unknown_score"), weights="default"
    ),
    "vit_tiny_patch16_224": Case(
        64, Calibration("vector", 1.0, (1.0, 1.2, 0.9, 1.1, 0.8), (0.1, 0.0, -0.2, 0.3, 0.0)), Neighbours
    ),
}
QUICK = "keras-cifar10"


def grouped(names, *others):
    """One parameter set per target, and for all of one target the same worker: it writes each file once."""
    rest = others or ((),)
    return [pytest.param(name, *other, marks=pytest.mark.xdist_group(name)) for name in names for other in rest]


RUNNABLE = [name for name, target in TARGETS.items() if not target.why_not_here()]
each_target = pytest.mark.parametrize("name", grouped(TARGETS))
each_runnable = pytest.mark.parametrize("name", grouped(RUNNABLE))
each_pair = pytest.mark.parametrize(("name", "network"), grouped(RUNNABLE, *((one,) for one in CASES)))


@functools.cache
def pictures(network, N=16):
    """Real photographs at the network's size, or drawn ones where there are none, uint8 [N, S, S, C]."""
    about = preprocessing(network)
    if FLOWERS.is_dir():
        paths = sorted(FLOWERS.glob("*/*.jpg"))[:: 2521 // N][:N]
        return np.stack([middle(prepare(path.read_bytes(), "", about), about.size_px) for path in paths])
    draw = np.random.default_rng(0)
    coarse = (
        draw.integers(0, 256, (N, 4, 4, about.channels)).repeat(about.size_px // 4, 1).repeat(about.size_px // 4, 2)
    )
    return np.clip(coarse + draw.normal(0, 20, coarse.shape), 0, 255).astype(np.uint8)


def preprocessing(network):
    case, C = CASES[network], CASES[network].channels
    return Preprocessing(case.size_px, channels=C, mean=(0.5, 0.45, 0.4)[:C], std=(0.25, 0.24, 0.22)[:C])


@functools.cache
def classifier_of(network):
    """A classifier whose answers differ between pictures, though its weights are mostly random."""
    case, about = CASES[network], preprocessing(network)
    torch.manual_seed(0)
    made = zoo.create(
        network, num_classes=5, channels=case.channels, size_px=case.size_px, weights=case.weights, options=case.options
    ).eval()
    plain = Classifier(made, network, CLASSES, about, case.calibration, options=case.options)
    with torch.no_grad():
        x = torch.from_numpy(pictures(network)).float() / 255
        seen = features(made, (x - torch.tensor(about.mean)).div(torch.tensor(about.std)).permute(0, 3, 1, 2))
        weight = torch.randn(5, seen.shape[1]) * 2.5 / (seen - seen.mean(0)).square().sum(1).mean().sqrt()
        usual = seen.mean(0)
        if linear_head(made).bias is None:
            # No bias can take the usual features' answer away: the weights must not see them.
            set_head(made, weight - torch.outer(weight @ usual, usual) / usual.square().sum(), torch.zeros(5))
        else:
            set_head(made, weight, -weight @ usual)
    return replace(plain, judgement=judgement_of(plain, case.detector), about={"seed": 3, "data": "Blumen, grün"})


def judgement_of(plain, kind):
    if kind is None:
        return None
    logits = plain.embed([pictures(plain.architecture)]).logits
    # Others than those that are asked: the distance of a picture to itself is nothing but rounding.
    seen = plain.embed([pictures(plain.architecture)[:, :, ::-1] // 2 + 60]).features
    labels = np.arange(16) % 5
    detector = kind() if kind is Energy else kind.fit(seen, labels)
    held = Predictions(plain.calibration.probabilities(logits), labels, tuple(map(str, range(16))), CLASSES)
    return Judgement.make(held, candidates=2, choice=Choice(detector, 1.25, 0.99, {}))


class Exports:
    """Networks that were written for targets, each once; the folder goes with the process."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        self.blueprint = functools.cache(self._blueprint)
        self._written = functools.cache(self._write)

    def __call__(self, name, network=QUICK):
        """Give the path: export("onnx", "resnet18")."""
        return self._written(name, network)

    def _place(self):
        return Path(tempfile.mkdtemp(dir=self._folder.name))

    def _blueprint(self, network):
        case = CASES[network]
        return Blueprint(Graph(classifier_of(network), outputs=case.outputs, layout=case.layout), self._place())

    def _write(self, name, network):
        require_here(TARGETS[name])
        return TARGETS[name].write(self.blueprint(network), self._place())


export = Exports()


@functools.cache
def opened(name, network=QUICK):
    """Open what was written, once."""
    return TARGETS[name].open(export(name, network))


def require_here(target):
    try:
        require(target, writing=True)
    except ModelError as error:
        pytest.skip(error.got)


def expected(network, N=16):
    """What PyTorch answers, by name."""
    classifier = classifier_of(network)
    seen = classifier.embed([pictures(network)[:N]])
    found = {"probabilities": classifier.calibration.probabilities(seen.logits), "features": seen.features}
    if classifier.judgement:
        found["unknown_score"] = classifier.judgement.strange(seen.logits, seen.features)[0]
    return {name: found[name] for name in CASES[network].outputs}


def fresh(tmp_path, **settings):
    return Blueprint(Graph(classifier_of(QUICK), **settings).eval(), Path(tempfile.mkdtemp(dir=tmp_path)))


def assert_same_card(card, meant):
    assert replace(card, judgement=None) == replace(meant, judgement=None)
    assert (card.judgement is None) == (meant.judgement is None)
    if meant.judgement is not None:
        arrays = card.judgement.arrays()
        assert all(np.array_equal(arrays[key], one) for key, one in meant.judgement.arrays().items())
