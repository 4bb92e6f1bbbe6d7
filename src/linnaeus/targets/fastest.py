"""A classifier in a faster runtime than PyTorch: written once beside the model, proven on real pictures, then kept."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnaeus.data.decode import read_bytes
from linnaeus.data.folders import build_once, default_cache_dir
from linnaeus.errors import CheckFailed, LinnaeusError, ModelError, PictureError, SettingsError
from linnaeus.machine import processor_name
from linnaeus.metrics.abstention import Judged
from linnaeus.model_folder import RUNTIMES, content_key, find_model
from linnaeus.records import Place
from linnaeus.targets.card import UNKNOWN_SCORE
from linnaeus.targets.exported import Exported
from linnaeus.targets.opening import target_of
from linnaeus.targets.proof import Shown, limit_of, prove, why_apart
from linnaeus.targets.registry import TARGETS, named
from linnaeus.targets.target import FLOAT32, Blueprint, Target, require

if TYPE_CHECKING:
    from linnaeus.classifier import Classifier

AUTO, PYTORCH = "auto", "pytorch"
ORDER = ("openvino", "onnx")
"""What "auto" tries: neither is always ahead (docs/benchmark.md), and OpenVINO's file is written in a third of the time."""
PAYS_FROM = 1000
"""Writing a network for another runtime takes 3 to 10 s. So many pictures give a third of that back at once (EfficientNet-Lite0,
two cores), and every later call starts two seconds sooner."""
PROOF_PICTURES = 32
RECORD = "proof.json"

Say = Callable[[str], None]


def open_fastest(
    model: Path, first: Sequence[str], *, on: str = AUTO, trust_code: bool = False, say: Say = lambda _text: None
) -> Classifier | Exported:
    """Open a model so that it answers as fast as it can here, and as PyTorch would.

    Args:
        model: A run, a model folder, or an exported file, which is taken as it is.
        first: The first pictures that it will be asked about; as many as PAYS_FROM where there are so many.
        on: "auto", "pytorch", or the name of a target. "auto" takes what was written and proven before; writes a
            file for the first runtime of ORDER that is installed, where there are PAYS_FROM pictures; and else PyTorch.
        trust_code: See `Classifier.load`.
        say: Takes a line for a person.

    Raises:
        CheckFailed: The runtime that was asked for answers otherwise than PyTorch.
        ModelError: It is not installed, or cannot express the network.
        SettingsError: There is no such runtime.
    """
    targets = _targets(on)
    if (written := target_of(model)) is not None:
        if on not in (AUTO, written.name):
            raise SettingsError(f"{model} runs on {written.name}.", got=f"--on {on}", fix="leave --on out.")
        return Exported.load(model, say)
    place = find_model(model)
    search = _Search(place, content_key(place), on != AUTO, say)
    classifier = _load(place, trust_code) if on == PYTORCH or (on == AUTO and _may_have_a_gpu()) else None
    if on == PYTORCH or (classifier is not None and _computes_elsewhere()):
        assert classifier is not None
        return classifier
    if (found := search.kept(targets)) is not None:
        return found
    classifier = classifier or _load(place, trust_code)
    if on == AUTO and len(first) < PAYS_FROM:
        return classifier
    return search.write(targets, classifier, first) or classifier


def _targets(on: str) -> list[Target]:
    """Say which formats are asked for, of those that can be run in this environment."""
    if on == PYTORCH:
        return []
    if on == AUTO:
        wanted = [TARGETS[name] for name in ORDER]
        return [one for one in wanted if all(importlib.util.find_spec(name) for name in one.runtime)]
    try:
        (target,) = named(on)
    except (SettingsError, ValueError):
        raise SettingsError(f"--on should be {AUTO}, {PYTORCH}, or one of {', '.join(TARGETS)}.", got=on) from None
    if why := target.why_not_here():
        raise ModelError(f"{target.title} cannot be run here.", got=why)
    require(target, writing=False)
    return [target]


def _load(place: Path, trust_code: bool) -> Classifier:
    from linnaeus.classifier import Classifier

    return Classifier.load(place, trust_code=trust_code)


def _may_have_a_gpu() -> bool:
    """Tell whether to ask PyTorch, whose import takes seconds, if it would compute on something faster than the processor."""
    if sys.platform == "linux":
        return any(Path("/dev", name).exists() for name in ("nvidia0", "kfd", "dxg"))
    return sys.platform == "darwin" or shutil.which("nvidia-smi") is not None


def _computes_elsewhere() -> bool:
    from linnaeus.learn.engine import Engine

    return Engine().device.type != "cpu"


