"""What is explained: a classifier with a network of its own, so that whatever is done to it never reaches the user's."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from linnaeus.classifier import Classifier
from linnaeus.learn.engine import Engine
from linnaeus.learn.infer import infer
from linnaeus.nn.head import headless
from linnaeus.nn.input import FromBytes
from linnaeus.nn.small import in_one_view
from linnaeus.verbs.explain.target import FeatureMap, find_feature_map

if TYPE_CHECKING:
    from linnaeus.verbs.explain.methods import Method

AT_ONCE = 64


@dataclass(frozen=True)
class Subject:
    """A classifier whose network is a copy, in evaluation mode, with frozen weights and nothing done in place.

    Attributes:
        classifier: With the copy.
        engine: The machine.
    """

    classifier: Classifier
    engine: Engine

    @classmethod
    def of(cls, classifier: Classifier) -> Subject:
        """Copy the network: hooks, gradients, modes and weights of the original stay as they are."""
        network = copy.deepcopy(classifier.network).eval().requires_grad_(False)
        for layer in network.modules():
            # A layer that overwrites its input would overwrite the feature map that a hook has kept.
            if getattr(layer, "inplace", False) is True:
                layer.inplace = False  # type: ignore[assignment]
        engine = Engine()
        return cls(replace(classifier, network=engine.place(network)), engine)

    @property
    def network(self) -> nn.Module:
        """The copy: normalised pictures [N, C, S, S] to logits [N, K]."""
        return self.classifier.network

    @property
    def size_px(self) -> int:
        """S."""
        return self.classifier.preprocessing.size_px

    @cached_property
    def in_one_view(self) -> nn.Module:
        """The network as it looks at the picture as it is: of several views, each has a feature map of its own."""
        return in_one_view(self.network)

    @cached_property
    def feature_map(self) -> FeatureMap:
        """The last map before the network gives up places, of `in_one_view`.

        Raises:
            ModelError: It has none.
        """
        shape = (self.size_px, self.size_px, self.classifier.preprocessing.channels)
        example = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        return find_feature_map(self.in_one_view, self.normalised(example))

    def refuse_unfit(self, methods: Iterable[Method]) -> None:
        """Find out before any picture whether the network can be explained by these methods.

        Raises:
            ModelError: One of them needs a feature map, and the network has none.
        """
        if any(method.places for method in methods):
            assert self.feature_map

    def normalised(self, picture: np.ndarray) -> Tensor:
        """Bring a picture, uint8 [S, S, C], to the network's input, [1, C, S, S]."""
        about = self.classifier.preprocessing
        from_bytes = FromBytes(about.mean, about.std).to(self.engine.device)
        return from_bytes(torch.from_numpy(np.ascontiguousarray(picture[None])).to(self.engine.device))

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """Answer pictures, uint8 [N, S, S, C], as the classifier does: calibrated, float64 [N, K]."""
        return self.classifier.calibration.probabilities(self.classifier.logits(_blocks(pictures), self.engine))

    def features(self, pictures: np.ndarray) -> np.ndarray:
        """Compute what the linear head reads, each of length 1, float32 [N, D].

        Raises:
            ModelError: The network has no single linear head.
        """
        with headless(self.network):
            about = self.classifier.preprocessing
            parts = [part.flatten(1) for part in infer(self.network, _blocks(pictures), about, self.engine)]
        found = torch.cat(parts).numpy()
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    def with_network(self, network: nn.Module) -> Subject:
        """Take another network of the same architecture."""
        return Subject(replace(self.classifier, network=self.engine.place(network)), self.engine)


def _blocks(pictures: np.ndarray) -> Iterator[np.ndarray]:
    return (pictures[first : first + AT_ONCE] for first in range(0, len(pictures), AT_ONCE))
