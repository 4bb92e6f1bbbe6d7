"""Compress a run's classifier: its training pictures teach, its validation pictures order, its test pictures judge."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from linnaeus.atomic import write_text
from linnaeus.classifier import Classifier
from linnaeus.errors import CheckFailed, Interrupted, SettingsError
from linnaeus.nn import zoo
from linnaeus.records import Preprocessing
from linnaeus.run import Run
from linnaeus.story.planned import recipe_of
from linnaeus.story.shown import shown_of_run, training_pictures
from linnaeus.story.slimmed import Means, forget, slimmed
from linnaeus.talk import Talk
from linnaeus.verbs.compress import FRONT, Demand, Pictures, Variant, compress
from linnaeus.verbs.report import front_svg, report

MOST_BYTES = 2_000_000_000
"""Of validation and of test pictures in memory."""


METHODS = ("int8", "float16", "bfloat16", "weights", "prune", "distil", "sparse")


def squeeze(
    model: Path,
    demand: Demand,
    means: Means | None = None,
    *,
    out: Path | None = None,
    trust_code: bool = False,
    command: str = "the same compression once more",
    talk: Talk | None = None,
) -> dict[str, Any]:
    """Compress a classifier by all means, alone and together, and let the run keep what was found.

    Args:
        model: A run.
        demand: What is wanted; how its files are calibrated is taken from the run.
        means: By what.
        out: Folder of the files, new, empty, or of an earlier compression, which it replaces; by default RUN/compressed.
        trust_code: See `Classifier.load`.
        command: What the user typed, told if it is stopped.
        talk: Where words and progress go.

    Returns:
        The document "compress".

    Raises:
        CheckFailed: No candidate meets the target and passes the gate.
        SettingsError: An unknown method or output, or `out` holds what compress did not write.
        ModelError: An unknown student.
        Interrupted: Ctrl-C; networks that were trained are kept, and the same compression goes on.
    """
    from linnaeus.targets.graph import card_of

    means, talk = means or Means(), talk or Talk()
    if strange := [one for one in means.methods if one not in METHODS]:
        raise SettingsError(f"a method should be one of {', '.join(METHODS)}.", got=", ".join(strange))
    if means.student and "distil" not in means.methods:
        raise SettingsError(
            "--student is what is distilled into.", got=f"--by {','.join(means.methods)}", fix="add distil."
        )
    run = Run.open(model)
    used = recipe_of(run)
    calibrate, keep_answers = used.train.calibrate, used.train.helps_rare_classes
    demand = replace(demand, calibrate=calibrate, keep_answers=keep_answers, seed=used.seed)
    classifier = Classifier.load(model, trust_code=trust_code)
    if means.student:
        # Complains now, and not after other networks were trained.
        zoo.outline(means.student, classifier.preprocessing.channels, classifier.preprocessing.size_px)
    card_of(classifier, demand.outputs, "nhwc", any_size=False)
    pictures = _pictures(run, classifier.classes, classifier.preprocessing)
    test = pictures(classifier.preprocessing).test
    if not test.labelled.any():
        raise SettingsError("the gate needs labelled test pictures.", got="none", fix="train with a test part.")
    variants = [Variant("original", (), lambda: classifier), *slimmed(run, classifier, means, talk)]
    folder = out or run.folder / "compressed"
    try:
        found = compress(variants, pictures, folder, demand, talk)
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(str(run.folder), command=command) from None
    if found["candidates"]:
        found["plot"] = str(folder / FRONT)
        write_text(folder / FRONT, front_svg(found))
    run.write_result("compress", found)
    forget(run, means)
    report(run)
    return found


def _pictures(run: Run, classes: tuple[str, ...], original: Preprocessing) -> Callable[[Preprocessing], Pictures]:
    """Give the run's pictures for any preprocessing, the same ones for all; those of the latest are kept."""
    # As many as there is room for at the original's size, which no smaller network exceeds.
    most = max(1, MOST_BYTES // (original.size_px**2 * original.channels))

    @functools.lru_cache(maxsize=1)
    def at(how: Preprocessing) -> Pictures:
        train = training_pictures(run, classes, how)
        val, test = (shown_of_run(run, classes, how, most, parts=(part,)) for part in ("val", "test"))
        return Pictures(train, val, test)

    return at


def refuse_failure(document: dict[str, Any]) -> None:
    """Stop where no candidate was chosen.

    Raises:
        CheckFailed: Says why.
    """
    if document["chosen"] is None:
        raise CheckFailed(
            "a smaller model should meet the target and pass the gate.",
            got=document["why"],
            fix="allow more with --max-drop, or ask for less with --target.",
        )
