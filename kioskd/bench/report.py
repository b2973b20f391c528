"""The result, for people and for programs. PURE."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from kioskd.bench.targets import Bound, Row

_HEAD = ("figure", "", "compared with", "target", "met")


def as_text(rows: Sequence[Row]) -> str:
    """A table, a line a condition."""
    lines = [_HEAD]
    for row in rows:
        lines += _lines(row)
    widths = [max(len(line[at]) for line in lines) for at in range(len(_HEAD))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    notes = [f"{row.name}: {row.note}" for row in rows if row.note]
    unmet = [row.name for row in rows if row.met is False]
    verdict = f"unmet: {', '.join(unmet)}" if unmet else "every target that was measured is met"
    return "\n".join([*table, "", *notes, verdict])


def _lines(row: Row) -> list[tuple[str, str, str, str, str]]:
    if row.figure is None:
        return [(row.name, "", "not measured", "", "-")]
    others = [f"{name} {_number(value)}" for name, value in row.compared.items()]
    targets = [(_target(bound), "yes" if bound.met else "NO") for bound in row.bounds]
    lines = []
    for at in range(max(1, len(others), len(targets))):
        first = (f"{row.name}: {row.what}", f"{_number(row.figure)} {row.unit}") if at == 0 else ("", "")
        target = targets[at] if at < len(targets) else ("", "")
        lines.append((*first, others[at] if at < len(others) else "", *target))
    return lines


def _target(bound: Bound) -> str:
    return f"{_number(bound.value)} {bound.text} (at most {bound.limit:g})"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"


def as_json(rows: Sequence[Row]) -> str:
    """One object a row."""
    return json.dumps([_object(row) for row in rows], indent=2)


def _object(row: Row) -> dict[str, Any]:
    return {
        "row": row.name,
        "what": row.what,
        "unit": row.unit,
        "figure": _rounded(row.figure),
        "compared": {name: _rounded(value) for name, value in row.compared.items()},
        "ratios": {
            name: _rounded(row.figure / value) for name, value in row.compared.items() if row.figure and value > 0
        },
        "targets": [
            {"text": bound.text, "value": _rounded(bound.value), "at_most": bound.limit, "met": bound.met}
            for bound in row.bounds
        ],
        "met": row.met,
        "note": row.note,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
