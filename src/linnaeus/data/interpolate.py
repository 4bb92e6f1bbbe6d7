"""Resize pictures as bytes."""

from __future__ import annotations

import contextlib
import sys
import threading
import time

import numpy as np

from linnaeus.data.resample import resample

FETCH_AFTER_S = 3.0
"""So long numpy resizes before torch is imported for it: torch would have saved most of that, about what its import takes."""
_spent_s = 0.0


def interpolate(picture: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    """Bring uint8 [H, W, C] to [height, width, C]; the same array where nothing is to be done.

    "bilinear" and "bicubic" are antialiased; "nearest" picks the pixels that Pillow's NEAREST picks.
    """
    H, W = picture.shape[:2]
    if (height, width) == (H, W):
        return picture
    if interpolation == "nearest":
        return picture[_nearest(H, height)[:, None], _nearest(W, width)]
    return _antialiased(picture, height, width, interpolation)


def _nearest(given: int, wanted: int) -> np.ndarray:
    """Choose the rows or columns nearest to the centres; Pillow adds up the steps, and so its rounding is met."""
    steps = np.full(wanted, given / wanted)
    steps[0] /= 2
    return np.minimum(np.cumsum(steps).astype(np.intp), given - 1)


def _antialiased(picture: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    """Resize bytes with torch's vector code, or with numpy to the same bits while torch is not there."""
    global _spent_s
    if _torch_is_here():
        return _with_torch(picture, height, width, interpolation)
    started = time.perf_counter()
    resized = resample(picture, height, width, interpolation)
    before, _spent_s = _spent_s, _spent_s + time.perf_counter() - started
    if before < FETCH_AFTER_S <= _spent_s:
        # Beside the work that goes on: whoever comes in the meantime is served by numpy.
        threading.Thread(target=_fetch_torch, name="fetch torch").start()
    return resized


def _torch_is_here() -> bool:
    """Tell whether torch was imported, and to the end."""
    module = sys.modules.get("torch")
    return module is not None and not getattr(module.__spec__, "_initializing", False)


def _fetch_torch() -> None:
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401  Loading it is all: others find it loaded.


def _with_torch(picture: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    import torch

    writable = np.require(picture, requirements=["C", "W"])
    with torch.inference_mode():
        # unsqueeze before permute: the other way round torch does not see channels-last and is 3.7 times slower.
        given: torch.Tensor = torch.from_numpy(writable).unsqueeze(0).permute(0, 3, 1, 2)
        resized = torch.nn.functional.interpolate(given, (height, width), mode=interpolation, antialias=True)
        return np.ascontiguousarray(resized.permute(0, 2, 3, 1)[0].numpy())
