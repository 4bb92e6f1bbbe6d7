"""Lay exported files out as the model repositories of inference servers: Triton, KServe, TensorFlow Serving."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from linnaeus.atomic import write_json, write_text
from linnaeus.errors import SettingsError
from linnaeus.targets.card import FEATURES, INPUT, LABELS, PROBABILITIES, UNKNOWN_SCORE, Card
from linnaeus.targets.own_folder import put, refuse_foreign

MARK = "linnaeus.json"
"""Tells our models from others in the same repository. Servers read only the files that they know."""
MOST_AT_ONCE = 32
WAIT_US = 500
"""So long a server waits for more pictures, before it answers those that it has, in microseconds."""


@dataclass(frozen=True)
class _Backend:
    """How a server calls a format.

    Attributes:
        backend: Triton's name of what runs it.
        file: The name that Triton wants inside the folder of a version.
        platform: The name in the V2 protocol.
        kserve: The name of KServe's model format.
    """

    backend: str
    file: str
    platform: str
    kserve: str


BACKENDS = {
    "onnx": _Backend("onnxruntime", "model.onnx", "onnxruntime_onnx", "onnx"),
    "openvino": _Backend("openvino", "model.xml", "openvino", "triton"),
    "tensorrt": _Backend("tensorrt", "model.plan", "tensorrt_plan", "tensorrt"),
}
SAVED_MODEL = "savedmodel"
TAKES = {"triton": tuple(BACKENDS), "kserve": (*BACKENDS, SAVED_MODEL), "tfserving": (SAVED_MODEL,)}
"""Formats that each kind of repository can hold."""


def write_repository(kind: str, files: Mapping[str, Path], folder: Path, card: Card) -> Path:
    """Lay files out for a server, in FOLDER/KIND/. What it holds of other models stays, and only our own is replaced.

    Every file whose format the server knows becomes a model of its own; the data's name is its name, with the format
    where there are several.

    Args:
        kind: "triton", "kserve" or "tfserving".
        files: What `Target.write` gave, by the name of the target. They are copied.
        folder: Exists.
        card: What the files say of themselves.

    Returns:
        The folder of the repository.

    Raises:
        SettingsError: There is no such kind, it knows none of the files, or somebody else's model has our name.
    """
    usable = {target: served for target, path in files.items() if (served := _served(target, path)) is not None}
    place = folder / kind
    for target, name in model_names(kind, tuple(usable), folder, card).items():
        _replace(kind, place, name, target, usable[target], card)
    return place


def model_names(kind: str, targets: Sequence[str], folder: Path, card: Card) -> dict[str, str]:
    """Say by which name each target's file is served in FOLDER/KIND/; those that the server does not know are left out.

    Raises:
        SettingsError: As `write_repository`; asked beforehand, it spares the making of files that have no place there.
    """
    if kind not in TAKES:
        raise SettingsError(f"a repository should be one of {', '.join(TAKES)}.", got=kind)
    known = [target for target in targets if target in TAKES[kind]]
    if not known:
        raise SettingsError(
            f"a repository of {kind} holds {' or '.join(TAKES[kind])}.",
            got=", ".join(targets) or "no file that is ready to be served",
            fix=f"--to {TAKES[kind][0]} --repository {kind}",
        )
    names = {target: model_name(card) + (f"_{target}" if len(known) > 1 else "") for target in known}
    for name in names.values():
        _refuse_others(folder / kind, name)
    return names


def _refuse_others(place: Path, name: str) -> None:
    refuse_foreign(place / name, MARK)
    manifest = place / f"{name}.yaml"
    if manifest.exists() and not (place / name / MARK).is_file():
        raise SettingsError(
            f"{manifest} should be free.", got="a manifest of another model", fix="choose another folder: --out FOLDER"
        )


def _replace(kind: str, place: Path, name: str, target: str, path: Path, card: Card) -> None:
    """Lay one model out beside its place, and put it there when it is whole."""
    lay_out: Callable[[Path, str, str, Path, Card], None] = {
        "triton": _triton,
        "kserve": _kserve,
        "tfserving": _tf_serving,
    }[kind]
    unfinished = place / f".{name}.{uuid.uuid4().hex[:8]}.part"
    try:
        lay_out(unfinished, name, target, path, card)
        write_json(unfinished / name / MARK, {"target": target, "repository": kind, "linnaeus": version("linnaeus")})
        put(unfinished / name, place / name)
        if (manifest := unfinished / f"{name}.yaml").is_file():
            manifest.replace(place / manifest.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def model_name(card: Card) -> str:
    """Name the model by its data, in letters that every server takes."""
    data = card.about.get("data")
    name = str(data.get("name", "")) if isinstance(data, Mapping) else ""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "classifier"


def _served(target: str, path: Path) -> Path | None:
    """Find the file or folder that the server reads; None of TensorRT before its engine is built, on a GPU."""
    if target != "tensorrt":
        return path
    engine = path / BACKENDS[target].file
    return engine if engine.is_file() else None


def _triton(place: Path, name: str, target: str, path: Path, card: Card) -> None:
    backend, model = BACKENDS[target], place / name
    version = model / "1"
    version.mkdir(parents=True)
    shutil.copy2(path, version / backend.file)
    if target == "openvino":
        shutil.copy2(path.with_suffix(".bin"), (version / backend.file).with_suffix(".bin"))
    write_text(model / LABELS, card.labels)
    write_text(model / "config.pbtxt", triton_config(name, backend.backend, card))


def triton_config(name: str, backend: str, card: Card) -> str:
    """Write a model's config.pbtxt: what goes in, what comes out, and how requests are put together.

    Args:
        name: Of the model.
        backend: Triton's name of what runs it.
        card: What the file says of itself.

    Source:
        model_config.proto of the Triton Inference Server,
        https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
    """
    shape = [one if isinstance(one, int) else -1 for one in card.input_shape]
    batches = not card.any_size
    outputs = ",\n".join(_triton_output(one, card, batches) for one in card.outputs)
    lines = [
        f"name: {json.dumps(name)}",
        f'backend: "{backend}"',
        # Without batches of its own making, Triton takes the shapes as they are, the 1 of one picture included.
        f"max_batch_size: {MOST_AT_ONCE if batches else 0}",
        f'input [\n  {{ name: "{INPUT}" data_type: TYPE_UINT8 dims: {shape[1:] if batches else shape} }}\n]',
        f"output [\n{outputs}\n]",
    ]
    if batches:
        lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {WAIT_US} }}")
    return "\n".join(lines) + "\n"


def _triton_output(name: str, card: Card, batches: bool) -> str:
    parts = f'  {{ name: "{name}" data_type: TYPE_FP32 '
    if name == UNKNOWN_SCORE:
        # One number for each picture: a shape without dimensions is written as a 1, which clients see, and the graph not.
        return parts + ("dims: [1] reshape { shape: [] } }" if batches else "dims: [1] }")
    width = _width(name, card)
    label = f' label_filename: "{LABELS}"' if name == PROBABILITIES else ""
    return parts + f"dims: {[width] if batches else [1, width]}{label} }}"


def _width(name: str, card: Card) -> int:
    """Say how many numbers an output has for each picture; -1 where the card does not know."""
    return {PROBABILITIES: len(card.classes), FEATURES: -1, UNKNOWN_SCORE: 1}[name]


def _kserve(place: Path, name: str, target: str, path: Path, card: Card) -> None:
    """Write the manifest, the model in the layout of the server that KServe starts for it, and its V2 description."""
    served = place / name
    if target == SAVED_MODEL:
        _tf_serving(served, name, target, path, card)
        served_as, protocol, platform = "tensorflow", "v1", "tensorflow_savedmodel"
    else:
        _triton(served, name, target, path, card)
        served_as, protocol, platform = BACKENDS[target].kserve, "v2", BACKENDS[target].platform
    write_text(
        served / "model-settings.json", json.dumps(_settings(name, platform, card), ensure_ascii=False, indent=1)
    )
    write_text(place / f"{name}.yaml", _inference_service(name, served_as, protocol, target))


def _inference_service(name: str, model_format: str, protocol: str, target: str) -> str:
    # TensorFlow Serving is given the folder of the versions, Triton the folder of the models.
    within = f"{name}/{name}" if target == SAVED_MODEL else name
    runtime = "kserve-tensorflow-serving" if target == SAVED_MODEL else "kserve-tritonserver"
    return f"""apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name.replace("_", "-")}
