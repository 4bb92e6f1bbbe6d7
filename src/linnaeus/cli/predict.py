"""linnaeus predict."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from linnaeus.cli.app import Cost, Json, JsonRows, TrustCode, app, print_json, share_of
from linnaeus.errors import SettingsError
from linnaeus.terminal import talking


@app.command
def predict(
    run: Path,
    paths: Annotated[list[str] | None, Parameter(consume_multiple=True, allow_leading_hyphen=True)] = None,
    /,
    *,
    out: Path | None = None,
    max_error: str | None = None,
    coverage: str | None = None,
    unknown: Annotated[bool, Parameter(negative="--no-unknown")] = True,
    cost: Cost = None,
    on: str = "auto",
    trust_code: TrustCode = False,
    json_: Json = False,
) -> None:
    """Name the class of every picture; a row for every input, with an error where it could not be read.

    Example: linnaeus predict runs/flowers new-photos/ --out answers.csv

    Parameters
    ----------
    run
        A run, a model folder, or an exported file: model.onnx, model.xml, model.tflite ...
    paths
        Files, folders, globs, or - for a list on stdin.
    out
        Write to this .csv, .parquet or .jsonl file instead of printing a table.
    max_error
        Answer "unsure" so often that at most this share of the other answers is wrong, such as 1%.
    coverage
        How often the set of classes holds the true one; 90 % unless told otherwise.
    unknown
        Answer "unknown" for pictures that look like none of the classes.
    on
        What computes: auto takes a faster runtime where it pays and answers as PyTorch does; or pytorch, openvino, onnx ...
    """
    from linnaeus.data.inputs import expand_inputs
    from linnaeus.tables import TableWriter

    if not paths:
        raise SettingsError(
            "predict needs pictures.", fix=f"linnaeus predict {run} photo.jpg   or   - for a list on stdin"
        )
    if strays := [path for path in paths if path.startswith("-") and path != "-"]:
        raise SettingsError(f"{strays[0]} is no option of predict.", fix=f"./{strays[0]} if it is a file.")
    from itertools import chain, islice

    from linnaeus.metrics.costs import read_costs
    from linnaeus.targets.fastest import PAYS_FROM, open_fastest
    from linnaeus.verbs.predict import TRUTHS, Demand
    from linnaeus.verbs.predict import predict as answers_of

    shares = share_of("--max-error", max_error), share_of("--coverage", coverage)
    writer = TableWriter(out, TRUTHS) if out is not None else None
    waiting = expand_inputs(paths)
    first = list(islice(waiting, PAYS_FROM))
    model = open_fastest(run, first, on=on, trust_code=trust_code, say=lambda text: print(text, file=sys.stderr))
    demand = Demand(unknown, *shares, read_costs(cost, model.classes) if cost else None)
    printed = JsonRows("predictions") if json_ and writer is None else None
    count = unreadable = 0
    with talking() as talk:
        try:
            for answers in answers_of(model, chain(first, waiting), demand):
                count += len(answers.paths)
                unreadable += sum(bool(error) for error in answers.errors)
                talk.progress("predicting", count, None)
                columns = answers.columns()
                if writer is not None:
                    writer.write(columns)
                elif printed is not None:
                    printed.write(columns)
                else:
                    _print_answers(columns)
        except BaseException as error:
            if writer is not None:
                writer.__exit__(type(error), error, None)
            raise
    if writer is not None:
        if not count:
            raise SettingsError(
                "predict should find pictures.", got="none under the paths given", fix="check the paths."
            )
        writer.close()
        if json_:
            print_json({"out": str(out), "pictures": count, "unreadable": unreadable})
    if printed is not None:
        printed.close()
    print(
        f"{count:,} inputs, {unreadable} of them unreadable" + (f"; written to {out}" if out else ""), file=sys.stderr
    )


def _print_answers(columns: Mapping[str, Any]) -> None:
    for path, answer, confidence, error in zip(
        columns["path"], columns["answer"], columns["confidence"], columns["error"], strict=True
    ):
        print(f"{path}\t{answer}\t{confidence:.4f}" if not error else f"{path}\t\t\t{error}")
