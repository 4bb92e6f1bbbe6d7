"""What mistakes cost, and the decision that costs least: for when some mistakes are worse than others."""

from __future__ import annotations

import csv
import difflib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.errors import SettingsError, SourceError
from linnaeus.metrics.intervals import RESAMPLES, Bootstrap, resample_sums, resamples_for, units_of, wilson
from linnaeus.metrics.scores import labelled_rows
from linnaeus.records import Estimate, Predictions

COLUMNS = {"true", "predicted", "cost"}
ANY = "*"
"""In a list: every class that is not named more precisely."""
NEAR = 1e-12
"""Expected costs that differ by less, as a share of the largest cost, are equal."""


def read_costs(path: Path, classes: Sequence[str]) -> np.ndarray:
    """Read what it costs to call a picture of one class by the name of another.

    Either a square table: a row for each true class and a column for each predicted class, with the class names in the
    first column and the first row. Or a list with the columns true, predicted, cost, where * stands for every class
    that is not named; there, a class called by its own name costs 0 unless it is listed.

    Args:
        path: A CSV file, UTF-8.
        classes: The model's classes.

    Returns:
        float64 [K, K]; row true, column predicted, in the order of `classes`.

    Raises:
        SettingsError: The file can't be read, lacks a class or a pair or has one twice, names one that the model
            doesn't know, or a cost is no number.
    """
    rows = _rows(path)
    header = [cell.strip().casefold() for cell in rows[0]]
    if set(header) == COLUMNS and len(header) == 3:
        return _from_list(path, [dict(zip(header, row, strict=True)) for row in rows[1:]], classes)
    return _from_table(path, rows, classes)


