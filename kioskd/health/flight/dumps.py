"""Flight records that are kept: JSON lines in the state directory, few and small."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from attrs import frozen

from kioskd import __version__
from kioskd.health.flight.codec import encode_json
from kioskd.health.flight.ring import Found
from kioskd.value import Value

KEPT_S = 900.0  # a record goes so far back
DUMPS_AT_MOST = 20
BYTES_AT_MOST = 16 << 20  # of all of them: a state directory may be small
UNASKED_AN_HOUR = 4  # a loose plug must not wear out an SD card, nor push out the record of how it began
HOUR_S = 3600.0

_NAME = re.compile(r"(\d{4,})-\d{8}T\d{6}Z-([a-z0-9-]+)\.jsonl")
_CHECKPOINT = b'{"checkpoint":'


class DumpError(OSError):
    """A record could not be kept, or is not there: one line for the owner."""


@frozen(eq=False, repr=False)
class Dump(Value):
    """One kept record. `at` in seconds of the wall clock."""

    path: Path
    number: int
    at: float
    reason: str
    size: int


class Dumps:
    """The records in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def all(self) -> list[Dump]:
        """The oldest first. Raises DumpError."""
        try:
            found = [dump for path in self.directory.iterdir() if (dump := _dump_of(path))]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DumpError(f"{self.directory}: {error.strerror or error}") from error
        return sorted(found, key=lambda dump: dump.number)

    def find(self, name: str | None) -> Path:
        """By its path or number; without either the newest. Raises DumpError."""
        if name and not name.isdigit():
            return Path(name)
        kept = [dump for dump in self.all() if not name or dump.number == int(name)]
        if not kept:
            which = f"record {name}" if name else "record yet"
            raise DumpError(f"{self.directory}: there is no {which}; make one by: kioskd flight dump")
        return kept[-1].path

    @property
    def may_keep_unasked(self) -> bool:
        """False where enough was kept in the last hour. Raises DumpError."""
        now = time.time()
        return sum(abs(now - dump.at) < HOUR_S for dump in self.all()) < UNASKED_AN_HOUR

    def keep(self, found: Found, reason: str) -> Path:
        """Write the last minutes of what was found, and make room for it. Raises DumpError."""
        head = {"flight": 1, "version": __version__, "reason": reason, "wall": time.time()}
        lines = [encode_json(head).encode(), *recent(found, time.monotonic())]
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            path = self._write(reason, b"\n".join(lines) + b"\n")
            self._make_room()
        except DumpError:
            raise
        except OSError as error:
            raise DumpError(f"{self.directory}: {error.strerror or error}") from error
        return path

    def _write(self, reason: str, content: bytes) -> Path:
        """Whole or not at all: also where the power goes."""
        for leftover in self.directory.glob(".*.new"):
            leftover.unlink(missing_ok=True)
        number = max((dump.number for dump in self.all()), default=0) + 1
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path = self.directory / f"{number:04}-{moment}-{slug(reason)}.jsonl"
        unfinished = self.directory / f".{path.name}.new"
        try:
            file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            with os.fdopen(file, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(file)
            unfinished.rename(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        return path

    def _make_room(self) -> None:
        kept = self.all()
        while len(kept) > DUMPS_AT_MOST or (len(kept) > 1 and sum(dump.size for dump in kept) > BYTES_AT_MOST):
            kept.pop(0).path.unlink(missing_ok=True)


def recent(found: Found, now: float) -> Iterator[bytes]:
    """The lines of the last `KEPT_S` seconds, from a checkpoint on; a gap where records are missing."""
    records = found.records
    checkpoints = [index for index, record in enumerate(records) if record.text.startswith(_CHECKPOINT)]
    begin = checkpoints[0] if checkpoints else 0
    for index in checkpoints:
        if json.loads(records[index].text)["checkpoint"]["monotonic"] <= now - KEPT_S:
            begin = index
    last = records[begin].number - 1 if records else 0
    for record in records[begin:]:
        if record.number != last + 1:
            yield encode_json({"gap": record.number - last - 1}).encode()
        last = record.number
        yield record.text


def slug(reason: str) -> str:
    """For a file's name: a-z, 0-9 and -."""
    return re.sub(r"[^a-z0-9]+", "-", reason.lower())[:40].strip("-") or "record"


def read_lines(path: Path) -> Iterable[str]:
    """The lines of a kept record. Raises DumpError."""
    try:
        return path.read_text("ascii", errors="replace").splitlines()
    except OSError as error:
        raise DumpError(f"{path}: {error.strerror or error}") from error


def _dump_of(path: Path) -> Dump | None:
    named = _NAME.fullmatch(path.name)
    if not named:
        return None
    with suppress(OSError, ValueError):
        with path.open(encoding="ascii", errors="replace") as stream:
            head = json.loads(stream.readline(2000))
        if isinstance(head, dict):
            size = path.stat().st_size
            return Dump(path, int(named[1]), float(head.get("wall", 0)), str(head.get("reason", named[2])), size)
    return None
