"""ONNX, and ONNX Runtime to run it: the hub from which most other formats are made."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from linnaeus.errors import ModelError
from linnaeus.targets.card import INPUT, KEY, Card, checked
from linnaeus.targets.quantize_onnx import PRECISIONS, reduced, slim
from linnaeus.targets.target import FLOAT32, Blueprint, Precision


class Onnx:
    """An .onnx file."""

    name: ClassVar[str] = "onnx"
    title: ClassVar[str] = "ONNX"
    file: ClassVar[str] = "model.onnx"
    marker: ClassVar[str] = ""
    extra: ClassVar[str] = "onnx"
    needs: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    runtime: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    precisions: ClassVar[tuple[str, ...]] = PRECISIONS
    any_size: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = False

    def write(self, blueprint: Blueprint, folder: Path, precision: Precision = FLOAT32) -> Path:
        """Write the file."""
        import onnx

        from linnaeus.targets.rounding import suited

        blueprint = suited(blueprint, precision)
        plain, path = plain_onnx(blueprint), folder / self.file
        if precision.name == FLOAT32.name:
            model, card = onnx.load(plain), blueprint.card
        else:
            model, card = reduced(blueprint, plain, precision)
        slim(model)
        set_card(model, card)
        onnx.save(model, path)
        return path

    def why_not_here(self) -> str:
        """Say why it cannot be run here: it always can."""
        return ""

    def open(self, path: Path, threads: int = 1) -> OnnxRunner:
        """Make a file ready to answer."""
        return OnnxRunner(path, threads)


class OnnxRunner:
    """A session of ONNX Runtime on the CPU."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # A thread that spins while it waits takes the core from the one that it waits for.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")

        def session() -> Any:
            try:
                return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            except Exception as error:
                raise ModelError(f"{path} should be an ONNX model.", got=str(error)[:300]) from None

        self._session = session()
        self.card: Card = checked(self._session.get_modelmeta().custom_metadata_map.get(KEY), str(path))
        if self.card.precision == "weights":
            # Else the weights would be unpacked anew for each answer.
            options.add_session_config_entry("session.disable_quant_qdq", "1")
            self._session = session()

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Answer pictures."""
        found = self._session.run(list(self.card.outputs), {INPUT: self.card.shaped(pictures)})
        return dict(zip(self.card.outputs, found, strict=True))


def plain_onnx(blueprint: Blueprint) -> Path:
    """Write the float32 graph as ONNX with a free batch size (free height and width of one for any size), once."""
    return blueprint.once("onnx", lambda folder: _write(blueprint, folder / "plain.onnx"))


def set_card(model: Any, card: Card) -> None:
    """Put the card into an ONNX model's metadata, in place of any there."""
    kept = [(one.key, one.value) for one in model.metadata_props if one.key != KEY]
    del model.metadata_props[:]
    for key, value in [*kept, (KEY, card.text())]:
        model.metadata_props.add(key=key, value=value)
    model.producer_name = "linnaeus"


def _write(blueprint: Blueprint, path: Path) -> Path:
    import torch
    from torch.export import Dim

    any_size = blueprint.card.any_size
    shapes: dict[int, Any] = {1: Dim("height", min=2), 2: Dim("width", min=2)} if any_size else {0: Dim("batch")}
    with quiet():
        try:
            torch.onnx.export(
                blueprint.graph.eval(),
                (blueprint.graph.example(),),
                str(path),
                input_names=[INPUT],
                output_names=list(blueprint.card.outputs),
                dynamic_shapes={INPUT: shapes},
                external_data=False,
                dynamo=True,
                verbose=False,
            )
        except (OSError, MemoryError):
            # A full disk says nothing of the network.
            raise
        except Exception as error:
            told = " ".join(str(error).split())[:300]
            raise ModelError("the network cannot be written as ONNX.", got=f"{type(error).__name__}: {told}") from None
    return path


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep a converter's chatter off the terminal."""
    before = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
