"""The nouns: plain frozen data that the verbs hand to each other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PARTS = ("train", "val", "test")
"""The three sides of a split, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Place:
    """Say where the bytes of one picture are.

    Attributes:
        path: A file, absolute. It is only ever opened for reading.
        offset: First byte.
        length: Number of bytes; -1 takes the file to its end.
        layout: "" for an encoded picture (JPEG, PNG ...); else raw uint8 pixels as "CxHxW planar",
            e.g. "3x32x32" (CIFAR) or "1x8x8" (digits).
    """

    path: str
    offset: int = 0
    length: int = -1
    layout: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """One picture with what its source says of it.

    Attributes:
        id: Unique and stable within the source: the path relative to it, or "data_batch_1.bin#17".
        place: Where the bytes are.
        label: Class name exactly as the source spells it; "" if it has none.
        split: "train", "val" or "test" where the source says so, else "".
        group: Pictures of one group (patient, camera, day) stay on one side of a split; "" for none.
        extra: Whatever else the source's table says of it, as (column, value) in the table's order.
    """

    id: str
    place: Place
    label: str = ""
    split: str = ""
    group: str = ""
    extra: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Finding:
    """One thing that an audit noticed.

    Attributes:
        kind: A short fixed word: "truncated", "empty", "conflict", "leak", "small class" ...
        ids: The examples (or files) it is about.
        evidence: What was seen, for a person.
        severity: "set aside" (the examples are not used), "warning" or "note".
    """

    kind: str
    ids: tuple[str, ...]
    evidence: str
    severity: str = "warning"


def split_label(label: str) -> tuple[str, ...]:
    """Take a label of several classes ("cat|indoors") apart; a plain label gives one."""
    return tuple(part for part in label.split("|") if part)


@dataclass(frozen=True)
class Dataset:
    """A table of examples and the class names: plain data, nothing is read yet.

    Attributes:
        name: Short name for people and folders: "flowers".
        source: What the user typed.
        examples: Every picture to be used, in an order that does not depend on the file system.
        classes: The contract: every class name, in the order of the network's outputs.
        findings: What was set aside or noticed while listing.
        multilabel: The manifest gives some pictures several labels, separated by "|".
    """

    name: str
    source: str
    examples: tuple[Example, ...]
    classes: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    multilabel: bool = False

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def labels(self) -> np.ndarray:
        """Class number of each example, int64 [N]; -1 where the label is no class of `classes`."""
        number = {name: index for index, name in enumerate(self.classes)}
        return np.array([number.get(example.label, -1) for example in self.examples], dtype=np.int64)

    def classes_of(self, example: Example) -> tuple[str, ...]:
        """Name the classes of an example: one, several, or none."""
        if self.multilabel:
            return split_label(example.label)
        return (example.label,) if example.label else ()

    def counts(self) -> dict[str, int]:
        """Count the examples of each class, zero included."""
        found = Counter(name for example in self.examples for name in self.classes_of(example))
        return {name: found[name] for name in self.classes}

    def without(self, findings: Sequence[Finding]) -> Dataset:
        """Take out the examples that the findings set aside, and keep the findings."""
        gone = {id for finding in findings if finding.severity == "set aside" for id in finding.ids}
        kept = tuple(example for example in self.examples if example.id not in gone)
        return replace(self, examples=kept, findings=self.findings + tuple(findings))

    def take(self, rows: Sequence[int] | np.ndarray) -> Dataset:
        """Choose examples by row number, in that order."""
        return replace(self, examples=tuple(self.examples[int(row)] for row in rows))


@dataclass(frozen=True)
class Split:
    """Which example is train, val or test, and why.

    Attributes:
        parts: "train", "val" or "test" for each example, [N].
        why: "given", "hash of content", "hash of group" ... for each example, [N].
        findings: Leaks, classes that are missing somewhere, classes too small to be split.
    """

    parts: np.ndarray
    why: np.ndarray
    findings: tuple[Finding, ...] = ()

    def rows(self, part: str) -> np.ndarray:
        """Row numbers of one part, ascending int64."""
        return np.flatnonzero(self.parts == part)


