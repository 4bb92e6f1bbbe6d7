"""Compiling a network for training: where the run is long enough to pay for it, kept between runs."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from linnaeus.atomic import note
from linnaeus.data.folders import default_cache_dir

MODE = "max-autotune-no-cudagraphs"
"""Try several kernels for each layer; recording the step is our own (`captured.py`)."""


@dataclass(frozen=True)
class Cost:
    """What compiling costs and brings.

    Attributes:
        compile_s: Seconds of the steps that compile: the first of each kind.
        saves: Share of a step's time that it saves.
    """

    compile_s: float
    saves: float


USUAL = Cost(compile_s=60.0, saves=0.2)
"""Assumed as long as a network was never compiled on this machine; benchmarks/gpu.py prints what is true of one."""


class Compiling:
    """Decide whether to compile one network for one run, and remember what it brought.

    The compiled code is kept in the cache folder, so the second compilation of a network takes seconds, and the next
    run decides by what was measured in this one.

    Args:
        asked: "on" or "off" as the user wants it; "auto" decides.
        steps: Of the run.
        what: Names the network, the shape of a batch, the precision and the device.
        folder: Where compiled code and measurements are kept.

    Attributes:
        reason: Why it was decided so; "" before.
    """

    def __init__(self, asked: str, steps: int, what: str, folder: Path | None = None) -> None:
        self._asked, self._steps = asked, steps
        self._folder = folder or default_cache_dir() / "compiled"
        key = hashlib.sha256(f"{torch.__version__}\n{MODE}\n{what}".encode()).hexdigest()[:24]
        self._path = self._folder / f"{key}.json"
        self._seconds, self._saves = 0.0, math.nan
        self.reason = ""

    def pays(self, step_s: float) -> bool:
        """Tell whether to compile a network whose steps take so long, in the quickest way that is known."""
        if self._asked != "auto":
            self.reason = "as asked for"
            return self._asked == "on"
        cost, known = self._cost()
        gain = self._steps * step_s * cost.saves
        source = "as last time" if known else "as is usual"
        self.reason = f"it takes {cost.compile_s:.0f} s ({source}) and would save {gain:.0f} s of {self._steps:,} steps"
        return gain > cost.compile_s

    def compiled(self, network: nn.Module) -> nn.Module:
        """Give a network that will be compiled at its first call; the same parameters, the network stays as it is."""
        # Read when code is compiled; what the user set stays.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(self._folder / "code"))
        # A module where a module is given, which its type does not tell.
        return cast(nn.Module, torch.compile(network, mode=MODE, dynamic=False))

    def took(self, seconds: float) -> None:
        """Add the seconds of a step that compiled."""
        self._seconds += seconds
        self._keep()

    def remember(self, step_s: Mapping[str, float]) -> None:
        """Keep what compiling cost and brought, for the next run: the quickest compiled way against the quickest other."""
        before, after = (
            min(seconds for way, seconds in step_s.items() if way.startswith("compiled") is compiled)
            for compiled in (False, True)
        )
        self._saves = 1 - after / before if before else 0.0
        self._keep()

    def _keep(self) -> None:
        if not math.isnan(self._saves):
            note(self._path, asdict(Cost(self._seconds, self._saves)))

    def _cost(self) -> tuple[Cost, bool]:
        try:
            return Cost(**json.loads(self._path.read_text(encoding="utf-8"))), True
        except (OSError, ValueError, TypeError):
            return USUAL, False
