"""What a teacher brings to a training: pictures without labels; and what it must not have seen."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.config import Recipe
from linnaeus.data.cache import scan
from linnaeus.data.folders import default_cache_dir
from linnaeus.data.inputs import expand_inputs
from linnaeus.errors import RunError, SettingsError, SourceError
from linnaeus.learn.material import UNLABELLED, Material
from linnaeus.records import Dataset, Example, Place, Split
from linnaeus.run import Run
from linnaeus.talk import Talk


def with_lesson(material: Material, used: Recipe, run: Run, talk: Talk) -> Material:
    """Check the teacher against the split, add the unlabelled pictures, and write down what was used.

    Args:
        material: What there is to learn from, with labels.
        used: Nothing left open.
        run: Gets the account.
        talk: Where words and progress go.

    Raises:
        SettingsError: The teacher learned from pictures on which this run is to be tested.
        SourceError: There is no picture among the unlabelled.
    """
    if not used.train.teacher:
        return material
    account: dict[str, Any] = {
        "teacher": used.train.teacher,
        "seen": _check_teacher(used.train.teacher, material, talk),
    }
    if used.train.unlabelled:
        material, account["unlabelled"] = _with_unlabelled(material, used.train.unlabelled, used, talk)
    run.write_result("teacher", account)
    return material


def _check_teacher(name: str, material: Material, talk: Talk) -> int | None:
    """Count the training pictures of this run that the teacher learned from, too; None where nobody knows."""
    try:
        split = Run.open(name).split()
    except RunError:
        talk.say(f"warning: {name} does not tell on which pictures the teacher was trained")
        return None
    learned = {one for one, part in zip(split["hash"], split["split"], strict=True) if part == "train"}
    judged = [row for part in ("val", "test") for row in material.split.rows(part)]
    leaked = sum(material.hashes[row] in learned for row in judged)
    if leaked:
        raise SettingsError(
            f"the teacher {name} should not have learned from pictures on which this run is judged.",
            got=f"{leaked:,} of {len(judged):,} validation and test pictures",
            fix="split as the teacher's run was split: the same source and split settings.",
        )
    return sum(material.hashes[row] in learned for row in material.split.rows("train"))


def _with_unlabelled(material: Material, source: str, used: Recipe, talk: Talk) -> tuple[Material, dict[str, int]]:
    """Add pictures without labels; those that are in the data already are left out, above all in its test part."""
    paths = [path for path in expand_inputs([source]) if Path(path).is_file()]
    if not paths:
        raise SourceError(
            f"train.unlabelled = {source} should hold pictures.", got="none", fix="give a folder, or a pattern."
        )
    examples = tuple(Example(path, Place(path, 0, -1, ""), "") for path in paths)
    found = scan(
        Dataset("unlabelled", source, examples, material.classes),
        material.preprocessing,
        cache_dir=default_cache_dir() / "pixels",
        cache_gb=used.data.cache_gb,
        progress=partial(talk.progress, "reading unlabelled pictures"),
    )
    known, rows = set(material.hashes), []
    account = {"found": len(paths), "used": 0, "unreadable": 0, "already in the data, or twice": 0}
    for row, content in enumerate(found.hashes):
        if row in found.problems:
            account["unreadable"] += 1
        elif content in known:
            account["already in the data, or twice"] += 1
        else:
            known.add(content)
            rows.append(row)
    account["used"] = len(rows)
    aside = ", ".join(f"{count} {why}" for why, count in list(account.items())[2:] if count)
    talk.say(f"{len(rows):,} of {len(paths):,} unlabelled pictures used" + (f" ({aside})" if aside else ""))
    return _joined(material, found.take(rows)), account


def _joined(material: Material, more: Any) -> Material:
    count = len(more)
    parts = np.concatenate([material.split.parts.astype(object), np.full(count, UNLABELLED, dtype=object)]).astype(str)
    why = np.concatenate([material.split.why.astype(object), np.full(count, "no label", dtype=object)]).astype(str)
    return replace(
        material,
        pixels=material.pixels.joined(more.pixels),
        labels=np.concatenate([material.labels, np.full(count, -1, dtype=np.int64)]),
        hashes=(*material.hashes, *more.hashes),
        split=Split(parts, why, material.split.findings),
    )
