"""Write the report as one HTML page: complete in itself, safe against what names may hold, small enough to be sent."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from linnaeus.verbs.report.document import Section
from linnaeus.verbs.report.evidence import Evidence
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import LONGEST_NAME, Name, Text, as_html, as_plain, say, shorten

HERE = Path(__file__).parent
LONGEST_HEADING = 200


def page(evidence: Evidence, sections: Sequence[Section], words: Words) -> str:
    """Write the whole report as one HTML document that loads nothing from elsewhere.

    Its one script only adds to what is there; the policy in its head lets no other script run.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "text": _text,
        "plain": as_plain,
        "name": lambda name, most: as_html(Name(name), most),
        "filled": lambda pattern, **values: as_plain(say(pattern, **values)),
        "filled_html": lambda pattern, name: as_html(say(pattern, name=Name(name)), 28),
        "width": _width,
        "rounded": _rounded,
    }
    script = (HERE / "page.js").read_text(encoding="utf-8")
    name = shorten(evidence.name, LONGEST_HEADING)
    return environment.get_template("page.html.j2").render(
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        title=as_plain(say(words.page_title if evidence.run or evidence.scores else words.audit_title, name=name)),
        name=name,
        subtitle=subtitle(evidence, words),
        sections=sections,
        words=words,
    )


def alone(drawing: str) -> str:
    """Make a drawing of the page a file of its own, with the page's colours."""
    css = (HERE / "page.css").read_text(encoding="utf-8")
    style = f"<style><![CDATA[{css}\nsvg {{ background: var(--card); }}]]></style>"
    return drawing.replace("<title", f"{style}<title", 1)


def subtitle(evidence: Evidence, words: Words) -> list[str]:
    """Say in a line what this is: classes, network, date."""
    network = evidence.summary.get("network") or evidence.plan.get("used", {}).get("model", {}).get("name")
    when = str(evidence.provenance.get("time", ""))[:10]
    outside = words.outside_subtitle if evidence.scores else words.audit_subtitle
    what = words.subtitle if evidence.run else outside
    told = [what, words.counted(len(evidence.classes), "class"), shorten(str(network or ""), LONGEST_NAME), when]
    return [one for one in told if one]


def _text(text: Text, longest: int = LONGEST_NAME) -> Any:
    return as_html(text, longest)


def _width(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"


def _rounded(curve: Sequence[Sequence[float]]) -> str:
    rows = (",".join(f"{value:.5g}" for value in row) for row in curve)
    return ";".join(rows)
