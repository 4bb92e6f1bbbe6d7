"""Hold out whole groups, or a time: the test part then shows places, people or times that the model never saw.

What is tied to a held-out picture, by its bytes, its looks or its group, and is not held out itself, is not used at all:
in training it would be a leak, and in the test part it would not be what was asked for.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from linnaeus.config import SplitSettings
from linnaeus.data.exif import read_shots
from linnaeus.data.groups import column, columns_of
from linnaeus.errors import SettingsError
from linnaeus.periods import is_before, period_of
from linnaeus.records import Dataset, Finding

SHOWN = 3
TIME_COLUMNS = ("time", "date", "datetime", "timestamp")
"""What the column of times may be called, in any case; the first that the table has is taken."""


@dataclass(frozen=True)
class HeldOut:
    """What is tested because of where or when it was taken.

    Attributes:
        held: bool [N].
        aside: Tied to what is held out, so not used, bool [N].
        findings: What was held out, what is set aside and why, and pictures whose time is not known.
    """

    held: np.ndarray
    aside: np.ndarray
    findings: tuple[Finding, ...]

    def mark(self, dataset: Dataset) -> Dataset:
        """Write into the rows that are kept that what is held out is the test part, and nothing else."""
        kept = np.flatnonzero(~self.aside)
        examples = (
            replace(dataset.examples[row], split="test") if self.held[row] else dataset.examples[row] for row in kept
        )
        return replace(dataset, examples=tuple(examples))


def hold_out(
    dataset: Dataset,
    hashes: Sequence[str],
    settings: SplitSettings,
    *,
    clusters: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> HeldOut:
    """Find the pictures of the named groups, and those that were taken in the named time.

    Args:
        dataset: What is used, with its groups.
        hashes: Content of each example.
        settings: Names and times; with both, either of them is reason enough.
        clusters: Key that near-duplicates share; "" or nothing for none.
        progress: Called with (done, all) while EXIF is read.

    Raises:
        SettingsError: No group has such a name, no time is known, nothing or everything would be held out, or the
            source has a test part of its own.
    """
    held = np.zeros(len(dataset), bool)
    findings: list[Finding] = []
    if settings.hold_out:
        held |= _by_name(dataset, settings.hold_out)
    if settings.hold_out_from or settings.hold_out_to:
        times, odd = _times(dataset, progress)
        findings += _without_time(dataset, times, odd)
        held |= _by_time(times, settings)
    asked = _asked(settings)
    _check_own_test(dataset, held, asked)
    aside = {kind: rows & ~held for kind, rows in _tied(dataset, hashes, clusters, held)}
    tied = np.logical_or.reduce([*aside.values(), np.zeros(len(dataset), bool)])
    if (held | tied).all():
        raise _nothing_left(asked, len(dataset), int(held.sum()), aside)
    findings.append(Finding("held out", (), f"{int(held.sum()):,} pictures are the test part: {asked}", "note"))
    return HeldOut(held, tied, (*findings, *_set_aside(dataset, aside)))


def _by_name(dataset: Dataset, names: Sequence[str]) -> np.ndarray:
    groups = sorted({example.group for example in dataset.examples} - {""})
    if not groups:
        raise SettingsError(
            "split.hold_out should name groups of pictures.",
            got="pictures without groups",
            fix="say what a group is: split.group_by=path:..., exif:camera or column:NAME.",
        )
    for name in names:
        if name not in groups:
            near = [one for one in groups if one.lower() == name.lower()]
            near = near or difflib.get_close_matches(name, groups, n=3, cutoff=0.5)
            more = f" and {len(groups) - 12:,} more" if len(groups) > 12 else ""
            raise SettingsError(
                f"split.hold_out should name groups; {name!r} is none.",
                got=f"groups {', '.join(groups[:12])}{more}",
                fix=f"did you mean {' or '.join(map(repr, near))}?" if near else "take one of these.",
            )
    return np.array([example.group in names for example in dataset.examples])


def _times(dataset: Dataset, progress: Callable[[int, int], None] | None) -> tuple[list[datetime | None], list[str]]:
    """Find when each picture was taken, and what is written where a time should be and is none."""
    named = {name.lower(): name for name in reversed(columns_of(dataset))}
    name = next((named[one] for one in TIME_COLUMNS if one in named), None)
    cells = column(dataset, name) if name else [""] * len(dataset)
    times = [_read(cell) for cell in cells]
    odd = [cell for cell, time in zip(cells, times, strict=True) if cell and time is None]
    blank = [row for row, cell in enumerate(cells) if not cell]
    shots = read_shots([dataset.examples[row].place for row in blank], progress=progress)
    for row, shot in zip(blank, shots, strict=True):
        times[row] = shot.taken
    if not any(times):
        where = f"column {name} says {odd[0]!r}" if odd else "no column time or date, and no time in EXIF"
        raise SettingsError(
            "split.hold_out_from and hold_out_to need to know when pictures were taken.",
            got=where,
            fix="add a column time to the table: 2024-06-01 or 2024-06-01T14:30.",
        )
    return times, odd


def _read(cell: str) -> datetime | None:
    try:
        # Tables made from EXIF have colons in the date.
        return period_of(re.sub(r"^(\d{4}):(\d\d):(\d\d)", r"\1-\2-\3", cell.strip()))[0]
    except ValueError:
        return None


def _by_time(times: Sequence[datetime | None], settings: SplitSettings) -> np.ndarray:
    start = period_of(settings.hold_out_from)[0] if settings.hold_out_from else None
    end = period_of(settings.hold_out_to)[1] if settings.hold_out_to else None
    held = [
        time is not None and not (start and is_before(time, start)) and not (end and not is_before(time, end))
        for time in times
    ]
    if not any(held) and not settings.hold_out:
        written = sorted(time.replace(tzinfo=None) for time in times if time)
        raise SettingsError(
            f"{_asked(settings)} should be the time of some pictures.",
            got=f"pictures from {written[0]:%Y-%m-%d %H:%M} to {written[-1]:%Y-%m-%d %H:%M}",
            fix="take a time between these.",
        )
    return np.array(held, dtype=bool)


def _without_time(dataset: Dataset, times: Sequence[datetime | None], odd: Sequence[str]) -> Iterator[Finding]:
    ids = tuple(example.id for example, time in zip(dataset.examples, times, strict=True) if time is None)
    if ids:
        such = f", such as {odd[0]!r}" if odd else ""
        yield Finding(
            "no time",
            ids,
            f"of {len(ids):,} of {len(dataset):,} pictures it is not known when they were taken{such}: they are not held "
            "out, whenever it was",
        )


def _check_own_test(dataset: Dataset, held: np.ndarray, asked: str) -> None:
    own = [one.id for one, out in zip(dataset.examples, held, strict=True) if one.split == "test" and not out]
    if own:
        raise SettingsError(
            f"{asked} makes the test part, so the source should have none of its own.",
            got=f"{len(own):,} other pictures that the source gives for the test, such as {own[0]}",
            fix="leave out one of the two.",
        )


def _tied(
    dataset: Dataset, hashes: Sequence[str], clusters: Sequence[str], held: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Find what shares bytes, looks or group with a held-out picture."""
    groups = [example.group for example in dataset.examples]
    taken = np.zeros(len(dataset), bool)
    for kind, keys in (
        ("copy of a held-out picture", hashes),
        ("near-duplicate of a held-out picture", clusters),
        ("group is held out in part", groups),
    ):
        out = {key for key, is_out in zip(keys, held, strict=True) if is_out} - {""} if len(keys) else set()
        rows = np.array([key in out for key in keys] if out else [False] * len(dataset), dtype=bool) & ~taken
        taken |= rows
        yield kind, rows


