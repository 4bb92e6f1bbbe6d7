"""Silence for what C++ libraries write past Python's own stderr."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

# The descriptor belongs to the whole process: of two threads the second would keep the first one's silence for ever.
_ALONE = threading.RLock()


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keep off the terminal what is written straight to file descriptor 2."""
    with _ALONE:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            sys.stderr.flush()
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
