"""torch.export: the graph as a program of PyTorch's own operators, without the code that made it."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from linnaeus.errors import ModelError
from linnaeus.targets.card import INPUT, KEY, Card, checked
from linnaeus.targets.onnx import quiet
from linnaeus.targets.target import FLOAT32, Blueprint, Precision
from linnaeus.targets.tensorflow_ops.hush import hushed

if TYPE_CHECKING:
    from torch.export import ExportedProgram


class TorchExport:
    """A .pt2 file of torch.export.

    It holds tensors and a list of operators, no pickled code. PyTorch's reader still trusts what it reads, so open only
    files of people whom you trust.
    """

    name: ClassVar[str] = "torch"
    title: ClassVar[str] = "PyTorch (torch.export)"
    file: ClassVar[str] = "model.pt2"
    marker: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ("torch",)
    runtime: ClassVar[tuple[str, ...]] = ("torch",)
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    any_size: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = False

    def write(self, blueprint: Blueprint, folder: Path, precision: Precision = FLOAT32) -> Path:
        """Write the file."""
        import torch

        path, card = folder / self.file, replace(blueprint.card, precision=precision.name)
        with quiet():
            torch.export.save(exported(blueprint), path, extra_files={KEY: card.text()})
        return path

    def why_not_here(self) -> str:
        """Say why it cannot be run here: it always can."""
        return ""

    def open(self, path: Path, threads: int = 1) -> TorchRunner:
        """Make a file ready to answer."""
        return TorchRunner(path, threads)


class TorchRunner:
    """The program, run operator by operator on the CPU. It keeps no state, so that threads can share it."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        import torch

        self.card: Card = checked(read_member(path, f"/extra/{KEY}"), str(path))
        self._threads = threads
        with quiet():
            try:
                self._program = torch.export.load(path).module()
            except Exception as error:
                raise ModelError(f"{path} should be a program of torch.export.", got=told(error)) from None

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Answer pictures."""
        return answers(self._program, self.card, pictures, self._threads)


def exported(blueprint: Blueprint) -> ExportedProgram:
    """Trace the graph with a free batch size (free height and width of one for any size), once."""
    any_size = blueprint.card.any_size
    return blueprint.once("program", lambda _folder: traced(blueprint, ("height", "width") if any_size else ("batch",)))


def traced(blueprint: Blueprint, free: tuple[str, ...], N: int = 2, kind: Any = None) -> ExportedProgram:
    """Trace the graph.

    Args:
        blueprint: Of the graph.
        free: Names of the sizes that may vary: "batch", or "height" and "width".
        N: Pictures in the example; the batch size unless that is free.
        kind: The input's type, where it isn't uint8.

    Raises:
        ModelError: It does something that cannot be traced.
    """
    import torch
    from torch.export import Dim

    at = {"batch": 0, "height": 1, "width": 2}
    sizes: dict[int, Any] = {at[name]: Dim(name, min=1 if name == "batch" else 2) for name in free}
    with quiet(), torch.no_grad():
        try:
            example = blueprint.graph.example(N)
            example = example if kind is None else example.to(kind)
            program = torch.export.export(blueprint.graph.eval(), (example,), dynamic_shapes={INPUT: sizes})
        except Exception as error:
            raise ModelError("the network cannot be traced by torch.export.", got=told(error)) from None
    for node in program.graph.nodes:
        # Where each operation stands in the source code: paths of this machine.
        node.meta.pop("stack_trace", None)
    return program


def answers(call: Callable[..., Any], card: Card, pictures: np.ndarray, threads: int) -> dict[str, np.ndarray]:
    """Answer pictures with something that takes and gives tensors."""
    import torch

    # PyTorch wants memory that it could write to.
    image = torch.from_numpy(np.require(card.shaped(pictures), requirements=["C", "W"]))
    with torch.inference_mode(), thread_limit(threads):
        found = call(image)
    found = found if isinstance(found, list | tuple) else (found,)
    return {name: np.array(one.numpy(), copy=True) for name, one in zip(card.outputs, found, strict=True)}


@contextlib.contextmanager
def thread_limit(threads: int) -> Iterator[None]:
    """Let PyTorch use so many threads for what this thread computes inside the block, and as many as before after it."""
    import torch

    before = torch.get_num_threads()
    if before == threads:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def read_member(path: Path, end: str) -> str | None:
    """Read the text in a zip file whose name ends so; None if there is none.

    Raises:
        ModelError: It is no zip file, or a damaged one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next((one for one in archive.namelist() if one.endswith(end)), None)
            return None if name is None else archive.read(name).decode()
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} should be a .pt2 file.", got=told(error)) from None


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep a converter's chatter off the terminal, and what its C++ code writes past Python too."""
    with hushed(), quiet():
        yield


def told(error: BaseException) -> str:
    """Write another program's error in a line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
