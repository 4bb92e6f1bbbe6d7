"""linnaeus export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from linnaeus.cli.app import DataDir, Json, TrustCode, app, print_json, share_of
from linnaeus.terminal import talking


@app.command
def export(
    run: Path,
    /,
    *,
    to: str = "onnx",
    out: Path | None = None,
    precision: Literal["float32", "float16", "bfloat16", "int8", "weights"] = "float32",
    outputs: str | None = None,
    layout: Literal["nhwc", "nchw"] = "nhwc",
    any_size: Annotated[bool, Parameter(negative="")] = False,
    max_drop: str | None = None,
    repository: Literal["triton", "kserve", "tfserving"] | None = None,
    source: str | None = None,
    pictures: int = 512,
    data_dir: DataDir = None,
    trust_code: TrustCode = False,
    json_: Json = False,
) -> None:
    """Write the classifier in other formats, and prove that each file gives the same answers on real pictures.

    Example: linnaeus export runs/flowers --to onnx,openvino

    Parameters
    ----------
    run
        A run, or with --source also a model folder.
    to
        Formats, separated by commas, or all: onnx, openvino, litert, savedmodel, tfjs, web, torch, aotinductor,
        executorch, coreml, tensorrt, state-dict.
    out
        Folder of the files; by default RUN/exports.
    precision
        What the files compute in; float32 has to be equal, int8 is calibrated on training pictures.
    outputs
        probabilities, and with it features and unknown_score; by default what predict needs.
    layout
        The input is uint8 [N, H, W, 3], or with nchw [N, 3, H, W].
    any_size
        Take one picture of any size, and resize it in the graph.
    max_drop
        Most accuracy that a file of less than single precision may lose, such as 0.5%; it is tested.
    repository
        Lay the files out as this server's model repository, too.
    source
        Pictures for the proof, as for train; by default the run's own test pictures.
    pictures
        So many are compared.
    """
    from linnaeus import story
    from linnaeus.targets import named
    from linnaeus.verbs.export import Demand, tell

    wanted = story.Wanted(
        targets=named(to),
        precision=precision,
        demand=Demand(
            outputs=tuple(one.strip() for one in outputs.split(",")) if outputs else None,
            layout=layout,
            any_size=any_size,
            max_drop=share_of("--max-drop", max_drop),
        ),
        pictures=pictures,
        repository=repository or "",
    )
    with talking() as talk:
        found = story.ship(run, wanted, out=out, source=source, data_dir=data_dir, trust_code=trust_code, talk=talk)
    print_json(found) if json_ else print(tell(found))
