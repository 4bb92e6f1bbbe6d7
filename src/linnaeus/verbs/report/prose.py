"""Sentences whose words are ours and whose values may be hostile: said once, written as HTML, Markdown or plain text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter

from markupsafe import Markup, escape

LONGEST_NAME = 60
LONGEST_TITLE = 300


class Name(str):
    """A class name: set apart from the words around it, whatever script or sign it holds."""

    __slots__ = ()


class Code(str):
    """A command, a file, a setting: as one would type it."""

    __slots__ = ()


@dataclass(frozen=True)
class Sentence:
    """Words of the catalogue with values put in.

    Attributes:
        words: Ours: `{value}` is a place for a value, `**` begins and ends what is strong, and a backquote code.
        values: Anybody's. Plain strings; `Name` and `Code`, which look different; sentences.
    """

    words: str
    values: Mapping[str, Text] = field(default_factory=dict)


Text = Sentence | str
"""What a reader reads. A plain string holds no markup: it is shown sign by sign."""


def say(words: str, **values: Text) -> Sentence:
    """Put values into words of the catalogue."""
    return Sentence(words, values)


def joined(texts: Sequence[Text], between: str = " ") -> Sentence:
    """Put texts one after the other."""
    return Sentence(
        between.replace("{", "{{").replace("}", "}}").join(f"{{v{k}}}" for k in range(len(texts))),
        {f"v{k}": text for k, text in enumerate(texts)},
    )


def shorten(name: str, most: int = 20) -> str:
    """Cut a long name, with an ellipsis."""
    return name if len(name) <= most else name[: most - 1].rstrip() + "…"


def as_html(text: Text, longest: int = LONGEST_NAME) -> Markup:
    """Write for a page: no value can open a tag, or turn the direction of the words around it."""

    def literal(words: str) -> str:
        return re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(words)))

    def value(one: str) -> str:
        if isinstance(one, Name):
            title = Markup(' title="{}"').format(shorten(one, LONGEST_TITLE)) if len(one) > longest else ""
            return Markup('<bdi class="class"{}>{}</bdi>').format(title, shorten(one, longest))
        return Markup("<code>{}</code>").format(one) if isinstance(one, Code) else escape(one)

    return Markup(_written(text, literal, value, ("<strong>", "</strong>")))


def as_markdown(text: Text) -> str:
    """Write for GitHub: no value can become a heading, a table's border, a link or a tag."""

    def value(one: str) -> str:
        if isinstance(one, Code):
            fence = "`" * (1 + max(map(len, re.findall("`+", one)), default=0))
            edge = " " if len(fence) > 1 else ""
            return f"{fence}{edge}{_one_line(one).replace('|', chr(92) + '|')}{edge}{fence}"
        plain = re.sub(r"([\\`*_{}\[\]<>#|~&!$@])", r"\\\1", _one_line(shorten(one, LONGEST_TITLE)))
        plain = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", re.sub(r"^([-+=:])", r"\\\1", plain)).replace(
            "://", ":\u200b//"
        )
        return f"**{plain}**" if isinstance(one, Name) and plain.strip() else plain

    return _written(text, lambda words: words, value, ("**", "**")).replace("****", "")


def as_plain(text: Text) -> str:
    """Write without any marks, for machines and for alternative texts."""
    return _written(text, lambda words: words.replace("`", ""), str, ("", "")).replace("\u00a0", " ")


def _written(text: Text, literal: Callable[[str], str], value: Callable[[str], str], strong: tuple[str, str]) -> str:
    if isinstance(text, str):
        return value(text)
    pieces: list[str] = []
    inside = False
    for words, name, _, _ in Formatter().parse(text.words):
        for k, part in enumerate(words.split("**")):
            if k:
                pieces.append(strong[inside])
                inside = not inside
            pieces.append(literal(part))
        if name is not None:
            pieces.append(_written(text.values[name], literal, value, strong))
    return "".join(str(piece) for piece in pieces)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)
