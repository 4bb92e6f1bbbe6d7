"""What benchmark says: the table, and the sentences that tell which runtime to take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

PYTORCH = "pytorch"
HEADS = (
    "runtime",
    "precision",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "per s",
    "batch",
    "load s",
    "MB",
    "memory MB",
    "difference",
    "equal",
)
ALIKE = 0.05
"""Two runtimes that are nearer to each other than this are called equally fast: another day the other is ahead."""

Rows = Sequence[Mapping[str, Any]]
Rate = Callable[[Mapping[str, Any]], float]


def advise(rows: Rows, model: str | None) -> dict[str, Any]:
    """Say which runtime to take for one picture at a time, and which for many.

    Args:
        rows: Of the document.
        model: The run, for the command that exports; None of files, which are there already.

    Returns:
        For "one" and "many": target, precision, path, equals (as fast as it), why (a sentence), and command; None where
        nothing was measured.
    """
    measured = [row for row in rows if row["speed"] is not None]
    if not measured:
        return {"one": None, "many": None}
    one = max(measured, key=_one)
    # One file for both purposes is worth more than a difference that may be gone tomorrow.
    many = max(measured, key=lambda row: _many(row) * (1 + ALIKE if row is one else 1))
    return {"one": _choice(one, measured, model, _one), "many": _choice(many, measured, model, _many)}


def _one(row: Mapping[str, Any]) -> float:
    return float(1000 / row["speed"]["p50_ms"])


def _many(row: Mapping[str, Any]) -> float:
    return float(row["speed"]["per_second"])


def _choice(best: Mapping[str, Any], rows: Rows, model: str | None, rate: Rate) -> dict[str, Any]:
    ranked = sorted(rows, key=rate, reverse=True)
    equals = [_name(row) for row in ranked if row is not best and rate(row) >= (1 - ALIKE) * rate(best)]
    return {
        "target": best["target"],
        "precision": best["precision"],
        "path": best["path"],
        "equals": equals,
        "why": _why(best, ranked, rate, equals),
        "command": _command(best, model),
    }


def _why(best: Mapping[str, Any], ranked: Rows, rate: Rate, equals: Sequence[str]) -> str:
    """Say how fast it is, beside PyTorch, and what is lost with it."""
    speed = best["speed"]
    parts = [f"{_name(best)}, {speed['p50_ms']:.3g} ms for a picture and {speed['per_second']:,.0f} pictures a second"]
    before = next((row for row in ranked if row["target"] == PYTORCH), None)
    if before is not None and before is not best:
        parts.append(f"{rate(best) / rate(before):.1f} times PyTorch")
    if equals:
        parts.append(f"as fast, within {100 * ALIKE:.0f} %: {', '.join(equals)}")
    exact = next((row for row in ranked if row["precision"] == "float32"), None)
    if best["precision"] != "float32":
        if best["agreement"] is not None:
            parts.append(f"{100 * best['agreement']['value']:.1f} % of its answers are PyTorch's")
        if exact is not None:
            parts.append(f"with all answers equal, {_name(exact)} is the fastest ({exact['speed']['p50_ms']:.3g} ms)")
    return "; ".join(parts)


def _command(row: Mapping[str, Any], model: str | None) -> str | None:
    """Say how to get the file; None where it is there, or PyTorch itself is the answer."""
    if model is None or row["target"] == PYTORCH:
        return None
    precision = "" if row["precision"] == "float32" else f" --precision {row['precision']}"
    return f"linnaeus export {model} --to {row['target']}{precision}"


def _name(row: Mapping[str, Any]) -> str:
    return str(row["title"]) + ("" if row["precision"] == "float32" else f" {row['precision']}")


def tell(document: Mapping[str, Any]) -> str:
    """Lay the document out for a terminal: a table, why some rows are missing, and what to take."""
    machine, threads = document["machine"], document["threads"]
    pictures = document["pictures"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores; one picture with {threads} "
        f"{'thread' if threads == 1 else 'threads'}, many on all cores; {pictures['n']} {pictures['kind']}",
        "",
        *_table([row for row in document["rows"] if row["speed"] is not None]),
    ]
    missing = [row for row in document["rows"] if row["speed"] is None]
    if missing:
        width = max(len(_name(row)) for row in missing)
        lines += ["", "not measured:", *(f"  {_name(row):{width}}  {row['why_not']}" for row in missing)]
    return "\n".join([*lines, "", *_advice(document["advice"])])


def _table(rows: Rows) -> list[str]:
    cells = [HEADS, *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADS))]
    # Words begin where their column begins, numbers end where it ends.
    return [
        "  ".join(
            cell.ljust(width) if k < 2 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    speed = row["speed"]

    def megabytes(name: str) -> str:
        return "-" if speed[name] is None else f"{speed[name] / 1e6:.1f}"

    return (
        row["title"],
        row["precision"],
        *(f"{speed[name]:.2f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
        f"{speed['per_second']:,.0f}",
        str(speed["batch"]),
        f"{speed['load_s']:.2f}",
        megabytes("size_bytes"),
        megabytes("memory_bytes"),
        "-" if row["difference"] is None else f"{row['difference']:.1e}",
        "-" if row["agreement"] is None else f"{100 * row['agreement']['value']:.1f} %",
    )


def _advice(advice: Mapping[str, Any]) -> list[str]:
    one, many = advice["one"], advice["many"]
    if one is None:
        return ["Nothing could be measured."]
    if (one["target"], one["precision"], one["path"]) == (many["target"], many["precision"], many["path"]):
        lines = [f"For one picture at a time and for many: {one['why']}."]
    else:
        lines = [f"One picture at a time: {one['why']}.", f"Many: {many['why']}."]
    commands = dict.fromkeys(choice["command"] for choice in (one, many) if choice["command"])
    return [*lines, *(f"  {command}" for command in commands)]
