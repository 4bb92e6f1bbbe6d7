"""A run: the folder of what happened. The only module that knows its file names; every write is atomic."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from linnaeus.atomic import plain, unfinished_in, write_json, write_text
from linnaeus.config import Recipe, validate
from linnaeus.errors import RunError
from linnaeus.records import Dataset, Decision, Finding, Place, Predictions, Scores, Split
from linnaeus.tables import read_table, write_table
from linnaeus.written import MANY_CLASSES, prediction_columns, read_predictions, read_scores, scores_document

URI = "file://"
LONGEST_NAME = 100
"""Bytes of the data's name in the name of a run: with date and time it must stay below what a folder may have."""


@dataclass(frozen=True)
class Run:
    """A folder with everything that one training did and left.

    Attributes:
        folder: `recipe.json` is written first: a folder without it is no run.
    """

    folder: Path

    @classmethod
    def create(cls, out: Path | None, name: str, recipe: Recipe, source: Mapping[str, Any]) -> Run:
        """Make a new run in `out`, or in runs/NAME-DATE-TIME.

        Args:
            out: A folder that does not exist or is empty; what a killed process left half-written in it is removed.
            name: Short name of the data.
            recipe: What was asked for.
            source: How to open the data again: the arguments of `open_source`.

        Raises:
            RunError: `out` holds something already.
        """
        folder = out or _fresh_folder(name)
        halves = unfinished_in(folder) if folder.is_dir() else []
        if folder.is_file() or (folder.is_dir() and len(list(folder.iterdir())) > len(halves)):
            raise RunError(
                f"{folder} should be a new or an empty folder.",
                got="a file" if folder.is_file() else "files in it",
                fix=f"take another --out, or go on with: linnaeus train --resume {shlex.quote(str(folder))}",
            )
        for half in halves:
            half.unlink(missing_ok=True)
        run = cls(folder)
        folder.mkdir(parents=True, exist_ok=True)
        run._write_json("recipe.json", {"recipe": recipe.model_dump(mode="json"), "source": dict(source)})
        return run

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Open an existing run.

        Raises:
            RunError: The folder is missing or is no run.
        """
        run = cls(Path(folder))
        if not run._path("recipe.json").is_file():
            got = "no such folder" if not run.folder.is_dir() else "a folder without recipe.json"
            raise RunError(f"{folder} should be the folder of a run.", got=got, fix=_nearest_runs())
        return run

    def recipe(self) -> Recipe:
        """Read what was asked for."""
        return validate(self._read_json("recipe.json")["recipe"])

    def source(self) -> dict[str, Any]:
        """Read how to open the data again."""
        return self._read_json("recipe.json")["source"]

    def write_plan(self, used: Recipe, decisions: Sequence[Decision], facts: Mapping[str, Any]) -> None:
        """Store what was computed from the recipe: every setting as used, the decisions with reasons, facts of the data."""
        self._write_json(
            "plan.json",
            {
                "used": used.model_dump(mode="json"),
                "decisions": [asdict(one) for one in decisions],
                "facts": dict(facts),
            },
        )

    def plan(self) -> dict[str, Any]:
        """Read the plan: keys used, decisions, facts."""
        return self._read_json("plan.json")

    def has_plan(self) -> bool:
        """Tell whether planning was done."""
        return self._path("plan.json").is_file()

    def write_provenance(self, values: Mapping[str, Any]) -> None:
        """Store versions, hardware, seed, data fingerprint and command."""
        self._write_json("provenance.json", values)

    def provenance(self) -> dict[str, Any]:
        """Read versions, hardware, seed, data fingerprint and command."""
        return self._read_json("provenance.json")

    def write_summary(self, values: Mapping[str, Any]) -> None:
        """Store how it ended: seconds by stage, epochs, what was learned."""
        self._write_json("summary.json", values)

    def summary(self) -> dict[str, Any]:
        """Read how it ended."""
        return self._read_json("summary.json")

    def has_summary(self) -> bool:
        """Tell whether the training and its scores are done."""
        return self._path("summary.json").is_file()

    def is_complete(self) -> bool:
        """Tell whether the run came to its end, report included."""
        return self.has_summary() and self.report_path.is_file()

    def write_split(self, dataset: Dataset, split: Split, hashes: Sequence[str]) -> None:
        """Store which example is train, val or test, why, and where its bytes are."""
        examples = dataset.examples
        write_table(
            self._path("split.csv"),
            {
                "id": [one.id for one in examples],
                "label": [one.label for one in examples],
                "split": [str(part) for part in split.parts],
                "why": [str(why) for why in split.why],
                "group": [one.group for one in examples],
                "hash": list(hashes),
                "path": [_written(one.place.path) for one in examples],
                "offset": [one.place.offset for one in examples],
                "length": [one.place.length for one in examples],
                "layout": [one.place.layout for one in examples],
            },
        )

    def has_split(self) -> bool:
        """Tell whether pictures were divided."""
        return self._path("split.csv").is_file()

    def split(self) -> dict[str, Any]:
        """Read the split as columns id, label, split, why, group, hash and `place` (list of Place).

        Raises:
            RunError: There is none, of a training that was stopped before or of a whole cross-validation.
        """
        if not self.has_split():
            raise RunError(
                f"{self.folder} should have divided its pictures.",
                got="no split.csv",
                fix=f"linnaeus train --resume {shlex.quote(str(self.folder))}; of a cross-validation name a fold: fold-1.",
            )
        text = ("id", "label", "split", "why", "group", "hash", "path", "layout")
        columns = read_table(self._path("split.csv"), text)
        where = zip(*(columns.pop(name) for name in ("path", "offset", "length", "layout")), strict=True)
        columns["place"] = [
            Place(_path_of(path), int(offset), int(length), layout) for path, offset, length, layout in where
        ]
        return columns

    def write_findings(self, findings: Sequence[Finding], accounted: Mapping[str, int]) -> None:
        """Store all findings, the account of every file, and `set_aside.csv` for people."""
        self._write_json("findings.json", {"accounted": dict(accounted), "findings": [asdict(one) for one in findings]})
        aside = [(id, one) for one in findings if one.severity == "set aside" for id in one.ids]
        write_table(
            self.set_aside_path,
            {
                "id": [id for id, _ in aside],
                "reason": [one.kind for _, one in aside],
                "evidence": [one.evidence for _, one in aside],
            },
        )

    def findings(self) -> list[Finding]:
        """Read all findings."""
        stored = self._read_json("findings.json")["findings"]
        return [Finding(**{**one, "ids": tuple(one["ids"])}) for one in stored]

    def accounted(self) -> dict[str, int]:
        """Read the account of every file: "found", "used", and one entry per reason of those set aside."""
        return self._read_json("findings.json")["accounted"]

    @property
    def set_aside_path(self) -> Path:
        """The table of the files that were not used, with reasons."""
        return self._path("set_aside.csv")

    @property
    def journal_path(self) -> Path:
        """JSON lines, one event each."""
        return self._path("journal.jsonl")

    def log(self, event: Mapping[str, Any]) -> None:
        """Append one event to the journal, flushed at once."""
        with self.journal_path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json.dumps(event, ensure_ascii=False, default=plain) + "\n")

    def journal(self) -> list[dict[str, Any]]:
        """Read all whole lines; a line cut off by a kill is left out."""
        if not self.journal_path.is_file():
            return []
        return list(_whole_lines(self.journal_path.read_text(encoding="utf-8")))

    def networks_judged(self) -> int:
        """Count the networks of this training that the validation part judged, one after each epoch; at least 1."""
        return max(1, sum("val_loss" in event for event in self.journal()))

    def rewind_journal(self, step: int) -> None:
        """Drop the events after a step, so that a resumed run writes each of them once."""
        kept = [event for event in self.journal() if event.get("step", -1) <= step]
        text = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in kept)
        write_text(self.journal_path, text)

    @property
    def tensorboard_dir(self) -> Path:
        """Folder of the TensorBoard events."""
        return self._path("tensorboard")

    @property
    def checkpoint_path(self) -> Path:
        """The training state: one file, whole or absent."""
        return self._path("checkpoint/state.safetensors")

    def has_checkpoint(self) -> bool:
        """Tell whether there is a training state to go on from."""
        return self.checkpoint_path.is_file()

    @property
    def model_dir(self) -> Path:
        """The model folder: model.safetensors and config.json."""
        return self._path("model")

    def write_predictions(self, part: str, predictions: Predictions) -> None:
        """Store probabilities with ids and true labels as predictions/PART.csv; of many classes as PART.parquet."""
        ending = "parquet" if len(predictions.classes) > MANY_CLASSES else "csv"
        write_table(self._path(f"predictions/{part}.{ending}"), prediction_columns(predictions))

    def predictions(self, part: str) -> Predictions:
        """Read predictions/PART.csv, or .parquet, back, bit by bit as they were."""
        return read_predictions(self._predictions_path(part))

    def has_predictions(self, part: str) -> bool:
        """Tell whether a part was predicted."""
        return self._predictions_path(part).is_file()

    def _predictions_path(self, part: str) -> Path:
        large = self._path(f"predictions/{part}.parquet")
        return large if large.is_file() else self._path(f"predictions/{part}.csv")

    def write_scores(self, part: str, scores: Scores) -> None:
        """Store the scores of one part as scores/PART.json."""
        self._write_json(f"scores/{part}.json", scores_document(scores))

    def scores(self, part: str) -> Scores:
        """Read the scores of one part."""
        return read_scores(self._read_json(f"scores/{part}.json"))

    def has_scores(self, part: str) -> bool:
        """Tell whether a part was scored."""
        return self._path(f"scores/{part}.json").is_file()

    def write_result(self, verb: str, values: Mapping[str, Any]) -> None:
        """Store what a verb found (calibration, slices, stress ...) as results/VERB.json."""
        self._write_json(f"results/{verb}.json", values)

    def result(self, verb: str) -> dict[str, Any]:
        """Read what a verb found."""
        return self._read_json(f"results/{verb}.json")

    def has_result(self, verb: str) -> bool:
        """Tell whether a verb left something."""
        return self._path(f"results/{verb}.json").is_file()

    def picture_path(self, name: str) -> Path:
        """Path of one of the run's pictures, pictures/NAME.png; its folder is made."""
        path = self._path(f"pictures/{name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def report_path(self) -> Path:
        """The self-contained page."""
        return self._path("report.html")

    def _path(self, name: str) -> Path:
        return self.folder / name

    def _write_json(self, name: str, values: Mapping[str, Any]) -> None:
        write_json(self._path(name), values)

    def _read_json(self, name: str) -> dict[str, Any]:
        try:
            return json.loads(self._path(name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(
                f"{self.folder} should hold {name}.",
                got="a run that did not get so far",
                fix=f"linnaeus train --resume {shlex.quote(str(self.folder))}",
            ) from None
        except json.JSONDecodeError as error:
            raise RunError(f"{self._path(name)} should be JSON.", got=str(error), fix="train again.") from None


def _whole_lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def _written(path: str) -> str:
    """Write an absolute path as UTF-8: as it is, or if that cannot be, as a URI with its very bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return URI + quote_from_bytes(os.fsencode(path))
    return path


def _path_of(written: str) -> str:
    return os.fsdecode(unquote_to_bytes(written.removeprefix(URI))) if written.startswith(URI) else written


def _fresh_folder(name: str) -> Path:
    name = name.encode()[:LONGEST_NAME].decode(errors="ignore")
    stamp = datetime.now().strftime("%Y-%m-%d-%H%M%S")
    folder, count = Path("runs") / f"{name}-{stamp}", 1
    while folder.exists():
        count += 1
        folder = Path("runs") / f"{name}-{stamp}-{count}"
    return folder


def _nearest_runs() -> str:
    runs = sorted(Path("runs").glob("*/recipe.json"), key=lambda path: path.stat().st_mtime)
    return f"the latest here is {runs[-1].parent}." if runs else "make one: linnaeus train SOURCE"