@dataclass(frozen=True)
class Predictions:
    """Probabilities for examples: the only input of metrics, calibration and report.

    Attributes:
        probabilities: float64 [N, K]; each row sums to 1.
        labels: True class numbers, int64 [N]; -1 where not known.
        ids: [N].
        classes: K names.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    ids: tuple[str, ...]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        N, K = self.probabilities.shape
        assert len(self.labels) == N == len(self.ids), "one label and one id per row"
        assert len(self.classes) == K, "one name per column"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def predicted(self) -> np.ndarray:
        """Most probable class number, int64 [N]; the first of equals."""
        return self.probabilities.argmax(axis=1)

    @property
    def confidence(self) -> np.ndarray:
        """Probability of the predicted class, [N]."""
        return self.probabilities.max(axis=1)

    def known(self) -> Predictions:
        """Keep the rows whose true class is known."""
        rows = np.flatnonzero(self.labels >= 0)
        if len(rows) == len(self.labels):
            return self
        return replace(
            self,
            probabilities=self.probabilities[rows],
            labels=self.labels[rows],
            ids=tuple(self.ids[row] for row in rows),
        )


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Attributes:
        value: The point estimate.
        low: Lower end of the 95 % interval.
        high: Upper end.
        n: Number of pictures it rests on.
        method: How the interval was made: "wilson", "bootstrap" ...
    """

    value: float
    low: float
    high: float
    n: int
    method: str

    def percent(self) -> str:
        """Write as "93.4 % (90.4 to 95.5)"."""
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class, each with its interval; `support` is its number of true pictures."""

    name: str
    precision: Estimate
    recall: Estimate
    f1: Estimate
    support: int


@dataclass(frozen=True)
class Scores:
    """Everything measured on one set of predictions.

    Attributes:
        overall: "accuracy", "balanced_accuracy", "weighted_accuracy", "top5_accuracy", "macro_f1", "weighted_f1",
            "log_loss", "ece" ...
        per_class: The classification report, in the order of the classes.
        confusion: Counts [K, K]; row true, column predicted.
        notes: What could not be scored, and why.
    """

    overall: Mapping[str, Estimate]
    per_class: tuple[ClassScores, ...]
    confusion: np.ndarray
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Decision:
    """One thing that the program decided for the user: the setting, the value used, and the reason."""

    setting: str
    value: object
    reason: str


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a picture becomes the network's input: the one description that every verb and every export follows.

    Decoding gives upright sRGB bytes. Resizing follows `resize`: "crop" brings the short side to `resize_px` and later
    takes the middle `size_px`; "squash" brings both sides to `size_px`; "pad" brings the long side to `size_px` and
    fills up with `background`. The network then sees (byte / 255 - mean) / std.

    Attributes:
        size_px: Height and width of the network's input.
        resize: "crop", "squash" or "pad".
        resize_px: Short side after resizing; equal to size_px unless resize is "crop".
        interpolation: "bilinear", "bicubic" (both antialiased) or "nearest".
        background: Red, green, blue behind transparent pixels and padding.
        channels: 3 for RGB, 1 for grey (ITU-R 601 luma).
        mean: Per channel, in units of 0..1.
        std: Per channel, in units of 0..1.
        max_pixels: Larger pictures are refused.
    """

    size_px: int
    resize: str = "crop"
    resize_px: int = 0
    interpolation: str = "bilinear"
    background: tuple[int, int, int] = (255, 255, 255)
    channels: int = 3
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    max_pixels: int = 89_478_485

    def __post_init__(self) -> None:
        if not self.resize_px:
            object.__setattr__(self, "resize_px", self.size_px)
        assert len(self.mean) == len(self.std) == self.channels, "one mean and std per channel"
        assert self.resize == "crop" or self.resize_px == self.size_px, "only crop resizes to another size"
