"""The graph that is exported: raw uint8 RGB pictures in, calibrated probabilities out."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from linnaeus.errors import ModelError, SettingsError
from linnaeus.metrics.calibration import FLOOR, Calibration
from linnaeus.metrics.unknown import Detector, Energy, Mahalanobis, MaxLogit, Neighbours
from linnaeus.nn.fold import folded
from linnaeus.nn.head import features, linear_head
from linnaeus.targets.any_size import Resizing
from linnaeus.targets.card import FEATURES, LAYOUTS, OUTPUTS, PROBABILITIES, UNKNOWN_SCORE, Card

if TYPE_CHECKING:
    from linnaeus.classifier import Classifier


class Graph(nn.Module):
    """A classifier as one function of bytes.

    Normalisation, network, calibration, softmax and the score of strangeness are inside; nothing is left to be written
    again by hand. It computes with the operations that all formats have: no indexing, no branches.

    Args:
        classifier: Stays as it is; the graph holds a copy of its network on the CPU, with batch norms folded.
        outputs: What to give: "probabilities" [N, K], "features" [N, D], "unknown_score" [N]; None gives the
            probabilities and, of a model that can tell, the unknown score.
        layout: "nhwc" takes uint8 [N, S, S, 3], "nchw" takes uint8 [N, 3, S, S].
        any_size: Take one upright picture of any size, uint8 [1, H, W, 3], and resize it inside.

    Raises:
        SettingsError: No such output or layout.
        ModelError: The model cannot give what is asked for.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        classifier: Classifier,
        *,
        outputs: Sequence[str] | None = None,
        layout: str = "nhwc",
        any_size: bool = False,
    ) -> None:
        super().__init__()
        self.card = card_of(classifier, outputs, layout, any_size)
        self.classifier = classifier
        about = classifier.preprocessing
        network = copy.deepcopy(classifier.network).cpu().float().eval()
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        # Of noise, not of zeros: on these a norm that is folded wrongly may still answer alike.
        noise = torch.Generator().manual_seed(0)
        example = torch.randn(2, about.channels, about.size_px, about.size_px, generator=noise)
        network = copy.deepcopy(folded(network, example)).to(memory_format=torch.contiguous_format)
        self.resizing = Resizing(about) if any_size else None
        self.channels = about.channels
        deviation = 255 * torch.tensor(about.std, dtype=torch.float32).reshape(1, -1, 1, 1)
        mean = torch.tensor(about.mean, dtype=torch.float32).reshape(1, -1, 1, 1)
        self.register_buffer("scale", 1 / deviation)
        self.register_buffer("shift", -255 * mean / deviation)
        self.head = _cut_head(network, example) if _needs_features(self.card, classifier) else None
        self.network = network
        self.calibrated = Calibrated(classifier.calibration, len(classifier.classes))
        strange = classifier.judgement.detector if classifier.judgement is not None else None
        self.strangeness = strangeness(strange) if UNKNOWN_SCORE in self.card.outputs and strange else None

    def forward(self, image: Tensor) -> Any:
        """Compute the outputs of the card, in its order: one tensor, or a tuple of them."""
        if self.resizing is not None:
            image = self.resizing(image)
        # Without `contiguous`, pooling is traced as strided views, which no converter likes.
        x = (image.permute(0, 3, 1, 2) if self.card.layout == "nhwc" else image).contiguous().float()
        x = (grey(x) if self.channels == 1 else x) * self.scale + self.shift
        seen = self.network(x)
        logits = seen if self.head is None else self.head(seen)
        found = {PROBABILITIES: self.calibrated(logits), FEATURES: seen}
        if self.strangeness is not None:
            found[UNKNOWN_SCORE] = self.strangeness(logits, seen)
        given = tuple(found[name] for name in self.card.outputs)
        return given if len(given) > 1 else given[0]

    def example(self, N: int = 2) -> Tensor:
        """Make an input of noise: what a tracer runs the graph on."""
        size = self.card.preprocessing.size_px
        shape = (1, size + 37, size + 90, 3) if self.card.any_size else (N, size, size, 3)
        pictures = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        return torch.from_numpy(self.card.shaped(pictures))


