"""Ask whether training and test pictures could be told apart: then the test is of something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from linnaeus.data.traits import MEASURED, Traits
from linnaeus.errors import SourceError
from linnaeus.metrics.intervals import units_of
from linnaeus.metrics.multiple import holm
from linnaeus.metrics.ranking import rank
from linnaeus.records import Dataset, Estimate, Finding, Predictions

FEWEST = 20
"""Pictures in each part below which nothing is asked."""
MOST = 2_500
"""Of a larger part so many are drawn: more would only find smaller differences."""
DIRECTIONS = 64
"""Features are brought to their first principal directions: more would be fitted to noise."""
PER_DIRECTION = 10
"""Pictures that each direction takes."""
RIDGE = 0.01
"""Penalty as a share of the variance."""
FOLDS = 5
SHUFFLES = 499
LEVEL = 0.01
TELLING = 0.6
"""An AUROC below this is a difference too small to matter, however sure it is."""
LOUD = 0.7
OWN = ("width", "height", "megapixels", "aspect_ratio", *MEASURED)
PLACES = ("folder", "group")
"""Where pictures lie is often how they were split."""
SHOWN_TRAITS = 5
SHOWN_PICTURES = 50


@dataclass(frozen=True)
class Difference:
    """One trait that is not the same in both parts.

    Attributes:
        trait: Its name.
        what: In words, with the values of both parts.
        auroc: Chance that a test picture has more of it than a training picture; None for words.
        p: Of the Mann-Whitney test, or of the chi-squared test of words.
        p_adjusted: After Holm's correction over all traits.
    """

    trait: str
    what: str
    auroc: float | None
    p: float
    p_adjusted: float


@dataclass(frozen=True)
class Drift:
    """How well two parts can be told apart.

    Attributes:
        auroc: Chance that a picture of the second part looks more like that part than one of the first does; 0.5 is no
            difference. None where a part has too few pictures.
        p: Chance of such an AUROC if the parts were dealt at random; 1 where nothing was asked.
        by: Traits that differ, the surest first.
        on: "features" or "traits".
        findings: For a person.
    """

    auroc: Estimate | None
    p: float
    by: tuple[Difference, ...]
    on: str
    findings: tuple[Finding, ...]

    def document(self) -> dict[str, Any]:
        """Write as plain values for JSON, without the findings."""
        plain = asdict(self)
        del plain["findings"]
        return plain


def find_drift(
    dataset: Dataset,
    parts: np.ndarray,
    traits: Traits,
    *,
    features: np.ndarray | None = None,
    clusters: Sequence[str] = (),
    between: tuple[str, str] = ("train", "test"),
    seed: int = 0,
) -> Drift:
    """Let a classifier tell the pictures of two parts apart, out of fold, and compare it with random parts.

    The classifier is linear, fitted by least squares with a ridge on the principal directions of the features. That is
    the direction of Fisher's discriminant, as logistic regression finds it too but for a few hundredths of AUROC; for
    least squares, 499 random parts cost one matrix product, so that the p-value rests on refitting and not on a formula
    that forgets that folds depend on each other.

    Args:
        dataset: The examples.
        parts: "train", "val" or "test" for each example, [N].
        traits: Of the same examples: they name what differs, and serve as features where there are none.
        features: Of a network, float [N, D]; rows that are not finite are left out.
        clusters: Key per example that near-duplicates, or pictures of a group, share: they are drawn, fitted and dealt
            together. Needed where the split kept them together.
        between: Names of the two parts.
        seed: The same seed gives the same answer.

    Raises:
        SourceError: The features do not belong to these examples.

    Source:
        D. Lopez-Paz, M. Oquab (2017), Revisiting classifier two-sample tests, ICLR, arXiv:1610.06545; there half of the
        pictures are held out once and accuracy is tested, here they are cross-validated, and AUROC is.
    """
    assert len(dataset) == len(traits) == len(parts), "one row of each per example"
    if features is not None and (features.ndim != 2 or len(features) != len(dataset)):
        raise SourceError(
            "features should have one row for each picture.",
            got=f"an array of shape {features.shape} for {len(dataset)} pictures",
        )
    on = "traits" if features is None else "features"
    rng = np.random.default_rng(seed)
    # Of a large set only the drawn rows are ever copied.
    known = np.ones(len(dataset), bool) if features is None else np.isfinite(features.sum(axis=1))
    rows = _draw(parts, known, between, rng)
    inputs = _trait_matrix(traits.take(rows)) if features is None else np.asarray(features[rows], dtype=np.float64)
    second = parts[rows] == between[1]
    if min(second.sum(), (~second).sum()) < FEWEST or not inputs.shape[1]:
        return Drift(None, 1.0, (), on, ())
    units = units_of(len(rows), [clusters[row] for row in rows.tolist()] if clusters else None)
    scores, p = _tell_apart(_principal(inputs), second, units, rng)
    auroc = _auroc(scores, second, units)
    by = tuple(_differences(dataset, traits, rows, second, between))
    worst = rows[second][np.argsort(-scores[second], kind="stable")][:SHOWN_PICTURES]
    ids = tuple(dataset.examples[row].id for row in worst.tolist())
    return Drift(auroc, p, by, on, tuple(_findings(auroc, p, by, on, between, ids)))


def _trait_matrix(traits: Traits) -> np.ndarray:
    """Take what is seen in the pictures, as ranks, and not what a table says: there, a column may well be the split.

    Where a value is missing its column is filled with the median, and another says so.
    """
    columns: list[np.ndarray] = []
    for name in OWN:
        values = traits.numbers[name]
        known = np.isfinite(values)
        if not known.any():
            continue
        columns.append(np.where(known, values, np.median(values[known])))
        if not known.all():
            columns.append(known.astype(np.float64))
    formats = np.array(traits.texts["format"], dtype=str)
    columns += [(formats == name).astype(np.float64) for name in np.unique(formats)[1:]]
    # Heavy tails would otherwise speak for everybody.
    ranked = [_ranks(column) for column in columns]
    return np.stack(ranked, axis=1) if ranked else np.empty((len(traits), 0))


def _ranks(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values), dtype=np.float64) / max(1, len(values))


def _draw(parts: np.ndarray, known: np.ndarray, between: tuple[str, str], rng: np.random.Generator) -> np.ndarray:
    drawn = [rng.permutation(np.flatnonzero((parts == part) & known))[:MOST] for part in between]
    return np.sort(np.concatenate(drawn))


def _principal(inputs: np.ndarray) -> np.ndarray:
    """Project on the principal directions, of both parts together: no label is looked at; [n, d], each of variance 1 or less."""
    centred = inputs - inputs.mean(axis=0)
    spread = centred.std(axis=0)
    centred = centred[:, spread > 0] / spread[spread > 0]
    if not centred.shape[1]:
        return np.zeros((len(inputs), 1))
    most = max(1, min(DIRECTIONS, len(inputs) // PER_DIRECTION))
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    kept = np.argsort(-values)[:most]
    kept = kept[values[kept] > 1e-9 * max(values.max(), 1e-12)]
    projected: np.ndarray = centred @ vectors[:, kept] / np.sqrt(values[kept])
    return projected


def _tell_apart(
    inputs: np.ndarray, second: np.ndarray, units: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Score every picture by a classifier that did not see its unit; p from random parts, dealt by unit."""
    n_units = int(units.max()) + 1
    fold = (rng.permutation(n_units) % FOLDS)[units]
    dealt = np.zeros((len(second), 1 + SHUFFLES))
    dealt[:, 0] = second
    # A unit that lies in both parts (a leak) is dealt as its first picture: that only makes the p-value larger.
    first_row = np.unique(units, return_index=True)[1]
    of_unit = second[first_row].astype(np.float64)
    whole = len(of_unit) == len(second)
    for k in range(1, 1 + SHUFFLES):
        dealt[:, k] = of_unit[rng.permutation(n_units)][units] if not whole else rng.permutation(second)
    scores = np.zeros_like(dealt)
    for number in range(FOLDS):
        inside = fold == number
        if not inside.any() or inside.all():
            continue
        x, y = inputs[~inside], dealt[~inside]
        x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
        gram = (x - x_mean).T @ (x - x_mean) / len(x) + RIDGE * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, (x - x_mean).T @ (y - y_mean) / len(x))
        # No intercept: the mean of the fold's own training labels would rank folds against each other.
        scores[inside] = (inputs[inside] - x_mean) @ weights
    aurocs = np.array([_area(scores[:, k], dealt[:, k] > 0) for k in range(1 + SHUFFLES)])
    p = float((1 + (aurocs[1:] >= aurocs[0]).sum()) / (1 + SHUFFLES))
    return scores[:, 0], p


