"""The gate: may a cheaper model take the place of another? A paired test of non-inferiority decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from linnaeus.errors import SettingsError
from linnaeus.metrics.paired import accuracy_difference, tango
from linnaeus.metrics.power import LEVEL
from linnaeus.records import Estimate


@dataclass(frozen=True)
class Verdict:
    """What the test says of a cheaper model.

    Attributes:
        difference: Accuracy, cheaper - original, on the same pictures, with the interval that the test rests on.
        confidence_level: Of that interval: 0.9 where one model is tested, so that each end is wrong in 5 % of cases;
            where more are tested, the 5 % are shared out between them.
        max_drop: What it may lose.
        verdict: "passed": it is shown to lose less. "worse": it is shown to lose more. "not shown": neither.
        why: In words.
    """

    difference: Estimate
    confidence_level: float
    max_drop: float
    verdict: str
    why: str

    @property
    def passed(self) -> bool:
        """Tell whether the cheaper model may be used."""
        return self.verdict == "passed"

    def document(self) -> dict[str, Any]:
        """Write as plain values for JSON."""
        return asdict(self) | {"passed": self.passed}


def non_inferior(
    right_before: np.ndarray,
    right_after: np.ndarray,
    max_drop: float,
    *,
    candidates: int = 1,
    groups: Sequence[str] | None = None,
) -> Verdict:
    """Test whether a model loses less than `max_drop` of another one's accuracy, at the 5 % level.

    Whoever tests several models and takes one that passes gives chance as many tries. The level is then shared out
    between them (Bonferroni): with 95 % probability no model passes that loses more, however many do lose more,
    whichever is taken, and however alike their answers are.

    Args:
        right_before: Where the original is right, bool [N].
        right_after: Where the cheaper one is right, on the same pictures.
        max_drop: Within 0..1.
        candidates: Number of models that are tested, this one included, 1 or more.
        groups: As `accuracy_difference` takes them.

    Raises:
        SettingsError: The drop is out of range.

    Source:
        T. Tango (1998), Stat. Med. 17, 891-908: the score test of non-inferiority for matched pairs.
    """
    if not 0 < max_drop < 1:
        raise SettingsError("the accuracy that may be lost should be between 0 and 1.", got=f"{max_drop:g}")
    n, z, confidence_level = len(right_before), _z(candidates), 1 - 2 * LEVEL / candidates
    difference = accuracy_difference(right_before, right_after, groups=groups, z=z)

    def verdict(word: str, why: str) -> Verdict:
        return Verdict(difference, confidence_level, max_drop, word, why)

    points = f"{100 * max_drop:g} point" + "s" * (max_drop != 0.01)
    span = f"{100 * difference.low:+.2f} to {100 * difference.high:+.2f}, {100 * confidence_level:.3g} % interval"
    told = f"{100 * difference.value:+.2f} ({span}) points on {n:,} pictures"
    if difference.low > -max_drop:
        return verdict("passed", f"it loses less than {points}: {told}")
    if difference.high < -max_drop:
        return verdict("worse", f"it loses more than {points}: {told}")
    least = -tango(0, 0, n, z=z).low if n else 1.0
    if least >= max_drop:
        short = f"{n:,} pictures cannot show a loss below {100 * least:.2g} points, even where no answer changes"
        return verdict("not shown", f"{short}; test on {pictures_for(max_drop, candidates=candidates):,} or more")
    return verdict("not shown", f"it may lose more than {points}: {told}")


def pictures_for(max_drop: float, *, candidates: int = 1) -> int:
    """Count the pictures from which on a model that changes no answer passes, as one of so many that are tested."""
    # Without a changed answer, Tango's lower end is -z^2 / (n + z^2).
    return int(np.floor(_z(candidates) ** 2 * (1 - max_drop) / max_drop)) + 1


def _z(candidates: int) -> float:
    """Give the standard normal quantile of each one's share of the level; the test asks in one direction only."""
    return NormalDist().inv_cdf(1 - LEVEL / candidates)
