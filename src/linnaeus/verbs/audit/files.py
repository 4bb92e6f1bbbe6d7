"""Say of every file found whether it is used, or why not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from linnaeus.data.cache import Scan
from linnaeus.data.filenames import printable
from linnaeus.data.verdict import EXTENSIONS
from linnaeus.records import Dataset, Finding
from linnaeus.verbs.audit.copies import Copies

SHOWN = 3
"""Examples named in the evidence of a finding about many pictures; `ids` has all of them."""


def audit(dataset: Dataset, scan: Scan, copies: Copies | None = None) -> list[Finding]:
    """Judge every picture of a dataset by what the scan saw.

    Set aside are pictures that cannot be decoded, and byte-identical pictures with different labels, all of them:
    which label is right is not for a program to choose. Copies within a class stay; `split` keeps them together. What
    `find_copies` found is added: the same holds for the same pixels, while near-duplicates are never set aside.

    Args:
        dataset: As listed by its source.
        scan: Of the same examples, in the same order.
        copies: What `find_copies` found among the same examples; None leaves altered copies out.
    """
    assert len(dataset) == len(scan), "one row of the scan per example"
    findings = [
        *_problems(dataset, scan),
        *_same_bytes(dataset, scan),
        *(copies.findings if copies else ()),
        *_extensions(dataset, scan),
        *_turned(dataset, scan),
    ]
    return findings + list(_classes(dataset, findings))


def account(dataset: Dataset, findings: Sequence[Finding]) -> dict[str, int]:
    """Count what became of everything found: "found" is "used" plus all other numbers.

    Args:
        dataset: As listed by its source; what was set aside while listing stands in its findings.
        findings: What `audit` added.

    Returns:
        {"found": ..., "used": ..., reason: ...}; a file with two reasons counts under the first.
    """
    reasons: dict[str, str] = {}
    for finding in (*dataset.findings, *findings):
        if finding.severity == "set aside":
            for id in finding.ids:
                reasons.setdefault(id, finding.kind)
    used = sum(example.id not in reasons for example in dataset.examples)
    return {"found": used + len(reasons), "used": used, **Counter(reasons.values())}


def _problems(dataset: Dataset, scan: Scan) -> Iterator[Finding]:
    for row, error in sorted(scan.problems.items()):
        example = dataset.examples[row]
        evidence = f"{printable(example.place.path)}: {error.detail or error.reason}"
        yield Finding(error.reason, (example.id,), evidence, "set aside")


def _same_bytes(dataset: Dataset, scan: Scan) -> Iterator[Finding]:
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(scan.hashes):
        if row not in scan.problems:
            rows_of[digest].append(row)
    for rows in rows_of.values():
        if len(rows) < 2:
            continue
        examples = [dataset.examples[row] for row in rows]
        ids = tuple(example.id for example in examples)
        if len({frozenset(dataset.classes_of(example)) for example in examples if example.label}) > 1:
            named = " = ".join(f"{example.id} ({example.label})" for example in examples)
            yield Finding("conflict", ids, f"the same bytes under different labels: {named}", "set aside")
        else:
            yield Finding("copies", ids, f"the same bytes: {' = '.join(ids)}", "note")


def _extensions(dataset: Dataset, scan: Scan) -> Iterator[Finding]:
    ids_of: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    known = {extension for extensions in EXTENSIONS.values() for extension in extensions}
    for row, format in enumerate(scan.formats):
        extension = PurePath(dataset.examples[row].id).suffix.lower()
        if extension in known and format in EXTENSIONS and extension not in EXTENSIONS[format]:
            ids_of[extension, format].append(dataset.examples[row].id)
    for (extension, format), ids in sorted(ids_of.items()):
        evidence = f"{_pictures(len(ids))} named {extension}, but {format} inside; read as {format}: {_some(ids)}"
        yield Finding("wrong extension", tuple(ids), evidence, "note")


def _turned(dataset: Dataset, scan: Scan) -> Iterator[Finding]:
    ids = [dataset.examples[row].id for row in scan.turned.nonzero()[0]]
    if ids:
        evidence = f"{_pictures(len(ids))} turned upright as their EXIF data say: {_some(ids)}"
        yield Finding("turned", tuple(ids), evidence, "note")


def _classes(dataset: Dataset, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Warn of classes that setting aside has emptied, or that have a single picture."""
    before, after = dataset.counts(), dataset.without(findings).counts()
    for name in dataset.classes:
        if before[name] and not after[name]:
            evidence = f"all {_pictures(before[name])} of class {name!r} are set aside; it keeps its number, untrained"
            yield Finding("empty class", (name,), evidence)
        elif after[name] == 1:
            yield Finding("small class", (name,), f"class {name!r} has 1 picture left; at least 2 can be split")
    left = [name for name in dataset.classes if after[name]]
    if len(left) == 1 and "single class" not in {finding.kind for finding in dataset.findings}:
        yield Finding("single class", (left[0],), f"only class {left[0]!r} has pictures; a classifier needs two")


def _pictures(n: int) -> str:
    return f"{n:,} picture{'' if n == 1 else 's'}"


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN]) + (" ..." if len(ids) > SHOWN else "")
