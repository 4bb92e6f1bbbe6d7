"""The last linear layer of a network and the features that it reads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from linnaeus.errors import ModelError


def linear_head(network: Any) -> nn.Linear:
    """Find the linear layer that gives the logits: timm's classifier, else the last linear layer.

    Raises:
        ModelError: The network has none, or several.
    """
    if hasattr(network, "get_classifier"):
        found = network.get_classifier()
    else:
        found = next((layer for layer in reversed(list(network.modules())) if isinstance(layer, nn.Linear)), None)
    if not isinstance(found, nn.Linear):
        raise ModelError(
            "a solved head needs a network that ends in one linear layer.",
            got=f"{type(network).__name__} ends in {type(found).__name__}",
            fix="--set train.start=fresh trains it without.",
        )
    return found


def head_parameters(network: Any) -> tuple[str, ...]:
    """Name the parameters of the classifier; of the last child that has any, where no classifier is known."""
    found = network.get_classifier() if hasattr(network, "get_classifier") else None
    if found is None:
        linears = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
        with_parameters = [child for child in network.children() if any(True for _ in child.parameters())]
        found = (linears or with_parameters or [network])[-1]
    layers = found if isinstance(found, list | tuple) else [found]
    own = {id(parameter) for layer in layers for parameter in layer.parameters()}
    return tuple(name for name, parameter in network.named_parameters() if id(parameter) in own)


def features(network: nn.Module, x: Tensor) -> Tensor:
    """Compute what the linear head reads, [N, D], in whatever mode (train or eval) the network is.

    It is taken where it enters the head, not from `forward_head(pre_logits=True)`, so that it holds for every network
    that ends in a linear layer, a user's own included.

    Raises:
        ModelError: The network does not end in one linear layer that is applied once, to [N, D].
    """
    head, seen = linear_head(network), []
    handle = head.register_forward_hook(lambda _layer, inputs, output: seen.append((inputs[0], output)))
    try:
        logits = network(x)
    finally:
        handle.remove()
    same = len(seen) == 1 and isinstance(logits, Tensor) and seen[0][1].shape == logits.shape
    if not same or seen[0][0].ndim != 2 or not torch.allclose(seen[0][1].float(), logits.float(), rtol=1e-2):
        raise ModelError(
            "a solved head needs a network whose output is that of its last linear layer.",
            got=f"{type(network).__name__} does something else with it",
            fix="--set train.start=fresh trains it without.",
        )
    return seen[0][0]


@contextmanager
def headless(network: nn.Module) -> Iterator[None]:
    """Let the network give its features instead of logits inside the block, whoever calls it, from any thread.

    Raises:
        ModelError: The network has no single linear head.
    """
    head = linear_head(network)
    name = next(name for name, layer in network.named_modules() if layer is head)
    parent = network.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], nn.Identity())
    try:
        yield
    finally:
        setattr(parent, name.rpartition(".")[2], head)


class Both(nn.Module):
    """A network that gives its features and its logits side by side, [N, D + K], inside the block of `both`."""

    def __init__(self, network: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(self, x: Tensor) -> Tensor:
        """Compute [N, D + K]."""
        seen = self.network(x)
        return torch.cat([seen, self.head(seen)], 1)


_LOCKS: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
"""A network has its head for one thread at a time."""


@contextmanager
def both(network: nn.Module) -> Iterator[Both]:
    """Let the network give what its head reads beside what the head says, in one pass; other threads wait.

    Raises:
        ModelError: The network has no single linear head; `features` tells whether it is applied once, and last.
    """
    with _LOCKS.setdefault(network, threading.RLock()):
        head = linear_head(network)
        with headless(network):
            yield Both(network, head)


@torch.no_grad()
def set_head(network: Any, weight: Tensor, bias: Tensor) -> None:
    """Put a solved head into the network, so that its logits are features @ weight.T + bias.

    Args:
        network: Ends in a linear layer; one of other size is replaced.
        weight: [K, D].
        bias: [K].

    Raises:
        ModelError: D is not the width of the features, the network cannot change K, or it has no place for a bias.
    """
    (K, D), head = weight.shape, linear_head(network)
    if head.out_features != K and hasattr(network, "reset_classifier"):
        network.reset_classifier(K)
        head = linear_head(network)
    if (head.out_features, head.in_features) != (K, D):
        raise ModelError(
            f"the head of {type(network).__name__} should map {D} features to {K} classes.",
            got=f"{head.in_features} to {head.out_features}",
            fix=f"build the network with num_classes={K}.",
        )
    if head.bias is None and bias.any():
        raise ModelError(
            f"the head of {type(network).__name__} has no bias to take the solved one.",
            fix="--set train.start=fresh trains it without a solved head.",
        )
    scale = getattr(head, "scale", 1.0)
    head.weight.copy_(weight / scale)
    if head.bias is not None:
        head.bias.copy_(bias / scale)
