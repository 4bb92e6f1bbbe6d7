"""The page: one HTML file with the model, the runtime and every script inside, which asks for nothing from elsewhere."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from linnaeus.targets.card import Card, checked

MAX_ERROR, COVERAGE = 0.05, 0.9
"""What the columns `accepted` and `set` are made for: the defaults of `linnaeus predict`."""
SCRIPTS = ("words.js", "resize.js", "picture.js", "model.js", "answers.js", "camera.js", "page.js")
POLICY = (
    "default-src 'none'; script-src '{script}' 'wasm-unsafe-eval'; style-src '{style}'; img-src blob: data:; "
    "media-src blob: mediastream:; connect-src 'none'; base-uri 'none'; form-action 'none'"
)
"""Nothing may be asked for; of scripts and styles only those whose fingerprints stand here may run."""
LICENCE = (
    "/* Contains LiteRT, copyright Google LLC, Apache License 2.0: https://www.apache.org/licenses/LICENSE-2.0 */\n"
)


@dataclass(frozen=True)
class Runtime:
    """What runs the model in a browser.

    Attributes:
        title: Name and version, for people.
        variants: By "plain", which every browser has to run, and perhaps "relaxed", for those that know relaxed SIMD:
            JavaScript that defines `ModuleFactory`, and its WebAssembly.
    """

    title: str
    variants: Mapping[str, tuple[str, bytes]]


def write_page(card: Card, model: bytes, runtime: Runtime, version: str) -> str:
    """Write the page.

    Args:
        card: Of the model.
        model: A .tflite file that takes one picture.
        runtime: What runs it.
        version: Of Linnaeus.
    """
    script = _script(runtime)
    style = _source("page.css")
    rules = rules_of(card, runtime.title)
    parts = {
        "policy": html.escape(POLICY.format(script=_fingerprint(script), style=_fingerprint(style))),
        "version": html.escape(version),
        "name": html.escape(rules["name"]),
        "style": style,
        "card": _inert(card.text()),
        "rules": _inert(json.dumps(rules, ensure_ascii=False)),
        "model": _packed(model),
        "runtimes": "\n".join(
            f'<script type="text/plain" id="runtime-{name}">{_packed(wasm)}</script>'
            for name, (_, wasm) in runtime.variants.items()
        ),
        "script": script,
    }
    # In one pass: what is filled in may hold braces of its own.
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: parts[found[1]], _source("page.html"))


def read_card(page: str, where: str) -> Card:
    """Read the card of a page.

    Raises:
        ModelError: Another program wrote it.
    """
    found = re.search(r'<script type="application/json" id="card">(.*?)</script>', page, re.DOTALL)
    return checked(found[1] if found else None, where)


def rules_of(card: Card, runtime: str) -> dict[str, Any]:
    """Tell what the page needs to know beside the card, as numbers: it fits no rules of its own."""
    judgement = card.judgement
    data = card.about.get("data")
    name = data.get("name") if isinstance(data, dict) else None
    rules: dict[str, Any] = {"name": str(name or "a classifier"), "runtime": runtime, "max_error": MAX_ERROR}
    if judgement is None:
        return rules | {"judges": False, "strange_above": None, "answer_from": None, "set_strangeness": None}
    # The rule LAC has one threshold for all classes: 1 - p is at most so much.
    strangeness = float(judgement.rule(COVERAGE).thresholds[0])
    above = judgement.strange_above
    return rules | {
        "judges": True,
        "strange_above": above if math.isfinite(above) else None,
        "answer_from": judgement.threshold(MAX_ERROR),
        "set_strangeness": strangeness if math.isfinite(strangeness) else 2.0,
    }


def _script(runtime: Runtime) -> str:
    """Put all scripts together: each has its names for itself."""
    made = "".join(
        f"{name}: (() => {{\n{script}\nreturn ModuleFactory;\n}})(),\n"
        for name, (script, _) in runtime.variants.items()
    )
    own = "".join(f"{_source(name)}\n" for name in SCRIPTS)
    script = f'{LICENCE}(() => {{\nconst RUNTIMES = {{\n{made}}};\n(() => {{\n"use strict";\n{own}}})();\n}})();\n'
    script = script.replace("\r", "")
    assert "</script" not in script.lower() and "<!--" not in script, "it would end the script's block"
    return script


def _source(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def _inert(text: str) -> str:
    """Write JSON so that no class name can end the block that it stands in."""
    return text.replace("<", "\\u003c")


def _fingerprint(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
