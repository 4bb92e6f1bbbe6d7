"""linnaeus benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from linnaeus.cli.app import DataDir, Json, TrustCode, app, print_json
from linnaeus.errors import SettingsError
from linnaeus.terminal import talking


@app.command
def benchmark(
    models: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    /,
    *,
    on: str | None = None,
    precision: str | None = None,
    threads: int = 1,
    rounds: int = 200,
    pictures: int | None = None,
    source: str | None = None,
    data_dir: DataDir = None,
    trust_code: TrustCode = False,
    json_: Json = False,
) -> None:
    """Tell which runtime to take on this machine: speed, size, and how far answers are from PyTorch's.

    Example: linnaeus benchmark runs/flowers --on onnx,openvino

    Parameters
    ----------
    models
        A run or a model folder; or one or more exported files: model.onnx, model.xml, model.tflite ...
    on
        Formats, separated by commas; by default all that work here.
    precision
        float32 (the default), float16, bfloat16, int8, weights: those of them that a format has, separated by commas.
    threads
        Of one call.
    rounds
        Timed calls with one picture.
    pictures
        Answers are compared on so many of the run's test pictures, 256 by default.
    source
        Other pictures for that, as for train.
    """
    from linnaeus.story.benchmarked import time_runtimes
    from linnaeus.targets import named, target_of
    from linnaeus.verbs.benchmark import Trial, benchmark_files, tell

    trial = Trial(rounds=rounds, threads=threads)
    if not models:
        raise SettingsError("benchmark needs a run, or exported files.", fix="linnaeus benchmark runs/flowers")
    files = len(models) > 1 or target_of(models[0]) is not None
    if files and any(one is not None for one in (on, precision, pictures, source, data_dir)):
        raise SettingsError(
            "--on, --precision, --pictures, --source and --data-dir are for a run.",
            got="exported files, which are what they are, and are compared on noise",
            fix="linnaeus benchmark RUN",
        )
    with talking() as talk:
        if files:
            found = benchmark_files(models, trial=trial, talk=talk)
        else:
            found = time_runtimes(
                models[0],
                named(on or "all"),
                precisions=precisions_of(precision or "float32"),
                trial=trial,
                pictures=256 if pictures is None else pictures,
                source=source,
                data_dir=data_dir,
                trust_code=trust_code,
                talk=talk,
            )
    print_json(found) if json_ else print(tell(found))


def precisions_of(text: str) -> tuple[str, ...]:
    """Read names of precisions, separated by commas."""
    known = ("float32", "float16", "bfloat16", "int8", "weights")
    names = tuple(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))
    if not names or set(names) - set(known):
        raise SettingsError(f"a precision should be one of {', '.join(known)}.", got=text)
    return names
