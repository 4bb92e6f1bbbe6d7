"""Import timm without TorchDynamo, PyTorch's compiler, which nothing here asks for at first.

torchvision and timm each touch it once while they are imported, and it takes longer to import than both: a third of the
processor time of starting. They get stand-ins that load it when it is really needed, with the same effect.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch._compile import _disable_dynamo

WANTED = "torch._dynamo.utils"
"""Of it, torchvision's RoI align takes a function that tells whether a device can compile."""


def import_timm() -> None:
    """Import timm, and torchvision with it; the plain way where this version of them does not take the stand-ins."""
    try:
        with _without_dynamo():
            importlib.import_module("timm")
    except (ImportError, AttributeError, TypeError):
        importlib.import_module("timm")


@contextmanager
def _without_dynamo() -> Iterator[None]:
    if "torch._dynamo" in sys.modules:
        yield
        return
    stand_in, disable = ModuleType(WANTED), torch.compiler.disable
    stand_in.__dict__["is_compile_supported"] = _is_compile_supported
    sys.modules[WANTED] = stand_in
    torch.compiler.disable = _disable
    try:
        yield
    finally:
        if sys.modules.get(WANTED) is stand_in:
            del sys.modules[WANTED]
        torch.compiler.disable = disable


def _is_compile_supported(device_type: str) -> bool:
    return bool(importlib.import_module(WANTED).is_compile_supported(device_type))


def _disable(fn: Callable[..., Any] | None = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Keep the compiler out of a function, as `torch.compiler.disable` does, from its first call on."""
    return _disable_dynamo(fn, recursive)
