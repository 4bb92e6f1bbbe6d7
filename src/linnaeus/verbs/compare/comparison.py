"""Gather what several runs left, and compare them on the pictures that all of them judged."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from linnaeus.errors import LinnaeusError, RunError
from linnaeus.metrics.paired import MEASURES, Matched, Pair, compare_pairs, match
from linnaeus.metrics.power import Seeds, across_seeds
from linnaeus.metrics.scores import score
from linnaeus.records import Estimate, Place, Predictions
from linnaeus.run import Run
from linnaeus.talk import Talk
from linnaeus.verbs.compare.latency import Latency, one_picture, time_in_turns

WEIGHTS = "model.safetensors"
SEEDLESS = ("seed", "budget_s")
"""Settings that do not change what is learned, but for chance."""
LIMITS = {"log_loss": (0.0, float("inf")), "brier": (0.0, 2.0)}
TRY_PICTURES = 20


@dataclass(frozen=True)
class Contestant:
    """One of the runs compared.

    Attributes:
        name: Short and unique among them.
        folder: Where it is.
        scores: Measure -> value with interval, on the pictures that all runs judged.
        missing: Ids that another run judged and this one did not.
        network: Its name; "" if it is not known.
        seed: As planned; None if it is not known.
        parameters: Numbers learned; None if it is not known.
        model_bytes: Size of model.safetensors; None if there is none.
        training_s: Seconds of the stage "train"; None if it is not known.
        latency: None if it was not measured.
    """

    name: str
    folder: str
    scores: Mapping[str, Estimate]
    missing: tuple[str, ...]
    network: str
    seed: int | None
    parameters: int | None
    model_bytes: int | None
    training_s: float | None
    latency: Latency | None = None


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ only by their seed: names, and each measure over them."""

    names: tuple[str, ...]
    measures: Mapping[str, Seeds]


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        part: "test", "val" or "train".
        runs: In the order given.
        pictures: How many all runs judged.
        classes: Names.
        pairs: Each two runs; `first` and `second` are places in `runs`.
        settings: Setting -> its value in each run, for those that are not the same everywhere.
        seeds: Runs that differ by nothing else.
        changed: Ids under which the runs saw other bytes; left out.
        relabelled: Ids with another true class in another run; left out.
        unlabelled: Ids without a true class; left out.
        notes: What to bear in mind.
        matched: The predictions compared; for the page only.
        places: Id -> where the picture is; for the page only.
    """

    part: str
    runs: tuple[Contestant, ...]
    pictures: int
    classes: tuple[str, ...]
    pairs: tuple[Pair, ...]
    settings: Mapping[str, tuple[Any, ...]]
    seeds: tuple[SeedGroup, ...]
    changed: tuple[str, ...]
    relabelled: tuple[str, ...]
    unlabelled: tuple[str, ...]
    notes: tuple[str, ...]
    matched: Matched = field(repr=False, compare=False)
    places: Mapping[str, Place] = field(repr=False, compare=False)

    def document(self) -> dict[str, Any]:
        """Write as plain values for JSON."""
        own = {name: value for name, value in vars(self).items() if name not in ("matched", "places")}
        return own | {
            "runs": [asdict(one) for one in self.runs],
            "pairs": [
                {**one.document(), "first": self.runs[one.first].name, "second": self.runs[one.second].name}
                for one in self.pairs
            ],
            "seeds": [asdict(one) for one in self.seeds],
        }


def compare(
    runs: Sequence[Run], part: str = "test", *, measure: bool = True, trust_code: bool = False, talk: Talk | None = None
) -> Comparison:
    """Compare runs on the same pictures.

    Pictures are matched by id, and by content where the runs know it; classes by name. What one run lacks is counted
    and named. Every two runs are compared by paired differences and McNemar's exact test, all p-values corrected by
    Holm's method.

    Args:
        runs: Two or more.
        part: Whose predictions: "test" or "val".
        measure: Time one picture on all models, in turns.
        trust_code: See `Classifier.load`.
        talk: Where progress goes.

    Raises:
        RunError: Fewer than two runs, one of them twice, or one without predictions for that part.
        SourceError: No labelled picture was judged by all.
    """
    talk = talk or Talk()
    _check(runs, part)
    splits = [_split(run) for run in runs]
    predictions = [run.predictions(part) for run in runs]
    changed = _changed(predictions, splits)
    matched = match([_without(one, set(changed)) for one in predictions])
    names = _names(runs)
    groups = _groups(matched, splits)
    talk.progress("comparing", 0, None)
    pairs = compare_pairs(matched, groups=groups)
    places = _places(matched, splits)
    latencies, notes = (
        _latencies(runs, names, list(places.values()), trust_code) if measure else ([None] * len(runs), [])
    )
    contestants = tuple(
        _contestant(run, name, judged, missing, latency, groups)
        for run, name, judged, missing, latency in zip(
            runs, names, matched.predictions, matched.missing, latencies, strict=True
        )
    )
    return Comparison(
        part=part,
        runs=contestants,
        pictures=len(matched.predictions[0]),
        classes=matched.predictions[0].classes,
        pairs=pairs,
        settings=_differing([_settings(run) for run in runs]),
        seeds=_seed_groups(runs, contestants),
        changed=changed,
        relabelled=matched.relabelled,
        unlabelled=matched.unlabelled,
        notes=(*_data_notes(runs, names, predictions, groups), *notes),
        matched=matched,
        places=places,
    )


def _check(runs: Sequence[Run], part: str) -> None:
    if len(runs) < 2:
        raise RunError("compare needs two runs or more.", got=f"{len(runs)}", fix="linnaeus compare RUN RUN")
    folders = [run.folder.resolve() for run in runs]
    twice = [folder for at, folder in enumerate(folders) if folder in folders[:at]]
    if twice:
        raise RunError("compare needs different runs.", got=f"{twice[0]} twice", fix="name each run once.")
    for run in runs:
        if not run.has_predictions(part):
            there = [one for one in ("test", "val", "train") if run.has_predictions(one)]
            raise RunError(
                f"{run.folder} should hold predictions for its {part} pictures.",
                got=f"only {', '.join(there)}" if there else "no predictions",
                fix=f"--part {there[0]}" if there else f"linnaeus train --resume {shlex.quote(str(run.folder))}",
            )


def _split(run: Run) -> dict[str, Any] | None:
    """Read where the pictures are and what they contain; None for a run that does not say."""
    return run.split() if run.has_split() else None


def _changed(predictions: Sequence[Predictions], splits: Sequence[dict[str, Any] | None]) -> tuple[str, ...]:
    """List the ids that all have judged, but on other bytes."""
    hashes = [dict(zip(one["id"], one["hash"], strict=True)) for one in splits if one]
    shared = set(predictions[0].ids).intersection(*(one.ids for one in predictions[1:]))
    return tuple(id for id in predictions[0].ids if id in shared and len({one.get(id) for one in hashes} - {None}) > 1)


def _without(one: Predictions, gone: set[str]) -> Predictions:
    rows = [row for row, id in enumerate(one.ids) if id not in gone]
    if len(rows) == len(one):
        return one
    ids = tuple(one.ids[row] for row in rows)
    return Predictions(one.probabilities[rows], one.labels[rows], ids, one.classes)


def _groups(matched: Matched, splits: Sequence[dict[str, Any] | None]) -> list[str] | None:
    """Take the groups of the first run that has any: the others were split without knowing them."""
    split = next((one for one in splits if one is not None and any(one["group"])), None)
    if split is None:
        return None
    of = dict(zip(split["id"], split["group"], strict=True))
    return [of.get(id, "") for id in matched.predictions[0].ids]


def _places(matched: Matched, splits: Sequence[dict[str, Any] | None]) -> dict[str, Place]:
    wanted = dict.fromkeys(matched.predictions[0].ids)
    found: dict[str, Place] = {}
    for one in splits:
        if one:
            found |= {id: place for id, place in zip(one["id"], one["place"], strict=True) if id in wanted}
    return {id: found[id] for id in wanted if id in found}


def _names(runs: Sequence[Run]) -> list[str]:
    """Name each run by its folder, with as many folders above as make the names differ."""
    parts = [run.folder.resolve().parts for run in runs]
    longest = max(len(one) for one in parts)
    for count in range(1, longest + 1):
        names = ["/".join(one[-count:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("the folders differ")


def _latencies(
    runs: Sequence[Run], names: Sequence[str], places: Sequence[Place], trust_code: bool
) -> tuple[list[Latency | None], list[str]]:
    from linnaeus.classifier import Classifier

    tasks, measured, notes = [], [], []
    for number, (run, name) in enumerate(zip(runs, names, strict=True)):
        try:
            tasks.append(one_picture(Classifier.load(run.folder, trust_code=trust_code), places[:TRY_PICTURES]))
            measured.append(number)
        except LinnaeusError as error:
            notes.append(f"The latency of {name} was not measured: {error.rule}")
    found: list[Latency | None] = [None] * len(runs)
    for number, latency in zip(measured, time_in_turns(tasks), strict=True):
        found[number] = latency
    return found, notes


def _contestant(
    run: Run,
    name: str,
    judged: Predictions,
    missing: tuple[str, ...],
    latency: Latency | None,
    groups: list[str] | None,
) -> Contestant:
    summary = run.summary() if run.has_summary() else {}
    weights = run.model_dir / WEIGHTS
    overall = score(judged, groups=groups).overall
    used = _settings(run)
    return Contestant(
        name=name,
        folder=str(run.folder),
        scores={measure: overall[measure] for measure in MEASURES},
        missing=missing,
        network=str(summary.get("network") or used.get("model.name") or ""),
        seed=used.get("seed"),
        parameters=summary.get("parameters"),
        model_bytes=weights.stat().st_size if weights.is_file() else None,
        training_s=summary.get("stages", {}).get("train"),
        latency=latency,
    )


def _settings(run: Run) -> dict[str, Any]:
    """Lay the settings as used out as "optim.lr": 0.01; empty for a run without a plan."""
    return _flat(run.plan()["used"]) if run.has_plan() else {}


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    lines: dict[str, Any] = {}
    for key, value in values.items():
        # Options of a network are one setting: their names are not ours.
        nested = isinstance(value, Mapping) and key != "options"
        lines |= _flat(value, f"{above}{key}.") if nested else {f"{above}{key}": value}
    return lines


def _differing(settings: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    found = {}
    for name in dict.fromkeys(name for one in settings for name in one):
        values = tuple(one.get(name) for one in settings)
        if any(value != values[0] for value in values):
            found[name] = values
    return found


def _seed_groups(runs: Sequence[Run], contestants: Sequence[Contestant]) -> tuple[SeedGroup, ...]:
    alike: defaultdict[str, dict[int, Contestant]] = defaultdict(dict)
    for run, one in zip(runs, contestants, strict=True):
        settings = {name: value for name, value in _settings(run).items() if name not in SEEDLESS}
        if settings and one.seed is not None:
            # The same seed again is the same training again, and says nothing about other seeds.
            alike[json.dumps([settings, _fingerprint(run)], sort_keys=True)].setdefault(one.seed, one)
    return tuple(
        SeedGroup(
            names=tuple(one.name for one in group.values()),
            measures={
                name: across_seeds(
                    [one.scores[name].value for one in group.values()], limits=LIMITS.get(name, (0.0, 1.0))
                )
                for name in MEASURES
            },
        )
        for group in alike.values()
        if len(group) > 1
    )


def _fingerprint(run: Run) -> str:
    try:
        return str(run.provenance()["data"]["fingerprint"])
    except (LinnaeusError, KeyError):
        return ""


def _data_notes(
    runs: Sequence[Run], names: Sequence[str], predictions: Sequence[Predictions], groups: list[str] | None
) -> list[str]:
    notes = []
    if len({_fingerprint(run) for run in runs}) > 1:
        notes.append(
            "The runs did not learn from the same data: the differences are those of recipe and data together."
        )
    for name, one in zip(names[1:], predictions[1:], strict=True):
        if set(one.classes) != set(predictions[0].classes):
            own = sorted(set(one.classes) ^ set(predictions[0].classes))
            shown = ", ".join(own[:5]) + (f" and {len(own) - 5} more" if len(own) > 5 else "")
            notes.append(f"{names[0]} and {name} do not know the same classes: only one of them knows {shown}.")
    if groups is not None:
        notes.append("Intervals allow for groups of pictures; the tests take every picture for independent.")
    return notes
