"""The methods of explanation by name: one contract, one registry, and what each needs to be installed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType

import numpy as np

from linnaeus.errors import SettingsError
from linnaeus.verbs.explain.gradients import grad_cam, grad_cam_plus_plus, integrated_gradients, layer_cam
from linnaeus.verbs.explain.perturbations import lime, occlusion, shap
from linnaeus.verbs.explain.subject import Subject

Draw = Callable[[Subject, np.ndarray, int, int], np.ndarray]
ALL = "all"


@dataclass(frozen=True)
class Method:
    """A way to explain one answer.

    Attributes:
        name: As the user writes it.
        draw: (subject, picture uint8 [S, S, C], class number, seed) -> float32 [S, S] in 0..1: 0 where nothing speaks
            for the class, 1 where most does. Equal arguments give equal maps. What a signed method holds against the
            class is cut.
        needs: The modules it imports.
        quick: A map takes few passes through the network, not hundreds.
        places: It needs a network with a feature map.
        about: What the map shows, for a person.
    """

    name: str
    draw: Draw
    needs: tuple[str, ...]
    quick: bool
    about: str
    places: bool = False


_CAM, _CAPTUM = ("pytorch_grad_cam",), ("captum.attr",)

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        one.name: one
        for one in (
            Method("grad-cam", grad_cam, _CAM, True, "where the last feature map speaks for the class", True),
            Method("grad-cam++", grad_cam_plus_plus, _CAM, True, "the same, for several things of one class", True),
            Method("layer-cam", layer_cam, _CAM, True, "the same, place by place", True),
            Method("integrated-gradients", integrated_gradients, _CAPTUM, True, "which pixels raise the class's score"),
            Method("occlusion", occlusion, _CAPTUM, False, "what the answer loses when a window is hidden"),
            Method("lime", lime, ("lime.lime_image", "skimage.segmentation"), False, "which superpixels carry it"),
            Method("shap", shap, ("shap",), False, "how much of the probability each cell of a grid brings"),
        )
    }
)
DEFAULT = ("grad-cam", "integrated-gradients")
"""Quick ones of two kinds: a coarse map that is calm, and a fine one."""


def choose(names: Iterable[str]) -> tuple[tuple[Method, ...], tuple[str, ...]]:
    """Turn what the user typed into methods that can run here.

    Args:
        names: Names of methods, or "all": all of them whose packages are installed.

    Returns:
        The methods, in the order asked for, each once; and, for "all", the names left out because they are not installed.

    Raises:
        SettingsError: No such method, or one that was named is not installed.
    """
    asked = list(dict.fromkeys(names))
    if not asked:
        raise SettingsError("explain needs a method.", fix=f"--method {' or '.join(DEFAULT)}, or all.")
    for name in asked:
        if name not in METHODS and name != ALL:
            raise SettingsError(f"there is no method {name!r}.", fix=_nearest(name))
    named = [METHODS[name] for name in asked if name != ALL]
    for method in named:
        if missing := _missing(method):
            raise SettingsError(
                f"the method {method.name} needs a package that is not part of every installation.",
                got=missing,
                fix='pip install "linnaeus[explain]"',
            )
    if ALL not in asked:
        return tuple(named), ()
    absent = tuple(one.name for one in METHODS.values() if _missing(one))
    everything = tuple(one for one in METHODS.values() if one.name not in absent)
    if not everything:
        raise SettingsError(
            "explain needs its packages.", got="none of them is installed", fix='pip install "linnaeus[explain]"'
        )
    return everything, absent


def file_part(method: Method) -> str:
    """Name the method in a file's name."""
    return method.name.replace("++", "-plus-plus")


def _missing(method: Method) -> str:
    """Say what cannot be imported; "" if all can."""
    for module in method.needs:
        try:
            import_module(module)
        except ImportError as error:
            return str(error)
    return ""


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name.lower().replace("_", "-").replace(" ", "-"), METHODS, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(METHODS)}, or all."
