"""linnaeus evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linnaeus.cli.app import DataDir, Json, TrustCode, app, print_json
from linnaeus.terminal import talking


@app.command
def evaluate(
    run: Path,
    source: str,
    /,
    *,
    data_dir: DataDir = None,
    out: Path | None = None,
    trust_code: TrustCode = False,
    json_: Json = False,
) -> None:
    """Score a trained classifier on other labelled pictures.

    Example: linnaeus evaluate runs/flowers more-photos/

    Parameters
    ----------
    run
        A run or a model folder.
    source
        As for train; all its pictures are scored, whatever their split.
    out
        Also write the predictions to this .csv, .parquet or .jsonl file.
    """
    from linnaeus import story
    from linnaeus.run import prediction_columns, scores_document
    from linnaeus.tables import write_table

    with talking() as talk:
        done = story.examine(run, source, data_dir=data_dir, trust_code=trust_code, talk=talk)
    if out is not None:
        write_table(out, prediction_columns(done.predictions))
    if json_:
        print_json({"accounted": done.accounted, "scores": scores_document(done.scores)})
    else:
        _print_scores(done.scores)


def _print_scores(scores: Any) -> None:
    for name, one in scores.overall.items():
        print(f"{name.replace('_', ' '):20} {one.value:8.4f}  ({one.low:.4f} to {one.high:.4f})  n = {one.n:,}")
    wide = max(len(one.name) for one in scores.per_class)
    print(f"\n{'class':{wide}}  precision  recall      f1  support")
    for one in scores.per_class:
        print(
            f"{one.name:{wide}}  {one.precision.value:9.3f}  {one.recall.value:6.3f}  {one.f1.value:6.3f}  {one.support:7,}"
        )
    for note in scores.notes:
        print(f"note: {note}")
