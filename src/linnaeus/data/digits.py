"""The handwritten digits that come with scikit-learn, read without importing it: that takes a second, the file a moment."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np

DIGITS = "datasets/data/digits.csv.gz"


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Read all 1,797 digits: grey values 0 to 16, uint8 [N, 8, 8], and their classes, uint8 [N].

    Source:
        E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.
    """
    found = importlib.util.find_spec("sklearn")
    assert found is not None
    assert found.submodule_search_locations
    with gzip.open(Path(found.submodule_search_locations[0]) / DIGITS, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1]
