"""What all commands share: the app, options that several of them take, and how data reaches stdout."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from linnaeus import __version__
from linnaeus.errors import SettingsError

STARTED = time.monotonic()

app = App(
    name="linnaeus",
    version=__version__,
    help="From a folder of pictures to an image classifier that you can trust and ship.\n\n"
    "Example: linnaeus train photos/   then   linnaeus predict runs/LATEST new-photos/ --out answers.csv",
    help_format="plaintext",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
)
app.register_install_completion_command(name="--install-completion")

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document on stdout.")]
Settings = Annotated[
    list[str] | None,
    Parameter(name="--set", negative="", help="Any setting by name, such as optim.lr=0.01. May be repeated."),
]
DataDir = Annotated[Path | None, Parameter(help="Folder that holds the data of a built-in name.")]
Corrections = Annotated[
    str | None,
    Parameter(help="Decisions made in a review: a file, or none. By default SOURCE.corrections.csv beside the source."),
]
Cost = Annotated[
    Path | None,
    Parameter(help="CSV of what each mistake costs: answer with the class whose expected cost is least."),
]
TrustCode = Annotated[
    bool, Parameter(negative="", help="Run a model's own network.py, which this machine did not make.")
]


def pairs(settings: list[str] | None) -> dict[str, str]:
    """Read `--set name=value`."""
    found = {}
    for text in settings or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingsError("--set should look like name=value.", got=text, fix="for example --set optim.lr=0.01")
        found[name.strip()] = value.strip()
    return found


def seconds_of(text: str | None) -> float | None:
    """Read a time such as 90s, 10m or 2h."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|)", text.strip())
    if not match:
        raise SettingsError("--budget should be a time.", got=text, fix="90s, 10m or 2h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "": 1}[match[2]]


def share_of(option: str, text: str | None) -> float | None:
    """Read a share such as 1%, 0.5 % or 0.01."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d*\.?\d+)\s*(%?)", text.strip())
    value = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 < value < 1:
        raise SettingsError(f"{option} should be a share between 0 and 1.", got=text, fix="for example 1% or 0.01")
    return value


def print_json(document: Any) -> None:
    r"""Print one JSON document on stdout, in UTF-8: other bytes of a path as \udc.., which JSON reads back."""
    print(_json(document))


class JsonRows:
    """Prints {NAME: [row, ...]} as `print_json` does, a row at a time, in the memory of a few. Nothing before the first."""

    def __init__(self, name: str) -> None:
        self._before = f"{{{_json(name)}: ["

    def write(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Print the rows of some columns of equal length."""
        for values in zip(*columns.values(), strict=True):
            print(self._before + _json(dict(zip(columns, values, strict=True))), end="")
            self._before = ", "

    def close(self) -> None:
        """End the document."""
        print(("" if self._before == ", " else self._before) + "]}")


def _json(document: Any) -> str:
    text = json.dumps(document, ensure_ascii=False, default=str)
    return text.encode("utf-8", "backslashreplace").decode()
