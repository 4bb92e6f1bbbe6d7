"""Put a classifier under stress, on its own test pictures or on others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.classifier import Classifier
from linnaeus.config import Recipe
from linnaeus.errors import RunError
from linnaeus.run import Run
from linnaeus.story.pictures import Looked, look_at_all, open_pictures, where_of, where_of_run
from linnaeus.talk import Talk
from linnaeus.verbs.report import report
from linnaeus.verbs.stress import stress


def put_under_stress(
    model: Path,
    source: str | None = None,
    *,
    pictures: int = 256,
    attacks: Sequence[str] = ("fgsm", "pgd", "patch"),
    certify: float | None = None,
    seed: int = 0,
    data_dir: Path | None = None,
    corrections: str | Path | None = None,
    trust_code: bool = False,
    talk: Talk | None = None,
) -> dict[str, Any]:
    """Measure how the answers hold; without a source on the run's own test pictures, and then the run keeps the result.

    Args:
        model: A run, or with a source also a model folder.
        source: What `open_source` takes.
        pictures: Size of the sample.
        attacks: As `stress` takes them.
        certify: As `stress` takes it.
        seed: Of the sample and the changes.
        data_dir: Where the data of a built-in name are.
        corrections: File with the decisions of a review, or "none"; by default what the run was told, of another source
            the one beside it.
        trust_code: See `Classifier.load`.
        talk: Where words and progress go.

    Returns:
        The document "stress".

    Raises:
        RunError: Without a source, there is no run, or its test pictures are no longer there.
    """
    talk = talk or Talk()
    classifier = Classifier.load(model, trust_code=trust_code)
    run = Run.open(model) if source is None else None
    if run is not None:
        where = where_of_run(run, data_dir=data_dir, corrections=corrections)
    else:
        where = where_of(str(source), data_dir=data_dir, corrections=corrections)
    cache_gb = Recipe().data.cache_gb
    looked = look_at_all(open_pictures(where, talk), where, classifier.preprocessing, cache_gb, talk)
    part, rows = _tested(run, looked) if run else ("outside", np.arange(len(looked.dataset)))
    found = stress(
        classifier,
        looked.dataset.take(rows),
        looked.scan.take(rows).pixels,
        pictures=pictures,
        seed=seed,
        attacks=attacks,
        certify=certify,
        talk=talk,
    )
    found["part"] = part
    if part == "val":
        found["notes"].insert(0, "of validation pictures, which chose the network: the run has no test part.")
    if run is not None:
        run.write_result("stress", found)
        report(run)
    return found


def _tested(run: Run, looked: Looked) -> tuple[str, np.ndarray]:
    """Find the run's test pictures (or its validation pictures, where it has no test part) by their content: part, rows."""
    split = run.split()
    part = "test" if "test" in split["split"] else "val"
    wanted = {digest for digest, one in zip(split["hash"], split["split"], strict=True) if one == part}
    rows = np.array([row for row, digest in enumerate(looked.scan.hashes) if digest in wanted], dtype=np.int64)
    if not len(rows):
        raise RunError(
            f"{run.folder} should have test pictures in {run.source()['source']}.",
            got="none of them" if wanted else "a run without test and validation pictures",
            fix=f"name other pictures: linnaeus stress {run.folder} PICTURES",
        )
    return part, rows
