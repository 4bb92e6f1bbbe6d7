"""What a test set, or a number of seeds, can show at all: the smallest difference that would be noticed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linnaeus.errors import SourceError
from linnaeus.records import Estimate

POWER = 0.8
LEVEL = 0.05


@dataclass(frozen=True)
class Seeds:
    """One recipe trained several times, with other seeds.

    Attributes:
        mean: Over the seeds, with Student's t interval: it tells of other seeds, not of other test pictures.
        sd: Standard deviation between seeds.
        smallest_difference: Between this recipe and another with as many seeds and as much spread, that would be found
            significant four times out of five.
    """

    mean: Estimate
    sd: float
    smallest_difference: float


def across_seeds(
    values: Sequence[float],
    *,
    limits: tuple[float, float] = (-np.inf, np.inf),
    power: float = POWER,
    level: float = LEVEL,
) -> Seeds:
    """Summarise a score over seeds: mean, spread, and what so many seeds can show.

    Args:
        values: One for each seed, at least two.
        limits: The least and the greatest possible value: the interval ends there.
        power: Chance of noticing the smallest difference.
        level: Of the two-sided test that would notice it.

    Raises:
        SourceError: Fewer than two values, or one that is no number.

    Source:
        Student (1908), Biometrika 6, 1-25; power from the noncentral t distribution: J. Cohen (1988), Statistical
        Power Analysis for the Behavioral Sciences, chapter 2.
    """
    from scipy.stats import t

    scores = np.asarray(values, dtype=np.float64)
    n = len(scores)
    if n < 2 or not np.isfinite(scores).all():
        raise SourceError("a spread over seeds needs two numbers or more.", got=f"{n} values: {list(values)[:5]}")
    mean, sd = float(scores.mean()), float(scores.std(ddof=1))
    half = float(t.ppf(0.975, n - 1)) * sd / n**0.5
    return Seeds(
        mean=Estimate(mean, max(limits[0], mean - half), min(limits[1], mean + half), n, "Student's t over seeds"),
        sd=sd,
        smallest_difference=sd * _effect_size(n, power, level),
    )


def smallest_difference(n: int, disagreement: float, *, power: float = POWER, level: float = LEVEL) -> float | None:
    """Find the smallest difference in accuracy between two models that McNemar's exact test would show.

    Where the models disagree so rarely that no difference could be shown, they are taken to disagree as often as the
    difference needs, always in favour of the better one.

    Args:
        n: Test pictures, the same for both.
        disagreement: Share of them of which exactly one model is right.
        power: Chance of showing it.
        level: Of the two-sided test.

    Returns:
        The difference, 0..1; None where even a model that is always right could not be told from one that never is.
    """
    if n < 1 or mcnemar_power(n, 1.0, 1.0, level=level) < power:
        return None
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        enough = mcnemar_power(n, middle, max(disagreement, middle), level=level) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def mcnemar_power(n: int, difference: float, disagreement: float, *, level: float = LEVEL) -> float:
    """Compute the chance that McNemar's exact two-sided test shows a difference in accuracy.

    Exact: summed over how many of the n pictures the models disagree on.

    Args:
        n: Test pictures.
        difference: In accuracy, 0..disagreement.
        disagreement: Share of pictures of which exactly one model is right, above 0.
        level: Of the test.

    Source:
        Q. McNemar (1947), Psychometrika 12, 153-157. Unconditional power: S. W. Duffy (1984), Biometrics 40, 1005-1015.
    """
    from scipy.stats import binom

    middle, spread = n * disagreement, (n * disagreement * (1 - disagreement)) ** 0.5
    m = np.arange(max(0, int(middle - 8 * spread - 8)), min(n, int(middle + 8 * spread + 8)) + 1)
    critical = binom.ppf(level / 2, m, 0.5)
    # The largest number of wins of the loser at which the test still rejects; -1 where it never does.
    critical -= binom.cdf(critical, m, 0.5) > level / 2
    wins = 0.5 + difference / (2 * disagreement)
    rejects = binom.cdf(critical, m, wins) + binom.sf(m - critical - 1, m, wins)
    return float((binom.pmf(m, n, disagreement) * np.where(critical >= 0, rejects, 0.0)).sum())


def _effect_size(n: int, power: float, level: float) -> float:
    """Solve for the difference in standard deviations that a t test of twice n values shows."""
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    df, beyond = 2 * n - 2, t.ppf(1 - level / 2, 2 * n - 2)

    def lack(effect: float) -> float:
        shift = effect * (n / 2) ** 0.5
        return float(nct.sf(beyond, df, shift) + nct.cdf(-beyond, df, shift)) - power

    # Doubled until it is enough: far beyond, the noncentral distribution is no number any more.
    enough = 0.25
    while lack(enough) < 0:
        enough *= 2
    return float(brentq(lack, 0.0, enough))
