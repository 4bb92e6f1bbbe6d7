"""Every setting of a run: frozen, validated, documented in place.

`None` always means "decide from the data"; what was decided stands in the plan of the run, with the reason.
Order of precedence: defaults < recipe file < command line. Settings are never written back.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from linnaeus.errors import SettingsError
from linnaeus.periods import is_before, period_of

RECIPES = Path(__file__).parent / "recipes"
MEMORY_GB = 5.0
EXIF_GROUPS = ("camera", "day", "hour")
"""What pictures can be grouped by that EXIF tells."""


class Settings(BaseModel):
    """What all groups of settings share: frozen, no unknown names, docstrings as help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class DataSettings(Settings):
    """How pictures are read and brought to one size, in training, evaluation, prediction and export alike."""

    size_px: int | None = Field(default=None, ge=4, le=2048)
    """Height and width of the network's input."""
    resize: Literal["crop", "squash", "pad"] | None = None
    """crop: short side to size_px / crop_fraction, then the middle. squash: both sides, shape lost. pad: long side, then
    background."""
    crop_fraction: float | None = Field(default=None, gt=0.2, le=1)
    """With resize = crop: share of the short side that the network sees."""
    interpolation: Literal["bilinear", "bicubic", "nearest"] | None = None
    """How pictures are resized; always antialiased, except nearest (the Keras lessons)."""
    background: tuple[int, int, int] = (255, 255, 255)
    """Red, green, blue (0 to 255) behind transparent pixels and padding."""
    channels: Literal[1, 3] | None = None
    """1: grey. 3: RGB."""
    max_pixels: int = Field(default=89_478_485, ge=1, le=178_956_970)
    """A larger picture (width x height) is set aside: it may be a decompression bomb."""
    cache_gb: float = Field(default=20.0, gt=0)
    """Most disk space that decoded pictures may take, in GB; the longest unused go first."""
    memory_gb: float = Field(default=MEMORY_GB, gt=0)
    """Most memory, in GB, for the features that a head is solved on and what is done with them, and for what frozen stages
    and a teacher give. Above it features lie in a file meanwhile (in an audit, too), a head is solved in a closed form, and frozen
    stages are computed in every step. Pictures that are made up or left out of unequal classes (smote, undersample) are not
    counted."""

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if not all(0 <= part <= 255 for part in value):
            raise ValueError("red, green and blue are from 0 to 255")
        return value