def _area(scores: np.ndarray, second: np.ndarray) -> float:
    """Compute the AUROC from ranks."""
    n = int(second.sum())
    m = len(second) - n
    if not n or not m:
        return 0.5
    return float((_ranks(scores)[second].sum() * len(scores) - n * (n + 1) / 2) / (n * m))


def _auroc(scores: np.ndarray, second: np.ndarray, units: np.ndarray) -> Estimate:
    """Give the AUROC with DeLong's interval, by unit where units are more than pictures."""
    place = np.unique(scores, return_inverse=True)[1].reshape(-1) / max(1, len(scores))
    answers = Predictions(
        np.stack([1 - place, place], axis=1), second.astype(np.int64), tuple(map(str, range(len(scores)))), ("1", "2")
    )
    groups = None if int(units.max()) + 1 == len(units) else [str(unit) for unit in units.tolist()]
    return rank(answers, groups=groups).classes[1].auroc


def _differences(
    dataset: Dataset, traits: Traits, rows: np.ndarray, second: np.ndarray, between: tuple[str, str]
) -> Iterator[Difference]:
    """Test each trait alone, and the classes; yield those that differ, the surest first."""
    found: list[tuple[str, str, float | None, float]] = []
    for name, values in traits.numbers.items():
        found += _numbers_differ(name, values[rows], second, between)
    texts: Mapping[str, Sequence[str]] = {"class": [example.label for example in dataset.examples], **traits.texts}
    for name, words in texts.items():
        if name in PLACES:
            continue
        found += _words_differ(name, np.array(words, dtype=str)[rows], second, between)
    adjusted = holm(np.array([p for *_, p in found]))
    strength = [abs(auroc - 0.5) if auroc is not None else 0.0 for _, _, auroc, _ in found]
    for k in np.lexsort((-np.array(strength), adjusted)).tolist():
        if adjusted[k] <= LEVEL:
            trait, what, auroc, p = found[k]
            yield Difference(trait, what, auroc, p, float(adjusted[k]))


