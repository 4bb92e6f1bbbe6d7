"""What a person decided about pictures: a small table beside the source, applied whenever the source is used.

`photos.corrections.csv` lies next to `photos/`, whose files are never touched. It is a diary: every decision is one line
at its end, and taking one back is a line too, so that nothing that was once written is ever rewritten. A decision is
about content (its hash) and about what the source said of it (its label), so it survives renames and additions, and is
reported instead of applied where the content or the label has changed since.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from linnaeus.data.classes import order_classes
from linnaeus.data.diary import Correction, Standing, parse
from linnaeus.errors import SourceError
from linnaeus.records import Dataset, Example, Finding, split_label

SETS = ("conflict", "copies", "same pixels", "duplicate", "leak")
"""Found in the kinds of findings that are about pictures as a set: conflict, copies, near-duplicates ..."""
SHOWN = 3


@dataclass(frozen=True)
class Corrections:
    """What stands, after all that was taken back or decided anew.

    Attributes:
        path: The table; "" for none.
        standing: The last word on each picture, in the order of the file.
        new_classes: Names that were added as classes.
        problems: Lines that could not be understood, told for a person.
    """

    path: str = ""
    standing: tuple[Correction, ...] = ()
    new_classes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.standing)


def default_path(source: str | Path) -> Path:
    """Say where the corrections of a source are kept: beside it, `photos/` -> `photos.corrections.csv`.

    A source that is no path, such as a built-in name, has them in the current folder.
    """
    path = Path(source).expanduser()
    if os.path.lexists(path):
        path = Path(os.path.abspath(path))
        # Only the root of a drive has no place beside it.
        return path.with_name(f"{path.name}.corrections.csv") if path.name else path / "corrections.csv"
    return Path(f"{path.name}.corrections.csv")


def find(source: str | Path, asked: str | Path | None = None) -> Corrections:
    """Read the corrections of a source.

    Args:
        source: What the user typed.
        asked: A file; "none" for no corrections; None takes `default_path`, if it is there.

    Raises:
        SourceError: The file that was asked for is missing, or it is no table of corrections.
    """
    if str(asked) == "none":
        return Corrections()
    path = Path(asked).expanduser() if asked is not None else default_path(source)
    # Path.is_file raises where the name is too long to be one.
    if asked is None and not os.path.isfile(path):
        return Corrections()
    return read(path)


def read(path: Path) -> Corrections:
    """Read a table of corrections.

    Raises:
        SourceError: It is missing, cannot be read, or is no table of corrections.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"{path} should be a table of corrections.", got=error.strerror or str(error), fix="linnaeus review SOURCE"
        ) from None
    lines, problems = parse(data, path)
    standing = Standing()
    for line in lines:
        standing.follow(line)
    tops = tuple(pile[-1] for pile in standing.piles.values() if pile)
    return Corrections(str(path), tops, tuple(standing.new_classes), tuple(problems))


def apply(dataset: Dataset, hashes: Sequence[str], corrections: Corrections) -> tuple[Dataset, list[Finding]]:
    """Correct a dataset: relabel, and set aside what was excluded or is of no class.

    A correction is applied to the example of its id if the content is still the same, else to the one that has the
    content now; and only while the source gives it the label that it had when it was reviewed. "relabel" and
    "not-a-class" are about what the picture shows, so they hold for byte-identical copies of the same label too.

    Args:
        dataset: As listed by its source.
        hashes: Content hash of each example, `Scan.hashes`.
        corrections: From `find`.

    Returns:
        The corrected dataset, whose findings include the new ones, and the new findings. Set-aside examples are gone
        from it; every correction that could not be applied has a finding of its own.
    """
    if not corrections.path:
        return dataset, []
    matched = _match(dataset, hashes, corrections)
    known = {*dataset.classes, *corrections.new_classes}
    judged = _Judged(corrections.path)
    examples = list(dataset.examples)
    for row, correction in sorted(matched.rows.items()):
        examples[row] = judged.judge(examples[row], correction, known)
    findings = [*judged.findings(), *_not_there(matched), *_unread(corrections)]
    used = [name for name in corrections.new_classes if name in judged.used and name not in dataset.classes]
    corrected = replace(dataset, examples=tuple(examples), classes=_more_classes(dataset.classes, used))
    return corrected.without(findings), findings


