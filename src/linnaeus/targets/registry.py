"""Every format that a classifier can be exported to, in one registry."""

from __future__ import annotations

from linnaeus.errors import SettingsError
from linnaeus.targets.aotinductor import AotInductor
from linnaeus.targets.coreml import CoreMl
from linnaeus.targets.executorch import ExecuTorch
from linnaeus.targets.litert import LiteRt
from linnaeus.targets.onnx import Onnx
from linnaeus.targets.openvino import OpenVino
from linnaeus.targets.savedmodel import SavedModel
from linnaeus.targets.state_dict import StateDict
from linnaeus.targets.target import Target
from linnaeus.targets.tensorrt import TensorRt
from linnaeus.targets.tfjs import TfJs
from linnaeus.targets.torch_export import TorchExport
from linnaeus.targets.web import Web

_ALL: tuple[Target, ...] = (
    Onnx(),
    OpenVino(),
    LiteRt(),
    SavedModel(),
    TfJs(),
    Web(),
    TorchExport(),
    AotInductor(),
    ExecuTorch(),
    CoreMl(),
    TensorRt(),
    StateDict(),
)
TARGETS: dict[str, Target] = {target.name: target for target in _ALL}


def named(names: str) -> list[Target]:
    """Read names of targets, separated by commas; "all" is every one of them.

    Raises:
        SettingsError: There is no such target.
    """
    wanted = list(TARGETS) if names == "all" else [one.strip() for one in names.split(",") if one.strip()]
    if strange := [one for one in wanted if one not in TARGETS]:
        raise SettingsError(f"a target should be one of {', '.join(TARGETS)}.", got=", ".join(strange))
    return [TARGETS[one] for one in dict.fromkeys(wanted)]
