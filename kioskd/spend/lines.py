"""The ledger's lines: JSON behind a checksum, so that one that was torn by a power cut is known. PURE."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import attrs
from attrs import frozen

from kioskd.spend.prices import Amounts
from kioskd.value import Value

MAX_LINE_BYTES = 4096


@frozen(eq=False, repr=False)
class Moment(Value):
    """When something was booked: seconds of the wall clock, and those since this boot, which no one can set."""

    wall_s: float
    up_s: float
    boot: str


@frozen(eq=False, repr=False)
class Booking(Value):
    """What one turn took. `cost` in nanos of `currency`; `reverses`: an estimate of the same turn that counts no more.

    `number` grows with each line and never repeats. `wait_ms`: how long the first sound took, None: not known. `late`:
    it takes the place of an estimate, also of one that cost nothing.
    """

    number: int
    at: Moment
    turn: int
    endpoint: str
    model: str
    amounts: Amounts
    cost: int
    currency: str
    estimated: bool = False
    reverses: int = 0
    wait_ms: int | None = None
    late: bool = False

    @property
    def net(self) -> int:
        """What it adds to the sum."""
        return self.cost - self.reverses

    @property
    def corrects(self) -> bool:
        """Whether its turn was counted before, as an estimate."""
        return self.late or self.reverses != 0


@frozen(eq=False, repr=False)
class Note(Value):
    """Something that happened to the money: a cap was reached, credits run low. `text` is one line for the owner."""

    number: int
    at: Moment
    text: str


@frozen(eq=False, repr=False)
class DaySum(Value):
    """All turns of a day with one model, of the file that began with the line `file`, and how many there were."""

    number: int
    file: int
    day: str
    at: Moment
    endpoint: str
    model: str
    amounts: Amounts
    cost: int
    currency: str
    turns: int
    estimated: int

    @property
    def net(self) -> int:
        """What it adds to the sum."""
        return self.cost


Line = Booking | Note | DaySum
_KINDS: dict[str, type[Line]] = {"turn": Booking, "note": Note, "day": DaySum}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def encode(line: Line) -> bytes:
    """One line of the file, with its end."""
    fields = {"kind": _NAMES[type(line)], **attrs.asdict(line)}
    if not fields.get("late", True):
        del fields["late"]  # so that a kiosk that goes back a version reads the lines of this one
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=True).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode(raw: bytes) -> Line | None:
    """What a line says; None for one that isn't whole."""
    checksum, _, text = raw.strip(b"\n").partition(b" ")
    if len(raw) > MAX_LINE_BYTES or checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        return _made(json.loads(text))
    except (ValueError, TypeError, KeyError):
        return None  # of a later version


def decode_all(content: bytes) -> Iterator[Line]:
    """All lines that are whole, each number once."""
    seen: set[int] = set()
    for raw in content.split(b"\n"):
        line = decode(raw) if raw else None
        if line is not None and line.number not in seen:
            seen.add(line.number)
            yield line


def settled(lines: Iterable[Line]) -> list[Line]:
    """The same lines, where an estimate that was reversed later has no amounts and is none: they count once."""
    found: list[Line] = []
    estimates: dict[tuple[str, int, str], tuple[int, Booking]] = {}
    for line in lines:
        if isinstance(line, Booking):
            key = (line.at.boot, line.turn, line.endpoint)
            if line.corrects and key in estimates:
                place, estimate = estimates.pop(key)
                found[place] = attrs.evolve(estimate, amounts=Amounts(), estimated=False)
            elif line.estimated:
                estimates[key] = len(found), line
        found.append(line)
    return found


def highest(lines: Iterable[Line]) -> int:
    """The highest number; 0 of none."""
    return max((line.number for line in lines), default=0)


def _made(fields: dict[str, Any]) -> Line:
    kind = _KINDS[fields.pop("kind")]
    fields["at"] = Moment(**fields["at"])
    if "amounts" in fields:
        fields["amounts"] = Amounts(**fields["amounts"])
    return kind(**fields)
