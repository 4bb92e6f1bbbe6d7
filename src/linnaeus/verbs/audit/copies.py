"""Find pictures that are copies of each other: the same pixels in other bytes, and near-duplicates."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linnaeus.data.cache import Scan
from linnaeus.data.fingerprints import Fingerprints, fingerprints
from linnaeus.data.pixels import Pixels
from linnaeus.errors import PictureError
from linnaeus.records import Dataset, Finding, Preprocessing
from linnaeus.verbs.audit.candidates import candidates, candidates_of_some
from linnaeus.verbs.audit.clusters import Cluster, cluster
from linnaeus.verbs.audit.pairs import Pairs, Rule, confirm, is_plain, rule_for
from linnaeus.verbs.audit.remembered import remembered

SHOWN = 3
SLACK = 0.15
"""What hangs together by pairs need not agree quite so well with the representative: two crops of it, for example."""
READ_AT_ONCE = 4096


@dataclass(frozen=True)
class Copies:
    """Which pictures of a dataset are copies of each other.

    Attributes:
        keys: The same for all copies of one picture, and different for all others; [N]. It is the smallest content hash
            among the copies, so it depends on nothing but the pictures; "" for a picture that cannot be decoded.
        same_pixels: Rows of pictures with other bytes but the same stored pixels, set by set.
        clusters: Near-duplicates; pictures with the same bytes or pixels are members too.
        rule: From when on two pictures counted as copies here.
        plain: Rows of pictures with too little detail, or too few pixels, to be compared: only equal ones are found.
        findings: All of it for a person.
    """

    keys: tuple[str, ...]
    same_pixels: tuple[tuple[int, ...], ...]
    clusters: tuple[Cluster, ...]
    rule: Rule
    plain: tuple[int, ...]
    findings: tuple[Finding, ...]

    def keys_of(self, rows: Iterable[int]) -> list[str]:
        """Keys of some rows, in that order: what `split` takes as clusters."""
        return [self.keys[row] for row in rows]


def find_copies(
    dataset: Dataset,
    scan: Scan,
    preprocessing: Preprocessing,
    *,
    cache_dir: Path,
    embeddings: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Copies:
    """Find copies that were resized, compressed again, cropped by up to 15 % of each side, mirrored, made brighter or darker.

    Candidates come from a perceptual hash and from the nearest neighbours of six windows of each picture; each is
    confirmed by laying the pictures over each other. Nothing is decoded: stored pixels are enough, and of most pictures
    a fingerprint, which is kept, and so are the pairs: of a set that has grown by a tenth at most, only what is new is
    searched. Time grows as n log n.

    Args:
        dataset: As listed by its source.
        scan: Of the same examples, in the same order.
        preprocessing: How the scan stored them.
        cache_dir: The cache folder that the scan used.
        embeddings: Features of a network, float [N, D], as one more source of candidates.
        progress: Called with (done, all) while fingerprints are made.

    Raises:
        SettingsError: The cache folder cannot be written.
    """
    assert len(dataset) == len(scan), "one row of the scan per example"
    prints = fingerprints(scan, preprocessing, cache_dir=cache_dir, progress=progress)
    sides = np.minimum(scan.pixels.sizes.min(axis=1), np.minimum(scan.widths, scan.heights))
    looks = _Looks.of(scan, prints, sides)
    rule = rule_for(prints, looks.textured, dataset.labels[looks.textured])
    search = _Search(prints, scan.pixels, sides, looks.textured, embeddings)
    if embeddings is None:
        pairs, rule = remembered(cache_dir, scan.hashes, looks.textured, preprocessing, rule, search)
    else:
        pairs = search.all(rule)
    pairs = Pairs.join([pairs, looks.pairs()])

    def check(guesses: Pairs) -> Pairs:
        return confirm(prints, scan.pixels, sides, guesses, rule, slack=SLACK)

    clusters = tuple(looks.with_equals(one) for one in cluster(pairs, _rank(dataset, scan), check))
    same = tuple(looks.same_pixels())
    return Copies(
        keys=_keys(scan, clusters, same),
        same_pixels=same,
        clusters=clusters,
        rule=rule,
        plain=tuple(np.flatnonzero(looks.is_plain).tolist()),
        findings=(*_same_pixels(dataset, same), *_near(dataset, scan, clusters)),
    )


@dataclass(frozen=True)
class _Search:
    """Finds pairs among some pictures, as `remembered` asks for them; fields are as in `find_copies`."""

    prints: Fingerprints
    pixels: Pixels
    sides: np.ndarray
    rows: np.ndarray
    embeddings: np.ndarray | None

    def all(self, rule: Rule) -> Pairs:
        return self._confirm(candidates(self.prints, self.rows, self.embeddings), rule)

    def of_some(self, rule: Rule, new: np.ndarray) -> Pairs:
        return self._confirm(candidates_of_some(self.prints, self.rows, new), rule)

    def _confirm(self, pairs: Pairs, rule: Rule) -> Pairs:
        return confirm(self.prints, self.pixels, self.sides, pairs, rule)


@dataclass(frozen=True)
class _Looks:
    """Pictures sorted by what is equal: bytes, then stored pixels, then fingerprint.

    Attributes:
        equal: Row -> all rows with the same stored pixels, ascending; for the first of them only.
        hashes: Content hash of each row.
        alike: Rows with the same fingerprint, but other pixels, first rows only.
        textured: One row of each fingerprint that has detail enough to be compared, in the order of their hashes.
        is_plain: Whether a row has too little detail, bool [N].
    """

    equal: dict[int, list[int]]
    hashes: Sequence[str]
    alike: list[list[int]]
    textured: np.ndarray
    is_plain: np.ndarray

    @classmethod
    def of(cls, scan: Scan, prints: Fingerprints, sides: np.ndarray) -> _Looks:
        """Sort all pictures that have a fingerprint; `sides` is the shorter side of each."""
        by_hash: defaultdict[str, list[int]] = defaultdict(list)
        for row in np.flatnonzero(prints.known).tolist():
            by_hash[scan.hashes[row]].append(row)
        firsts = np.array([rows[0] for rows in by_hash.values()], np.int64)
        by_print: defaultdict[bytes, list[int]] = defaultdict(list)
        plain = np.zeros(len(scan), bool)
        for begin in range(0, len(firsts), READ_AT_ONCE):
            some = firsts[begin : begin + READ_AT_ONCE]
            block = prints.bytes(some)
            plain[some] = is_plain(block, sides[some])
            for row, stored in zip(some.tolist(), block, strict=True):
                by_print[hashlib.blake2b(stored.tobytes(), digest_size=16).digest()].append(row)
        equal: dict[int, list[int]] = {}
        alike: list[list[int]] = []
        for rows in by_print.values():
            # By content, so that nothing that follows depends on the order of the files.
            sets = _by_pixels(scan.pixels, sorted(rows, key=lambda row: scan.hashes[row]))
            for one in sets:
                equal[one[0]] = sorted(same for row in one for same in by_hash[scan.hashes[row]])
                plain[equal[one[0]]] = plain[one[0]]
            alike.append([one[0] for one in sets])
        heads = np.array(sorted((rows[0] for rows in alike), key=lambda row: scan.hashes[row]), np.int64)
        return cls(equal, scan.hashes, [rows for rows in alike if len(rows) > 1], heads[~plain[heads]], plain)

    def pairs(self) -> Pairs:
        """Pair the pictures whose fingerprints are equal and whose pixels are not."""
        both = [(rows[0], other) for rows in self.alike if not self.is_plain[rows[0]] for other in rows[1:]]
        first, second = np.array(both, np.int64).reshape(-1, 2).T
        return Pairs(first, second, np.tile([0.0, 1.0, 0.0, 1.0], (len(both), 1)), np.ones(len(both), np.float32))

    def same_pixels(self) -> Iterator[tuple[int, ...]]:
        """Yield the sets whose pixels are equal, but not all bytes."""
        return (tuple(rows) for rows in self.equal.values() if len({self.hashes[row] for row in rows}) > 1)

    def with_equals(self, one: Cluster) -> Cluster:
        """Add to each member those with the same pixels."""
        members: dict[int, tuple[float, bool]] = {}
        for row, details, mirrored in zip(one.rows, (1.0, *one.details), (False, *one.mirrored), strict=True):
            members.update(dict.fromkeys(self.equal[row], (details, mirrored)))
        del members[one.representative]
        rows = sorted(members)
        return Cluster(
            one.representative,
            tuple(rows),
            tuple(members[row][0] for row in rows),
            tuple(members[row][1] for row in rows),
        )


def _by_pixels(pixels: Pixels, rows: Sequence[int]) -> list[list[int]]:
    """Sort rows with equal fingerprints by their stored pixels."""
    if len(rows) == 1:
        return [list(rows)]
    sets: defaultdict[object, list[int]] = defaultdict(list)
    for row in rows:
        try:
            picture = pixels[row]
        except PictureError:
            sets[row].append(row)
            continue
        sets[picture.shape, hashlib.sha256(picture.tobytes()).digest()].append(row)
    return list(sets.values())


def _rank(dataset: Dataset, scan: Scan) -> np.ndarray:
    """Order rows as representatives: the largest original first, then by id."""
    ids = np.empty(len(scan), np.int64)
    ids[sorted(range(len(scan)), key=lambda row: dataset.examples[row].id)] = np.arange(len(scan))
    area = scan.widths.astype(np.int64) * scan.heights
    rank = np.empty(len(scan), np.int64)
    rank[np.lexsort((ids, -area))] = np.arange(len(scan))
    return rank


def _keys(scan: Scan, clusters: Sequence[Cluster], same: Sequence[Sequence[int]]) -> tuple[str, ...]:
    keys = list(scan.hashes)
    # Clusters hold whole sets of equal pixels, so they have the last word.
    for rows in (*same, *(one.rows for one in clusters)):
        smallest = min(scan.hashes[row] for row in rows)
        for row in rows:
            keys[row] = smallest
    return tuple(keys)


def _same_pixels(dataset: Dataset, same: Sequence[Sequence[int]]) -> Iterator[Finding]:
    for rows in same:
        examples = [dataset.examples[row] for row in rows]
        ids = tuple(example.id for example in examples)
        if len({example.label for example in examples if example.label}) > 1:
            named = " = ".join(f"{example.id} ({example.label})" for example in examples)
            yield Finding("conflict", ids, f"the same pixels under different labels: {named}", "set aside")
        else:
            yield Finding("same pixels", ids, f"other bytes, but the same pixels: {' = '.join(ids)}", "note")


def _near(dataset: Dataset, scan: Scan, clusters: Sequence[Cluster]) -> Iterator[Finding]:
    for one in clusters:
        examples = [dataset.examples[row] for row in one.rows]
        ids = tuple(example.id for example in examples)
        labels = sorted({example.label for example in examples if example.label})
        evidence = _describe(dataset, scan, one)
        if len(labels) > 1:
            said = f"near-duplicates under different labels ({', '.join(labels)}): {evidence}"
            yield Finding("near-duplicate conflict", ids, said, "warning")
        else:
            yield Finding("near-duplicates", ids, evidence, "note")


def _describe(dataset: Dataset, scan: Scan, one: Cluster) -> str:
    def named(row: int) -> str:
        return f"{dataset.examples[row].id} ({scan.widths[row]} x {scan.heights[row]}"

    members = list(zip(one.members, one.details, one.mirrored, strict=True))
    told = [
        f"{named(row)}, {'mirrored, ' if mirrored else ''}details agree {details:.2f})"
        for row, details, mirrored in members[:SHOWN]
    ]
    more = f" and {len(members) - SHOWN:,} more" if len(members) > SHOWN else ""
    return f"{named(one.representative)}, the largest) and {', '.join(told)}{more}"
