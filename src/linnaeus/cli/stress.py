"""linnaeus stress."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from linnaeus.cli.app import Corrections, DataDir, Json, TrustCode, app, print_json
from linnaeus.terminal import talking


@app.command
def stress(
    run: Path,
    source: str | None = None,
    /,
    *,
    pictures: int = 256,
    attack: Annotated[list[str] | None, Parameter(negative="--no-attack")] = None,
    certify: float | None = None,
    seed: int = 0,
    data_dir: DataDir = None,
    corrections: Corrections = None,
    trust_code: TrustCode = False,
    json_: Json = False,
) -> None:
    """Measure what worse pictures, small shifts and attacks do to the answers.

    Example: linnaeus stress runs/flowers --pictures 128

    Parameters
    ----------
    run
        A run, or with a source also a model folder.
    source
        As for train; without it the run's own test pictures are taken, and its report tells the result.
    pictures
        Size of the sample, stratified by class: it bounds the time.
    attack
        fgsm, pgd, patch (these three by default) or autoattack. May be repeated.
    certify
        Also certify by randomised smoothing, with noise of this standard deviation in units of 0..1, such as 0.25.
    seed
        Of the sample and of the changes.
    """
    from linnaeus import story
    from linnaeus.verbs.stress import tell

    attacks = ("fgsm", "pgd", "patch") if attack is None else tuple(attack)
    with talking() as talk:
        found = story.put_under_stress(
            run,
            source,
            pictures=pictures,
            attacks=attacks,
            certify=certify,
            seed=seed,
            data_dir=data_dir,
            corrections=corrections,
            trust_code=trust_code,
            talk=talk,
        )
    print_json(found) if json_ else print(tell(found))