def cheapest(probabilities: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Decide for the class whose expected cost is least; of equals the most probable one.

    Where every mistake costs the same, that is the most probable class. The probabilities have to be calibrated: a
    decision can be no better than they are.

    Args:
        probabilities: [N, K].
        costs: [K, K]; row true, column predicted.

    Returns:
        Class numbers, int64 [N].

    Raises:
        SourceError: A probability is not a number within 0..1.

    Source:
        C. Elkan (2001), The Foundations of Cost-Sensitive Learning, IJCAI, 973-978.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    wrong = ~((p >= 0) & (p <= 1 + 1e-6)).all(axis=1)
    if wrong.any():
        raise SourceError(
            "a decision by cost needs probabilities from 0 to 1.",
            got=f"{int(wrong.sum())} rows without, first {int(np.flatnonzero(wrong)[0])}",
            fix="give probabilities after the softmax; NaN means that the model broke.",
        )
    expected = p @ costs
    least = expected.min(axis=1, keepdims=True)
    equal = expected <= least + NEAR * np.abs(costs).max()
    return np.where(equal, p, -1.0).argmax(axis=1)


def costs_of_sizes(counts: np.ndarray) -> np.ndarray:
    """Let every class count alike: a mistake costs by the inverse of how frequent its true class is.

    With these costs, calibrated probabilities of a network that was trained plainly find rare classes as often as one
    that was trained for it, and stay calibrated.

    Args:
        counts: Pictures of each class where the probabilities were calibrated, or in training, [K]. A class without
            pictures costs as much as one of a single picture.

    Returns:
        float64 [K, K], for `cheapest` and `cost_scores`; a mean cost of 1 is that of being always wrong.

    Source:
        C. Elkan (2001), The Foundations of Cost-Sensitive Learning, IJCAI, 973-978.
    """
    counts = np.asarray(counts, dtype=np.float64)
    each = max(1.0, counts.sum()) / (len(counts) * np.maximum(counts, 1))
    return each[:, None] * (1 - np.eye(len(counts)))


def cost_scores(
    predictions: Predictions,
    costs: np.ndarray,
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Score the cheapest decisions, against taking the most probable class.

    * mean_cost: of the cheapest decisions, per picture. argmax_cost: of the most probable classes.
    * saved: argmax_cost - mean_cost on the same pictures. Above 0, the costs were worth knowing.
    * expected_cost: what the probabilities promise for the cheapest decisions. If it is far from mean_cost, they are
      not calibrated for these pictures.

    The intervals are those of a bootstrap: of pictures, or of groups where there are any.

    Args:
        predictions: Calibrated; rows without a label are left out.
        costs: [K, K]; row true, column predicted.
        groups: A name per row: rows of one group are drawn together.
        seed: Of the resampling.
        resamples: How many.

    Returns:
        A document for JSON: {"mean_cost", "argmax_cost", "saved", "expected_cost"} with an estimate each, "changed":
        pictures that are called otherwise than by argmax, "n", and "rule": the threshold of two classes in words, or "".

    Raises:
        SourceError: No row has a label, or a probability is not a number within 0..1.
    """
    rows = labelled_rows(predictions)
    p, labels = predictions.probabilities[rows], predictions.labels[rows]
    chosen, likely = cheapest(p, costs), p.argmax(axis=1)
    paid, otherwise = costs[labels, chosen], costs[labels, likely]
    columns = np.stack([paid, otherwise, otherwise - paid, (p * costs[:, chosen].T).sum(axis=1)], axis=1)
    units = units_of(len(labels), None if groups is None else [groups[int(row)] for row in rows])
    # Of one kind to the bootstrap: how many pictures there are of each class is chance too, and costs follow it.
    alike = np.zeros_like(labels)
    drawn = resample_sums(columns, units, alike, seed, resamples_for(units, resamples))
    means = np.concatenate(list(drawn), axis=1).astype(np.float64) / len(rows)
    values, changed = columns.mean(axis=0), int((chosen != likely).sum())
    count = int(units.max()) + 1
    bootstrap = Bootstrap(count, count - 1, groups is not None)
    least, most = float(costs.min()), float(costs.max())
    limits = (least, most if most > least else least + 1)

    def mean(at: int) -> Estimate:
        return bootstrap.wilson(float(values[at]), means[at], len(rows), limits, share=False)

    found = {
        "mean_cost": mean(0),
        "argmax_cost": mean(1),
        "saved": _saved(float(values[2]), means[2], changed, len(rows), bootstrap, limits[1] - limits[0]),
        "expected_cost": mean(3),
    }
    rule = threshold(predictions.classes, costs) if len(predictions.classes) == 2 else ""
    return {name: asdict(one) for name, one in found.items()} | {"changed": changed, "n": len(rows), "rule": rule}


def threshold(classes: Sequence[str], costs: np.ndarray) -> str:
    """Say in words from which probability on the second of two classes is the cheaper answer.

    Args:
        classes: Two names.
        costs: [2, 2]; row true, column predicted.

    Source:
        C. Elkan (2001), The Foundations of Cost-Sensitive Learning, IJCAI, 973-978.
    """
    first, second = classes
    false_alarm, miss = float(costs[0, 1] - costs[0, 0]), float(costs[1, 0] - costs[1, 1])
    if false_alarm <= 0 and miss <= 0:
        return f"With these costs it is cheaper to be wrong than right, for {first} and for {second}: check the table."
    if false_alarm <= 0:
        return f"Always say {second}: it never costs more."
    if miss <= 0:
        return f"Always say {first}: it never costs more."
    share, times = false_alarm / (false_alarm + miss), max(miss, false_alarm) / min(miss, false_alarm)
    compared = f"{times:.3g} times as much as" if times > 1 else "as much as"
    worse, other = (second, first) if miss >= false_alarm else (first, second)
    return (
        f"Say {second} where its probability is above {100 * share:.3g} %, else {first}: "
        f"to take {worse} for {other} costs {compared} the other mistake."
    )


def _saved(value: float, resampled: np.ndarray, changed: int, n: int, bootstrap: Bootstrap, width: float) -> Estimate:
    """Estimate a mean difference; where no decision differs, as many may differ elsewhere as n pictures can hide."""
    from scipy.special import stdtrit

    if not changed:
        most = wilson(0, n).high * width
        return Estimate(0.0, -most, most, n, "wilson: no decision differs")
    quantile = float(stdtrit(bootstrap.freedom, 0.975)) if bootstrap.freedom else np.inf
    half = quantile * float(resampled.std()) if bootstrap.freedom else width
    # So few changes may all have come out one way by chance.
    half = max(half, wilson(0, n).high * width) if changed < 5 else half
    method = f"paired bootstrap{' by group' if bootstrap.by_group else ''}, {len(resampled):,} resamples"
    return Estimate(value, value - half, value + half, n, method)


def _rows(path: Path) -> list[list[str]]:
    """Read a CSV as rows of one length, empty lines left out."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"--cost {path} should be a CSV file in UTF-8.", got=str(error)) from None
    if len(rows) < 2 or len(rows[0]) < 3:
        got = f"{len(rows)} lines, the first of {len(rows[0]) if rows else 0} columns"
        fix = "separate columns by commas." if rows and ";" in rows[0][0] else "see docs/imbalance.md for both forms."
        raise SettingsError(f"--cost {path} should be a square table, or a list true,predicted,cost.", got=got, fix=fix)
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            got = f"{len(row)} in line {number}"
            raise SettingsError(f"--cost {path} should have {len(rows[0])} columns in every line.", got=got)
    return rows


def _from_table(path: Path, rows: list[list[str]], classes: Sequence[str]) -> np.ndarray:
    across, down = rows[0][1:], [row[0] for row in rows[1:]]
    _check_names(path, across, classes, "first line")
    _check_names(path, down, classes, "first column")
    costs = np.empty((len(classes), len(classes)))
    number = {name: k for k, name in enumerate(classes)}
    for true, cells in zip(down, (row[1:] for row in rows[1:]), strict=True):
        for predicted, cell in zip(across, cells, strict=True):
            costs[number[true], number[predicted]] = _cost(path, cell, true, predicted)
    return costs


def _from_list(path: Path, rows: Sequence[Mapping[str, str]], classes: Sequence[str]) -> np.ndarray:
    listed: dict[tuple[str, str], float] = {}
    for row in rows:
        pair = row["true"], row["predicted"]
        _check_known(path, pair, (*classes, ANY))
        if pair in listed:
            raise SettingsError(f"--cost {path} should list every pair once.", got=f"{pair[0]}, {pair[1]} twice")
        listed[pair] = _cost(path, row["cost"], *pair)
    costs = np.zeros((len(classes), len(classes)))
    for k, true in enumerate(classes):
        for m, predicted in enumerate(classes):
            ways = [(true, predicted)] + [(true, ANY), (ANY, predicted), (ANY, ANY)] * (k != m)
            found = next((listed[pair] for pair in ways if pair in listed), 0.0 if k == m else None)
            if found is None:
                raise SettingsError(
                    f"--cost {path} should say what every mistake costs.",
                    got=f"nothing for {true} called {predicted}",
                    fix=f"add a line {true},{predicted},COST, or {ANY},{ANY},1 for all that is not listed.",
                )
            costs[k, m] = found
    return costs


def _check_names(path: Path, names: Sequence[str], classes: Sequence[str], where: str) -> None:
    _check_known(path, names, classes)
    twice = [name for name, count in Counter(names).items() if count > 1]
    missing = [name for name in classes if name not in names]
    if twice or missing:
        got = f"{twice[0]} twice" if twice else f"no {', '.join(missing[:5])}"
        raise SettingsError(f"--cost {path} should have each class of the model once in its {where}.", got=got)


def _check_known(path: Path, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
            fix = f"did you mean {' or '.join(near)}?" if near else f"the model knows {', '.join(known[:8])}."
            raise SettingsError(f"--cost {path} should name classes of the model.", got=repr(name), fix=fix)


def _cost(path: Path, cell: str, true: str, predicted: str) -> float:
    if not cell.strip() and true == predicted:
        return 0.0
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SettingsError(
            f"--cost {path} should give a number for {true} called {predicted}.",
            got=repr(cell),
            fix="write 2.5, not 2,5.",
        )
    return value
