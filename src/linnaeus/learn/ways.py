"""In which way a network is computed fastest on this machine: measured for a moment, and remembered.

Precision and the number of pieces of a batch change speed several times, and not in the same direction on every
processor: some only emulate bf16, and small work is done sooner by one core. What is measured is the work itself. From
the way that is usually best, single changes are tried; one is taken where it is clearly faster, twice. So noise changes
nothing, and what is remembered gives the same choice again.

The order of pixels in memory is not chosen: channels-last is the faster one (docs/decisions.md). Nor is compilation, which
takes a processor up to a minute (docs/performance.md).
"""

from __future__ import annotations

import copy
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from linnaeus.atomic import note
from linnaeus.config import Recipe, TrainSettings
from linnaeus.data.folders import default_cache_dir
from linnaeus.learn.engine import Engine, Machine
from linnaeus.learn.infer import infer
from linnaeus.learn.objectives import Batch, Loss, supervised
from linnaeus.learn.pieces import PIXELS_PER_PIECE, piece_count
from linnaeus.nn import stages, zoo
from linnaeus.nn.depthwise import ease_depthwise
from linnaeus.nn.input import FromBytes
from linnaeus.nn.own_code import is_own_code
from linnaeus.records import Decision, Preprocessing

MEASURE_S = 2.0
"""Most time for measuring; a training that is told to end soon gives less."""
SHARE_OF_BUDGET = 0.03
PAYS_FROM = 10**8
"""Pixels to be learned from, over all epochs, below which a training is over before measuring pays."""
CLEARLY = 1.2
"""So many times as fast a change must be."""
ONE_WAY_S = 0.5
"""No more than about this long is spent on one way."""


@dataclass(frozen=True)
class Way:
    """How a network is computed.

    Attributes:
        precision: "bf16" or "fp32".
        pieces: Most pieces of a batch at once, each on one core.
    """

    precision: str
    pieces: int

    def __str__(self) -> str:
        pieces = f"{self.pieces} pieces at once" if self.pieces > 1 else "in one piece"
        return f"{self.precision}, {pieces}"


Rate = Callable[[Way], float]
"""Measure the pictures per second of a way."""


@dataclass(frozen=True)
class Choice:
    """What was found for one kind of work on this machine.

    Attributes:
        way: The fastest, or the usual one where none is clearly faster.
        rates: Way in words -> pictures per second.
        whole: There was time to try every change.
        work: Network, size and whether it learns, in words.
    """

    way: Way
    rates: dict[str, float]
    whole: bool = True
    work: str = ""


def fit_to_machine(used: Recipe, asked: Recipe, train: int, classes: int, how: Preprocessing) -> Iterator[Decision]:
    """Decide what the user left open of precision and pieces, where measuring pays.

    Args:
        used: The plan so far.
        asked: What the user set stays.
        train: Number of training pictures.
        classes: K.
        how: For the size of the pictures.

    Yields:
        Decisions that replace those of the plan.
    """
    machine, name = Machine.here(), used.model.name
    assert name
    open_ = {field for field in ("precision", "pieces") if getattr(asked.train, field) is None}
    # Code of a user's own may change any day under the same name, and a GPU has its own ways.
    if machine.device != "cpu" or not open_ or not pays(used.train, train, how.size_px) or is_own_code(name):
        return
    usual = Way(str(used.train.precision), int(used.train.pieces or machine.cores))
    network = zoo.create(
        name,
        num_classes=classes,
        channels=how.channels,
        size_px=how.size_px,
        weights="none",
        options=used.model.options,
    )
    learns = bool(used.train.epochs)
    # Inference gives each core pieces of its own in any case.
    open_ -= set() if learns else {"pieces"}
    if not open_:
        return
    work = f"{'training' if learns else 'features of'} {name}, {how.size_px} px"
    rate = _training_rate(network, used, how, machine.cores) if learns else _looking_rate(network, how)
    budget = MEASURE_S if used.budget_s is None else min(MEASURE_S, SHARE_OF_BUDGET * used.budget_s)
    found = remembered(machine, work, usual, sorted(open_), lambda: choose(usual, open_, rate, budget))
    told = ", ".join(f"{way}: {value:.3g}" for way, value in found.rates.items())
    for field in sorted(open_):
        yield Decision(f"train.{field}", getattr(found.way, field), f"measured here, in pictures/s: {told}")


def pays(train: TrainSettings, pictures: int, size_px: int) -> bool:
    """Tell whether a training is long enough to be preceded by two seconds of measuring."""
    return pictures * max(1.0, train.epochs or 0) * size_px**2 >= PAYS_FROM


