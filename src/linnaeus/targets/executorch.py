"""ExecuTorch: PyTorch's runtime for phones and small devices, with the XNNPACK library on their processors."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from linnaeus.errors import ModelError
from linnaeus.targets.card import KEY, Card, checked
from linnaeus.targets.target import FLOAT32, Blueprint, Precision, in_turn
from linnaeus.targets.torch_export import silent, told, traced


class ExecuTorch:
    """A .pte file that takes one picture at a time. Its method "linnaeus" gives the card, its method "forward" answers."""

    name: ClassVar[str] = "executorch"
    title: ClassVar[str] = "ExecuTorch (XNNPACK)"
    file: ClassVar[str] = "model.pte"
    marker: ClassVar[str] = ""
    extra: ClassVar[str] = "executorch"
    needs: ClassVar[tuple[str, ...]] = ("executorch",)
    runtime: ClassVar[tuple[str, ...]] = ("executorch",)
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    any_size: ClassVar[bool] = False
    one_by_one: ClassVar[bool] = True

    def write(self, blueprint: Blueprint, folder: Path, precision: Precision = FLOAT32) -> Path:
        """Write the file."""
        program, path = traced(blueprint, (), N=1), folder / self.file
        card = replace(blueprint.card, precision=precision.name).text()
        with silent():
            try:
                from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
                from executorch.exir import to_edge_transform_and_lower

                parts = [XnnpackPartitioner()]
                lowered = to_edge_transform_and_lower(program, partitioner=parts, constant_methods={KEY: card})
                buffer = lowered.to_executorch().buffer
            except Exception as error:
                raise ModelError("the network cannot be written for ExecuTorch.", got=told(error)) from None
        path.write_bytes(buffer)
        return path

    def why_not_here(self) -> str:
        """Say why it cannot be run here: it always can."""
        return ""

    def open(self, path: Path, threads: int = 1) -> ExecuTorchRunner:
        """Make a file ready to answer. All files of a process share the threads of the one that was opened last."""
        return ExecuTorchRunner(path, threads)


class ExecuTorchRunner:
    """A loaded program. Its memory is planned for one call at a time: calls wait for each other."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        if not path.is_file():
            raise ModelError(f"{path} should be a program of ExecuTorch.", got="no such file")
        with silent(), _ALONE:
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime

            try:
                if portable_lib._threadpool_get_thread_count() != threads:
                    portable_lib._unsafe_reset_threadpool(threads)
                program = Runtime.get().load_program(path)
                card = program.load_method(KEY) if KEY in program.method_names else None
                text = str(card.execute([])[0]) if card is not None else None
                self.card: Card = checked(text, str(path))
                self._method = program.load_method("forward")
            except RuntimeError as error:
                raise ModelError(f"{path} should be a program of ExecuTorch.", got=told(error)) from None

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Answer pictures, one by one."""
        found = in_turn(self._one, self.card.shaped(pictures))
        return dict(zip(self.card.outputs, found, strict=True))

    def _one(self, picture: np.ndarray) -> list[np.ndarray]:
        import torch

        image = torch.from_numpy(np.require(picture, requirements=["C", "W"]))
        with _ALONE:
            return [np.array(one.numpy(), copy=True) for one in self._method.execute([image])]


# The pool of threads and the memory of XNNPACK belong to the process, not to a program.
_ALONE = threading.Lock()
