"""Which pictures belong together because of where they come from: one patient, one camera, one day.

Pictures of one group are alike in ways that have nothing to do with their class, so they stay on one side of a split.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from linnaeus.config import EXIF_GROUPS
from linnaeus.data.exif import Shot, read_shots
from linnaeus.errors import SettingsError
from linnaeus.records import Dataset, Finding

SHOWN = 3
LARGE = 0.5
"""Share of the pictures above which a group leaves little to split."""
KINDS = "column:NAME, path:EXPRESSION, exif:camera, exif:day or exif:hour"


def groups_of(
    dataset: Dataset, rule: str | None, *, progress: Callable[[int, int], None] | None = None
) -> tuple[Dataset, list[Finding]]:
    """Give every picture its group.

    Args:
        dataset: What to group.
        rule: "column:NAME" of the source's table; "path:EXPRESSION", a regular expression that is looked for in the
            picture's path within the source, whose first group counts, or else all that it matches; "exif:camera",
            "exif:day" or "exif:hour". It replaces what the source says. None keeps that.
        progress: Called with (done, all) while EXIF is read.

    Returns:
        The dataset with its groups, and what is to be told: pictures without a group, groups that tie nothing or nearly
        everything together.

    Raises:
        SettingsError: The rule cannot be read, names a column that is not there, or gives no picture a group.
    """
    if rule is None:
        return dataset, list(_shape(dataset, "the column group", told_of_single=False))
    kind, _, what = rule.partition(":")
    if kind == "column":
        names = _by_column(dataset, what.strip())
    elif kind == "path":
        names = _by_path(dataset, what)
    elif kind == "exif" and what in EXIF_GROUPS:
        names = [
            _exif_name(one, what) for one in read_shots([one.place for one in dataset.examples], progress=progress)
        ]
    else:
        raise SettingsError(f"split.group_by should be {KINDS}.", got=repr(rule), fix=_nearest_rule(dataset, rule))
    if dataset.examples and not any(names):
        raise _matches_nothing(dataset, rule)
    examples = tuple(replace(example, group=name) for example, name in zip(dataset.examples, names, strict=True))
    grouped = replace(dataset, examples=examples)
    return grouped, [*_without(grouped, rule), *_shape(grouped, rule, told_of_single=True)]


def columns_of(dataset: Dataset) -> list[str]:
    """List the columns of the source's table that can be asked for, in the table's order."""
    names = dict.fromkeys(name for example in dataset.examples for name, _ in example.extra)
    return [*names, "group"] if any(example.group for example in dataset.examples) else list(names)


def column(dataset: Dataset, name: str) -> list[str]:
    """Read one column for every picture; "" where a row has none."""
    if name == "group":
        return [example.group for example in dataset.examples]
    return [dict(example.extra).get(name, "") for example in dataset.examples]


def _by_column(dataset: Dataset, name: str) -> list[str]:
    known = columns_of(dataset)
    if name not in known:
        near = [one for one in known if one.lower() == name.lower()]
        near = near or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        meant = " or ".join(f"column:{one}" for one in near)
        other = "take one of these." if known else "use path:EXPRESSION or exif:camera, or give a table."
        raise SettingsError(
            f"split.group_by = column:{name} should name a column of the source's table.",
            got=f"columns {', '.join(known[:12])}" if known else "a source without further columns",
            fix=f"did you mean {meant}?" if near else other,
        )
    return [value.strip() for value in column(dataset, name)]


def _by_path(dataset: Dataset, expression: str) -> list[str]:
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise SettingsError(
            "split.group_by = path:EXPRESSION should hold a regular expression.",
            got=f"{expression!r}: {error}",
            fix=r"for example path:(\w+)_\d+\.jpg",
        ) from None
    found = (pattern.search(example.id) for example in dataset.examples)
    return [(one[1] if pattern.groups else one[0]) or "" if one else "" for one in found]


def _exif_name(shot: Shot, what: str) -> str:
    if what == "camera":
        return shot.camera
    return shot.taken.strftime("%Y-%m-%d" if what == "day" else "%Y-%m-%d %Hh") if shot.taken else ""


def _matches_nothing(dataset: Dataset, rule: str) -> SettingsError:
    kind, _, what = rule.partition(":")
    got, fix = {
        "column": (f"column {what.strip()} is empty in every row", "fill it in, or take another column."),
        "path": (
            f"no path matches, such as {', '.join(one.id for one in dataset.examples[:SHOWN])}",
            "it is looked for in these paths, with / between folders; capitals count.",
        ),
        "exif": (
            f"none of {len(dataset):,} pictures says its {'camera' if what == 'camera' else 'time'} in EXIF",
            "use path:EXPRESSION, or a table with a column.",
        ),
    }[kind]
    return SettingsError(f"split.group_by = {rule} should give pictures a group.", got=got, fix=fix)


def _nearest_rule(dataset: Dataset, rule: str) -> str:
    known = [*(f"column:{name}" for name in columns_of(dataset)), *(f"exif:{one}" for one in EXIF_GROUPS)]
    near = difflib.get_close_matches(rule, known, n=1, cutoff=0.4) or [r"path:(\w+)_\d+\.jpg"]
    return f"for example {near[0]}"


def _without(dataset: Dataset, rule: str) -> list[Finding]:
    ids = tuple(example.id for example in dataset.examples if not example.group)
    if not ids:
        return []
    evidence = f"{len(ids):,} of {len(dataset):,} pictures have no group by {rule}, such as {', '.join(ids[:SHOWN])}: "
    return [Finding("no group", ids, evidence + "each is split by its own content")]


def _shape(dataset: Dataset, rule: str, *, told_of_single: bool) -> list[Finding]:
    """Tell where groups tie nearly everything together, or nothing."""
    sizes = Counter(example.group for example in dataset.examples if example.group)
    if not sizes:
        return []
    findings = [
        Finding("large group", (name,), _describe(name, count, len(dataset)))
        for name, count in sizes.most_common(1)
        if count > LARGE * len(dataset)
    ]
    if told_of_single and len(dataset) > 1 and max(sizes.values()) == 1:
        findings.append(
            Finding("single groups", (), f"{rule} gives every picture a group of its own: it ties nothing together")
        )
    return findings


def _describe(name: str, count: int, total: int) -> str:
    side = "all are on one side of the split, so shares will be far off"
    return f"group {name!r} holds {count:,} of {total:,} pictures ({100 * count / total:.0f} %): {side}"