def card_of(classifier: Classifier, outputs: Sequence[str] | None, layout: str, any_size: bool) -> Card:
    """Write the card of a classifier's graph.

    Raises:
        SettingsError: No such output or layout.
        ModelError: The model cannot give what is asked for.
    """
    judgement = classifier.judgement
    tells = judgement is not None and judgement.detector is not None
    chosen = tuple(outputs) if outputs is not None else (PROBABILITIES, *([UNKNOWN_SCORE] if tells else []))
    strange = [name for name in chosen if name not in OUTPUTS]
    if strange or PROBABILITIES not in chosen or len(set(chosen)) < len(chosen):
        raise SettingsError(
            "outputs should be probabilities, and with it features and unknown_score.", got=", ".join(chosen) or "none"
        )
    # Whoever takes the first output takes the probabilities.
    chosen = (PROBABILITIES, *(name for name in chosen if name != PROBABILITIES))
    if layout not in LAYOUTS or (any_size and layout != "nhwc"):
        raise SettingsError("the layout should be nhwc, or nchw of pictures of one size.", got=layout)
    if UNKNOWN_SCORE in chosen and not tells:
        raise ModelError(
            "the model cannot tell unknown pictures.",
            got="a model with too few validation pictures",
            fix="leave unknown_score out.",
        )
    kept = None if judgement is None else replace(judgement, detector=None)
    return Card(
        classifier.classes,
        classifier.preprocessing,
        chosen,
        layout,
        any_size,
        judgement=kept,
        about=published(classifier.about),
    )


