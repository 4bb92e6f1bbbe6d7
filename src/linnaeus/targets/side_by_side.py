"""Libraries that cannot share a process unless they are loaded in one order."""

from __future__ import annotations

import contextlib
import importlib


def before_tensorflow() -> None:
    """Load Triton, where PyTorch brings it (Linux with CUDA), before TensorFlow is loaded.

    Both hold an LLVM. The other way round the second ends the process: "LLVM ERROR: inconsistency in registered
    CommandLine options". PyTorch loads Triton when it traces or compiles; coremltools loads TensorFlow when it is there.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")
