"""linnaeus compress."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from linnaeus.cli.app import Json, TrustCode, app, print_json, share_of
from linnaeus.errors import SettingsError
from linnaeus.terminal import talking


@app.command
def compress(
    run: Path,
    /,
    *,
    target: str | None = None,
    max_drop: str = "1%",
    by: str = "int8,prune,distil",
    keep: str = "50%",
    student: str | None = None,
    on: str = "onnx,openvino",
    outputs: str = "probabilities",
    out: Path | None = None,
    trust_code: TrustCode = False,
    json_: Json = False,
) -> None:
    """Make the classifier smaller and faster by all means, alone and together, and keep what loses no accuracy.

    Example: linnaeus compress runs/flowers --target latency=2x --max-drop 1%

    Parameters
    ----------
    run
        A run.
    target
        What is wanted: latency=2x, size=4x, or both with a comma; without it the fastest that passes is taken.
    max_drop
        Most accuracy that may be lost; a paired test on the test pictures decides.
    by
        Means: int8, float16, bfloat16, weights, prune, distil, sparse.
    keep
        Share of the multiply-adds that pruning and distillation leave.
    student
        Network to distil into, by name; by default the classifier's own, made smaller.
    on
        Runtimes, separated by commas: onnx, openvino, litert.
    outputs
        What the files give: probabilities, and with it features and unknown_score.
    out
        Folder of the files: new, empty, or made by compress, and then replaced; by default RUN/compressed.
    """
    from linnaeus import story
    from linnaeus.targets import named
    from linnaeus.verbs.compress import Demand, tell

    methods = tuple(one.strip() for one in by.split(",") if one.strip())
    means = story.Means(methods, share_of("--keep", keep) or 0.5, student)
    demand = Demand(
        targets=named(on),
        max_drop=share_of("--max-drop", max_drop) or 0.01,
        precisions=tuple(one for one in methods if one not in story.SLIMMING),
        outputs=tuple(one.strip() for one in outputs.split(",")),
    )
    demand = replace(demand, **_targets(target))
    command = shlex.join(["linnaeus", *sys.argv[1:]])
    with talking() as talk:
        found = story.squeeze(run, demand, means, out=out, trust_code=trust_code, command=command, talk=talk)
    print_json(found) if json_ else print(tell(found))
    story.refuse_failure(found)


def _targets(text: str | None) -> dict[str, Any]:
    """Read latency=2x,size=4x."""
    names, found = {"latency": "faster", "size": "smaller"}, {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        match = re.fullmatch(r"(latency|size)\s*=\s*(\d+(?:\.\d+)?)\s*x?", part.strip())
        if not match:
            raise SettingsError("--target should look like latency=2x,size=4x.", got=part.strip())
        found[names[match[1]]] = float(match[2])
    return found
