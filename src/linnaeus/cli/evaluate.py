"""linnaeus evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnaeus.cli.app import Corrections, Cost, DataDir, Json, TrustCode, app, print_json
from linnaeus.errors import SettingsError
from linnaeus.terminal import talking

if TYPE_CHECKING:
    from linnaeus.records import Scores


@app.command
def evaluate(
    run: Path | None = None,
    source: str | None = None,
    /,
    *,
    predictions: Path | None = None,
    held: Path | None = None,
    data_dir: DataDir = None,
    corrections: Corrections = None,
    out: Path | None = None,
    report: Path | None = None,
    cost: Cost = None,
    lang: str = "en",
    trust_code: TrustCode = False,
    json_: Json = False,
) -> None:
    """Score a trained classifier on other labelled pictures, or the predictions of any model.

    Example: linnaeus evaluate runs/flowers more-photos/

    Parameters
    ----------
    run
        A run or a model folder.
    source
        As for train; all its pictures are scored, whatever their split.
    predictions
        Instead of a run and a source: a table of another model's predictions, with columns id, label and p:CLASS.
    held
        With --predictions: the same model's predictions on other labelled pictures, from which it is calibrated and
        its promises are made.
    out
        Also write the predictions to this .csv, .parquet or .jsonl file.
    report
        Also write a report to this .html file, and the same as .md and .json beside it.
    lang
        Language of the report: en or zh.
    """
    from linnaeus import story
    from linnaeus.tables import write_table
    from linnaeus.written import prediction_columns, scores_document

    if (predictions is None) == (run is None or source is None) or (predictions is not None and run is not None):
        raise SettingsError(
            "evaluate takes a run and a source, or --predictions.",
            fix="linnaeus evaluate RUN PICTURES   or   linnaeus evaluate --predictions answers.csv",
        )
    if held is not None and predictions is None:
        raise SettingsError("--held calibrates --predictions; a run is calibrated already.", fix="leave --held out.")
    if report is not None:
        from linnaeus.verbs.report import check_page

        check_page(report)
    with talking() as talk:
        if predictions is not None:
            done = story.examine_predictions(predictions, held)
        else:
            assert run is not None
            assert source is not None
            done = story.examine(
                run, source, data_dir=data_dir, corrections=corrections, trust_code=trust_code, talk=talk
            )
    results = dict(done.results)
    if cost is not None:
        from linnaeus.metrics.costs import cost_scores, read_costs

        costs = read_costs(cost, done.predictions.classes)
        results["costs"] = cost_scores(done.predictions, costs, groups=done.groups)
    if out is not None:
        write_table(out, prediction_columns(done.predictions))
    if report is not None:
        from linnaeus.verbs.report import report_predictions

        name = predictions.stem if predictions is not None else Path(str(source)).name
        report_predictions(done.predictions, done.scores, results, report, name, lang)
    if json_:
        document: dict[str, Any] = {"accounted": done.accounted, "scores": scores_document(done.scores)}
        print_json(document | {"results": results} | ({"report": str(report)} if report else {}))
    else:
        _print_scores(done.scores)
        _print_judgement(results)


def _print_scores(scores: Scores) -> None:
    for name, one in scores.overall.items():
        print(f"{name.replace('_', ' '):20} {one.value:8.4f}  ({one.low:.4f} to {one.high:.4f})  n = {one.n:,}")
    wide = max(len(one.name) for one in scores.per_class)
    print(f"\n{'class':{wide}}  precision  recall      f1  support")
    for each in scores.per_class:
        shown = f"{each.precision.value:9.3f}  {each.recall.value:6.3f}  {each.f1.value:6.3f}  {each.support:7,}"
        print(f"{each.name:{wide}}  {shown}")
    for note in scores.notes:
        print(f"note: {note}")


def _print_judgement(results: Mapping[str, Any]) -> None:
    """Say what was promised and where it fails, in a few lines."""
    from linnaeus.records import Estimate

    print()
    ranking = results["ranking"]["macro_auroc"]
    print(f"AUROC, mean of classes  {ranking['value']:.4f}  ({ranking['low']:.4f} to {ranking['high']:.4f})")
    for one in results["abstention"]["promises"]:
        if one["possible"]:
            share, error = one["coverage"]["value"], one["error"]["value"]
            print(
                f"at most {100 * one['max_error']:g} % errors: answers {100 * share:.1f} %, of these {100 * error:.1f} % wrong"
            )
    for one in results.get("slices", {}).get("slices", []):
        if one["worse"]:
            print(f"worse on {one['what']}: accuracy {100 * one['accuracy']['value']:.1f} % of {one['n']:,} pictures")
    if costs := results.get("costs"):
        mean, plain, saved = (Estimate(**costs[name]) for name in ("mean_cost", "argmax_cost", "saved"))
        print(f"mean cost {mean.value:.4g} ({mean.low:.4g} to {mean.high:.4g}) with the cheapest answers; by the most")
        print(f"probable class {plain.value:.4g}; saved {saved.value:.4g} ({saved.low:.4g} to {saved.high:.4g})")
        print(f"{costs['changed']:,} of {costs['n']:,} answers change. {costs['rule']}")
