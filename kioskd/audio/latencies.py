"""How long sound is under way behind each sound card, and how long the room goes on: kept in a small file.

Both are measured by the self-test.
"""

from __future__ import annotations

import json
import logging
import math
import os
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

FILE = "latencies.json"
MAX_CARDS = 16  # nobody plugs in more; the one measured longest ago is forgotten
MAX_BYTES = 16 * 1024  # far more than so many cards need
LONGEST_MS = 1000.0  # the self-test finds no longer one
WORTH_WRITING_MS = 2.0  # less is the measurement's own doing: an SD card is spared


class Latencies:
    """By card, in ms. What can't be read or written costs a warning: the kiosk goes on with what it knows."""

    def __init__(self, directory: Path | None, proc: Path = Path("/proc")) -> None:
        """`directory` is where the file lies; None keeps all of it in memory."""
        self._file = directory / FILE if directory else None
        self._proc = proc
        self._ms, self._tail_ms = self._read()
        self._written = dict(self._ms), dict(self._tail_ms)

    def of(self, card: int | None, device: str) -> float:
        """What is known of the card with this number, or (None: a sound server) of the device of that name; else 0."""
        return self._ms.get(self._key(card, device), 0.0)

    def tail_of(self, card: int | None, device: str) -> float | None:
        """How long the room goes on after this card's last sound; None where it wasn't measured."""
        return self._tail_ms.get(self._key(card, device))

    def keep(self, card: int | None, device: str, latency_ms: float, tail_ms: float | None = None) -> None:
        """It was measured; where the tail was not, the one before stays."""
        key = self._key(card, device)
        news = _put(self._ms, key, latency_ms, self._written[0])
        if tail_ms is not None:
            news = _put(self._tail_ms, key, tail_ms, self._written[1]) or news
        if news:
            self._write()

    def _key(self, card: int | None, device: str) -> str:
        """The card's own name, which stays the same whatever else is plugged in."""
        if card is None:
            return device
        try:
            return (self._proc / f"asound/card{card}/id").read_text().strip()
        except OSError:
            return device

    def _read(self) -> tuple[dict[str, float], dict[str, float]]:
        if self._file is None:
            return {}, {}
        try:
            with self._file.open("rb") as file:
                found = json.loads(file.read(MAX_BYTES))
            return _checked(found["output_latency_ms"]), _checked(found.get("echo_tail_ms", {}))
        except FileNotFoundError:
            return {}, {}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            log.warning("%s: can't be used (%s); the next self-test measures anew", self._file, error)
            return {}, {}

    def _write(self) -> None:
        if self._file is None:
            return
        fresh = self._file.with_suffix(".new")
        try:
            with fresh.open("w") as file:
                json.dump({"output_latency_ms": self._ms, "echo_tail_ms": self._tail_ms}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._file)
        except OSError as error:
            log.warning("%s: can't be written (%s); latency and echo are measured anew after a restart", fresh, error)
        else:
            self._written = dict(self._ms), dict(self._tail_ms)


def _put(table: dict[str, float], key: str, ms: float, written: dict[str, float]) -> bool:
    """Whether it is worth writing."""
    table.pop(key, None)
    table[key] = round(min(max(ms, 0.0), LONGEST_MS), 1)
    while len(table) > MAX_CARDS:
        del table[next(iter(table))]
    return abs(written.get(key, -math.inf) - table[key]) >= WORTH_WRITING_MS


def _checked(found: Any) -> dict[str, float]:
    """A table of the file. Raises what a broken one brings about."""
    items = [(str(card), float(ms)) for card, ms in found.items()]
    return {card: ms for card, ms in items[-MAX_CARDS:] if 0.0 <= ms <= LONGEST_MS}
