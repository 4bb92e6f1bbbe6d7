"""Find the slices of the pictures on which a model is worst: by any trait, and by any two together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from linnaeus.errors import SourceError
from linnaeus.metrics.intervals import wilson
from linnaeus.metrics.multiple import holm
from linnaeus.records import Estimate, Predictions

BINS = 5
PAIR_BINS = 3
"""Of two traits together there are already nine cells."""
SMALLEST = 20
"""Of fewer pictures nothing can be said that would survive the correction."""
WRONG_IDS = 12
LEVEL = 0.05


@dataclass(frozen=True)
class Slice:
    """Pictures that are alike in one trait or two, and how the model does on them.

    Attributes:
        trait: Column name, or two joined by " and ".
        what: In words: "brightness 0.02 to 0.21".
        n: Number of pictures.
        accuracy: On the slice.
        rest: Accuracy on all other pictures.
        difference: accuracy - rest.
        p: Of Fisher's exact test, one-sided: chance of so few right answers if the slice were like the rest.
        p_adjusted: After Holm's correction over every slice that was tested.
        worse: p_adjusted is at most 0.05.
        ids: The first wrong ones, up to 12.
    """

    trait: str
    what: str
    n: int
    accuracy: Estimate
    rest: Estimate
    difference: Estimate
    p: float
    p_adjusted: float
    worse: bool
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Slices:
    """What the search found.

    Attributes:
        tested: Number of slices that were tested.
        min_size: Smallest number of pictures in a slice, and outside of it.
        slices: The significantly worse ones, least accurate first; then the most suspicious of the others.
        notes: What could not be searched, and why.
        correction: How many tests were allowed for.
    """

    tested: int
    min_size: int
    slices: tuple[Slice, ...]
    notes: tuple[str, ...] = ()
    correction: str = "Holm"

    @property
    def worse(self) -> tuple[Slice, ...]:
        """Those on which the model is worse beyond chance."""
        return tuple(one for one in self.slices if one.worse)

    def document(self) -> dict[str, Any]:
        """Write as plain values for JSON."""
        return asdict(self)


def find_slices(
    predictions: Predictions,
    columns: Mapping[str, Sequence[Any] | np.ndarray],
    *,
    pairs: bool = True,
    min_size: int | None = None,
    level: float = LEVEL,
    shown: int = 10,
) -> Slices:
    """Search all traits, and all pairs of traits, for slices on which the model is worse than on the rest.

    A column of numbers is cut into up to five bins of about equally many pictures (three where it is paired), one of
    words into its values. What is missing (NaN, "") is in no slice of that column. Each slice is tested against all
    other pictures by Fisher's exact test; Holm's correction covers every test, half of the level going to the single
    traits and half to the pairs, which are many more. A slice that holds the same pictures as an earlier one is not
    tested again, and one that is worse only because of the pictures it shares with slices listed before is not listed.

    Args:
        predictions: Rows with label -1 are left out, and counted in the notes.
        columns: Name -> one value per row, numbers or words.
        pairs: Search pairs of traits too.
        min_size: Smallest slice; by default 20, or 1 % of the pictures where that is more.
        level: Chance of one false alarm or more among all slices.
        shown: Most slices to list.

    Raises:
        SourceError: No row has a label, a probability is no number, or a column has another length.

    Source:
        R. A. Fisher (1935), J. R. Stat. Soc. 98, 39-82. Difference: R. G. Newcombe (1998), Stat. Med. 17, 873-890,
        method 10. That slices should be searched for: Y. Chung et al. (2019), Slice Finder, ICDE, arXiv:1807.06068.
    """
    rows = _labelled(predictions, columns)
    right = predictions.predicted[rows] == predictions.labels[rows]
    N = len(rows)
    smallest = min_size if min_size is not None else max(SMALLEST, -(-N // 100))
    table = {name: np.asarray(values)[rows] for name, values in columns.items()}
    found = _Candidates.of(table, right, smallest, pairs)
    p = _fisher(found.right, found.n, int(right.sum()), N)
    adjusted = holm(p, found.weights())
    order = np.lexsort((p, adjusted))
    chosen = _tell_apart(found, order, adjusted <= level, right, smallest, shown)
    ids = [predictions.ids[int(row)] for row in rows]
    told = [_slice(found, k, float(p[k]), float(adjusted[k]), level, right, ids) for k in chosen]
    told.sort(key=lambda one: (not one.worse, one.accuracy.value if one.worse else one.p))
    return Slices(len(p), smallest, tuple(told), _notes(predictions, N, smallest, len(p)))


def newcombe(right_a: int, n_a: int, right_b: int, n_b: int) -> Estimate:
    """Estimate the difference a - b of two independent proportions.

    Source:
        R. G. Newcombe (1998), Stat. Med. 17, 873-890, method 10: from the two Wilson intervals.
    """
    a, b = wilson(right_a, n_a), wilson(right_b, n_b)
    value = a.value - b.value
    low = value - np.hypot(a.value - a.low, b.high - b.value)
    high = value + np.hypot(a.high - a.value, b.value - b.low)
    return Estimate(value, float(max(-1.0, low)), float(min(1.0, high)), n_a + n_b, "newcombe")


@dataclass(frozen=True)
class _Candidates:
    """Every slice to be tested: its traits, its words, its counts, and how to find its rows again."""

    traits: list[tuple[str, ...]]
    words: list[str]
    n: np.ndarray
    right: np.ndarray
    where: list[tuple[tuple[np.ndarray, int], ...]]

    @classmethod
    def of(cls, table: Mapping[str, np.ndarray], right: np.ndarray, smallest: int, pairs: bool) -> _Candidates:
        N = len(right)
        seen: set[bytes] = set()
        traits: list[tuple[str, ...]] = []
        words: list[str] = []
        where: list[tuple[tuple[np.ndarray, int], ...]] = []
        counts: list[tuple[int, int]] = []
        for names, cells in _cells(table, smallest, pairs):
            mask = np.logical_and.reduce([codes == code for codes, code, _ in cells])
            n = int(mask.sum())
            key = hashlib.blake2b(np.packbits(mask).tobytes(), digest_size=16).digest()
            if n < smallest or N - n < smallest or key in seen:
                continue
            seen.add(key)
            traits.append(names)
            words.append(", ".join(word for _, _, word in cells))
            where.append(tuple((codes, code) for codes, code, _ in cells))
            counts.append((n, int((mask & right).sum())))
        n_right = np.array(counts, dtype=np.int64).reshape(-1, 2)
        return cls(traits, words, n_right[:, 0], n_right[:, 1], where)

    def mask(self, number: int) -> np.ndarray:
        """Mark the rows of one slice, bool [N]."""
        return np.logical_and.reduce([codes == code for codes, code in self.where[number]])

    def weights(self) -> np.ndarray:
        """Share the level out: half to the single traits, half to the pairs."""
        paired = np.array([len(names) == 2 for names in self.traits], dtype=bool)
        return np.where(paired, 1 / max(1, paired.sum()), 1 / max(1, (~paired).sum()))


_Column = tuple[str, np.ndarray, list[str]]
"""Name; number of the bin or value of each row, -1 for none; words for each number."""


def _cells(
    table: Mapping[str, np.ndarray], smallest: int, pairs: bool
) -> Iterator[tuple[tuple[str, ...], tuple[tuple[np.ndarray, int, str], ...]]]:
    """Yield the traits of each slice, and (codes, code, words) for each trait: single traits first."""
    for name, codes, words in (_column(name, values, BINS, smallest) for name, values in table.items()):
        for code, word in enumerate(words):
            yield (name,), ((codes, code, word),)
    if not pairs:
        return
    coarse = [_column(name, values, PAIR_BINS, smallest) for name, values in table.items()]
    for (one, codes_a, words_a), (other, codes_b, words_b) in combinations(coarse, 2):
        both = (codes_a >= 0) & (codes_b >= 0)
        cell = codes_a[both] * len(words_b) + codes_b[both]
        counts = np.bincount(cell, minlength=len(words_a) * len(words_b))
        for number in np.flatnonzero(counts >= smallest).tolist():
            a, b = divmod(number, len(words_b))
            yield (one, other), ((codes_a, a, words_a[a]), (codes_b, b, words_b[b]))


def _column(name: str, values: np.ndarray, bins: int, smallest: int) -> _Column:
    if values.dtype.kind in "iuf":
        known = int(np.isfinite(values).sum())
        return _cut(name, values.astype(np.float64), max(2, min(bins, known // smallest)))
    words = np.array(["" if value is None else str(value) for value in values.tolist()], dtype=str)
    names, codes, counts = np.unique(words, return_inverse=True, return_counts=True)
    kept = np.flatnonzero((counts >= smallest) & (names != ""))
    number = np.full(len(names), -1)
    number[kept] = np.arange(len(kept))
    return name, number[codes.reshape(-1)], [f"{name} {names[k]}" for k in kept]


def _cut(name: str, values: np.ndarray, bins: int) -> _Column:
    """Cut numbers into bins of about equally many pictures; equal numbers share a bin."""
    known = np.isfinite(values)
    codes = np.full(len(values), -1)
    if not known.any():
        return name, codes, []
    present = np.unique(values[known])
    if len(present) <= bins:
        number = np.searchsorted(present, values[known])
    else:
        edges = np.quantile(values[known], np.arange(1, bins) / bins, method="lower")
        number = np.searchsorted(np.unique(edges), values[known], side="left")
    codes[known] = np.unique(number, return_inverse=True)[1]
    decimals = _decimals(values[known])
    ends = [(values[codes == code].min(), values[codes == code].max()) for code in range(codes.max() + 1)]
    return name, codes, [f"{name} {_range(low, high, decimals)}" for low, high in ends]


def _decimals(values: np.ndarray) -> int:
    """Choose as many decimals as tell the bulk of the values apart: about fifty steps."""
    low, high = np.quantile(values, (0.1, 0.9))
    span = (high - low) or (values.max() - values.min())
    if span == 0 or (values == np.rint(values)).all():
        return 0 if (values == np.rint(values)).all() else 3
    return int(min(12, max(0, -np.floor(np.log10(span / 50)))))


def _range(low: float, high: float, decimals: int) -> str:
    ends = [f"{end:,.{decimals}f}" for end in (low, high)]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _fisher(right: np.ndarray, n: np.ndarray, all_right: int, N: int) -> np.ndarray:
    """Give the chance of at most so many right answers in a slice of n pictures drawn from all N."""
    from scipy.stats import hypergeom

    return np.minimum(1.0, np.asarray(hypergeom.cdf(right, N, all_right, n), dtype=np.float64))


def _tell_apart(
    found: _Candidates, order: np.ndarray, worse: np.ndarray, right: np.ndarray, smallest: int, shown: int
) -> list[int]:
    """Choose what to list: slices that are still worse when the pictures of those listed before are held fixed."""
    N, chosen = len(right), list[int]()
    before = np.zeros(N, dtype=bool)
    for k in order.tolist():
        if len(chosen) >= shown:
            break
        n, hits = int(found.n[k]), int(found.right[k])
        if hits * (N - n) >= (int(right.sum()) - hits) * n:
            continue
        mask = found.mask(k)
        if before.any() and not any(_stands_out(mask[part], right[part], smallest) for part in (~before, before)):
            continue
        chosen.append(k)
        before |= mask
    return chosen


def _stands_out(mask: np.ndarray, right: np.ndarray, smallest: int) -> bool:
    """Tell whether a slice is worse within some of the pictures: for the list only, so not corrected."""
    n = int(mask.sum())
    if n < smallest // 2 or len(mask) - n < smallest // 2:
        return False
    hits = np.array([int((mask & right).sum())])
    return bool(_fisher(hits, np.array([n]), int(right.sum()), len(mask))[0] <= LEVEL / 5)


def _slice(
    found: _Candidates, k: int, p: float, adjusted: float, level: float, right: np.ndarray, ids: Sequence[str]
) -> Slice:
    n, hits, N = int(found.n[k]), int(found.right[k]), len(right)
    others = int(right.sum()) - hits
    wrong = np.flatnonzero(found.mask(k) & ~right)[:WRONG_IDS]
    return Slice(
        trait=" and ".join(found.traits[k]),
        what=found.words[k],
        n=n,
        accuracy=wilson(hits, n),
        rest=wilson(others, N - n),
        difference=newcombe(hits, n, others, N - n),
        p=p,
        p_adjusted=adjusted,
        worse=adjusted <= level,
        ids=tuple(ids[int(row)] for row in wrong),
    )


def _labelled(predictions: Predictions, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> np.ndarray:
    """Find the rows that can be judged, and refuse what cannot be searched."""
    if odd := [name for name, values in columns.items() if len(values) != len(predictions)]:
        raise SourceError(
            f"the column {odd[0]} should have one value for each prediction.",
            got=f"{len(columns[odd[0]])} values for {len(predictions)} predictions",
            fix="take the rows of the traits that were predicted, in their order.",
        )
    rows = np.flatnonzero(predictions.labels >= 0)
    if not len(rows):
        raise SourceError("slices need pictures whose class is known.", got="no known label")
    if not np.isfinite(predictions.probabilities[rows]).all():
        raise SourceError("probabilities should be numbers.", got="NaN or infinity", fix="leave those rows out.")
    return rows


def _notes(predictions: Predictions, N: int, smallest: int, tested: int) -> tuple[str, ...]:
    notes = []
    if len(predictions) > N:
        notes.append(f"{len(predictions) - N} pictures have no known label and are in no slice.")
    if not tested:
        notes.append(f"No trait has {smallest} pictures on each side to compare: nothing was tested.")
    return tuple(notes)