def _set_aside(dataset: Dataset, aside: dict[str, np.ndarray]) -> Iterator[Finding]:
    for kind, rows in aside.items():
        ids = tuple(dataset.examples[row].id for row in np.flatnonzero(rows))
        if ids:
            evidence = f"{len(ids):,} pictures are not used, so that nothing of the test part is trained on: "
            yield Finding(kind, ids, evidence + ", ".join(ids[:SHOWN]), "set aside")


def _nothing_left(asked: str, total: int, held: int, aside: dict[str, np.ndarray]) -> SettingsError:
    reasons = [f"{int(rows.sum()):,} set aside ({kind})" for kind, rows in aside.items() if rows.any()]
    straddling = aside["group is held out in part"].any()
    return SettingsError(
        f"{asked} should leave pictures for training.",
        got=", ".join([f"{held:,} of {total:,} pictures held out", *reasons]),
        fix="take smaller groups, such as exif:day, or none." if straddling else "hold out less.",
    )


def _asked(settings: SplitSettings) -> str:
    """Say what is held out, as settings."""
    parts = []
    if settings.hold_out:
        parts.append("split.hold_out = " + ", ".join(settings.hold_out))
    if settings.hold_out_from:
        parts.append(f"split.hold_out_from = {settings.hold_out_from}")
    if settings.hold_out_to:
        parts.append(f"split.hold_out_to = {settings.hold_out_to}")
    return " and ".join(parts)
