"""Every format that a classifier can be exported to, in one registry."""

from __future__ import annotations

from linnaeus.errors import SettingsError
from linnaeus.targets.onnx import Onnx
from linnaeus.targets.openvino import OpenVino
from linnaeus.targets.target import Target

TARGETS: dict[str, Target] = {target.name: target for target in (Onnx(), OpenVino())}


def named(names: str) -> list[Target]:
    """Read names of targets, separated by commas; "all" is every one of them.

    Raises:
        SettingsError: There is no such target.
    """
    wanted = list(TARGETS) if names == "all" else [one.strip() for one in names.split(",") if one.strip()]
    if strange := [one for one in wanted if one not in TARGETS]:
        raise SettingsError(f"a target should be one of {', '.join(TARGETS)}.", got=", ".join(strange))
    return [TARGETS[one] for one in dict.fromkeys(wanted)]
