"""Find pictures that are dark, blurred, empty, tiny or otherwise unlike the rest of their set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from linnaeus.data.cache import Scan
from linnaeus.data.traits import Traits
from linnaeus.records import Dataset, Finding, Preprocessing

FENCE = 1.5
"""How far beyond the quartile the fence lies, in quartile distances (of a normal distribution it leaves 0.35 %)."""
FEWEST = 20
"""Of fewer pictures the quartiles say nothing, so nothing is judged by them."""
MOST_SHARE = 0.05
"""What more pictures than this have in common is how the set is: only the worst are named."""
PLAIN = 0.995
"""From this share of structureless places on a picture shows nothing, in whatever set."""
SHOWN = 3


@dataclass(frozen=True)
class Rule:
    """One way to be odd: a measured value beyond both the set's own fence and a fixed bound.

    Attributes:
        kind: Of the finding.
        what: What is measured, in words.
        side: -1 where small values are odd, 1 where large ones are.
        bound: The value beyond which a picture can be odd at all, so that an evenly good set gives nothing.
        values: Measure all pictures, [N].
        logarithmic: The fence is built on the logarithm.
        least: Smallest distance from median to quartile that counts, on that scale: of equal pictures none is odd.
        always: Beyond this a picture is odd whatever the rest is like; None where nothing is.
        advice: What to do.
        severity: Of the finding.
    """

    kind: str
    what: str
    side: int
    bound: float
    values: Callable[[Traits], np.ndarray]
    advice: str
    logarithmic: bool = False
    least: float = 0.02
    always: float | None = None
    severity: str = "note"


def _lightest(traits: Traits) -> np.ndarray:
    """Say how light the light parts are: a flower on black has a low mean, and is not dark."""
    return traits.numbers["brightness"] + 2 * traits.numbers["contrast"]


def _darkest(traits: Traits) -> np.ndarray:
    return traits.numbers["brightness"] - 2 * traits.numbers["contrast"]


def _detail(traits: Traits) -> np.ndarray:
    """Relate sharpness to contrast: low contrast alone is not blur. Unknown where there is nothing to be sharp."""
    levels = 255 * traits.numbers["contrast"]
    return np.where(levels >= 2, traits.numbers["sharpness"] / np.maximum(levels, 2) ** 2, np.nan)


def _elongation(traits: Traits) -> np.ndarray:
    ratio = traits.numbers["aspect_ratio"]
    return np.maximum(ratio, 1 / ratio)


def _short_side(traits: Traits) -> np.ndarray:
    return np.minimum(traits.numbers["width"], traits.numbers["height"])


def rules(preprocessing: Preprocessing) -> tuple[Rule, ...]:
    """List all rules; what is tiny or too long depends on what the network is shown."""
    size_px = preprocessing.size_px
    cut = "the ends beyond 2:1 are cut off" if preprocessing.resize == "crop" else "they are squeezed or padded"
    return (
        Rule(
            "near-uniform", "share of places without structure", 1, 0.97,
            lambda traits: traits.numbers["uniform_area"], "exclude what shows nothing",
            always=PLAIN, severity="warning",
        ),
        Rule(
            "dark", "light of the light parts (brightness + 2 x contrast, 0 to 1)", -1, 0.25, _lightest,
            "exclude those in which you see nothing yourself; keep dark ones if there will be dark ones in use",
        ),
        Rule(
            "bright", "light of the dark parts (brightness - 2 x contrast, 0 to 1)", 1, 0.7, _darkest,
            "exclude those that are washed out; keep bright ones if there will be bright ones in use",
        ),
        Rule(
            "blurred", "detail (sharpness / contrast squared) in the sharpest quarter", -1, 0.02, _detail,
            "exclude those whose subject cannot be told", logarithmic=True, least=0.05,
        ),
        Rule(
            "low information", "entropy of the grey levels in bits", -1, 2.0,
            lambda traits: traits.numbers["entropy"], "look whether they show the class at all", least=0.1,
        ),
        Rule(
            "odd shape", "long side / short side", 1, 2.0, _elongation,
            f"look at them as the network will: {cut}", logarithmic=True,
        ),
        Rule(
            "tiny", "short side in pixels", -1, size_px / 2, _short_side,
            f"find larger ones: the network is shown {size_px} pixels, so these are enlarged and show no detail",
            logarithmic=True,
        ),
        Rule(
            "very large", "megapixels", 1, 12.0, lambda traits: traits.numbers["megapixels"],
            "shrink copies of them if looking at the set is slow", logarithmic=True, least=0.15,
        ),
    )  # fmt: skip


def find_odd(dataset: Dataset, scan: Scan, traits: Traits, preprocessing: Preprocessing) -> list[Finding]:
    """Judge every picture by what was measured; one finding per kind, its pictures from worst to least.

    A picture is odd when its value lies beyond the set's own fence and beyond a fixed bound. So an evenly dark set
    (night pictures, X-rays) is not found dark, and an evenly good one has no "darkest". The fence lies 3 times the
    distance from median to quartile beyond the quartile, on the side in question: Tukey's fence, with Kimber's
    change for skewed distributions. At most 5 % of the pictures are named.

    Args:
        dataset: As scanned.
        scan: Of the same examples.
        traits: Of the same examples; what could not be measured is not judged.
        preprocessing: What the network will be shown.

    Source:
        J. W. Tukey (1977), Exploratory Data Analysis. A. C. Kimber (1990), J. R. Stat. Soc. C 39, 21-30.
    """
    assert len(dataset) == len(scan) == len(traits), "one row of each per example"
    found = [_apply(rule, dataset, traits) for rule in rules(preprocessing)]
    return [one for one in found if one is not None] + list(_modes(dataset, scan))


def threshold(values: np.ndarray, rule: Rule) -> tuple[float, str] | None:
    """Find where a rule begins for some values, and say why; None where there are too few to tell."""
    known = values[np.isfinite(values)]
    known = known[known > 0] if rule.logarithmic else known
    if len(known) < FEWEST:
        return None if rule.always is None else (rule.always, f"{rule.always:g}, fixed")
    scaled = np.log10(known) if rule.logarithmic else known
    quartile, median = np.quantile(scaled, (0.25 if rule.side < 0 else 0.75, 0.5))
    distance = max(abs(quartile - median), rule.least)
    fence = float(median + rule.side * distance * (1 + 2 * FENCE))
    middle = float(median)
    if rule.logarithmic:
        fence, middle = 10**fence, 10**middle
    # The stricter of both, except that some things are odd everywhere.
    strict = min if rule.side < 0 else max
    begin = strict(fence, rule.bound)
    if rule.always is not None and rule.side * (begin - rule.always) > 0:
        begin = rule.always
    return begin, f"{begin:.3g} (this set: median {middle:.3g}, fence {fence:.3g}; never before {rule.bound:.3g})"


def _apply(rule: Rule, dataset: Dataset, traits: Traits) -> Finding | None:
    values = rule.values(traits)
    limit = threshold(values, rule)
    if limit is None:
        return None
    begin, why = limit
    with np.errstate(invalid="ignore"):
        beyond = np.flatnonzero(rule.side * values > rule.side * begin)
    if not len(beyond):
        return None
    order = beyond[np.argsort(-rule.side * values[beyond], kind="stable")]
    most = max(1, int(MOST_SHARE * len(dataset)))
    rows = order[:most]
    shown = ", ".join(f"{dataset.examples[row].id} ({values[row]:.3g})" for row in rows[:SHOWN].tolist())
    more = " ..." if len(rows) > SHOWN else ""
    side = "below" if rule.side < 0 else "above"
    evidence = f"{_pictures(len(rows))}: {rule.what} {side} {why}: {shown}{more}"
    if len(order) > most:
        evidence += f"; these are the worst of {len(order):,}: the others are left out, so many are how the set is"
    evidence += _one_class(dataset, rows) + f"; {rule.advice}"
    return Finding(rule.kind, tuple(dataset.examples[row].id for row in rows.tolist()), evidence, rule.severity)


def _one_class(dataset: Dataset, rows: np.ndarray) -> str:
    """Point out that all are of one class: then it may be how the class looks."""
    labels = {dataset.examples[row].label for row in rows.tolist()}
    alone = len(rows) >= 5 and len(labels) == 1 and "" not in labels and len(dataset.classes) > 1
    return f"; all are of class {next(iter(labels))!r}, so it may be how that class looks" if alone else ""


LOSSES = {
    "1": "1 bit: black and white only",
    "P": "palette: at most 256 colours",
    "PA": "palette with transparency: laid over the background",
    "LA": "transparency: laid over the background",
    "La": "transparency: laid over the background",
    "RGBA": "transparency: laid over the background",
    "RGBa": "transparency: laid over the background",
    "CMYK": "CMYK, for print: colours are converted, and may be off",
    "LAB": "CIELAB: colours are converted",
    "I": "more than 8 bits: only the upper ones of 16 are kept",
    "I;16": "16 bits: only the upper 8 are kept, so pictures that use the lower ones come out black",
    "I;16B": "16 bits: only the upper 8 are kept, so pictures that use the lower ones come out black",
    "I;16L": "16 bits: only the upper 8 are kept, so pictures that use the lower ones come out black",
    "F": "floats: brought to 8 bits",
}
"""Pillow's modes that are not read as they are, and what happens to them."""
DEEP = ("I", "I;16", "I;16B", "I;16L", "F")


def _modes(dataset: Dataset, scan: Scan) -> Iterator[Finding]:
    """Tell of modes that only some pictures have; of those that lose depth, whoever has them."""
    counts = Counter(mode for mode in scan.modes if mode)
    usual = counts.most_common(1)[0][0] if counts else ""
    for mode, count in sorted(counts.items()):
        odd = mode in LOSSES or (mode == "L" and usual in ("RGB", "YCbCr"))
        if not odd or (mode == usual and mode not in DEEP):
            continue
        ids = tuple(dataset.examples[row].id for row, own in enumerate(scan.modes) if own == mode)
        what = LOSSES.get(mode, "grey, among pictures in colour")
        rest = f"; most others are {usual}" if mode != usual else ""
        shown = ", ".join(ids[:SHOWN]) + (" ..." if count > SHOWN else "")
        evidence = f"{_pictures(count)} of mode {mode} ({what}){rest}: {shown}"
        rows = np.array([row for row, own in enumerate(scan.modes) if own == mode])
        yield Finding("unusual mode", ids, evidence + _one_class(dataset, rows), "warning" if mode in DEEP else "note")


def _pictures(n: int) -> str:
    return f"{n:,} picture{'' if n == 1 else 's'}"