def silence(
    findings: Sequence[Finding], dataset: Dataset, hashes: Sequence[str], corrections: Corrections
) -> list[Finding]:
    """Leave out of the findings what a person has settled: pictures kept or relabelled in review.

    What sets pictures aside stays, because a broken file does not get better by keeping it; but of conflicting copies
    the ones kept are used, if they have one label. Findings about a set of pictures (`is_about_a_set`) go when all of
    it is settled.

    Args:
        findings: Of an audit of `dataset`.
        dataset: As `apply` returned it.
        hashes: Content hash of each example.
        corrections: As given to `apply`.
    """
    known = settled(dataset, hashes, corrections)
    if not known:
        return list(findings)
    return [left for one in findings if (left := _unsettled(one, known)) is not None]


def settled(dataset: Dataset, hashes: Sequence[str], corrections: Corrections) -> dict[str, str]:
    """Find the pictures whose label a person confirmed, as it was or as it is now: id -> label.

    Args:
        dataset: As `apply` returned it, or a part of that.
        hashes: Content hash of each example.
        corrections: As given to `apply`.
    """
    if not corrections.path:
        return {}
    found: dict[str, str] = {}
    for row, correction in _match(dataset, hashes, corrections).rows.items():
        label = dataset.examples[row].label
        if correction.action in ("keep", "relabel") and label == (correction.new_label or correction.label):
            found[dataset.examples[row].id] = label
    return found


def is_about_a_set(kind: str) -> bool:
    """Tell whether findings of a kind are about pictures together: one of them kept does not settle the others."""
    return any(word in kind for word in SETS)


@dataclass
class _Matched:
    """Which row each correction is about."""

    rows: dict[int, Correction] = field(default_factory=dict)
    changed: list[Correction] = field(default_factory=list)
    gone: list[Correction] = field(default_factory=list)
    elsewhere: list[Correction] = field(default_factory=list)
    moved: list[tuple[Correction, str]] = field(default_factory=list)


def _match(dataset: Dataset, hashes: Sequence[str], corrections: Corrections) -> _Matched:
    assert len(hashes) == len(dataset), "one hash per example"
    ids = {one.id for one in corrections.standing}
    contents = {one.hash for one in corrections.standing if one.hash}
    row_of = {example.id: row for row, example in enumerate(dataset.examples) if example.id in ids}
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(hashes):
        if digest in contents:
            rows_of[digest].append(row)
    matched = _Matched()
    astray = []
    for one in corrections.standing:
        own = row_of.get(one.id)
        if own is not None and hashes[own] == one.hash:
            matched.rows[own] = one
        else:
            astray.append(one)
    for one in astray:
        free = [row for row in rows_of[one.hash] if row not in matched.rows and _has_label(dataset, row, one)]
        if free:
            matched.rows[free[0]] = one
            matched.moved.append((one, dataset.examples[free[0]].id))
        elif one.id in row_of and not rows_of[one.hash]:
            matched.changed.append(one)
        elif any(row not in matched.rows for row in rows_of[one.hash]):
            matched.elsewhere.append(one)
        else:
            matched.gone.append(one)
    for one in list(matched.rows.values()):
        if one.action in ("relabel", "not-a-class"):
            for row in rows_of[one.hash]:
                if row not in matched.rows and _has_label(dataset, row, one):
                    matched.rows[row] = one
    return matched


def _has_label(dataset: Dataset, row: int, correction: Correction) -> bool:
    """Tell whether a picture still has the label that was reviewed, or has the right one already."""
    label = dataset.examples[row].label
    return label == correction.label or label == correction.new_label != ""


