"""Linnaeus: from a folder of pictures to an image classifier that you can trust and ship.

Importing this package is quick: what needs PyTorch is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from linnaeus.errors import LinnaeusError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from linnaeus.classifier import Classifier
    from linnaeus.config import Recipe, load_recipe
    from linnaeus.records import Estimate, Predictions
    from linnaeus.run import Run
    from linnaeus.talk import Talk

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "Estimate",
    "LinnaeusError",
    "Predictions",
    "Recipe",
    "Run",
    "load",
    "load_recipe",
    "train",
]

_HOMES = {
    "Classifier": "linnaeus.classifier",
    "Estimate": "linnaeus.records",
    "Predictions": "linnaeus.records",
    "Recipe": "linnaeus.config",
    "Run": "linnaeus.run",
    "load_recipe": "linnaeus.config",
}


def train(
    source: str | Path,
    *,
    recipe: str | Recipe | None = None,
    model: str | None = None,
    epochs: float | None = None,
    effort: str | None = None,
    budget_s: float | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    strict: bool = False,
    corrections: str | Path | None = None,
    talk: Talk | None = None,
) -> Run:
    """Learn a classifier from pictures: audit, split, train, calibrate, evaluate, report.

    What is not said is decided from the data; the decisions stand in the run, each with its reason.

    Args:
        source: A folder with one sub-folder per class, a table, an archive, or a built-in name such as "digits".
        recipe: A recipe's name, a .toml file, or a recipe.
        model: A lesson's network, any timm name, or "path/to/file.py:function".
        epochs: Passes over the training pictures.
        effort: How far to go: "quick", "balanced" or "best".
        budget_s: Seconds for everything, report included.
        seed: Same seed, same machine: the same weights.
        overrides: Any setting by name: {"optim.lr": 0.01}. It goes before the arguments above.
        out: Folder of the run, new or empty; by default a new one under runs/.
        data_dir: Folder that holds the data of a built-in name.
        strict: Stop if any file must be set aside.
        corrections: Decisions made in a review: a file, or "none"; by default the file beside the source.
        talk: Where words and progress go; nowhere by default.

    Returns:
        The finished run.

    Raises:
        LinnaeusError: The pictures, a setting or the folder cannot be used.

    Example:
        >>> run = linnaeus.train("photos/", budget_s=600)
        >>> run.scores("test").overall["accuracy"].percent()
        '93.4 % (90.4 to 95.5)'
    """
    from pathlib import Path

    from linnaeus import story
    from linnaeus.config import load_recipe, recipe_for

    direct = {"model.name": model, "train.epochs": epochs, "effort": effort, "budget_s": budget_s, "seed": seed}
    given = {name: value for name, value in direct.items() if value is not None} | dict(overrides or {})
    return story.tell(
        str(source),
        load_recipe(recipe or recipe_for(str(given.get("model.name", ""))), given),
        out=Path(out) if out is not None else None,
        data_dir=Path(data_dir) if data_dir is not None else None,
        strict=strict,
        corrections=corrections,
        talk=talk,
    )


def load(folder: str | Path, *, trust_code: bool = False) -> Classifier:
    """Read a trained classifier: the model of a run, or any model folder.

    Args:
        folder: RUN, RUN/model, or a copy of the latter.
        trust_code: Run the network.py of a model that was not made on this machine.

    Raises:
        LinnaeusError: There is no model, it is damaged, or it holds code that is not trusted.
    """
    from linnaeus.classifier import Classifier

    return Classifier.load(folder, trust_code=trust_code)


# Hidden from type checkers, which would take any misspelt name for one that exists.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first asked for (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
