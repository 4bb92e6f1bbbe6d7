"""Targets: every format that a classifier can be exported to, in one registry. Importing this does not import torch."""

from __future__ import annotations

from linnaeus.targets.card import Card
from linnaeus.targets.onnx import Onnx
from linnaeus.targets.openvino import OpenVino
from linnaeus.targets.target import FLOAT32, Blueprint, Precision, Runner, Target, require

__all__ = ["FLOAT32", "TARGETS", "Blueprint", "Card", "Precision", "Runner", "Target", "require"]

TARGETS: dict[str, Target] = {target.name: target for target in (Onnx(), OpenVino())}
