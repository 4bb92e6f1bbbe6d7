"""TensorFlow.js: a graph model for the browser and for node."""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from linnaeus.errors import ModelError
from linnaeus.targets.card import KEY, Card, checked
from linnaeus.targets.environment import node, node_environment, python_environment
from linnaeus.targets.savedmodel import saved_model
from linnaeus.targets.target import FLOAT32, Blueprint, Precision

TITLE = "TensorFlow.js"
VERSION = "4.22.0"
PACKAGES = {f"@tensorflow/tfjs-{part}": VERSION for part in ("core", "converter", "backend-cpu", "backend-wasm")}
_HERE = Path(__file__).parent
_CARD = "userDefinedMetadata"


class TfJs:
    """A folder with model.json and the weights in pieces."""

    name: ClassVar[str] = "tfjs"
    title: ClassVar[str] = TITLE
    file: ClassVar[str] = "tfjs"
    marker: ClassVar[str] = "model.json"
    extra: ClassVar[str] = "tfjs"
    needs: ClassVar[tuple[str, ...]] = ("tensorflow", "onnx", "onnxscript")
    runtime: ClassVar[tuple[str, ...]] = ()
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float16")
    any_size: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = False

    def write(self, blueprint: Blueprint, folder: Path, precision: Precision = FLOAT32) -> Path:
        """Write the folder; "float16" halves the weights on disk, what computes is single precision."""
        path = folder / self.file
        _convert(saved_model(blueprint), path, precision.name)
        place = path / self.marker
        model = json.loads(place.read_text(encoding="utf-8"))
        model[_CARD] = {KEY: json.loads(replace(blueprint.card, precision=precision.name).text())}
        place.write_text(json.dumps(model, ensure_ascii=False), encoding="utf-8")
        return path

    def why_not_here(self) -> str:
        """Say why it cannot be run here: without node."""
        return "" if shutil.which("node") and shutil.which("npm") else "no node and npm on this machine"

    def open(self, path: Path, threads: int = 1) -> TfJsRunner:
        """Make a folder ready to answer, in a process of node; it has one thread."""
        return TfJsRunner(path)


class TfJsRunner:
    """A process of node that answers with WebAssembly, as a browser does. Calls wait for each other."""

    def __init__(self, path: Path) -> None:
        self.card: Card = checked(_card_text(path), str(path))
        environment = node_environment("tfjs", PACKAGES, title=TITLE, size_mb=15)
        self._alone = threading.Lock()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        command = [
            node(TITLE),
            str(_HERE / "tfjs_answer.js"),
            str(environment.resolve()),
            str(path),
            json.dumps(self.card.outputs),
        ]
        # Options for node in the environment could load code of their own, or change what it says.
        clean = {name: value for name, value in os.environ.items() if name != "NODE_OPTIONS"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, env=clean
        )
        self._close = weakref.finalize(self, _stop, self._process)
        self.backend: str = self._reply()["backend"]

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Answer pictures."""
        given = self.card.shaped(pictures)
        with self._alone:
            try:
                _pipe(self._process.stdin).write(struct.pack("<4I", *given.shape) + given.tobytes())
                _pipe(self._process.stdin).flush()
            except (BrokenPipeError, ValueError):
                raise self._ended() from None
            shapes = self._reply()["shapes"]
            arrays = [np.frombuffer(self._read(4 * math.prod(one)), "<f4").reshape(one) for one in shapes]
        return {name: array.astype(np.float32) for name, array in zip(self.card.outputs, arrays, strict=True)}

    def _reply(self) -> dict[str, Any]:
        (size,) = struct.unpack("<I", self._read(4))
        found: dict[str, Any] = json.loads(self._read(size))
        if "error" in found:
            raise ModelError(f"{TITLE} should answer.", got=found["error"][:300])
        return found

    def _read(self, size: int) -> bytes:
        found = _pipe(self._process.stdout).read(size)
        if len(found) < size:
            raise self._ended()
        return found

    def _ended(self) -> ModelError:
        self._said.seek(0)
        return ModelError(
            f"{TITLE} should answer.", got=self._said.read()[-300:].decode(errors="replace") or "node ended"
        )


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that ends when nobody speaks to it any more."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _card_text(path: Path) -> str | None:
    try:
        document = json.loads((path / TfJs.marker).read_text(encoding="utf-8"))
        return json.dumps(document[_CARD][KEY])
    except OSError as error:
        raise ModelError(f"{path} should be a folder with model.json.", got=error.strerror or "") from None
    except (ValueError, KeyError, TypeError):
        return None


def _convert(source: Path, target: Path, kind: str) -> None:
    """Convert in a process of its own, with its package from an environment of its own and the TensorFlow from here."""
    python = python_environment(
        "tensorflowjs", [], [f"tensorflowjs=={VERSION}"], title=f"{TITLE}'s converter", size_mb=1
    )
    place = next(python.parent.parent.rglob("tensorflowjs/__init__.py")).parent.parent
    kinds = [] if kind == FLOAT32.name else [kind]
    command = [sys.executable, "-P", str(_HERE / "tfjs_convert.py"), str(place), str(source), str(target), *kinds]
    quietly = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, env=quietly, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line.strip()]
        raise ModelError(f"the network cannot be written for {TITLE}.", got="\n".join(told[-4:])[:600])
