"""Export a classifier, on its own test pictures or on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from linnaeus.classifier import Classifier
from linnaeus.run import Run
from linnaeus.story.pictures import open_pictures, where_of
from linnaeus.story.shown import precision_of, shown_of_run, shown_of_source
from linnaeus.talk import Talk
from linnaeus.targets import Target
from linnaeus.targets.environment import said_to
from linnaeus.targets.repository import model_names, write_repository
from linnaeus.verbs.export import Demand, export, refuse_failures
from linnaeus.verbs.report import report


@dataclass(frozen=True)
class Wanted:
    """What `ship` is asked for; see `Demand` for the rest.

    Attributes:
        targets: Formats.
        precision: Name of one; "int8" takes training and validation pictures of the run.
        demand: Its precision is filled in.
        pictures: So many are compared, 1 or more.
        repository: "triton", "kserve" or "tfserving" lays the files out for that server, too; "" does not.
    """

    targets: Sequence[Target]
    precision: str = "float32"
    demand: Demand = field(default_factory=Demand)
    pictures: int = 512
    repository: str = ""


def ship(
    model: Path,
    wanted: Wanted,
    *,
    out: Path | None = None,
    source: str | None = None,
    data_dir: Path | None = None,
    trust_code: bool = False,
    talk: Talk | None = None,
) -> dict[str, Any]:
    """Export a classifier, prove each file, and let the run keep what was found.

    Args:
        model: A run; with a source also a model folder.
        wanted: What to write.
        out: Folder of the files; by default RUN/exports.
        source: Pictures for the proof; by default the run's own test pictures.
        data_dir: Where the data of a built-in name are.
        trust_code: See `Classifier.load`.
        talk: Where words and progress go.

    Returns:
        The document "export".

    Raises:
        CheckFailed: A file does not answer as the classifier does; its folder NAME.failed holds the evidence, and no
            repository is written.
        SettingsError: 8 bits are wanted of a model folder, which has no training pictures.
    """
    from linnaeus.targets.graph import card_of

    talk = talk or Talk()
    classifier = Classifier.load(model, trust_code=trust_code)
    run = Run.open(model) if source is None else None
    how, classes, any_size = classifier.preprocessing, classifier.classes, wanted.demand.any_size
    with talk.stage("pictures"):
        if run is not None:
            shown = shown_of_run(run, classes, how, wanted.pictures, any_size=any_size)
        else:
            assert source is not None
            opened = open_pictures(where_of(source, data_dir=data_dir), talk)
            shown = shown_of_source(opened, classes, how, wanted.pictures, any_size=any_size)
        precision = precision_of(wanted.precision, model, classes, how)
    folder = out or Path(model) / "exports"
    card = card_of(classifier, wanted.demand.outputs, wanted.demand.layout, any_size)
    if wanted.repository:
        # TensorRT's plan is built where there is a GPU; what is only written is not served.
        ready = [target.name for target in wanted.targets if not target.why_not_here()]
        model_names(wanted.repository, ready, folder, card)
    with said_to(talk.say):
        found = export(classifier, wanted.targets, folder, shown, replace(wanted.demand, precision=precision), talk)
    if run is not None:
        kept = run.result("export")["files"] if run.has_result("export") else {}
        run.write_result("export", found | {"files": kept | found["files"]})
        report(run)
    refuse_failures(found)
    if wanted.repository:
        files = {name: Path(one["path"]) for name, one in found["files"].items()}
        found["repository"] = str(write_repository(wanted.repository, files, folder, card))
    return found
