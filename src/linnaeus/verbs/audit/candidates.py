"""Search for pairs of pictures of which one may be an altered copy of the other; pixels confirm them later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, product

import numpy as np

from linnaeus.data.fingerprints import WINDOWS, Fingerprints, describe, mirror_signs, perceptual_hashes
from linnaeus.learn.neighbours import Index, similar_hashes
from linnaeus.machine import cores_here
from linnaeus.verbs.audit.pairs import Pairs

BLOCK = 4096
"""Pictures that are described at a time."""
MOST_BITS = 8
"""Copies in another size, compression or brightness differ in 0 to 3 of 63 bits, unrelated pictures in 31, seldom < 12."""
LEAST_SIMILAR = 0.7
"""Of photographs cropped by 5 to 15 % of each side one in 1,000 is below."""
LEAST_EMBEDDED = 0.9
EACH, KEPT = 3, 4
"""Neighbours of each picture per window, and candidates kept of each."""
_STARTS = tuple((window, mirrored) for window in range(len(WINDOWS)) for mirrored in (False, True))
"""What may have become of the first picture: the second shows a window of it, or of its mirror image."""
_GUESS = np.dtype([("first", np.int32), ("second", np.int32), ("start", np.int8), ("similarity", np.float32)])
"""Two pictures and the number of a start. Of a picture there are up to forty such: 13 bytes each, not 52 as in Pairs."""


def candidates(prints: Fingerprints, rows: np.ndarray, embeddings: np.ndarray | None = None) -> Pairs:
    """Search for pairs that may be copies; the cost grows as n log n.

    Two or three sources: a perceptual hash finds copies in another size, compression or brightness; the nearest
    neighbours of six windows of each picture find what was cropped; both also look for the mirror image. Embeddings of
    a network add what it finds similar.

    Args:
        prints: Fingerprints of all pictures.
        rows: Which of them to search; no two with the same fingerprint.
        embeddings: float [N, D], one for each picture, or None.
    """
    described = _described(prints, rows)
    found = _once(_by_hash(described))
    index = Index(described)
    del described  # The index has its own.
    found = _best(_once(_by_windows(index, prints, rows, np.arange(len(rows))), found))
    found["first"], found["second"] = rows[found["first"]], rows[found["second"]]
    if embeddings is not None:
        first, second = _by_embedding(embeddings[rows])
        # Merged at once: three guesses a picture are few, and each merging sorts all that was found.
        blocks = (_best_start(prints, rows[first[some]], rows[second[some]]) for some in _blocks(len(first)))
        found = _best(_once([np.concatenate([found[:0], *blocks])], found), keep=KEPT + EACH)
    return _pairs(found)


def candidates_of_some(prints: Fingerprints, rows: np.ndarray, new: np.ndarray) -> Pairs:
    """Search for pairs of which one at least is new; the cost is that of the new ones, and of describing the others.

    Args:
        prints: Fingerprints of all pictures.
        rows: Which of them to search; no two with the same fingerprint.
        new: Which of `rows` were not searched before, bool [n].
    """
    if not new.any():
        return Pairs.join([])
    fresh = np.flatnonzero(new)
    described = _described(prints, rows)
    found = _once(one[new[one["first"]] | new[one["second"]]] for one in _by_hash(described))
    everyone, newcomers = Index(described), Index(described[fresh])
    found = _once(_by_windows(everyone, prints, rows, fresh), found)
    # The other way round: what is new may be a part, or the mirror image, of what was there.
    found = _best(_once(_by_windows(newcomers, prints, rows, np.arange(len(rows)), members=fresh), found))
    found["first"], found["second"] = rows[found["first"]], rows[found["second"]]
    return _pairs(found)


def _described(
    prints: Fingerprints, rows: np.ndarray, window: tuple[float, float, float, float] = WINDOWS[0]
) -> np.ndarray:
    """Describe a window of pictures, float32 [n, D]; by default the whole."""
    described = np.empty((len(rows), len(mirror_signs())), np.float32)
    for some in _blocks(len(rows)):
        described[some] = describe(prints.bytes(rows[some]), window)
    return described


def _by_hash(described: np.ndarray) -> Iterator[np.ndarray]:
    straight, turned = np.empty((2, len(described)), np.uint64)
    for some in _blocks(len(described)):
        straight[some] = perceptual_hashes(described[some])
        turned[some] = perceptual_hashes(described[some] * mirror_signs())
    for mirrored, one, others in ((False, straight, None), (True, turned, straight)):
        first, second = similar_hashes(one, others, most_bits=MOST_BITS).T
        bits = np.bitwise_count(one[first] ^ straight[second])
        yield _guesses(first, second, _STARTS.index((0, mirrored)), 1 - bits / 64)[first != second]


def _by_windows(
    index: Index, prints: Fingerprints, rows: np.ndarray, asking: np.ndarray, *, members: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield what looks like a window of some pictures, or like its mirror image, window by window; by number within `rows`.

    Args:
        index: Whole pictures.
        prints: Fingerprints of all pictures.
        rows: Which of them are searched.
        asking: Numbers of the pictures whose windows are looked for.
        members: Numbers of the pictures in the index; by default all.
    """
    members = np.arange(len(rows)) if members is None else members
    place = np.full(len(rows), -1, np.int64)
    place[members] = np.arange(len(members))

    def look(window: int, here: np.ndarray) -> np.ndarray:
        described = _described(prints, rows[here], WINDOWS[window])
        parts = []
        for mirrored in (False, True):
            queries = described * mirror_signs() if mirrored else described
            found = index.search(queries, count=EACH, least=LEAST_SIMILAR, own=place[here])
            who, column = np.nonzero(found.rows >= 0)
            second, similarity = members[found.rows[who, column]], found.similarities[who, column]
            parts.append(_guesses(here[who], second, _STARTS.index((window, mirrored)), similarity))
        return np.concatenate(parts)

    if not len(asking):
        return
    blocks = [asking[some] for some in _blocks(len(asking), max(BLOCK, index.at_once()))]
    with ThreadPoolExecutor(cores_here(), thread_name_prefix="copies") as pool:
        done = pool.map(look, *zip(*product(range(len(WINDOWS)), blocks), strict=True))
        for _ in WINDOWS:
            yield np.concatenate(list(islice(done, len(blocks))))


