"""The run's own record: what the ledger judges, and the lines by which two runs are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import Enum
from typing import Any

import attrs
import trio

from kioskd.chaos import record as r
from kioskd.chaos.marks import Stretch


class Trace:
    """Made when the run begins. No id of the wire stands in it: those are drawn at random."""

    def __init__(self) -> None:
        self._began = trio.current_time()
        self.log: list[r.Entry] = []

    @property
    def now(self) -> float:
        """Virtual ms since the run began."""
        return self.ms_of(trio.current_time())

    def ms_of(self, time_s: float) -> float:
        """A time of trio's clock in ms since the run began, to the microsecond."""
        return round((time_s - self._began) * 1000, 3)

    def add(self, entry: r.Entry) -> None:
        """It happened now."""
        self.log.append(entry)


def lines(log: Iterable[r.Entry]) -> list[str]:
    """A line an entry: virtual ms, what, and its fields in their order."""
    return [_line(entry) for entry in log]


def digest(text: Iterable[str]) -> str:
    """sha256 over the lines."""
    sha = hashlib.sha256()
    for line in text:
        sha.update(line.encode() + b"\n")
    return sha.hexdigest()


def _line(entry: r.Entry) -> str:
    fields = [f"{name}={_shown(value)}" for name, value in attrs.asdict(entry, recurse=False).items() if name != "at"]
    return " ".join([f"{entry.at:.3f}", type(entry).__name__.lower(), *fields])


def _shown(value: Any) -> str:
    match value:
        case Enum():
            return str(value.value)
        case float():
            return f"{value:.3f}"
        case Stretch(turn, part, first, ms):
            return f"{turn}.{part}[{first}:{first + ms}]"
        case frozenset():
            return ",".join(str(number) for number in sorted(value)) or "-"
        case tuple():
            return "+".join(_shown(one) for one in value) or "-"
    return str(value)