def _numbers_differ(
    name: str, values: np.ndarray, second: np.ndarray, between: tuple[str, str]
) -> list[tuple[str, str, float | None, float]]:
    from scipy.stats import mannwhitneyu

    known = np.isfinite(values)
    one, other = values[known & ~second], values[known & second]
    if min(len(one), len(other)) < FEWEST or np.ptp(values[known]) == 0:
        return []
    p = float(mannwhitneyu(other, one, method="asymptotic").pvalue)
    what = f"{name}: median {np.median(one):.3g} in {between[0]}, {np.median(other):.3g} in {between[1]}"
    return [(name, what, _area(values[known], second[known]), p)]


def _words_differ(
    name: str, words: np.ndarray, second: np.ndarray, between: tuple[str, str]
) -> list[tuple[str, str, float | None, float]]:
    from scipy.stats import chi2_contingency

    values, codes = np.unique(words, return_inverse=True)
    table = np.stack([np.bincount(codes.reshape(-1)[part], minlength=len(values)) for part in (~second, second)])
    # The test counts on five or so in each cell: rare words are taken together.
    rare = table.sum(axis=0) * min(second.mean(), 1 - second.mean()) < 5
    joined = np.concatenate([table[:, ~rare], table[:, rare].sum(axis=1, keepdims=True)], axis=1)
    joined = joined[:, joined.sum(axis=0) > 0]
    if joined.shape[1] < 2 or not (~rare).any():
        return []
    p = float(chi2_contingency(joined, correction=False)[1])
    shares = table / table.sum(axis=1, keepdims=True)
    k = int(np.abs(shares[1] - shares[0]).argmax())
    what = f"{name}: {str(values[k]) or 'nothing'!r} is {shares[0, k]:.0%} of {between[0]}, {shares[1, k]:.0%} of {between[1]}"
    return [(name, what, None, p)]


def _findings(
    auroc: Estimate, p: float, by: Sequence[Difference], on: str, between: tuple[str, str], ids: tuple[str, ...]
) -> Iterator[Finding]:
    if p > LEVEL or auroc.value < TELLING:
        return
    told = "; ".join(one.what for one in by[:SHOWN_TRAITS]) or "no single trait differs for sure: look at the pictures"
    evidence = (
        f"{between[1]} pictures can be told from {between[0]} pictures by their {on}: AUROC {auroc.value:.2f} "
        f"({auroc.low:.2f} to {auroc.high:.2f}; 0.5 is no difference), p {f'{p:.2g}' if p > LEVEL / 2 else 'at most 0.005'}; "
        f"{told}; the score is that of such pictures: is this what the classifier will meet?"
    )
    yield Finding("drift", ids, evidence, "warning" if auroc.value >= LOUD else "note")