spec:
  predictor:
    model:
      modelFormat:
        name: {model_format}
      runtime: {runtime}
      protocolVersion: {protocol}
      # Copy this folder to a volume claim, or take s3://, gs:// or any other address that your cluster reads.
      storageUri: "pvc://models/{within}"
"""


def _settings(name: str, platform: str, card: Card) -> dict[str, Any]:
    """Describe a model as the V2 protocol does: names, types and shapes of what goes in and comes out."""
    shape = [one if isinstance(one, int) else -1 for one in card.input_shape]
    N = 1 if card.any_size else -1
    outputs = [
        {
            "name": one,
            "datatype": "FP32",
            "shape": [N, _width(one, card)],
            **({"parameters": {"labels": list(card.classes)}} if one == PROBABILITIES else {}),
        }
        for one in card.outputs
    ]
    return {
        "name": name,
        "versions": ["1"],
        "platform": platform,
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": shape}],
        "outputs": outputs,
        "parameters": {"version": "1"},
    }


def _tf_serving(place: Path, name: str, _target: str, path: Path, card: Card) -> None:
    """Copy a SavedModel to NAME/1/; labels go where TensorFlow Serving keeps other files."""
    version = place / name / "1"
    shutil.copytree(path, version)
    write_text(version / "assets.extra" / LABELS, card.labels)