def published(about: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of the provenance what may leave this machine: of the source and of every absolute path only the name."""
    kept: dict[str, Any] = _without_paths(about)
    data = kept.get("data")
    if isinstance(data, dict) and "source" in data:
        data["source"] = PurePath(str(data["source"])).name
    return kept


def _without_paths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_paths(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(one) for one in value]
    if not isinstance(value, str | PurePath):
        return value
    text = str(value)
    kind = PureWindowsPath if "\\" in text or text[1:3] == ":/" else PurePosixPath
    # A home folder by its short name tells as little as a relative path, but is as useless elsewhere as an absolute one.
    return kind(text).name if kind(text).is_absolute() or text.startswith("~") else value


class Calibrated(nn.Module):
    """`Calibration.probabilities` as a part of the graph: logits [N, K] to probabilities [N, K]."""

    scale: Tensor
    shift: Tensor
    starts: Tensor
    steepness: Tensor
    rises: Tensor
    lowest: Tensor

    def __init__(self, calibration: Calibration, K: int) -> None:
        super().__init__()
        self.kind = calibration.kind
        if calibration.kind == "vector":
            scale, shift = np.array(calibration.scale), np.array(calibration.shift)
        else:
            temperature = calibration.temperature if calibration.kind == "temperature" else 1.0
            scale, shift = np.full(K, 1 / temperature), np.zeros(K)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float32))
        if calibration.kind == "isotonic":
            for name, values in zip(("starts", "steepness", "rises", "lowest"), _pieces(calibration), strict=True):
                self.register_buffer(name, torch.tensor(values, dtype=torch.float32))

    def forward(self, logits: Tensor) -> Tensor:
        """Compute [N, K]."""
        p = (logits * self.scale + self.shift).softmax(1)
        if self.kind != "isotonic":
            return p
        # Classes stay the last axis: OpenVINO 2026.4 computes [N, K, 1] - [K, M] wrongly from row K on.
        climbed = ((p.unsqueeze(1) - self.starts) * self.steepness).clamp(0, 1)
        raised = (climbed * self.rises).sum(1) + self.lowest
        raised = raised.clamp_min(FLOOR)
        return raised / raised.sum(1, keepdim=True)


def _pieces(calibration: Calibration) -> tuple[np.ndarray, ...]:
    """Write lines through knots as a sum of ramps: where each starts, 1 / its width, its height [M, K]; lowest [K]."""
    K, most = len(calibration.knots), max(len(knots) for knots in calibration.knots)
    starts, steepness, rises = (np.zeros((max(1, most - 1), K)) for _ in range(3))
    lowest = np.zeros(K)
    for k, knots in enumerate(calibration.knots):
        place, level = np.array(knots).T
        lowest[k], ramps = level[0], len(place) - 1
        # Two knots at one place are a step; it is climbed within what single precision can tell apart.
        starts[:ramps, k], steepness[:ramps, k] = place[:-1], 1 / np.maximum(np.diff(place), 1e-7)
        rises[:ramps, k] = np.diff(level)
    return starts, steepness, rises, lowest


def strangeness(detector: Detector) -> nn.Module:
    """Make the part of the graph that tells how strange a picture is: (logits, features) to [N]."""
    kinds: dict[type, type[nn.Module]] = {
        Energy: _EnergyScore,
        MaxLogit: _MaxLogitScore,
        Mahalanobis: _MahalanobisScore,
        Neighbours: _NeighboursScore,
    }
    return kinds[type(detector)](detector)


class _EnergyScore(nn.Module):
    def __init__(self, _detector: Energy) -> None:
        super().__init__()

    def forward(self, logits: Tensor, _features: Tensor) -> Tensor:
        top = logits.amax(1, keepdim=True)
        return -(top.squeeze(1) + (logits - top).exp().sum(1).log())


class _MaxLogitScore(nn.Module):
    def __init__(self, _detector: MaxLogit) -> None:
        super().__init__()

    def forward(self, logits: Tensor, _features: Tensor) -> Tensor:
        return -logits.amax(1)


class _MahalanobisScore(nn.Module):
    centre: Tensor
    whiten: Tensor
    means: Tensor
    own: Tensor

    def __init__(self, detector: Mahalanobis) -> None:
        super().__init__()
        for name in ("centre", "whiten", "means"):
            self.register_buffer(name, torch.from_numpy(np.array(getattr(detector, name), dtype=np.float32)))
        self.register_buffer("own", self.means.square().sum(1))

    def forward(self, _logits: Tensor, features: Tensor) -> Tensor:
        moved = (features - self.centre) @ self.whiten
        return (moved.square().sum(1, keepdim=True) - 2 * (moved @ self.means.T) + self.own).amin(1)


class _NeighboursScore(nn.Module):
    bank: Tensor

    def __init__(self, detector: Neighbours) -> None:
        super().__init__()
        self.nearest = detector.nearest
        self.register_buffer("bank", torch.from_numpy(detector.bank.astype(np.float32).T.copy()))

    def forward(self, _logits: Tensor, features: Tensor) -> Tensor:
        length = features.square().sum(1, keepdim=True).sqrt().clamp_min(1e-12)
        return 1 - ((features / length) @ self.bank).topk(self.nearest, 1).values.amin(1)


def grey(x: Tensor) -> Tensor:
    """Turn red, green, blue [N, 3, H, W] of whole numbers into luma [N, 1, H, W], as Pillow rounds it."""
    red, green, blue = x[:, 0:1], x[:, 1:2], x[:, 2:3]
    # Up to 2 ** 24 single precision holds every whole number: this is exact.
    return torch.floor((red * 19595 + green * 38470 + blue * 7471 + 32768) / 65536)


def _needs_features(card: Card, classifier: Classifier) -> bool:
    if FEATURES in card.outputs:
        return True
    detector = classifier.judgement.detector if classifier.judgement is not None else None
    return UNKNOWN_SCORE in card.outputs and isinstance(detector, Mahalanobis | Neighbours)


def _cut_head(network: nn.Module, example: Tensor) -> nn.Module:
    """Take the last linear layer off, so that the network gives what it reads.

    Raises:
        ModelError: The network does something else after it, or ends in none.
    """
    try:
        with torch.no_grad():
            features(network, example)
    except ModelError as error:
        raise ModelError(
            "features are what the last linear layer reads.", got=error.got, fix="leave the features out."
        ) from None
    head = linear_head(network)
    name = next(name for name, layer in network.named_modules() if layer is head)
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Identity())
    return head
