"""Find shortcuts: does something trivial give the class away, so that a network need not look at what is shown?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from linnaeus.data.cache import Scan
from linnaeus.data.traits import Traits
from linnaeus.metrics.intervals import units_of, wilson
from linnaeus.metrics.multiple import holm
from linnaeus.records import Dataset, Estimate, Finding
from linnaeus.verbs.audit.cues import FILE, PIXELS, Column, collect, matrix

MOST_PICTURES = 2_000
MOST_CLASSES = 100
"""Of more classes so many are drawn: a tree's cost grows with their number."""
FEWEST_PICTURES = 40
FEWEST_OF_A_CLASS = 5
FOLDS = 5
SHUFFLES = 1_999
"""Enough for twelve families: the smallest p after correction is 0.006."""
TREES = 20
LEVEL = 0.01
"""Chance of one family or more being called a shortcut where labels have nothing to do with any."""
FILE_SKILL = 0.1
"""What comes from the file is far above chance when it avoids a tenth of the errors of guessing, at the low end."""
FILE_AGREEMENT = 0.6
"""... or when its guesses at one class agree so well with the labels (Cohen's kappa, one class against the rest)."""
PIXEL_SKILL, PIXEL_AGREEMENT = 0.5, 0.8
"""The same for what comes from the picture, which may differ between classes for good reasons."""
UNSEEN = ("file name", "folder")
"""No network sees these. They only hint at how pictures came together, so little of it is a note."""
LOUD = 0.9
"""From here on it is a warning for them too: the skill, the agreement, or the share of the model's own skill."""
NAMED = 0.5


@dataclass(frozen=True)
class GivenAway:
    """A class that one family tells from all others; agreement is Cohen's kappa."""

    name: str
    precision: Estimate
    recall: Estimate
    agreement: float


@dataclass(frozen=True)
class Family:
    """How well one family of cues tells the class, out of fold.

    Attributes:
        name: "file type", "colour" ...
        derived: "file" or "pixels".
        accuracy: Of the small model.
        majority: Share of the largest class.
        shuffled: Mean accuracy of the same guesses when the labels are shuffled.
        skill: Share of the errors of guessing that it avoids: (accuracy - chance) / (1 - chance), where chance is the
            larger of majority and shuffled.
        p: Chance of such an accuracy with shuffled labels, after Holm's correction over the families.
        far: It is far above chance.
        given_away: Classes that it tells from all others.
        telling: The most telling difference, in words.
    """

    name: str
    derived: str
    accuracy: Estimate
    majority: float
    shuffled: float
    skill: float
    p: float
    far: bool
    given_away: tuple[GivenAway, ...]
    telling: str


@dataclass(frozen=True)
class Shortcuts:
    """What was looked for and found.

    Attributes:
        pictures: How many were judged.
        classes: How many classes were judged, of `of_classes`.
        families: Each alone, and "all of the file" and "everything" together; empty where there was too little to judge.
        model: Accuracy of the user's own model, if it was given.
        findings: All of it for a person.
    """

    pictures: int
    classes: int
    of_classes: int
    families: tuple[Family, ...]
    model: Estimate | None
    findings: tuple[Finding, ...]

    def document(self) -> dict[str, Any]:
        """Write as plain values for JSON, without the findings."""
        plain = asdict(self)
        del plain["findings"]
        return plain


