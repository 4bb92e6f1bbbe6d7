"""TensorFlow, loaded without its chatter and without a GPU: what is written must be the same everywhere."""

from __future__ import annotations

import contextlib
import importlib
import os
from typing import Any

from linnaeus.targets.side_by_side import before_tensorflow
from linnaeus.targets.tensorflow_ops.hush import hushed


def _load() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    before_tensorflow()
    with hushed():
        library = importlib.import_module("tensorflow")
        # It is too late where another part of the program has used TensorFlow already.
        with contextlib.suppress(RuntimeError):
            library.config.set_visible_devices([], "GPU")
            # Once it has computed anything, here to write a file, the number stays: a runtime that is measured later
            # would have all cores where the others have one.
            library.config.threading.set_intra_op_parallelism_threads(1)
            library.config.threading.set_inter_op_parallelism_threads(1)
    library.get_logger().setLevel("ERROR")
    return library


tf: Any = _load()