class SplitSettings(Settings):
    """Which share of the pictures is kept for validation and test where the source does not say."""

    val: float = Field(default=0.15, ge=0, lt=1)
    """Share for choosing and calibrating the model."""
    test: float = Field(default=0.15, ge=0, lt=1)
    """Share for the final scores."""
    copies: bool = True
    """Look for near-duplicates: they stay on one side, and leaks are told. Without, only equal bytes are kept together; for
    a split that others have looked through, where seconds count."""
    salt: str = "linnaeus"
    """Another word gives another split."""
    group_by: str | None = None
    """What stays on one side: column:NAME of a table, path:EXPRESSION (a regular expression; its first group counts, or all
    that it matches), exif:camera, exif:day or exif:hour. Without it, the column group counts where there is one."""
    hold_out: tuple[str, ...] = ()
    """Names of groups that make up the test part: the model is tested on places, people or cameras that it never saw."""
    hold_out_from: str | None = None
    """Pictures taken at or after this time make up the test part, as 2024, 2024-06, 2024-06-01 or 2024-06-01T14:30. The time
    is that of a column time, date, datetime or timestamp, else EXIF."""
    hold_out_to: str | None = None
    """The same, up to and including this time."""
    folds: int | None = Field(default=None, ge=2, le=100)
    """Cross-validation: so many parts, each tested once by a model that was trained on the others."""
    fold: int | None = Field(default=None, ge=1)
    """Which of the folds this run tests."""

    @field_validator("hold_out", mode="before")
    @classmethod
    def _names_are_words(cls, value: object) -> object:
        # A group may be called 7, which TOML takes for a number, and one name need not be written as a list.
        names = value if isinstance(value, list | tuple) else [value]
        return tuple(str(one) if isinstance(one, int) else one for one in names)

    @field_validator("hold_out_from", "hold_out_to", mode="before")
    @classmethod
    def _is_a_time(cls, value: object) -> object:
        # TOML has dates and numbers of its own: 2024-06-01 and 2024 come as such.
        text = value.isoformat() if isinstance(value, date) else str(value) if isinstance(value, int) else value
        if isinstance(text, str):
            period_of(text)
        return text

    @field_validator("group_by")
    @classmethod
    def _is_a_rule(cls, value: str | None) -> str | None:
        kind, colon, what = (value or "").partition(":")
        if value is not None and (kind not in ("column", "path", "exif") or not colon or not what.strip()):
            raise ValueError("column:NAME, path:EXPRESSION, exif:camera, exif:day or exif:hour is meant")
        if kind == "exif" and what not in EXIF_GROUPS:
            raise ValueError("of EXIF there is " + ", ".join(f"exif:{one}" for one in EXIF_GROUPS))
        if kind == "path":
            try:
                re.compile(what)
            except re.error as error:
                raise ValueError(f"the regular expression does not hold: {error}") from None
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> SplitSettings:
        if self.fold is not None and (self.folds is None or self.fold > self.folds):
            raise ValueError("split.fold is one of the folds from 1 to split.folds")
        if self.folds is not None and self.holds_out:
            raise ValueError("folds test every picture, and hold_out only some: one of the two is meant")
        start, end = self.hold_out_from, self.hold_out_to
        if start and end and not is_before(period_of(start)[0], period_of(end)[1]):
            raise ValueError("hold_out_from comes before hold_out_to")
        return self

    @property
    def holds_out(self) -> bool:
        """Tell whether the test part is chosen by name or time."""
        return bool(self.hold_out or self.hold_out_from or self.hold_out_to)