def find_shortcuts(
    dataset: Dataset,
    scan: Scan,
    traits: Traits,
    *,
    clusters: Sequence[str] = (),
    model: Estimate | None = None,
    seed: int = 0,
) -> Shortcuts:
    """Train small trees on trivial features alone, and compare their accuracy with chance, out of fold.

    Up to 2,000 pictures are judged, as even over the classes as their numbers allow. Each family's accuracy has Wilson's
    interval; its p-value comes from 1,999 shuffles of the labels, corrected for the number of families. A family is far
    above chance when p is at most 0.01 and the low end of the interval avoids a tenth of the errors of guessing, or
    when it tells one class from the rest with a kappa of 0.6 (Fisher's exact test, corrected, at most 0.01). That is a
    warning. Other rules hold for two kinds of family:

    * What comes from the picture itself (colour, border, light) may differ for good reasons: half of the errors, or a
      kappa of 0.8, are a note; it is a warning from 0.9 on, or where it comes near the model's own skill.
    * File names and folders, which no network sees, are a note up to half of the errors.

    Args:
        dataset: As scanned; pictures without a class of `classes` are left out, and so are those with a problem.
        scan: Of the same examples.
        traits: Of the same examples.
        clusters: Key per example that near-duplicates share: they stay in one fold.
        model: Accuracy of a trained model on this data.
        seed: The same seed gives the same answer.

    Source:
        R. Geirhos et al. (2020), Shortcut learning in deep neural networks, Nat. Mach. Intell. 2, 665-673. J. Cohen
        (1960), Educ. Psychol. Meas. 20, 37-46 (kappa).
    """
    assert len(dataset) == len(scan) == len(traits), "one row of each per example"
    rng = np.random.default_rng(seed)
    rows, labels, names = _sample(dataset, scan, rng)
    of_classes = len(dataset.classes)
    if len(rows) < FEWEST_PICTURES or len(names) < 2:
        return Shortcuts(len(rows), len(names), of_classes, (), model, ())
    cues = collect(dataset.take(rows), scan.take(rows), traits.take(rows))
    folds = _folds(labels, [clusters[row] for row in rows.tolist()] if clusters else [], rng)
    families = _judge(_tasks(cues.families), labels, names, folds, rng)
    where = f"{len(rows):,} pictures" + (
        f" of {len(names)} of the {of_classes:,} classes" if len(names) < of_classes else ""
    )
    findings = [*_findings(families, names, where, model), *_names(cues.named, dataset)]
    return Shortcuts(len(rows), len(names), of_classes, tuple(families), model, tuple(findings))