class _Judged:
    """What became of the corrections that found their picture."""

    def __init__(self, path: str) -> None:
        self.path = Path(path).name
        self.used: set[str] = set()
        self.aside: dict[str, list[str]] = {"exclude": [], "not-a-class": []}
        self.relabelled: list[tuple[str, str, str]] = []
        self.outdated: list[tuple[str, str]] = []
        self.unknown: defaultdict[str, list[str]] = defaultdict(list)

    def judge(self, example: Example, correction: Correction, known: set[str]) -> Example:
        """Apply one correction, or note why not."""
        new = correction.new_label
        if correction.action == "relabel" and example.label == new:
            return example
        if example.label != correction.label:
            self.outdated.append(
                (example.id, f"{example.id} was {correction.label!r} in review and is {example.label!r} now")
            )
        elif correction.action in self.aside:
            self.aside[correction.action].append(example.id)
        elif correction.action == "relabel":
            # A plain name may hold a "|"; only a name that is no class is taken apart.
            parts = (new,) if new in known else split_label(new)
            if not parts or not known.issuperset(parts):
                self.unknown[new].append(example.id)
                return example
            self.used.update(parts)
            self.relabelled.append((example.id, example.label, new))
            return replace(example, label=new)
        return example

    def findings(self) -> Iterator[Finding]:
        """Tell all of it."""
        for action, kind, words in (
            ("exclude", "excluded by review", "excluded"),
            ("not-a-class", "not a class", "of no class"),
        ):
            if ids := self.aside[action]:
                evidence = f"{_pictures(len(ids))} {words}, as {self.path} says: {_some(ids)}"
                yield Finding(kind, tuple(ids), evidence, "set aside")
        if self.relabelled:
            pairs = Counter((old, new) for _, old, new in self.relabelled).most_common()
            told = [f"{count} from {old!r} to {new!r}" for (old, new), count in pairs]
            evidence = f"{_pictures(len(self.relabelled))} relabelled, as {self.path} says: {_some(told)}"
            yield Finding("relabelled by review", tuple(id for id, _, _ in self.relabelled), evidence, "note")
        if self.outdated:
            yield _not_applied([id for id, _ in self.outdated], _some([told for _, told in self.outdated]))
        for name, ids in sorted(self.unknown.items()):
            yield _not_applied(ids, f"{name!r} is no class; relabelled to it in review: {_some(ids)}")


def _not_there(matched: _Matched) -> Iterator[Finding]:
    if matched.moved:
        told = [f"{one.id} is now {id}" for one, id in matched.moved]
        evidence = f"{_pictures(len(told))} found by content under another name: {_some(told)}"
        yield Finding("correction followed", tuple(id for _, id in matched.moved), evidence, "note")
    # Who excludes a picture and then deletes it has only done what was decided.
    done = [one.id for one in matched.gone if one.action in ("exclude", "not-a-class")]
    lost = [one.id for one in matched.gone if one.action in ("keep", "relabel")]
    changed = [one.id for one in matched.changed]
    elsewhere = [one.id for one in matched.elsewhere]
    for ids, reason, severity in (
        (done, "no longer there under the label of the review, and need not be set aside", "note"),
        (lost, "no longer there under the label of the review", "warning"),
        (changed, "with other content than in review", "warning"),
        (elsewhere, "there under another name and another label than in review", "warning"),
    ):
        if ids:
            yield _not_applied(ids, f"{_pictures(len(ids))} {reason}: {_some(ids)}", severity)


def _unread(corrections: Corrections) -> Iterator[Finding]:
    for problem in corrections.problems:
        yield _not_applied([corrections.path], problem)


def _not_applied(ids: Sequence[str], reason: str, severity: str = "warning") -> Finding:
    return Finding("correction not applied", tuple(ids), reason, severity)


def _unsettled(finding: Finding, settled: dict[str, str]) -> Finding | None:
    """Return what is left of a finding, None for nothing."""
    left = tuple(id for id in finding.ids if id not in settled)
    if len(left) == len(finding.ids):
        return finding
    if finding.severity == "set aside":
        if finding.kind != "conflict" or len({settled[id] for id in finding.ids if id in settled}) > 1:
            return finding
        return replace(finding, ids=left, evidence=f"{finding.evidence}; settled in review") if left else None
    if not left:
        return None
    if is_about_a_set(finding.kind):
        return finding
    return replace(finding, ids=left, evidence=f"{finding.evidence}; {len(finding.ids) - len(left)} settled in review")


def _more_classes(classes: tuple[str, ...], new: Sequence[str]) -> tuple[str, ...]:
    """Add classes in sorted order where the classes are sorted, else at the end."""
    if not new:
        return classes
    return order_classes((*classes, *new)) if classes == order_classes(classes) else (*classes, *new)


def _pictures(n: int) -> str:
    return f"{n:,} picture{'' if n == 1 else 's'}"


def _some(told: Sequence[str]) -> str:
    return ", ".join(told[:SHOWN]) + (" ..." if len(told) > SHOWN else "")
