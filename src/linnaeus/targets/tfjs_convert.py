"""Run as a program of its own: turn a SavedModel into a TensorFlow.js graph model with the converter of TensorFlow.js.

Of its package only the one module is loaded that is needed; what the rest of it asks for no longer fits together.

Usage: python -P tfjs_convert.py SITE_PACKAGES SAVED_MODEL OUT [float16]
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_UNUSED = ("tensorflow_decision_forests", "tensorflow_hub")
_PACKAGES = ("tensorflowjs", "tensorflowjs.converters")


def main(arguments: Sequence[str]) -> None:
    """Convert."""
    place, source, target, *kinds = arguments
    sys.path.append(place)
    for name in _UNUSED:
        sys.modules[name] = types.ModuleType(name)
    for name in _PACKAGES:
        package = types.ModuleType(name)
        package.__path__ = [str(Path(place, *name.split(".")))]
        sys.modules[name] = package
    converter = importlib.import_module("tensorflowjs.converters.tf_saved_model_conversion_v2")
    _mend(converter)
    converter.convert_tf_saved_model(source, target, quantization_dtype_map=dict.fromkeys(kinds, "*") or None)


def _mend(converter: Any) -> None:
    """Take two optimisations out that make graphs which go wrong in the browser.

    One hides a transpose in a product of matrices. The other takes what is added to a convolution that has no bias for
    its bias, even where it is a whole picture or a single number.
    """
    run = converter._run_grappler

    def run_mended(config: Any, *rest: Any) -> Any:
        rewriting = config.graph_options.rewrite_options
        rewriting.optimizers[:] = [one for one in rewriting.optimizers if one != "arithmetic"]
        found = run(config, *rest)
        if _misfused(found):
            rewriting.optimizers[:] = [one for one in rewriting.optimizers if one != "remap"]
            found = run(config, *rest)
        return found

    converter._run_grappler = run_mended


def _misfused(graph: Any) -> bool:
    """Say whether anything but a row of fixed numbers became a bias."""
    fixed = {node.name: node.attr["value"].tensor.tensor_shape.dim for node in graph.node if node.op == "Const"}
    fused = [node for node in graph.node if node.op in ("_FusedConv2D", "_FusedMatMul")]
    return any(len(fixed.get(name.partition(":")[0], ())) != 1 for node in fused for name in node.input[2:])


if __name__ == "__main__":
    main(sys.argv[1:])
