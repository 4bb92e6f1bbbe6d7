"""numpy resizes as torch does, to the last bit."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.data.interpolate import interpolate
from linnaeus.data.resample import resample

SIDE = st.integers(1, 90)
LEVELS = st.sampled_from([2, 256])
"""Black and white alone make the largest sums."""


def pixels(shape, levels, seed):
    return (np.random.default_rng(seed).integers(0, levels, shape) * (255 // (levels - 1))).astype(np.uint8)


@settings(max_examples=150, deadline=None)
@given(
    SIDE,
    SIDE,
    SIDE,
    SIDE,
    st.sampled_from([1, 3]),
    st.sampled_from(["bilinear", "bicubic"]),
    LEVELS,
    st.integers(0, 99),
)
def test_bytes_are_those_of_torch(H, W, height, width, C, kind, levels, seed):
    picture = pixels((H, W, C), levels, seed)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(picture).permute(2, 0, 1)[None], (height, width), mode=kind, antialias=True
    )
    assert np.array_equal(resample(picture, height, width, kind), expected[0].permute(1, 2, 0).numpy())


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
@pytest.mark.parametrize("levels", [2, 256])
@pytest.mark.parametrize(
    "sizes", [(480, 640, 293, 391), (1200, 90, 64, 64), (37, 41, 293, 400), (2200, 1300, 260, 180)]
)
def test_larger_pictures_are_those_of_torch_too(sizes, levels, kind):
    H, W, height, width = sizes
    picture = pixels((H, W, 3), levels, 1)
    assert np.array_equal(resample(picture, height, width, kind), interpolate(picture, height, width, kind))


WITHOUT = """
import sys, threading
import numpy as np
from linnaeus.data import interpolate as module
module.FETCH_AFTER_S = {after}
picture = np.zeros((40, 40, 3), np.uint8)
module.interpolate(picture, 20, 20, "bilinear")
[thread.join() for thread in threading.enumerate() if thread.name == "fetch torch"]
print("torch" in sys.modules)
"""


@pytest.mark.parametrize(("after", "fetched"), [(60, "False"), (1e-9, "True")])
def test_torch_is_fetched_only_when_resizing_has_taken_as_long(after, fetched):
    done = subprocess.run([sys.executable, "-c", WITHOUT.format(after=after)], capture_output=True, text=True)
    assert done.stdout.strip() == fetched, done.stderr
