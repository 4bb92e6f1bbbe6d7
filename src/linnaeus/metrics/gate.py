"""The gate: may a cheaper model take the place of another? A paired test of non-inferiority decides."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from linnaeus.errors import SettingsError
from linnaeus.metrics.paired import accuracy_difference, tango
from linnaeus.records import Estimate

Z_ONE_SIDED = 1.6448536269514722
"""Standard normal quantile of 95 %: the test asks in one direction only."""


@dataclass(frozen=True)
class Verdict:
    """What the test says of a cheaper model.

    Attributes:
        difference: Accuracy, cheaper - original, on the same pictures; 90 % interval, so that each end is wrong in 5 % of
            cases.
        max_drop: What it may lose.
        verdict: "passed": it is shown to lose less. "worse": it is shown to lose more. "not shown": neither.
        why: In words.
    """

    difference: Estimate
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


def non_inferior(right_before: np.ndarray, right_after: np.ndarray, max_drop: float) -> Verdict:
    """Test whether a model loses less than `max_drop` of another one's accuracy, at the 5 % level.

    Args:
        right_before: Where the original is right, bool [N].
        right_after: Where the cheaper one is right, on the same pictures.
        max_drop: Within 0..1.

    Raises:
        SettingsError: The drop is out of range.

    Source:
        T. Tango (1998), Stat. Med. 17, 891-908: the score test of non-inferiority for matched pairs.
    """
    if not 0 < max_drop < 1:
        raise SettingsError("the accuracy that may be lost should be between 0 and 1.", got=f"{max_drop:g}")
    n = len(right_before)
    difference = accuracy_difference(right_before, right_after, z=Z_ONE_SIDED)
    points = f"{100 * max_drop:g} point" + "s" * (max_drop != 0.01)
    told = f"{100 * difference.value:+.2f} ({100 * difference.low:+.2f} to {100 * difference.high:+.2f}) points on {n:,} pictures"
    if difference.low > -max_drop:
        return Verdict(difference, max_drop, "passed", f"it loses less than {points}: {told}")
    if difference.high < -max_drop:
        return Verdict(difference, max_drop, "worse", f"it loses more than {points}: {told}")
    least = -tango(0, 0, n, z=Z_ONE_SIDED).low if n else 1.0
    if least >= max_drop:
        short = f"{n:,} pictures cannot show a loss below {100 * least:.2g} points, even where no answer changes"
        return Verdict(difference, max_drop, "not shown", f"{short}; test on {pictures_for(max_drop):,} or more")
    return Verdict(difference, max_drop, "not shown", f"it may lose more than {points}: {told}")


def pictures_for(max_drop: float) -> int:
    """Count the pictures from which on a model that changes no answer passes."""
    # Without a changed answer, Tango's lower end is -z^2 / (n + z^2).
    return int(np.floor(Z_ONE_SIDED**2 * (1 - max_drop) / max_drop)) + 1
