"""What a target is: a format that a classifier can be exported to, and how such a file is run."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from linnaeus.errors import ModelError
from linnaeus.targets.card import Card

if TYPE_CHECKING:
    from linnaeus.targets.graph import Graph


@dataclass(frozen=True)
class Precision:
    """What the network of an exported file computes in.

    Attributes:
        name: "float32", "float16", "bfloat16", "int8", or "weights" (8-bit weights, computed in float).
        pictures: For "int8", and if possible for "weights": training pictures that show what every layer reads, uint8
            [N, S, S, 3].
        keep: For "int8": layers that stay in float, as in `network.named_modules()`.
        held: For "int8": other pictures, not of the test part, on which `sensitivity.written` looks for sensitive layers.
    """

    name: str = "float32"
    pictures: np.ndarray | None = None
    keep: tuple[str, ...] = ()
    held: np.ndarray | None = None


FLOAT32 = Precision()


@dataclass
class Blueprint:
    """What a file is written from. Intermediate files are made once, in `scratch`.

    Attributes:
        graph: Bytes in, probabilities out, in PyTorch, float32.
        scratch: A temporary folder.
        stays: The file is for this machine and this version of its runtime alone: it may be compiled beforehand.
    """

    graph: Graph
    scratch: Path
    stays: bool = False
    _made: dict[str, Any] = field(default_factory=dict)

    @property
    def card(self) -> Card:
        """What the file will say of itself."""
        return self.graph.card

    def once(self, name: str, make: Callable[[Path], Any]) -> Any:
        """Make an intermediate file, in a folder of its own, unless it was made before."""
        if name not in self._made:
            folder = self.scratch / name
            folder.mkdir(exist_ok=True)
            self._made[name] = make(folder)
        return self._made[name]


class Runner(Protocol):
    """An exported file, ready to answer. `run` may be called from several threads at once."""

    card: Card

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Answer pictures, uint8 [N, S, S, 1 or 3]; of a graph for any size [1, H, W, 3].

        Returns:
            The outputs of the card by name: probabilities float32 [N, K], features [N, D], unknown_score [N].
        """
        ...


class Target(Protocol):
    """A format.

    Attributes:
        name: As `--to` takes it.
        title: As people call it.
        file: What is written, a file or a folder, by the name it has in the export's folder.
        marker: Of a folder, a file in it that tells its kind; "" of a file, which is told by its ending.
        extra: `pip install "linnaeus[EXTRA]"` brings what is needed; "" of what is always there.
        needs: Modules that writing imports.
        runtime: Modules that running imports.
        precisions: Names of the precisions that it has.
        any_size: It can hold the graph that resizes.
        one_by_one: Its files take one picture at a time; `Runner.run` does the looping.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    file: ClassVar[str]
    marker: ClassVar[str]
    extra: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    runtime: ClassVar[tuple[str, ...]]
    precisions: ClassVar[tuple[str, ...]]
    any_size: ClassVar[bool]
    one_by_one: ClassVar[bool]

    def write(self, blueprint: Blueprint, folder: Path, precision: Precision = FLOAT32) -> Path:
        """Write the file, its card inside.

        Args:
            blueprint: What to write.
            folder: Exists; the file gets the name `file` in it.
            precision: One of `precisions`.

        Raises:
            ModelError: The network has something that the format cannot express.
        """
        ...

    def why_not_here(self) -> str:
        """Say why a file of this kind cannot be run on this machine; "" if it can."""
        ...

    def open(self, path: Path, threads: int = 1) -> Runner:
        """Make a file ready to answer.

        Args:
            path: What `write` gave.
            threads: For one call of `run`; several calls at once each have their own.

        Raises:
            ModelError: It is damaged, or another program's.
        """
        ...


def digest(array: np.ndarray) -> str:
    """Name an array by its bytes."""
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=8).hexdigest()


def require(target: Target, *, writing: bool) -> None:
    """Check that what writing, or else running, a target's files needs is installed.

    Raises:
        ModelError: It is not; the message says how to get it.
    """
    wanted = target.needs if writing else target.runtime
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"{target.title} needs {', '.join(wanted)}.",
            got=f"no {', '.join(missing)} in this environment",
            fix=f'pip install "linnaeus[{target.extra}]"',
        )


def in_turn(run: Callable[[np.ndarray], Sequence[np.ndarray]], pictures: np.ndarray) -> list[np.ndarray]:
    """Answer pictures [N, ...] one by one with a graph that takes [1, ...], and put the answers together."""
    answers = [run(pictures[row : row + 1]) for row in range(len(pictures))]
    return [np.concatenate(part) for part in zip(*answers, strict=True)]