class ModelSettings(Settings):
    """The network, where its weights come from, and which of them are trained."""

    name: str | None = None
    """A lesson's network, one of our own, any timm name, or path/to/file.py:function."""
    weights: str | None = None
    """default: the network's published weights. none: start from random numbers. Else a .safetensors, .pth or .pt file."""
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Keyword arguments for the network, such as batch_norm = true."""
    freeze: Literal["none", "backbone"] | int | None = None
    """none: train all. backbone: train the head only. A number: the first n stages stay as they are."""
    unfreeze_every: int | None = Field(default=None, ge=1)
    """Gradual unfreezing: start with the head, add one stage from the top every so many epochs."""
    freeze_after: tuple[float, ...] | None = None
    """Progressive freezing: after the first share of the run the lowest stage stands still, after the second the next one, and
    so on. What stands still needs no gradient; lower stages are ready first (FreezeOut, Brock et al. 2017)."""
    hold_depthwise: bool | None = None
    """Keep depthwise filters as they are: on a CPU their gradient takes longer than everything else together."""
    keep_statistics: bool | None = None
    """Batch norms use the statistics that came with the weights: those of small batches are too rough for fine-tuning."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Learning rate of each stage relative to the stage above it."""

    @field_validator("freeze")
    @classmethod
    def _not_negative(cls, value: str | int | None) -> str | int | None:
        if isinstance(value, int) and value < 0:
            raise ValueError("a number of stages is 0 or more")
        return value

    @field_validator("freeze_after")
    @classmethod
    def _ascending_shares(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value and not (value[0] > 0 and value[-1] < 1 and list(value) == sorted(value)):
            raise ValueError("shares of the run are above 0, below 1 and ascend: the lowest stage comes first")
        return value

    @model_validator(mode="after")
    def _freezes_in_one_way(self) -> ModelSettings:
        if self.freeze_after and (self.unfreeze_every or self.freeze not in (None, "none", 0)):
            raise ValueError("freeze, unfreeze_every and freeze_after are three ways: one of them is meant")
        return self


class AugmentSettings(Settings):
    """Random changes of training pictures. All geometric ones become one affine map and one interpolation."""

    flip: Literal["none", "random", "alternating"] | None = None
    """Mirror left-right: at random, or every second epoch (airbench)."""
    flip_vertical: bool = False
    """Also mirror up-down at random: for pictures without an up, such as microscopy or aerial views."""
    rotate_deg: float = Field(default=0, ge=0, le=180)
    """Largest turn to either side, in degrees."""
    shift: float | None = Field(default=None, ge=0, le=0.5)
    """Largest shift to either side, as a share of the side, both axes."""
    shift_x: float | None = Field(default=None, ge=0, le=0.5)
    """The same for the width alone; overrides shift."""
    zoom: tuple[float, float] = (1.0, 1.0)
    """Least and largest magnification."""
    crop_area: tuple[float, float] | None = None
    """Random resized crop: least and largest share of the area (GoogLeNet; 0.08 to 1 for ImageNet)."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Random resized crop: least and largest ratio of width to height."""
    fill: Literal["edge", "reflect", "black"] | None = None
    """What stands outside of the picture."""
    color: float | None = Field(default=None, ge=0, le=1)
    """Strength of brightness, contrast and saturation jitter."""
    erase: float = Field(default=0, ge=0, le=1)
    """Probability that a random rectangle is erased (Zhong et al. 2017)."""
    mixup: float = Field(default=0, ge=0)
    """Alpha of mixup (Zhang et al. 2018); 0 is off."""
    cutmix: float = Field(default=0, ge=0)
    """Alpha of cutmix (Yun et al. 2019); 0 is off. With mixup: each batch gets one of them."""

    @field_validator("zoom", "crop_area", "crop_ratio")
    @classmethod
    def _from_least_to_largest(cls, value: tuple[float, float] | None, info: ValidationInfo) -> object:
        if value is not None and not 0 < value[0] <= value[1] <= (1 if info.field_name == "crop_area" else math.inf):
            most = ", and no area is above 1" if info.field_name == "crop_area" else ""
            raise ValueError(f"the least is above 0 and not above the largest{most}")
        return value


class OptimSettings(Settings):
    """Optimizer and the course of its learning rate."""

    name: Literal["adam", "adamw", "sgd", "muon"] | None = None
    """sgd is with Nesterov momentum; muon trains the filters of convolutions, sgd all else."""
    lr: float | None = Field(default=None, gt=0)
    """Peak learning rate."""
    momentum: float | None = Field(default=None, ge=0, lt=1)
    """Of sgd and muon; beta 1 of adam and adamw."""
    eps: float = Field(default=1e-8, gt=0)
    """Of adam and adamw; Keras takes 1e-7."""
    sgd_lr: float | None = Field(default=None, gt=0)
    """muon: peak learning rate of all that is no filter of a convolution, which plain sgd trains."""
    sgd_momentum: float | None = Field(default=None, ge=0, lt=1)
    """muon: momentum of all that is no filter of a convolution; without it, that of the filters."""
    weight_decay: float | None = Field(default=None, ge=0)
    """Not on norms and biases."""
    bias_decay: float = Field(default=0, ge=0)
    """Weight decay of what weight_decay spares: norms, biases, and what the network itself excludes. 0 is usual."""
    schedule: Literal["constant", "step", "cosine", "one-cycle", "linear"] | None = None
    """Course of the learning rate over the run, after the warm-up; one-cycle rises by itself for a quarter of the run."""
    warmup: float = Field(default=0, ge=0, lt=1)
    """Share of the run in which the rate rises linearly from 0."""
    step_epochs: int = Field(default=5, ge=1)
    """step: the rate is multiplied by gamma every so many epochs."""
    gamma: float = Field(default=0.1, gt=0, lt=1)
    """step: see step_epochs."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, which is then what is evaluated and saved."""

    @model_validator(mode="after")
    def _rises_once(self) -> OptimSettings:
        if self.schedule == "one-cycle" and self.warmup:
            raise ValueError("one-cycle rises by itself: leave optim.warmup at 0")
        return self


class TrainSettings(Settings):
    """The course of the training."""

    start: Literal["head", "fresh"] | None = None
    """head: first solve a linear head on the frozen backbone's features. fresh: begin with a random head."""
    epochs: float | None = Field(default=None, ge=0)
    """Passes over the training pictures; 0 with start = head keeps the solved head as it is."""
    batch_size: int | None = Field(default=None, ge=1)
    """Pictures per step."""
    precision: Literal["fp32", "bf16"] | None = None
    """bf16 where the processor has it and is not faster without."""
    pieces: int | None = Field(default=None, ge=1)
    """On a CPU: into how many pieces a batch is cut at most, each computed by one core; one for each core, unless one core
    alone is faster. Layers with statistics see a piece each, so that another number gives other weights."""
    compile: Literal["auto", "on", "off"] = "auto"
    """On a GPU: compile the network first, which takes a minute and makes each step shorter. auto: where a run is long
    enough to gain from it."""
    label_smoothing: float | None = Field(default=None, ge=0, lt=1)
    """Probability mass that is spread over all classes."""
    balance: Literal["none", "weights", "oversample", "undersample", "smote", "auto"] | None = None
    """Where some classes have few pictures. weights: a picture of a rare class weighs more. oversample: rare classes come as
    often as others. undersample: common classes come as seldom. smote: for the head, features of rare classes are made up.
    auto: what helps on held-out pictures, else nothing."""
    loss: Literal["cross-entropy", "focal", "logit-adjusted"] = "cross-entropy"
    """focal: pictures that are right already count less (Lin et al. 2017). logit-adjusted: makes up for the class sizes (Menon
    et al. 2021)."""
    focal_gamma: float = Field(default=2.0, gt=0, le=10)
    """focal: how much less."""
    logit_tau: float = Field(default=1.0, gt=0, le=5)
    """logit-adjusted: 1 makes up for the class sizes in full."""
    clean: Literal["none", "auto"] = "none"
    """auto: training pictures whose label is wrong beyond doubt are left out; validation and test stay as they are given."""
    views: int | None = Field(default=None, ge=0)
    """With frozen lower stages: their outputs are computed once for so many random views of each picture, and every step
    draws from these. 0 computes them anew in each step."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many epochs without a better validation loss."""
    keep: Literal["best", "last"] = "best"
    """Which weights become the model: those of the best validation loss (after calibration), or the last."""
    calibrate: bool = True
    """Fit a temperature on the validation part and ship it in the model."""
    checkpoint_every_s: float = Field(default=30, gt=0)
    """Seconds between two checkpoints; each epoch ends with one as well."""
    teacher: str | None = None
    """A run (or model folder) whose answers are learned as well as the labels: distillation."""
    unlabelled: str | None = None
    """A folder, or a pattern, of pictures without labels, on which the teacher's answers are learned."""
    teacher_weight: float | None = Field(default=None, gt=0, le=1)
    """How much the teacher's answers count; the labels have the rest."""
    teacher_temperature: float | None = Field(default=None, gt=0, le=100)
    """Divides the logits of both: above 1, what the teacher finds improbable counts for more."""
    adversarial: float = Field(default=0, ge=0, le=64)
    """Adversarial training: every picture is first changed for the worst, each byte by so much at most; 0 is off, 8 is usual
    for small pictures."""
    adversarial_steps: int = Field(default=3, ge=1, le=100)
    """Steps of that attack, each of which costs as much as a step of plain training. With 1 the network may learn to fool
    this attack alone; 7 is usual."""

    @property
    def helps_rare_classes(self) -> bool:
        """Tell whether the training makes up for rare classes: calibration must not learn their frequencies back then."""
        return self.balance != "none" or self.loss == "logit-adjusted"

    @model_validator(mode="after")
    def _has_a_teacher(self) -> TrainSettings:
        if self.unlabelled and not self.teacher:
            raise ValueError("unlabelled pictures need train.teacher, whose answers are learned on them")
        if self.teacher and self.epochs == 0:
            raise ValueError("from train.teacher something is learned only with train.epochs above 0")
        if self.unlabelled and self.adversarial:
            raise ValueError("adversarial training needs labels: leave train.unlabelled out")
        return self


class Recipe(Settings):
    """Every setting of a run."""

    data: DataSettings = DataSettings()
    split: SplitSettings = SplitSettings()
    model: ModelSettings = ModelSettings()
    augment: AugmentSettings = AugmentSettings()
    optim: OptimSettings = OptimSettings()
    train: TrainSettings = TrainSettings()
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Same seed, same machine: the same weights."""
    effort: Literal["quick", "balanced", "best"] = "balanced"
    """How far to go with what is left open. quick: a solved head, in half a minute for a few thousand
    photographs. balanced: fine-tuned, in some minutes. best: some times as long."""
    budget_s: float | None = Field(default=None, gt=0)
    """Wall-clock time for everything, evaluation and report included, in seconds."""


def recipe_names() -> list[str]:
    """List the recipes that come with Linnaeus."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def recipe_for(network: str) -> str | None:
    """Name the recipe that belongs to a network: the lessons have one each."""
    name = network.replace("_", "-")
    return name if name in recipe_names() else None


def load_recipe(name: str | Recipe | None = None, overrides: dict[str, Any] | None = None) -> Recipe:
    """Build a recipe from a file and from settings given by name.

    Args:
        name: One of `recipe_names()`, the path of a .toml file, a recipe, or None for the defaults.
        overrides: {"optim.lr": 0.01}; text values are read as TOML where that is possible.

    Raises:
        SettingsError: No such recipe or setting, or a value that does not hold.
    """
    values = name.model_dump() if isinstance(name, Recipe) else _read_recipe(name) if name else {}
    for dotted, value in (overrides or {}).items():
        *path, last = dotted.split(".")
        group = values
        for step in path:
            group = group.setdefault(step, {})
            if not isinstance(group, dict):
                raise SettingsError(
                    f"setting {dotted!r} does not exist.", got=f"{step} is a value", fix="see docs/settings.md."
                )
        group[last] = _parse(value) if isinstance(value, str) else value
    return validate(values)


def validate(values: dict[str, Any]) -> Recipe:
    """Make a recipe of nested values, with errors that name the setting and the nearest right name."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        dotted = ".".join(str(step) for step in first["loc"])
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(dotted, setting_names(), n=3, cutoff=0.5)
            raise SettingsError(
                f"setting {dotted!r} does not exist.",
                fix=f"did you mean {' or '.join(near)}?" if near else "see docs/settings.md for all names.",
            ) from None
        said = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"setting {dotted}: {said}.", got=repr(first["input"])) from None


def setting_names() -> list[str]:
    """List every setting by its dotted name."""
    names = []
    for name, field in Recipe.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, Settings):
            names += [f"{name}.{inner}" for inner in group.model_fields]
        else:
            names.append(name)
    return names


def _read_recipe(name: str) -> dict[str, Any]:
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        near = difflib.get_close_matches(name, recipe_names(), n=3, cutoff=0.4)
        known = " or ".join(near) if near else ", ".join(recipe_names())
        raise SettingsError(f"recipe {name!r} does not exist.", fix=f"take {known}, or the path of a .toml file.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"recipe {path} should be TOML.", got=str(error)) from None


def _parse(text: str) -> Any:
    """Read a value as TOML does ("0.1", "true", "[0.08, 1]"); anything else is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
