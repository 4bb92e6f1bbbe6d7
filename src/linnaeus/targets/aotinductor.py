"""AOTInductor: the graph compiled to machine code by PyTorch's compiler; runs from Python and C++ without its code."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from linnaeus.errors import ModelError
from linnaeus.targets.card import KEY, Card, checked
from linnaeus.targets.onnx import quiet
from linnaeus.targets.target import FLOAT32, Blueprint, Precision
from linnaeus.targets.torch_export import answers, exported, read_member, told


class AotInductor:
    """A .pt2 package with a shared library in it.

    It is made for this kind of processor (its vector instructions), this operating system and this version of PyTorch,
    and it is machine code: open only files of people whom you trust. The card is its metadata, which C++ reads too
    (`AOTIModelPackageLoader::get_metadata`).
    """

    name: ClassVar[str] = "aotinductor"
    title: ClassVar[str] = "PyTorch (AOTInductor)"
    file: ClassVar[str] = "model.aoti.pt2"
    marker: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ("torch",)
    runtime: ClassVar[tuple[str, ...]] = ("torch",)
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    any_size: ClassVar[bool] = False
    one_by_one: ClassVar[bool] = False

    def write(self, blueprint: Blueprint, folder: Path, precision: Precision = FLOAT32) -> Path:
        """Compile and write the file; it takes some ten seconds, and a C++ compiler."""
        import torch
        from torch._inductor.utils import fresh_cache

        _require_compiler()
        program, path = exported(blueprint), folder / self.file
        settings: dict[str, Any] = {
            "aot_inductor.metadata": {KEY: replace(blueprint.card, precision=precision.name).text()},
            # The number of threads is the caller's choice, not that of the machine that compiles.
            "cpp.dynamic_threads": True,
            "compile_threads": 1,
            # Headers compiled beforehand pay from the second file on, but stay behind.
            "aot_inductor.precompile_headers": False,
        }
        with quiet():
            try:
                with fresh_cache(dir=str(blueprint.scratch)):
                    torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=settings)
            except Exception as error:
                raise ModelError("the network cannot be compiled by AOTInductor.", got=told(error)) from None
        return path

    def why_not_here(self) -> str:
        """Say why it cannot be run here: a file that was made here always can."""
        return ""

    def open(self, path: Path, threads: int = 1) -> AotInductorRunner:
        """Make a file ready to answer."""
        return AotInductorRunner(path, threads)


class AotInductorRunner:
    """The shared library. Calls at the same time wait for each other inside of it."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        import torch

        # What is not ours is found out before any of its code is loaded.
        self.card: Card = checked(_card_text(path), str(path))
        self._threads = threads
        with quiet():
            try:
                self._model = torch._inductor.aoti_load_package(str(path))
            except Exception as error:
                raise ModelError(
                    f"{path} should be a package of AOTInductor for this machine.", got=told(error)
                ) from None

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Answer pictures."""
        # The card gives them contiguous: of others the compiled code would read the wrong bytes, and not notice.
        return answers(self._model, self.card, pictures, self._threads)


def _card_text(path: Path) -> str | None:
    import json

    text = read_member(path, ".wrapper_metadata.json")
    try:
        return None if text is None else json.loads(text).get(KEY)
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path} should be a package of AOTInductor.", got=told(error)) from None


def _require_compiler() -> None:
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise ModelError(
            "AOTInductor compiles with a C++ compiler.",
            got=f"no {compiler} on this machine",
            fix="install one (Debian and Ubuntu: apt install g++), or name it in the variable CXX.",
        )