def choose(usual: Way, open_: set[str], rate: Rate, budget_s: float) -> Choice:
    """Change one thing at a time for as long as something clearly gains.

    Args:
        usual: Where to begin.
        open_: Fields that may change.
        rate: Measures.
        budget_s: No measurement begins later than this.

    """
    began = time.perf_counter()
    rates = {usual: rate(usual)}
    current, moved, whole = usual, True, True
    while moved:
        moved = False
        for way in _changes(current, usual, open_):
            if way in rates:
                continue
            if time.perf_counter() - began > budget_s:
                whole = False
                break
            rates[way] = rate(way)
            if rates[way] > CLEARLY * rates[current]:
                # Another program may have run in just that moment: both once more.
                again = rate(current), rate(way)
                rates[current], rates[way] = max(rates[current], again[0]), min(rates[way], again[1])
                if rates[way] > CLEARLY * rates[current]:
                    current, moved = way, True
                    break
    return Choice(current, {str(way): round(value, 1) for way, value in rates.items()}, whole)


def _changes(way: Way, usual: Way, open_: set[str]) -> Iterator[Way]:
    if "precision" in open_:
        yield replace(way, precision="fp32" if way.precision == "bf16" else "bf16")
    if "pieces" in open_ and usual.pieces > 1:
        yield replace(way, pieces=1 if way.pieces > 1 else usual.pieces)


def remembered(machine: Machine, work: str, usual: Way, open_: list[str], measure: Callable[[], Choice]) -> Choice:
    """Look up what was found for this work on this machine, or measure it now; what was cut short is not remembered."""
    kind = {
        "processor": machine.name,
        "cores": machine.cores,
        "torch": torch.__version__,
        "work": work,
        "usual": asdict(usual),
        "open": open_,
    }
    key = hashlib.sha256(json.dumps(kind, sort_keys=True).encode()).hexdigest()[:16]
    path = folder() / f"{key}.json"
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError):
        found = measure()
        if found.whole:
            note(path, kind | {"chosen": asdict(found.way), "pictures_per_s": found.rates})
        return found


def folder() -> Path:
    """Name the folder of what was measured; removing it lets everything be measured again."""
    return default_cache_dir() / "machine"


def known() -> list[Choice]:
    """Give all that was measured so far, in the order of the work's name; what is damaged is passed over."""
    found = []
    for path in folder().glob("*.json"):
        try:
            found.append(_read(path))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(found, key=lambda one: one.work)


def _read(path: Path) -> Choice:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Choice(Way(**document["chosen"]), dict(document["pictures_per_s"]), work=document["work"])


def _looking_rate(network: nn.Module, how: Preprocessing) -> Rate:
    """Measure inference, as features of a frozen network are computed."""
    count = max(4, min(256, 2**20 // how.size_px**2))
    sample = np.zeros((count, how.size_px, how.size_px, how.channels), np.uint8)

    def rate(way: Way) -> float:
        engine, twin = Engine(way.precision), copy.deepcopy(network)
        return count / _median_s(lambda: list(infer(twin, [sample], how, engine)))

    return rate


def _training_rate(network: nn.Module, used: Recipe, how: Preprocessing, cores: int) -> Rate:
    """Measure steps of training: loss and gradient of what is trained."""
    stages.freeze(network, used.model.freeze or "none")
    ease_depthwise(network, hold=bool(used.model.hold_depthwise))
    network.train()
    most = used.train.batch_size or 32
    # So many that each piece has the least work that is worth a piece, as in the real batch.
    count = max(2 * cores, min(most, cores * PIXELS_PER_PIECE // how.size_px**2))
    objective = supervised(Loss())
    from_bytes = FromBytes(how.mean, how.std)

    def rate(way: Way) -> float:
        engine, twin = Engine(way.precision), copy.deepcopy(network)
        engine.place(twin)
        pictures = from_bytes(torch.zeros(count, how.size_px, how.size_px, how.channels, dtype=torch.uint8))
        batch = Batch(pictures, torch.zeros(count, dtype=torch.int64), (0, 0, 0))
        # As many pieces as the real batch will have, though this one is smaller.
        pieces = min(count // 2, piece_count(twin, most, how.size_px, way.pieces)) or 1
        with engine.sharing(twin, pieces):
            return count / _median_s(lambda: engine.gradient(twin, objective, batch))

    return rate


def _median_s(work: Callable[[], object]) -> float:
    """Time some work, after once to warm up: the median of three, of fewer where it takes long."""
    work()
    seconds: list[float] = []
    began = time.perf_counter()
    while len(seconds) < 3 and time.perf_counter() - began < ONE_WAY_S:
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
