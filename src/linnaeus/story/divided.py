"""Divide pictures into train, val and test: by content, by what is held out, or as one fold of a cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from linnaeus.config import SplitSettings
from linnaeus.data.cache import Scan
from linnaeus.data.groups import groups_of
from linnaeus.data.holdout import hold_out
from linnaeus.errors import SettingsError
from linnaeus.records import Dataset, Finding, Split
from linnaeus.talk import Talk
from linnaeus.verbs.folds import deal_folds, mark_fold
from linnaeus.verbs.split import split


@dataclass(frozen=True)
class Divided:
    """Pictures with their side.

    Attributes:
        dataset: What is used; its examples say what the source says, not what was decided.
        scan: Of just that.
        split: Aligned with it.
        accounted: "found", "used", and one entry per reason.
        findings: What was found while dividing; that of the split is in the split.
    """

    dataset: Dataset
    scan: Scan
    split: Split
    accounted: Mapping[str, int]
    findings: tuple[Finding, ...] = ()


def grouped(dataset: Dataset, settings: SplitSettings, talk: Talk) -> Dataset:
    """Give every picture its group, as `split.group_by` says; what is to be told of it joins the findings."""
    _check_fold(settings)
    with talk.stage("groups"):
        found, findings = groups_of(
            dataset, settings.group_by, progress=lambda done, total: talk.progress("reading EXIF", done, total)
        )
    if settings.group_by is not None:
        named = [example.group for example in found.examples if example.group]
        talk.say(f"{len(set(named)):,} groups by {settings.group_by}")
    return replace(found, findings=(*found.findings, *findings))


def divide(
    dataset: Dataset,
    scan: Scan,
    accounted: Mapping[str, int],
    settings: SplitSettings,
    *,
    clusters: Sequence[str] = (),
    talk: Talk | None = None,
) -> Divided:
    """Decide which pictures train, which choose, and which test.

    Args:
        dataset: What can be used, with its groups.
        scan: Of the same examples.
        accounted: "found", "used", and one entry per reason.
        settings: Shares, or what is held out, or which fold.
        clusters: Key that near-duplicates share; "" or nothing for none.
        talk: Where progress goes.

    Raises:
        SettingsError: The settings do not hold for these pictures.
    """
    if settings.folds is not None:
        return Divided(dataset, scan, fold_split(dataset, scan.hashes, settings, clusters=clusters), accounted)
    if settings.holds_out:
        return _hold_out(dataset, scan, accounted, settings, clusters, talk or Talk())
    return Divided(dataset, scan, split(dataset, scan.hashes, settings, clusters=clusters), accounted)


def fold_split(
    dataset: Dataset, hashes: Sequence[str], settings: SplitSettings, *, clusters: Sequence[str] = ()
) -> Split:
    """Test one fold; val is drawn from the rest by another hash, so that it stays what it is when the folds do not.

    Args:
        dataset: What is used, with its groups; what the source says of a split is not followed, and that is told.
        hashes: Content of each example.
        settings: `folds`, `fold`, and the share of all pictures for val.
        clusters: Key that near-duplicates share; "" or nothing for none.

    Raises:
        SettingsError: It is not said which fold, or the shares leave nothing for training.
    """
    _check_fold(settings)
    folds, fold = settings.folds, settings.fold
    assert folds is not None
    assert fold is not None
    rest = 1 - 1 / folds
    if settings.val >= rest:
        raise SettingsError(
            "split.val and the fold that is tested should leave pictures for training.",
            got=f"{settings.val} + 1/{folds}",
            fix="choose a smaller split.val, or more folds.",
        )
    dealt = deal_folds(dataset, hashes, clusters, folds=folds, salt=settings.salt)
    inner = settings.model_copy(update={"test": 0.0, "val": settings.val / rest, "salt": f"{settings.salt} val"})
    parts = split(mark_fold(dataset, dealt, fold), hashes, inner, clusters=clusters)
    # A small class need not be in every fold: it is tested in another one.
    findings = [one for one in parts.findings if one.kind != "not tested"]
    if any(example.split for example in dataset.examples):
        said = "the split that the source gives is not followed: cross-validation tests every picture once"
        findings.append(Finding("given split", (), said))
    why = np.where(parts.parts == "test", f"fold {fold} of {folds}", parts.why)
    return Split(parts.parts, why, tuple(findings))


def _check_fold(settings: SplitSettings) -> None:
    if settings.folds is not None and settings.fold is None:
        raise SettingsError(
            "split.folds asks for a cross-validation, of which one run is a fold.",
            got="no split.fold",
            fix=f"linnaeus train SOURCE --folds {settings.folds}, or say which: split.fold=1",
        )


def _hold_out(
    dataset: Dataset,
    scan: Scan,
    accounted: Mapping[str, int],
    settings: SplitSettings,
    clusters: Sequence[str],
    talk: Talk,
) -> Divided:
    """Test what is held out, set aside what is tied to it, and draw val from the rest."""
    out = hold_out(
        dataset,
        scan.hashes,
        settings,
        clusters=clusters,
        progress=lambda done, total: talk.progress("reading EXIF", done, total),
    )
    kept = np.flatnonzero(~out.aside)
    rest, marked, seen = dataset.take(kept), out.mark(dataset), scan.take(kept)
    near = [clusters[row] for row in kept.tolist()] if len(clusters) else ()
    parts = split(marked, seen.hashes, settings.model_copy(update={"test": 0.0}), clusters=near)
    why = np.where(out.held[kept], "held out", parts.why)
    reasons = {one.kind: len(one.ids) for one in out.findings if one.severity == "set aside"}
    counted = {**accounted, "used": accounted["used"] - sum(reasons.values()), **reasons}
    return Divided(rest, seen, Split(parts.parts, why, parts.findings), counted, out.findings)
