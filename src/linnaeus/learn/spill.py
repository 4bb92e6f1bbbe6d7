"""Put numbers of all pictures together, block by block: in memory, or in a file where memory should not hold them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from linnaeus.data.folders import default_cache_dir
from linnaeus.errors import SettingsError

TIMES = 5
"""What is done with a table in memory takes so many times its size."""


def fits(numbers: int, memory_gb: float) -> bool:
    """Tell whether memory may hold a table of so many float32 numbers, and what is made of it meanwhile."""
    return 4 * TIMES * numbers <= memory_gb * 1e9


def gather(blocks: Iterable[np.ndarray], count: int, *, memory_gb: float, folder: Path) -> np.ndarray:
    """Put blocks of rows together, float32 [count, ...].

    Args:
        blocks: Each [n, ...], in order, `count` rows in all.
        count: Rows.
        memory_gb: Most memory for them and what is done with them; larger ones are written to the disk.
        folder: Where the file lies, without a name and only as long as the table is in use.

    Returns:
        An array, or a memory map, of which the system keeps as much in memory as it likes.

    Raises:
        SettingsError: The folder cannot be written, or the disk is full.
    """
    rest = iter(blocks)
    first = next(rest, np.empty((0, 0)))
    shape = (count, *first.shape[1:])
    if fits(math.prod(shape), memory_gb):
        whole, done = np.empty(shape, np.float32), 0
        for block in chain([first], rest):
            whole[done : done + len(block)] = block
            done += len(block)
        assert done == count
        return whole
    size = 4 * math.prod(shape)
    with ExitStack() as stack:
        with _telling(folder, size):
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0))
        for block in chain([first], rest):
            # Written, not assigned: a disk that is full is told as an error, where a map would end the process.
            left = memoryview(np.ascontiguousarray(block, np.float32).tobytes())
            with _telling(folder, size):
                while left:
                    left = left[file.write(left) :]
        return np.memmap(file, np.float32, "r+", shape=shape)


def gather_features(parts: Iterable[Tensor], count: int, memory_gb: float) -> Tensor:
    """Put the features of training pictures together, float32 [count, D]; a file lies in the cache folder.

    Args:
        parts: Each [n, D], in order; see `gather` for all else.
        count: Rows.
        memory_gb: Most memory.
    """
    blocks = (part.numpy() for part in parts)
    return torch.from_numpy(gather(blocks, count, memory_gb=memory_gb, folder=default_cache_dir()))


@contextmanager
def _telling(folder: Path, size: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"the folder {folder} should have room for {size / 1e9:.1f} GB of features.",
            got=error.strerror or str(error),
            fix="free some space, choose another cache folder, or raise data.memory_gb.",
        ) from None
