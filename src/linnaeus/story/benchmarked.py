"""Find out which runtime is the fastest here, for a run or for exported files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from linnaeus.classifier import Classifier
from linnaeus.errors import RunError
from linnaeus.run import Run
from linnaeus.story.pictures import open_pictures, where_of
from linnaeus.story.shown import precision_of, shown_of_run, shown_of_source
from linnaeus.talk import Talk
from linnaeus.targets import Target
from linnaeus.targets.graph import card_of
from linnaeus.targets.proof import Shown
from linnaeus.verbs.benchmark import Trial, benchmark, noise


def time_runtimes(
    model: Path,
    targets: Sequence[Target],
    *,
    precisions: Sequence[str] = ("float32",),
    trial: Trial | None = None,
    pictures: int = 256,
    source: str | None = None,
    data_dir: Path | None = None,
    trust_code: bool = False,
    talk: Talk | None = None,
) -> dict[str, Any]:
    """Measure a classifier in every format that works on this machine.

    Args:
        model: A run or a model folder.
        targets: Formats.
        precisions: Names; "int8" takes training and validation pictures of the run.
        trial: How it is measured.
        pictures: So many answers are compared.
        source: Their source; by default the run's test pictures, and noise where none of them can be read any more.
        data_dir: Where the data of a built-in name are.
        trust_code: See `Classifier.load`.
        talk: Where words and progress go.

    Returns:
        The document "benchmark".

    Raises:
        SettingsError: 8 bits are wanted of a model folder, which has no training pictures.
    """
    talk = talk or Talk()
    classifier = Classifier.load(model, trust_code=trust_code)
    with talk.stage("pictures"):
        if source is not None:
            dataset = open_pictures(where_of(source, data_dir=data_dir), talk)
            shown = shown_of_source(dataset, classifier.classes, classifier.preprocessing, pictures)
        else:
            shown = _own_pictures(model, classifier, pictures, talk)
        chosen = [precision_of(name, model, classifier.classes, classifier.preprocessing) for name in precisions]
    return benchmark(classifier, targets, shown, model=model, precisions=chosen, trial=trial, talk=talk)


def _own_pictures(model: Path, classifier: Classifier, count: int, talk: Talk) -> Shown:
    try:
        return shown_of_run(Run.open(model), classifier.classes, classifier.preprocessing, count)
    except RunError as error:
        talk.say(f"answers are compared on noise: {error.rule} got: {error.got}")
        return noise(card_of(classifier, None, "nhwc", False))
