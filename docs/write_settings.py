"""Write docs/settings.md from the code: every setting with its type, default and meaning.

python docs/write_settings.py
"""

import types
import typing
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from linnaeus.config import Recipe, Settings

PAGE = Path(__file__).parent / "settings.md"
HEAD = """# Settings

*Written by `python docs/write_settings.py` from `src/linnaeus/config.py`; a test checks that it is up to date.*

Every setting has a name, `group.name`. It can be given on the command line (`--set optim.lr=0.01`, as often as you
like), in a recipe (a TOML file with a table for each group), and from Python (`overrides={"optim.lr": 0.01}`). The
command line goes before the recipe, the recipe before the default.

A default of **open** means that nothing is said: where a value is needed, it is decided from the data, and
`linnaeus plan SOURCE` shows which value and why; what is optional stays off. What was asked for and what was used both
stand in the run ([run.md](run.md)).
"""


def page() -> str:
    """Lay out the whole page."""
    groups = {name: field for name, field in Recipe.model_fields.items() if _is_group(field.annotation)}
    parts = [HEAD]
    for name, field in groups.items():
        group = field.annotation
        parts += [f"## {name}\n", (group.__doc__ or "").strip() + "\n", _table(group, f"{name}.")]
    parts += ["## Of the whole run\n", _table(Recipe, "", leave_out=set(groups))]
    return "\n".join(parts)


def _table(group: type[Settings], prefix: str, leave_out: set[str] = frozenset()) -> str:
    lines = ["| setting | values | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in group.model_fields.items():
        if name in leave_out:
            continue
        values = _values(field.annotation) + _bounds(field.metadata)
        default = field.get_default(call_default_factory=True)
        cells = (f"`{prefix}{name}`", values, _default(default), (field.description or "").replace("\n", " "))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Settings)


def _values(annotation: Any) -> str:
    """Write a type for people: the words that may be given, "number", "2 numbers" ..."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{_plain(value)}`" for value in inner)
    if origin in (types.UnionType, typing.Union):
        return ", ".join(_values(one) for one in inner if one is not type(None))
    if origin is tuple and inner[-1] is Ellipsis:
        return f"a list of {_values(inner[0])}s"
    if origin is tuple:
        return f"{len(inner)} {_values(inner[0])}s"
    if origin is dict:
        return "a table of names and values"
    return {int: "whole number", float: "number", bool: "`true`, `false`", str: "text"}[annotation]


def _bounds(metadata: list[Any]) -> str:
    words = {Ge: ("ge", "from {}"), Gt: ("gt", "above {}"), Le: ("le", "to {}"), Lt: ("lt", "below {}")}
    found = [words[type(one)][1].format(getattr(one, words[type(one)][0])) for one in metadata if type(one) in words]
    return ", " + " ".join(found) if found else ""


def _default(value: Any) -> str:
    if value is None:
        return "open"
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    """Write a value as in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_plain(one) for one in value) + "]"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "{}" if value == {} else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
