"""linnaeus audit."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from linnaeus.cli.app import Corrections, DataDir, Json, Settings, app, pairs, print_json
from linnaeus.errors import CheckFailed, SettingsError
from linnaeus.terminal import talking

if TYPE_CHECKING:
    from linnaeus.story import Inspected

SHOWN = 5
"""Findings of one kind that are printed; audit.csv and the page have all."""


@app.command
def audit(
    source: str,
    /,
    *,
    out: Path | None = None,
    fail_on: Annotated[str | None, Parameter(name="--fail-on")] = None,
    lang: str = "en",
    data_dir: DataDir = None,
    corrections: Corrections = None,
    set_: Settings = None,
    json_: Json = False,
) -> None:
    """Find what is wrong with pictures and labels before training: files, copies, labels, shortcuts, balance.

    Example: linnaeus audit photos/ --out audit --fail-on leak,conflict

    Parameters
    ----------
    source
        As for train; or a run, which then keeps what was found and tells it in its report.
    out
        Folder for audit.csv (a row for every file), audit.html and audit.json.
    fail_on
        Exit with code 3 if there are findings of these kinds, separated by commas: leak,conflict,likely wrong label ...
    lang
        Language of audit.html: en or zh.
    """
    from linnaeus import story
    from linnaeus.config import load_recipe

    wanted = _kinds(fail_on)
    if set_ and story.run_at(source) is not None:
        raise SettingsError("a run is audited by its own settings.", got="--set", fix="audit its source instead.")
    with talking() as talk:
        found = story.inspect(
            source, load_recipe(None, pairs(set_)), data_dir=data_dir, corrections=corrections, talk=talk
        )
    if out is not None:
        _write(found, out, lang)
    if json_:
        print_json(found.document() | ({"out": str(out)} if out else {}))
    else:
        _print(found)
        if out is not None:
            print(f"page: {out / 'audit.html'}\ntable: {out / 'audit.csv'}")
        print(f"mend it: linnaeus review {shlex.quote(source)}", file=sys.stderr)
    _fail(found, wanted)


def _kinds(asked: str | None) -> list[str]:
    """Read what to fail on; a word that is no kind of finding would never fail."""
    from linnaeus.verbs.report import finding_kinds

    wanted = [kind.strip() for kind in (asked or "").split(",") if kind.strip()]
    known = finding_kinds()
    for kind in wanted:
        if kind not in known:
            near = get_close_matches(kind, known, n=3, cutoff=0.4)
            raise SettingsError(
                "--fail-on should name kinds of findings.",
                got=kind,
                fix=f"{' or '.join(near)}; all are in docs/findings.md." if near else "all are in docs/findings.md.",
            )
    return wanted


def _write(found: Inspected, out: Path, lang: str) -> None:
    from linnaeus.tables import write_table
    from linnaeus.verbs.report import report_audit

    if out.is_file():
        raise SettingsError(f"{out} should be a folder.", got="a file", fix="take another --out.")
    out.mkdir(parents=True, exist_ok=True)
    write_table(out / "audit.csv", found.table)
    everything = found.looked.everything
    places = {one.id: one.place for one in everything.examples}
    report_audit(found.document(), places, out / "audit.html", everything.name, lang)


def _print(found: Inspected) -> None:
    print("  ".join(f"{name}: {count:,}" for name, count in found.looked.accounted.items()))
    for name, count in found.looked.dataset.counts().items():
        print(f"{count:8,}  {name}")
    told: dict[str, int] = {}
    for one in found.findings:
        told[one.kind] = told.get(one.kind, 0) + 1
        if told[one.kind] <= SHOWN:
            print(f"[{one.severity}] {one.kind}: {one.evidence}")
    for kind, count in told.items():
        if count > SHOWN:
            print(f"... {count - SHOWN:,} more: {kind}")
    if more := found.facts.get("enough"):
        print(more["words"])


def _fail(found: Inspected, wanted: Sequence[str]) -> None:
    counts: dict[str, Any] = found.kinds()
    hit = {kind: counts[kind] for kind in wanted if kind in counts}
    if hit:
        raise CheckFailed(
            f"--fail-on {','.join(wanted)}: there should be none of these.",
            got=", ".join(f"{count} {kind}" for kind, count in hit.items()),
            fix="look at them with linnaeus review.",
        )
