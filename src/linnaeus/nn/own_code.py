"""A user's own network: `path/to/file.py:function`."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from linnaeus.errors import ModelError


def is_own_code(name: str) -> bool:
    """Say whether a network's name means a function in a file."""
    file, colon, _ = name.rpartition(":")
    return (bool(colon) and file.endswith(".py")) or name.endswith(".py")


def build_own(
    name: str, *, num_classes: int, channels: int = 3, size_px: int = 224, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """Call the user's function and check that what it returns maps pictures to one number per class.

    The function is given `num_classes`, `in_chans` and `img_size` where its signature accepts them, and the options.

    Args:
        name: "path/to/file.py:function". The file may import installed packages, but not files beside it: it
            goes into the model folder alone.
        num_classes: K.
        channels: Of the pictures.
        size_px: Height and width of the pictures.
        options: More keyword arguments.

    Raises:
        ModelError: No such file or function, it fails, or the network does not give K numbers.
    """
    function, source = _function(name)
    try:
        network = function(**_accepted(function, num_classes, channels, size_px), **(options or {}))
    except Exception as error:
        raise ModelError(f"{name} should build a network.", got=_told(error), fix="mend the function.") from error
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{name} should return a torch.nn.Module.", got=type(network).__name__, fix="return the network."
        )
    _check_output(name, network, num_classes, (channels, size_px, size_px))
    network.__dict__["own_source"] = source
    return network


def source_of(network: nn.Module) -> str:
    """Give the code that a network was built by, as it was then; "" of one that `build_own` did not build."""
    return str(network.__dict__.get("own_source", ""))


def trust(code: Path) -> None:
    """Remember that this machine made a file of code, by its content."""
    ledger = _ledger()
    ledger.mkdir(parents=True, exist_ok=True)
    (ledger / _content_key(code)).touch()


def is_trusted(code: Path) -> bool:
    """Tell whether this machine made a file of code with just this content."""
    return code.is_file() and (_ledger() / _content_key(code)).is_file()


def _ledger() -> Path:
    """Find the folder that holds one empty file per trusted content."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "linnaeus" / "trusted"


def _content_key(code: Path) -> str:
    return hashlib.sha256(code.read_bytes()).hexdigest()


def _function(name: str) -> tuple[Callable[..., Any], str]:
    """Find the function, and the text of its file."""
    file, _, function_name = name.rpartition(":")
    if not file or not function_name:
        raise ModelError(f"{name} should name a function.", fix=f"write {file or name}:function.")
    if not file.endswith(".py"):
        # Python would run compiled code and libraries, too, which nobody can read before.
        raise ModelError(
            f"network file {file} should be Python source.", got=name, fix="write path/to/file.py:function."
        )
    if not Path(file).is_file():
        raise ModelError(f"network file {file} does not exist.", fix="check the path.")
    module = _module(Path(file))
    found = getattr(module, function_name, None)
    if not callable(found):
        functions = inspect.getmembers(module, inspect.isfunction)
        known = [key for key, function in functions if function.__module__ == module.__name__]
        raise ModelError(
            f"{file} should hold a function {function_name}.",
            got="nothing of that name" if found is None else f"{function_name} is of type {type(found).__name__}",
            fix=f"it holds {', '.join(known)}." if known else "define it.",
        )
    return found, _SOURCES[module.__name__]


_SOURCES: dict[str, str] = {}
"""Text of each file that was imported, by the name of its module."""


def _module(path: Path) -> ModuleType:
    """Import the file under a name of its own, once per content."""
    content = path.read_bytes()
    digest = hashlib.sha256(str(path.resolve()).encode() + content).hexdigest()[:12]
    module_name = f"linnaeus_own_{path.stem}_{digest}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None, "a .py file always has a spec"
    module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
    try:
        # What is run is what was read: the file may be edited meanwhile, and a compiled copy may be of before.
        source = importlib.util.decode_source(content)
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    except Exception as error:
        del sys.modules[module_name]
        beside = isinstance(error, ModuleNotFoundError) and path.with_name(f"{error.name}.py").is_file()
        fix = "put both into one file: it goes into the model folder alone." if beside else "mend the file."
        raise ModelError(f"{path} should be importable.", got=_told(error), fix=fix) from error
    _SOURCES[module_name] = source
    return module


def _accepted(function: Callable[..., Any], num_classes: int, channels: int, size_px: int) -> dict[str, int]:
    offered = {"num_classes": num_classes, "in_chans": channels, "img_size": size_px}
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return {key: offered[key] for key in ("num_classes", "in_chans")}
    return {key: value for key, value in offered.items() if key in parameters}


def _check_output(name: str, network: nn.Module, num_classes: int, input_size: tuple[int, int, int]) -> None:
    training = network.training
    try:
        with torch.no_grad():
            output = network.eval()(torch.zeros(2, *input_size))
    except Exception as error:
        shape = " x ".join(map(str, input_size))
        fix = "mend the network, or set data.size_px and data.channels to what it wants."
        raise ModelError(f"{name} should take pictures of {shape}.", got=_told(error), fix=fix) from error
    finally:
        network.train(training)
    got = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if got != (2, num_classes):
        raise ModelError(
            f"{name} should give {num_classes} numbers per picture, one for each class.",
            got=f"{got} for 2 pictures",
            fix="let the function take num_classes, and end the network in that many outputs.",
        )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
