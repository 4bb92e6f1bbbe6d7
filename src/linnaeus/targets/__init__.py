"""Targets: formats that a classifier can be exported to. Importing this does not import torch."""

from __future__ import annotations

from linnaeus.targets.card import Card
from linnaeus.targets.exported import Exported
from linnaeus.targets.opening import target_of
from linnaeus.targets.registry import TARGETS, named
from linnaeus.targets.target import FLOAT32, Blueprint, Precision, Runner, Target, require

__all__ = [
    "FLOAT32",
    "TARGETS",
    "Blueprint",
    "Card",
    "Exported",
    "Precision",
    "Runner",
    "Target",
    "named",
    "require",
    "target_of",
]