def _by_embedding(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.maximum(lengths, 1e-12)
    found = Index(unit).search(unit, count=EACH, least=LEAST_EMBEDDED, own=np.arange(len(unit)))
    first, column = np.nonzero(found.rows >= 0)
    return first, found.rows[first, column]


def _best_start(prints: Fingerprints, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Choose for given pairs which is the part of which, where to begin, and whether to mirror."""
    here, there = prints.bytes(first), prints.bytes(second)
    wholes = describe(here), describe(there)
    tries = []
    for window in range(len(WINDOWS)):
        for swapped, part, whole in ((False, here, wholes[1]), (True, there, wholes[0])):
            described = describe(part, WINDOWS[window])
            for mirrored in (False, True):
                turned = described * mirror_signs() if mirrored else described
                tries.append(((turned * whole).sum(axis=1), swapped, _STARTS.index((window, mirrored))))
    similarities, swaps, starts = (np.array(column) for column in zip(*tries, strict=True))
    best = similarities.argmax(axis=0)
    swapped = swaps[best]
    first, second = np.where(swapped, second, first), np.where(swapped, first, second)
    return _guesses(first, second, starts[best], similarities.max(axis=0))


def _guesses(first: np.ndarray, second: np.ndarray, start: int | np.ndarray, similarity: np.ndarray) -> np.ndarray:
    table = np.empty(len(first), _GUESS)
    table["first"], table["second"], table["start"], table["similarity"] = first, second, start, similarity
    return table


def _pairs(guesses: np.ndarray) -> Pairs:
    maps = np.array([_map_of(*start) for start in _STARTS])
    first, second = guesses["first"].astype(np.int64), guesses["second"].astype(np.int64)
    return Pairs(first, second, maps[guesses["start"]], guesses["similarity"].copy())


def _map_of(window: int, mirrored: bool) -> tuple[float, ...]:
    """Where a picture lies that looks like a window of the mirrored picture or of the picture itself."""
    top, bottom, left, right = WINDOWS[window]
    return (top, bottom - top, 1 - left, left - right) if mirrored else (top, bottom - top, left, right - left)


def _once(parts: Iterable[np.ndarray], found: np.ndarray | None = None) -> np.ndarray:
    """Keep each pair once, at its best; what comes is merged into what was found, so that there is never all of it."""
    found = np.empty(0, _GUESS) if found is None else found
    for part in parts:
        both = np.concatenate([found, part])
        low, high = np.sort([both["first"], both["second"]], axis=0).astype(np.int64)
        key = low << 32 | high
        order = np.lexsort((-both["similarity"], key))
        found = both[order[np.diff(key[order], prepend=-1) != 0]]
    return found


def _best(guesses: np.ndarray, keep: int = KEPT) -> np.ndarray:
    """Keep the best of each first picture."""
    guesses = guesses[np.lexsort((-guesses["similarity"], guesses["first"]))]
    rank = np.arange(len(guesses)) - np.searchsorted(guesses["first"], guesses["first"])
    return guesses[rank < keep]


def _blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    return (slice(begin, begin + size) for begin in range(0, count, size))