def _sample(dataset: Dataset, scan: Scan, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Draw rows as evenly over the classes as possible: row numbers, class numbers among the drawn, their names."""
    labels = dataset.labels
    labels[list(scan.problems)] = -1
    counts = np.bincount(labels[labels >= 0], minlength=len(dataset.classes))
    able = np.flatnonzero(counts >= FEWEST_OF_A_CLASS)
    if len(able) > MOST_CLASSES:
        able = np.sort(rng.choice(able, MOST_CLASSES, replace=False))
    most = _level(counts[able], MOST_PICTURES)
    drawn = [rng.permutation(np.flatnonzero(labels == k))[:most] for k in able.tolist()]
    rows = np.sort(np.concatenate(drawn)) if drawn else np.empty(0, np.int64)
    return rows, np.searchsorted(able, labels[rows]), tuple(dataset.classes[k] for k in able.tolist())


def _level(counts: np.ndarray, total: int) -> int:
    """Find the most per class with which all together stay within `total`."""
    low, high = 1, int(counts.max(initial=1))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(counts, middle).sum() <= total else (low, middle - 1)
    return low


def _folds(labels: np.ndarray, clusters: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Deal rows into folds, each class evenly; what shares a cluster goes where its first row goes."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % FOLDS
    units = units_of(len(labels), clusters or None)
    return fold[np.unique(units, return_index=True)[1]][units]


_Task = tuple[str, str, Mapping[str, Column]]
"""Name, what it is derived from, columns."""


def _tasks(families: Mapping[str, Mapping[str, Column]]) -> list[_Task]:
    """List each family alone, then all of the file, then everything."""
    tasks: list[_Task] = [(name, "file" if name in FILE else "pixels", columns) for name, columns in families.items()]
    for title, derived, members in (("all of the file", "file", FILE), ("everything", "pixels", (*FILE, *PIXELS))):
        parts = [name for name in members if name in families]
        if len(parts) > 1:
            joined = {f"{name} {column}": families[name][column] for name in parts for column in families[name]}
            tasks.append((title, derived, joined))
    return tasks


def _judge(
    tasks: Sequence[_Task], labels: np.ndarray, names: Sequence[str], folds: np.ndarray, rng: np.random.Generator
) -> list[Family]:
    shuffled = rng.permuted(np.tile(labels.astype(np.int16), (SHUFFLES, 1)), axis=1)
    guesses = [
        _guess(columns, labels, folds, forest=name in ("all of the file", "everything")) for name, _, columns in tasks
    ]
    right = [int((guess == labels).sum()) for guess in guesses]
    chances = [(shuffled == guess).sum(axis=1) for guess in guesses]
    p = holm(
        np.array([(1 + (chance >= hits).sum()) / (1 + SHUFFLES) for hits, chance in zip(right, chances, strict=True)])
    )
    found = []
    for (name, derived, columns), guess, hits, chance, p_adjusted in zip(
        tasks, guesses, right, chances, p, strict=True
    ):
        accuracy = wilson(hits, len(labels))
        majority, by_shuffling = float(np.bincount(labels).max() / len(labels)), float(chance.mean() / len(labels))
        base = min(max(majority, by_shuffling), 1 - 1e-9)
        least, agreement = (FILE_SKILL, FILE_AGREEMENT) if derived == "file" else (PIXEL_SKILL, PIXEL_AGREEMENT)
        given = tuple(_given_away(labels, guess, names, agreement, len(tasks)))
        far = bool(given or (p_adjusted <= LEVEL and (accuracy.low - base) / (1 - base) >= least))
        telling = _telling(columns, labels, names, given) if far else ""
        skill = (accuracy.value - base) / (1 - base)
        found.append(
            Family(
                name,
                derived,
                accuracy,
                majority,
                by_shuffling,
                skill,
                float(p_adjusted),
                far,
                given if far else (),
                telling,
            )
        )
    return found


def _guess(columns: Mapping[str, Column], labels: np.ndarray, folds: np.ndarray, *, forest: bool) -> np.ndarray:
    """Guess each class by trees that did not see the picture, [n]."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.tree import DecisionTreeClassifier

    inputs, guess = matrix(columns), np.empty_like(labels)
    for fold in range(FOLDS):
        inside = folds == fold
        # Of two pictures in a leaf one is a coincidence, so leaves hold a few.
        tree = (
            RandomForestClassifier(TREES, min_samples_leaf=2, random_state=0, n_jobs=1)
            if forest
            else DecisionTreeClassifier(
                min_samples_leaf=3, max_leaf_nodes=8 + 4 * int(labels.max() + 1), random_state=0
            )
        )
        if inside.any() and not inside.all():
            guess[inside] = tree.fit(inputs[~inside], labels[~inside]).predict(inputs[inside])
    return guess


def _given_away(
    labels: np.ndarray, guess: np.ndarray, names: Sequence[str], least: float, families: int
) -> Iterator[GivenAway]:
    """List the classes that are told from the rest, the clearest first; by chance in one of a hundred searches."""
    from scipy.stats import hypergeom

    N = len(labels)
    found = []
    for k, name in enumerate(names):
        true, said = labels == k, guess == k
        hits, m, s = int((true & said).sum()), int(true.sum()), int(said.sum())
        by_chance = (m * s + (N - m) * (N - s)) / N**2
        agreement = ((true == said).mean() - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0
        # Bonferroni: every class of every family had its chance.
        p = hypergeom.sf(hits - 1, N, m, s) * len(names) * families
        if agreement >= least and p <= LEVEL:
            found.append(GivenAway(name, wilson(hits, s), wilson(hits, m), float(agreement)))
    yield from sorted(found, key=lambda one: -one.agreement)


def _telling(
    columns: Mapping[str, Column], labels: np.ndarray, names: Sequence[str], given: Sequence[GivenAway]
) -> str:
    """Say by what the clearest class differs from the rest, in the column that tells it best."""
    from sklearn.tree import DecisionTreeClassifier

    stump = DecisionTreeClassifier(max_depth=3, min_samples_leaf=3, random_state=0)
    target = labels == names.index(given[0].name) if given else labels
    stump.fit(matrix(columns), target)
    name, values = list(columns.items())[int(stump.feature_importances_.argmax())]
    k = names.index(given[0].name) if given else int(np.bincount(labels).argmax())
    inside = labels == k
    if values.dtype.kind == "f":
        middle, rest = (
            np.nanmedian(part) if np.isfinite(part).any() else np.nan for part in (values[inside], values[~inside])
        )
        return f"{name}: median {middle:,.4g} in {names[k]!r}, {rest:,.4g} in the others"
    words, counts = np.unique(values[inside], return_counts=True)
    shares = counts / inside.sum() - np.array([(values[~inside] == word).mean() for word in words])
    best = int(shares.argmax())
    other = float((values[~inside] == words[best]).mean())
    word = repr(str(words[best])) if words[best] else "nothing"
    return f"{name}: {word} in {counts[best] / inside.sum():.0%} of {names[k]!r}, in {other:.0%} of the others"


def _findings(
    families: Sequence[Family], names: Sequence[str], where: str, model: Estimate | None
) -> Iterator[Finding]:
    alone = [one for one in families if one.name not in ("all of the file", "everything")]
    for one in alone:
        if one.far or _near_model(one, model):
            yield _finding(one, names, where, model)
    together = [one for one in families if one.name == "all of the file" and one.far]
    if together and not any(one.far and one.derived == "file" for one in alone):
        yield _finding(together[0], names, where, model)


def _near_model(one: Family, model: Estimate | None) -> bool:
    """Tell whether what takes no looking comes near what the model can do."""
    base = max(one.majority, one.shuffled)
    return bool(
        model and one.p <= LEVEL and model.value > base and one.skill * (1 - base) >= LOUD * (model.value - base)
    )


def _finding(one: Family, names: Sequence[str], where: str, model: Estimate | None) -> Finding:
    near = _near_model(one, model)
    clearest = max((given.agreement for given in one.given_away), default=0.0)
    if one.name in UNSEEN:
        loud = one.skill >= PIXEL_SKILL or bool(one.given_away)
    else:
        loud = one.derived == "file" or near or max(one.skill, clearest) >= LOUD
    what = "nothing of what the pictures show" if one.derived == "file" else "nothing of their shapes"
    evidence = (
        f"{one.name} alone, {what}, tells the class of {one.accuracy.percent()} of {where}; always naming the largest "
        f"class would be right in {one.majority:.1%}, shuffled labels in {one.shuffled:.1%} (p {_p(one.p)})"
    )
    if one.given_away:
        told = [f"{given.name!r} (kappa {given.agreement:.2f})" for given in one.given_away[:3]]
        more = f" and {len(one.given_away) - 3} more" if len(one.given_away) > 3 else ""
        evidence += f"; given away: {', '.join(told)}{more}"
    evidence += f"; {one.telling}" if one.telling else ""
    evidence += f"; the model itself is right in {model.percent()}" if near and model else ""
    evidence += "; " + (ADVICE[one.derived if loud else "unseen" if one.name in UNSEEN else "note"])
    ids = tuple(given.name for given in one.given_away) or tuple(names)
    return Finding("shortcut", ids, evidence, "warning" if loud else "note")


ADVICE = {
    "file": "a test on pictures of the same making cannot show whether a network learned more than this: "
    "collect all classes in the same way, or hold out whole sources",
    "pixels": "a network need not learn more than this: test on pictures in which it does not hold",
    "unseen": "no network sees it, but it may tell of pictures that came together: hold out whole sources to be sure",
    "note": "this may be right, if the classes do differ so",
}


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 0.01 else "below 0.01"


def _names(share: float, dataset: Dataset) -> Iterator[Finding]:
    """Note that file names spell the class, which was taken out of them before they were judged."""
    if share >= NAMED:
        evidence = (
            f"{share:.0%} of the file names hold the name of their class; a network does not see names, "
            "but whoever labels or checks by file should not either"
        )
        yield Finding("class in file name", dataset.classes, evidence, "note")
