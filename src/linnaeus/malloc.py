"""How glibc's malloc keeps memory that was freed. Elsewhere there are no such switches, and nothing happens."""

from __future__ import annotations

import ctypes
import functools

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Its numbers for settings, from malloc.h."""


def share_freed_memory() -> None:
    """Let all threads take memory from one arena, as it is where they were started before.

    An arena of a thread's own consists of heaps of 64 MB. It gives them back to the system as soon as they are empty, and
    fetches larger blocks from there each time, whatever was asked for, which steps of training in pieces feel
    (benchmarks/machine.py). It has to be called before the first thread starts.
    """
    _set(ARENA_MAX, 1)


def keep_freed_memory() -> None:
    """Keep freed memory instead of giving it back to the system after every layer.

    Each layer's output is some megabytes: fetched from the system, cleared page by page, given back. Keeping it makes
    networks up to 1.5 times as fast on a CPU (benchmarks/machine.py).
    """
    # Before glibc 2.35 the most is 32 MB; refused, it would stay at 128 KB, since setting the other one ends its own adapting.
    if not _set(MMAP_THRESHOLD, 2**28):
        _set(MMAP_THRESHOLD, 2**25)
    _set(TRIM_THRESHOLD, 2**31 - 1)


@functools.cache
def _set(setting: int, value: int) -> bool:
    """Tell whether it was accepted."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(setting, value))
