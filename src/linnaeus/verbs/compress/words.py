"""What compress says on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEADS = ("", "candidate", "faster", "smaller", "p50 ms", "MB", "accuracy", "difference", "ECE", "gate")


def tell(document: Mapping[str, Any]) -> str:
    """Lay the candidates out as a table, the front marked, and say which one was chosen."""
    everything = sorted([document["original"], *document["candidates"]], key=lambda row: row["p50_ms"])
    rows: list[tuple[str, ...]] = [HEADS, *(_row(one, document["chosen"]) for one in everything)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.append(f"PyTorch, layer by layer: {document['eager_ms']:.1f} ms. + is on the front, > was chosen.")
    lines.append(
        f"differences have {100 * document['confidence_level']:.3g} % intervals: "
        f"{len(document['candidates'])} candidates share the gate's 5 %."
    )
    lines += document["notes"]
    if "plot" in document:
        lines.append(f"accuracy against time, drawn: {document['plot']}")
    if document["chosen"]:
        lines += [f"take {document['chosen']}: {document['why']}", f"  linnaeus predict {document['path']} PICTURES"]
    else:
        lines.append(f"nothing was chosen: {document['why']}")
    return "\n".join(lines)


def _row(one: Mapping[str, Any], chosen: str | None) -> tuple[str, ...]:
    accuracy, lost = one["accuracy"], one["difference"]
    return (
        ">" if one["name"] == chosen else "+" if one["front"] else "",
        one["name"],
        f"{one['faster']:.1f}x",
        f"{one['smaller']:.1f}x",
        f"{one['p50_ms']:.2f}",
        f"{one['size_bytes'] / 1e6:.1f}",
        f"{100 * accuracy['value']:.1f} % ({100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f})",
        f"{100 * lost['value']:+.1f} ({100 * lost['low']:+.1f} to {100 * lost['high']:+.1f})" if lost else "",
        f"{one['ece']['value']:.3f}",
        one["verdict"],
    )
