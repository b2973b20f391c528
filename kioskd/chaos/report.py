"""A run's result, for people and for programs."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from kioskd.chaos.ledger import COLUMNS
from kioskd.chaos.schedule import DOWN, PHASES
from kioskd.chaos.virtual import Result

SHOWN = 20  # findings; a broken safeguard has hundreds of them
ENOUGH_PHASES = 3


def counts(result: Result) -> dict[str, int]:
    """The five columns that must be 0."""
    found = Counter(finding.column for finding in result.findings)
    return {column: found[column] for column in COLUMNS}


def is_green(result: Result) -> bool:
    """Whether nobody was failed."""
    return not any(counts(result).values())


def as_json(stages: dict[str, Result]) -> str:
    """One object, with one a stage."""
    return json.dumps({name: _object(result) for name, result in stages.items()}, indent=2)


def as_text(name: str, result: Result) -> str:
    """Some lines about one stage."""
    coverage = result.coverage
    kinds = sorted({kind for kind, _ in coverage.hits})
    rows = [f"{name}: {result.presses} turns in {result.seconds:.1f} s ({_speed(result):.0f} a second)"]
    rows.append("  " + ", ".join(f"{fate.value} {count}" for fate, count in _fates(result)))
    total = sum(count for (_, phase), count in coverage.hits.items() if phase != DOWN)
    rows.append(
        f"  faults: {total} of {len(kinds)} kinds, {len(coverage.kinds_in(ENOUGH_PHASES))} of them in"
        f" {ENOUGH_PHASES} phases of a turn or more"
    )
    for kind in kinds:
        struck = [(phase, coverage.hits[kind, phase]) for phase in (*PHASES, DOWN)]
        hits = " ".join(f"{phase} {count}" for phase, count in struck if count)
        rows.append(f"    {kind:26} {hits}")
    rows.append("  " + ", ".join(f"{column} {count}" for column, count in counts(result).items()))
    for finding in result.findings[:SHOWN]:
        rows.append(f"    {finding.column}: turn {finding.turn} at {finding.at:.0f} ms: {finding.what}")
    if len(result.findings) > SHOWN:
        rows.append(f"    and {len(result.findings) - SHOWN} more")
    rows.append(f"  trace {result.hash}")
    return "\n".join(rows)


def _object(result: Result) -> dict[str, Any]:
    faults: dict[str, dict[str, int]] = {}
    for (kind, phase), count in sorted(result.coverage.hits.items()):
        faults.setdefault(kind, {})[phase] = count
    return {
        "turns": result.presses,
        "turns_per_second": round(_speed(result), 1),
        **{fate.value: count for fate, count in _fates(result)},
        **counts(result),
        "kinds_in_three_phases": len(result.coverage.kinds_in(ENOUGH_PHASES)),
        "faults": faults,
        "findings": [f"{one.column}: turn {one.turn} at {one.at:.0f} ms: {one.what}" for one in result.findings],
        "trace_sha256": result.hash,
    }


def _fates(result: Result) -> list[tuple[Any, int]]:
    return sorted(result.fates.items(), key=lambda pair: pair[0].value)


def _speed(result: Result) -> float:
    return result.presses / result.seconds if result.seconds else 0.0
