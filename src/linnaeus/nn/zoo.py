"""Networks by name: the lessons', our own, every classification network of timm, and a user's own code.

Importing this module registers our networks with timm, so that `timm.create_model("keras_cifar10")` works.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg, is_model_pretrained
from torch import nn

from linnaeus.errors import ModelError
from linnaeus.nn import classics, small, tutorial
from linnaeus.nn.hub import build_from_hub, published_report
from linnaeus.nn.own_code import build_own, is_own_code
from linnaeus.nn.weights import EMBEDDED, LoadedWeights, load_embedded, load_file_weights

_OWN_MODULES = (tutorial, small, classics)
_REMOTE = ("hf-hub:", "hf_hub:", "local-dir:")
_OURS_TO_GIVE = ("num_classes", "in_chans", "pretrained", "pretrained_cfg", "checkpoint_path")


def create(
    name: str,
    *,
    num_classes: int,
    channels: int = 3,
    size_px: int | None = None,
    weights: str = "default",
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a network; what became of its weights stands in its attribute `loaded_weights`.

    Args:
        name: "keras-cifar10", any timm name, with or without a weight tag ("resnet18.a1_in1k"), "hf-hub:user/model",
            "local-dir:folder", or "path/to/file.py:function".
        num_classes: K.
        channels: 3 or 1.
        size_px: Height and width of the pictures, for networks that are built for one size; else their own.
        weights: "default" takes the published weights where there are any; "none" random numbers; else a file.
        options: Keyword arguments for the network, such as batch_norm=True.

    Raises:
        ModelError: No such network or option, or weights that do not fit.
        DownloadError: The published weights cannot be fetched.

    Example:
        >>> create("keras-cifar10", num_classes=10)(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    reserved = sorted(set(options or {}) & set(_OURS_TO_GIVE))
    if reserved:
        raise ModelError(
            f"model.options should not hold {', '.join(reserved)}.", fix="the data and model.weights decide that."
        )
    if is_own_code(name):
        network = build_own(name, num_classes=num_classes, channels=channels, size_px=size_px or 224, options=options)
        return _with_weights(network, "", "none" if weights == "default" else weights)
    full_name = name if name.startswith(_REMOTE) else resolve(name)
    arguments = {**(options or {}), "num_classes": num_classes, "in_chans": channels}
    if size_px and not name.startswith(_REMOTE) and published_cfg(full_name).get("fixed_input_size"):
        arguments.setdefault("img_size", size_px)
    if weights == "default" and _is_on_a_hub(full_name):
        network = build_from_hub(full_name, arguments)
        network.__dict__["loaded_weights"] = published_report(network, full_name)
        return network
    from_hub = full_name.startswith(_REMOTE)
    network = build_from_hub(full_name, arguments, pretrained=False) if from_hub else _build(full_name, arguments)
    return _with_weights(network, full_name, weights)


def exists(name: str) -> bool:
    """Say whether `create` knows the name; for a hub or a user's file, whether it may."""
    if is_own_code(name):
        return Path(name.rpartition(":")[0]).is_file()
    return name.startswith(_REMOTE) or _registered(name) is not None


def names(pattern: str = "*") -> list[str]:
    """List networks, ours first and with hyphens, then timm's.

    Args:
        pattern: With * and ? as in file names; without them, any part of the name. With a dot, timm's weight tags
            are listed too: "resnet18.*".
    """
    if not any(sign in pattern for sign in "*?["):
        pattern = f"*{pattern}*"
    own = _own_names()
    ours = [name.replace("_", "-") for name in own]
    theirs = [name for name in timm.list_models(include_tags="." in pattern) if name.partition(".")[0] not in own]
    dashed, underscored = pattern.replace("_", "-"), pattern.replace("-", "_")
    return [name for name in ours if fnmatch.fnmatchcase(name, dashed)] + fnmatch.filter(theirs, underscored)


