"""What export says on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEADS = (
    "target",
    "precision",
    "pictures",
    "difference",
    "equal",
    "accuracy",
    "before",
    "MB",
    "load s",
    "p50 ms",
    "p99 ms",
    "per s",
)


def told(document: Mapping[str, Any]) -> str:
    """Say in a line what came of one file."""
    if document["why_not_here"]:
        return f"  {document['path']}: written, not run: {document['why_not_here']}"
    proof, speed = document["proof"], document["speed"]
    verdict = "equal" if proof["passed"] and proof["limit"] else "passed" if proof["passed"] else "FAILED"
    lines = [
        f"  {document['path']}: {verdict}; largest difference {proof['largest_difference']:.1e} and "
        f"{100 * proof['agreement']['value']:.1f} % equal answers on {proof['pictures']} pictures; "
        f"{speed['size_bytes'] / 1e6:.1f} MB, {speed['p50_ms']:.1f} ms"
    ]
    if not proof["passed"]:
        lines.append(f"  {proof['why_failed']}")
    return "\n".join(lines)


def tell(document: Mapping[str, Any]) -> str:
    """Lay out what was exported as a table for the terminal."""
    rows: list[tuple[str, ...]] = [HEADS, *(_row(one) for one in document["files"].values())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if "repository" in document:
        lines.append(f"\nlaid out for a server in {document['repository']}")
    return "\n".join(lines)


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    if one["why_not_here"]:
        return (one["target"], one["precision"], "-", *["-"] * 8, one["why_not_here"])
    proof, speed = one["proof"], one["speed"]
    accuracy = [
        f"{100 * proof[name]['value']:.1f} %" if proof[name] else "-" for name in ("accuracy", "accuracy_before")
    ]
    return (
        one["target"],
        one["precision"],
        str(proof["pictures"]),
        f"{proof['largest_difference']:.1e}" + ("" if proof["passed"] else " FAILED"),
        f"{100 * proof['agreement']['value']:.1f} %",
        *accuracy,
        f"{speed['size_bytes'] / 1e6:.1f}",
        f"{speed['load_s']:.2f}",
        f"{speed['p50_ms']:.1f}",
        f"{speed['p99_ms']:.1f}",
        f"{speed['per_second']:.0f}",
    )