@dataclass(frozen=True)
class _Search:
    """Where a model's files for runtimes are.

    Attributes:
        place: Of the model.
        key: Of its content.
        asked: The user named a runtime: what cannot be had is an error.
        say: As in `open_fastest`.
    """

    place: Path
    key: str
    asked: bool
    say: Say

    def kept(self, targets: Sequence[Target]) -> Exported | None:
        """Open the best file that is there and was proven on this machine."""
        for target in targets:
            for folder in self._homes(target):
                record = _record(folder)
                if record is None:
                    continue
                if record["why_failed"]:
                    self._refuse(target, record["why_failed"], new=False)
                    continue
                try:
                    return Exported(target.open(folder / target.file))
                except ModelError:
                    # Half of it is gone: it is written anew.
                    shutil.rmtree(folder, ignore_errors=True)
        return None

    def write(self, targets: Sequence[Target], classifier: Classifier, first: Sequence[str]) -> Exported | None:
        """Write a file for the best runtime, prove it, and open it; None where none works."""
        shown, before = None, None
        for target in targets:
            if any(_record(folder) for folder in self._homes(target)):
                continue
            try:
                require(target, writing=True)
            except ModelError:
                if self.asked:
                    raise
                continue
            if shown is None or before is None:
                shown = _shown(classifier, first)
                before = classifier.judge(np.asarray(shown.pictures))
            self.say(f"writing the network for {target.title}: once, it is kept for the next time")
            folder = self._made(target, classifier, shown, before)
            record = _record(folder) if folder is not None else None
            if folder is not None and record is not None and not record["why_failed"]:
                return Exported(target.open(folder / target.file))
            if record is not None:
                self._refuse(target, record["why_failed"], new=True)
        if self.asked:
            raise ModelError(
                f"{targets[0].title} should have its file beside the model, or in the cache.",
                got="one that is damaged, or none that can be written",
                fix=f"make {self.place} or {default_cache_dir()} writable, or --on {PYTORCH}.",
            )
        return None

    def _homes(self, target: Target) -> Iterator[Path]:
        """Name the folders where a file may be: beside the model, or in the cache if nothing can be written there."""
        name = f"{target.name}-{_version_key(target)}"
        yield self.place / RUNTIMES / self.key / name
        yield default_cache_dir() / RUNTIMES / self.key / name

    def _made(self, target: Target, classifier: Classifier, shown: Shown, before: Judged) -> Path | None:
        why = ""
        for folder in self._homes(target):
            try:
                made = build_once(folder, lambda unfinished: _build(unfinished, target, classifier, shown, before))
            except (OSError, MemoryError) as error:
                why = str(error) or "out of memory"
                continue
            _forget_others(folder.parent, self.place)
            return made
        self.say(f"{target.title} is not used: its file cannot be kept ({why})")
        return None

    def _refuse(self, target: Target, why: str, *, new: bool) -> None:
        if self.asked:
            raise CheckFailed(
                f"{target.title} should answer as PyTorch does.", got=why, fix=f"--on {PYTORCH}, or another."
            )
        if new:
            self.say(f"{target.title} is not used: {why}")


def _build(folder: Path, target: Target, classifier: Classifier, shown: Shown, before: Judged) -> None:
    """Fill a folder with the file and its proof; with the proof alone where the file cannot be had or is wrong.

    What may pass, a full disk or too little memory, is no proof of anything.
    """
    try:
        why, compared = _write_and_compare(folder, target, classifier, shown, before)
    except (OSError, MemoryError):
        raise
    except LinnaeusError as error:
        why, compared = " ".join(filter(None, (error.rule, error.got))), {}
    except Exception as error:
        # Converters raise whatever they like.
        why, compared = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", {}
    if why:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    document = {"why_failed": why, "pictures": len(shown), **compared, "made_by": _versions(target)}
    (folder / RECORD).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _write_and_compare(
    folder: Path, target: Target, classifier: Classifier, shown: Shown, before: Judged
) -> tuple[str, dict[str, Any]]:
    from linnaeus.targets.graph import Graph

    with tempfile.TemporaryDirectory() as scratch:
        path = target.write(Blueprint(Graph(classifier), Path(scratch), stays=True), folder)
    after = Exported(target.open(path)).judge(np.asarray(shown.pictures))
    limit = limit_of(FLOAT32.name, calibration=classifier.calibration.kind)
    proof = prove(shown, before.probabilities, after.probabilities, limit, None)
    compared = {"largest_difference": proof.largest_difference, "agreement": asdict(proof.agreement)}
    return proof.why_failed or _why_stranger(before, after), compared


def _why_stranger(before: Judged, after: Judged) -> str:
    """Say how answers about strangeness differ; "" if they do not."""
    if before.strange is None or after.strange is None:
        return "" if before.strange is None and after.strange is None else "one of them cannot tell unknown pictures"
    return why_apart(UNKNOWN_SCORE, before.strange, after.strange, limit_of(FLOAT32.name))


def _shown(classifier: Classifier, first: Sequence[str]) -> Shown:
    """Read some of the pictures; where there are fewer, noise makes up the rest."""
    pictures: list[np.ndarray] = []
    ids: list[str] = []
    for path in first:
        if len(pictures) == PROOF_PICTURES:
            break
        try:
            pictures.append(classifier.read(read_bytes(Place(path))))
        except PictureError:
            continue
        ids.append(path)
    about, missing = classifier.preprocessing, PROOF_PICTURES - len(pictures)
    shape = (missing, about.size_px, about.size_px, about.channels)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    ids += [f"noise {number}" for number in range(missing)]
    N = len(ids)
    return Shown(
        tuple(ids), np.full(N, -1), np.zeros(N, bool), np.concatenate([*(one[None] for one in pictures), noise])
    )


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _versions(target: Target) -> dict[str, str]:
    """Name all that made a file and will run it: proven with one version, on one processor, says little of another."""
    made = {"processor": processor_name()}
    for name in dict.fromkeys(("linnaeus", "torch", *target.needs, *target.runtime)):
        try:
            made[name] = version(name)
        except PackageNotFoundError:
            made[name] = ""
    return made


def _version_key(target: Target) -> str:
    return hashlib.sha256(json.dumps(_versions(target), sort_keys=True).encode()).hexdigest()[:8]


def _forget_others(kept: Path, place: Path) -> None:
    """Remove what belonged to weights that the model folder held before."""
    if kept.parent == place / RUNTIMES:
        for folder in kept.parent.iterdir():
            if folder != kept:
                shutil.rmtree(folder, ignore_errors=True)
