"""split: decide by content which pictures train, which choose, and which test.

Each picture is dealt by a number in 0..1 that comes from its content (or its group) and nothing else. That is the only
kind of rule under which adding pictures moves none of the old ones: any rule that fills exact quotas, per class or in
all, must look at the other pictures, and so changes its mind when they change. The price is that shares hold in
expectation: a class of n pictures gets n x share, give or take about sqrt(n x share x (1 - share)).

Three things can move a picture after all: a class without any training picture keeps the one nearest to it (below), and
is told so; a new picture that ties two groups together makes one of them; and a new near-duplicate that brings a smaller
content hash into a cluster, or ties two clusters together, takes them along.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from linnaeus.config import SplitSettings
from linnaeus.data.ties import even_number, unite
from linnaeus.errors import SettingsError
from linnaeus.records import PARTS, Dataset, Finding, Split

SHOWN = 3


def split(dataset: Dataset, hashes: Sequence[str], settings: SplitSettings, *, clusters: Sequence[str] = ()) -> Split:
    """Deal the pictures into train, val and test.

    Byte-identical pictures, near-duplicates and pictures of one group stay together. What the source says is kept, and checked for
    leaks; parts that it does not name are cut out of what it gives for training. Where it names training pictures,
    those without a part are dealt by hash like any others; where it names none, they are the training pictures.

    A class that the hash leaves without any training picture keeps for training the picture (with its copies and its
    group) whose number is largest; it goes back to where its number says once the class has another.

    Args:
        dataset: What to split; pictures set aside should be out of it.
        hashes: Content hash of each example.
        settings: Shares and salt.
        clusters: Key of each example that all its near-duplicates have too, the smallest content hash among them; ""
            for none. Without clusters only bytes and groups count.

    Raises:
        SettingsError: The shares leave nothing for training.
    """
    if settings.val + settings.test >= 1:
        raise SettingsError(
            "split.val and split.test should leave pictures for training.",
            got=f"{settings.val} + {settings.test}",
            fix="choose shares whose sum is below 1.",
        )
    assert len(hashes) == len(dataset), "one hash per example"
    assert len(clusters) in (0, len(dataset)), "one cluster key per example, or none at all"
    clusters = clusters or [""] * len(dataset)
    deal = _deal(dataset, hashes, clusters, settings)
    moved = list(_rescue(dataset, deal))
    findings = (*moved, *_leaks(dataset, hashes, clusters, deal.parts), *_missing(dataset, deal))
    return Split(np.array(deal.parts, dtype="<U5"), np.array(deal.why, dtype=np.str_), tuple(findings))


@dataclass
class _Deal:
    """The hands while dealing; all lists are aligned with the examples.

    Attributes:
        clusters: Key of the pictures that stay together.
        numbers: 0..1, from the key.
        given: What the source says.
        free: Whether the hash may decide.
    """

    clusters: list[str]
    numbers: list[float]
    given: list[str]
    free: list[bool]
    parts: list[str]
    why: list[str]


def _deal(dataset: Dataset, hashes: Sequence[str], copies: Sequence[str], settings: SplitSettings) -> _Deal:
    keys = [digest or example.id for digest, example in zip(hashes, dataset.examples, strict=True)]
    clusters = unite([example.group for example in dataset.examples], keys, copies)
    number_of = {cluster: even_number(settings.salt, cluster) for cluster in set(clusters)}
    given = [example.split for example in dataset.examples]
    named = set(given) - {""}
    cut = {"test": 0.0 if "test" in named else settings.test, "val": 0.0 if "val" in named else settings.val}
    whole = {"test": settings.test, "val": settings.val} if "train" in named else cut
    anchors = _anchors(clusters, given)
    deal = _Deal(clusters, [number_of[cluster] for cluster in clusters], given, [], [], [])
    for example, cluster, number in zip(dataset.examples, clusters, deal.numbers, strict=True):
        anchor = anchors.get(cluster, "")
        fixed = example.split or anchor
        shares = cut if "train" in (example.split, anchor) else whole
        keep = fixed in ("val", "test") or (fixed == "train" and not any(cut.values()))
        part = fixed if keep else _by_number(number, shares)
        if example.split == part:
            why = "given"
        elif keep:
            why = "with its given copy or group"
        else:
            why = "hash of group" if cluster.startswith("group:") else "hash of content"
        deal.free.append(not keep)
        deal.parts.append(part)
        deal.why.append(why)
    return deal


def _by_number(number: float, shares: dict[str, float]) -> str:
    if number < shares["test"]:
        return "test"
    return "val" if number < shares["test"] + shares["val"] else "train"


def _anchors(clusters: Sequence[str], given: Sequence[str]) -> dict[str, str]:
    """Find the part that the source chose for a cluster: members without a part follow it, or they would leak.

    Of several, the last of train, val, test: better a picture less to train on than a test that is known by heart.
    """
    anchors: dict[str, str] = {}
    for cluster, part in zip(clusters, given, strict=True):
        if part and PARTS.index(part) >= PARTS.index(anchors.get(cluster, "train")):
            anchors[cluster] = part
    return anchors


def _rescue(dataset: Dataset, deal: _Deal) -> Iterator[Finding]:
    """Give every class that can have one a training picture; all are judged by the hash alone, so order is nothing."""
    best: dict[str, int] = {}
    dealt = zip(dataset.examples, deal.parts, strict=True)
    trained = {name for example, part in dealt if part == "train" for name in dataset.classes_of(example)}
    for row, example in enumerate(dataset.examples):
        for name in dataset.classes_of(example) if deal.free[row] else ():
            if name not in trained:
                top = best.setdefault(name, row)
                if (deal.numbers[row], deal.clusters[row]) > (deal.numbers[top], deal.clusters[top]):
                    best[name] = row
    chosen = {deal.clusters[row]: label for label, row in sorted(best.items())}
    ids: defaultdict[str, list[str]] = defaultdict(list)
    for row, example in enumerate(dataset.examples):
        if deal.free[row] and deal.clusters[row] in chosen:
            deal.parts[row], deal.why[row] = "train", "only one of a small class"
            ids[deal.clusters[row]].append(example.id)
    for cluster, label in sorted(chosen.items(), key=lambda item: item[1]):
        kept = ", ".join(ids[cluster][:SHOWN])
        yield Finding(
            "small class", tuple(ids[cluster]), f"class {label!r} would have had none to train on; kept {kept}"
        )


def _leaks(dataset: Dataset, hashes: Sequence[str], clusters: Sequence[str], parts: Sequence[str]) -> Iterator[Finding]:
    groups = [example.group for example in dataset.examples]
    for what, keys in (
        ("byte-identical pictures", hashes),
        ("near-duplicate pictures", clusters),
        ("pictures of one group", groups),
    ):
        across = list(_across(keys, parts))
        if what == "near-duplicate pictures":
            # What leaks by its bytes alone has been told.
            across = [(key, rows) for key, rows in across if len({hashes[row] for row in rows}) > 1]
        if across:
            rows = [row for _, members in across for row in members]
            _, first = across[0]
            shown = ", ".join(f"{dataset.examples[row].id} ({parts[row]})" for row in first[:SHOWN])
            evidence = f"{what} on different sides: {len(rows):,} pictures in {len(across):,} set(s), such as {shown}"
            yield Finding("leak", tuple(dataset.examples[row].id for row in rows), evidence)


def _across(keys: Iterable[str], parts: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    members: defaultdict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        if key:
            members[key].append(row)
    return ((key, rows) for key, rows in members.items() if len({parts[row] for row in rows}) > 1)


def _missing(dataset: Dataset, deal: _Deal) -> Iterator[Finding]:
    """Tell which classes lack a part."""
    rows_of: defaultdict[str, set[str]] = defaultdict(set)
    for example, part in zip(dataset.examples, deal.parts, strict=True):
        for name in dataset.classes_of(example):
            rows_of[name].add(part)
    for name, parts in sorted(rows_of.items()):
        if "train" not in parts:
            sides = " and ".join(part for part in PARTS if part in parts)
            yield Finding(
                "unknown class", (name,), f"class {name!r} is in {sides}, but not in train: it is not learned"
            )
    for part, kind, severity, price in (
        ("test", "not tested", "warning", "it gets no score"),
        ("val", "not validated", "note", "it has no say in choosing and calibrating the model"),
    ):
        if part not in deal.parts:
            yield Finding(kind, (), f"there is no {part} part", severity)
            continue
        side = f"the given {part} part" if part in deal.given else f"the {part} part"
        for name in sorted(name for name, parts in rows_of.items() if part not in parts):
            yield Finding(kind, (name,), f"class {name!r} is missing in {side}: {price}", severity)
