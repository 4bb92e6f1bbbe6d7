"""Every setting of a run: frozen, validated, documented in place.

`None` always means "decide from the data"; what was decided stands in the plan of the run, with the reason.
Order of precedence: defaults < recipe file < command line. Settings are never written back.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from linnaeus.errors import SettingsError

RECIPES = Path(__file__).parent / "recipes"


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


class SplitSettings(Settings):
    """Which share of the pictures is kept for validation and test where the source does not say."""

    val: float = Field(default=0.15, ge=0, lt=1)
    """Share for choosing and calibrating the model."""
    test: float = Field(default=0.15, ge=0, lt=1)
    """Share for the final scores."""
    salt: str = "linnaeus"
    """Another word gives another split."""


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


class OptimSettings(Settings):
    """Optimizer and the course of its learning rate."""

    name: Literal["adam", "adamw", "sgd", "muon"] | None = None
    """sgd is with Nesterov momentum; muon trains matrices and filters, sgd the rest."""
    lr: float | None = Field(default=None, gt=0)
    """Peak learning rate."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of sgd and muon; beta 1 of adam and adamw."""
    eps: float = Field(default=1e-8, gt=0)
    """Of adam and adamw; Keras takes 1e-7."""
    sgd_lr: float | None = Field(default=None, gt=0)
    """muon: peak learning rate of the biases, norms and the head, which plain sgd trains."""
    weight_decay: float | None = Field(default=None, ge=0)
    """Not on norms and biases."""
    schedule: Literal["constant", "step", "cosine", "one-cycle", "linear"] | None = None
    """Course of the learning rate over the run, after the warm-up."""
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


class TrainSettings(Settings):
    """The course of the training."""

    start: Literal["head", "fresh"] | None = None
    """head: first solve a linear head on the frozen backbone's features. fresh: begin with a random head."""
    epochs: float | None = Field(default=None, ge=0)
    """Passes over the training pictures; 0 with start = head keeps the solved head as it is."""
    batch_size: int | None = Field(default=None, ge=1)
    """Pictures per step."""
    precision: Literal["fp32", "bf16"] | None = None
    """bf16 where the processor has it, unless asked otherwise."""
    label_smoothing: float | None = Field(default=None, ge=0, lt=1)
    """Probability mass that is spread over all classes."""
    class_weights: bool = False
    """Weigh the loss by the inverse of the class counts."""
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
        raise SettingsError(f"setting {dotted}: {first['msg']}.", got=repr(first["input"])) from None


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
