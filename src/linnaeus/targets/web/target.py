"""The target `web`: the model and its runtime in one HTML file."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

from linnaeus.atomic import write_text
from linnaeus.targets.environment import node_environment
from linnaeus.targets.litert import LiteRt, attention, write_tflite
from linnaeus.targets.target import FLOAT32, Blueprint, Precision
from linnaeus.targets.web.page import Runtime, write_page
from linnaeus.targets.web.runner import WebRunner, why_no_browser

PAGE = "index.html"
LITERT = "2.5.3"
VARIANTS = {"plain": "litert_wasm_compat_internal", "relaxed": "litert_wasm_internal"}
"""None has threads, which a page opened from a file may not start. Relaxed SIMD makes INT8 twice as fast and floats no
faster, and not every browser has it: so INT8 pages hold both, and others the plain one."""

EIGHT_BITS = ("int8", "weights")


class Web:
    """A folder with one page that works from a double click, and from any static host.

    The file takes one picture at a time: the runtime for the browser refuses a free batch size.
    """

    name: ClassVar[str] = "web"
    title: ClassVar[str] = "web page"
    file: ClassVar[str] = "web"
    marker: ClassVar[str] = PAGE
    extra: ClassVar[str] = "web"
    needs: ClassVar[tuple[str, ...]] = LiteRt.needs
    runtime: ClassVar[tuple[str, ...]] = ("playwright",)
    precisions: ClassVar[tuple[str, ...]] = LiteRt.precisions
    any_size: ClassVar[bool] = False
    one_by_one: ClassVar[bool] = True

    def write(self, blueprint: Blueprint, folder: Path, precision: Precision = FLOAT32) -> Path:
        """Write the page."""
        path = folder / self.file
        path.mkdir(exist_ok=True)
        model = write_tflite(blueprint, path / "model.tflite", batch=1, precision=precision)
        kind = "weights" if precision.name == "int8" and attention(blueprint) else precision.name
        card = replace(blueprint.card, precision=kind)
        write_text(path / PAGE, write_page(card, model.read_bytes(), runtime(kind), version("linnaeus")))
        model.unlink()
        return path

    def why_not_here(self) -> str:
        """Say why the page cannot be run here: that takes playwright and a Chromium."""
        return why_no_browser()

    def open(self, path: Path, threads: int = 1) -> WebRunner:
        """Open the page in a browser without a window; it has one thread, whatever `threads` says."""
        return WebRunner(path / PAGE if path.is_dir() else path)


def runtime(precision: str) -> Runtime:
    """Get LiteRT for the browser; it is fetched once.

    Args:
        precision: Of the model.

    Raises:
        ModelError: There is no node or npm, or the package cannot be had.
    """
    folder = node_environment("litert-web", {"@litertjs/core": LITERT}, title="LiteRT for the browser", size_mb=12)
    wasm = folder / "node_modules" / "@litertjs" / "core" / "wasm"
    names = [name for name in VARIANTS if name == "plain" or precision in EIGHT_BITS]
    files = {name: wasm / VARIANTS[name] for name in names}
    read = {
        name: (file.with_suffix(".js").read_text(encoding="utf-8"), file.with_suffix(".wasm").read_bytes())
        for name, file in files.items()
    }
    return Runtime(f"LiteRT {LITERT}, WebAssembly", read)