def resolve(name: str) -> str:
    """Turn a name as users write it into timm's, "keras-cifar10" into "keras_cifar10".

    Raises:
        ModelError: There is none; the nearest names are suggested.
    """
    found = _registered(name)
    if found is None:
        raise ModelError(f"network {name!r} does not exist.", fix=_suggestion(name))
    return found


def published_cfg(name: str) -> dict[str, Any]:
    """Return what timm's schema says of a network's input: input_size, mean, std, interpolation, crop_pct ...

    Raises:
        ModelError: There is no such network.
    """
    cfg = None if name.startswith(_REMOTE) else get_pretrained_cfg(resolve(name))
    return dict(outline(name).pretrained_cfg) if cfg is None else cfg.to_dict()  # type: ignore[arg-type]


def outline(name: str, channels: int = 3, size_px: int = 224, options: Mapping[str, Any] | None = None) -> nn.Module:
    """Build a network without memory for its numbers, to look at its layers.

    Args:
        name: As `create` takes it.
        channels: Of the pictures; with `size_px` and `options` it is for a user's own code, which may need to know.
        size_px: Height and width of the pictures.
        options: More keyword arguments.
    """
    if is_own_code(name):
        return build_own(name, num_classes=2, channels=channels, size_px=size_px, options=options)
    with torch.device("meta"):
        if name.startswith(_REMOTE):
            return build_from_hub(name, {}, pretrained=False)
        return _build(resolve(name), {})


def has_weights(name: str) -> bool:
    """Say whether there are published weights for a network: on board, or on a hub."""
    if is_own_code(name):
        return False
    full_name = name if name.startswith(_REMOTE) else resolve(name)
    return _is_on_a_hub(full_name) or full_name.partition(".")[0] in EMBEDDED


def _own_names() -> list[str]:
    return [name for module in _OWN_MODULES for name in timm.list_models(module=module.__name__.rpartition(".")[2])]


def _registered(name: str) -> str | None:
    for candidate in (name, name.replace("-", "_")):
        architecture, dot, _ = candidate.partition(".")
        if timm.is_model(architecture) and (not dot or timm.list_models(candidate, include_tags=True)):
            return candidate
    return None


def _suggestion(name: str) -> str:
    architecture, _, tag = name.replace("-", "_").partition(".")
    if tag and timm.is_model(architecture):
        return f"take {' or '.join(timm.list_models(architecture + '.*', include_tags=True)) or architecture}."
    near = difflib.get_close_matches(architecture, [name.replace("-", "_") for name in names()], n=3, cutoff=0.6)
    own = _own_names()
    near = [found.replace("_", "-") if found in own else found for found in near]
    return (
        f"did you mean {' or '.join(near)}?" if near else "linnaeus models lists all; or give path/to/file.py:function."
    )


def _is_on_a_hub(full_name: str) -> bool:
    if full_name.startswith(_REMOTE):
        return True
    return is_model_pretrained(full_name) and full_name.partition(".")[0] not in EMBEDDED


def _build(full_name: str, arguments: Mapping[str, Any]) -> nn.Module:
    try:
        return timm.create_model(full_name, pretrained=False, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError, FileNotFoundError, KeyError) as error:
        raise ModelError(
            f"network {full_name} should take {', '.join(f'{key}={value}' for key, value in arguments.items())}.",
            got=str(error),
            fix="check model.name, model.options and data.size_px.",
        ) from error


def _with_weights(network: nn.Module, full_name: str, weights: str) -> nn.Module:
    architecture = full_name.partition(".")[0]
    if weights == "none" or (weights == "default" and architecture not in EMBEDDED):
        report = LoadedWeights(source="random numbers", missing=tuple(network.state_dict()))
    elif weights == "default":
        report = load_embedded(network, architecture)
    else:
        report = load_file_weights(network, weights)
    network.__dict__["loaded_weights"] = report
    return network
