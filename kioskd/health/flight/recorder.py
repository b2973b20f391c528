"""The flight recorder of the running kiosk: a ring of the last minutes, kept when something goes wrong.

It is never worth a kiosk: where it can't work it says so once, and is off.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from kioskd.dialogue.effects import Effect, Show
from kioskd.dialogue.events import Event, Fault
from kioskd.health.flight.dumps import DumpError, Dumps
from kioskd.health.flight.ring import Found, Ring, RingError, find
from kioskd.health.flight.tape import Tape, Watched

log = logging.getLogger(__name__)

RING_NAME = "flight.ring"
DUMPS_NAME = "flight"
AFTERMATH_S = 2.0  # a fault's record also shows what it led to, and faults that come together share one


class FlightRecorder:
    """Use it as a context: an exception that leaves it is a crash, and the next start keeps its record."""

    def __init__(self, runtime: Path, state: Path, aftermath_s: float = AFTERMATH_S) -> None:
        """The ring lies in `runtime`, the kept records in `state`. Raises nothing."""
        self._dumps = Dumps(state / DUMPS_NAME)
        self._aftermath_s = aftermath_s
        self._tape = Tape(self._write, lambda error: self._turn_off(f"{type(error).__name__}: {error}"))
        self._faults: frozenset[Fault] = frozenset()
        self._lock = threading.Lock()  # one record is kept at a time
        self._pending: tuple[str, threading.Timer] | None = None
        self._told_off = False
        self._ring: Ring | None = None
        try:
            self._ring = Ring(runtime / RING_NAME)
        except RingError as error:
            log.warning("no flight recorder: %s", error)
        else:
            self._keep_after_crash(self._ring.before)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(clean=kind is None)

    def watch(self, daemon: Watched) -> None:
        """Record this daemon from now on, instead of the one before."""
        if self._ring is not None:
            self._faults = frozenset()
            self._tape.watch(daemon)
            daemon.observe(self._watch_faults)

    def note(self, words: str) -> None:
        """Record what no event tells, such as a restart of a part. Nothing that was said, and no secrets."""
        self._tape.note(words)

    def dump(self, reason: str) -> Path:
        """Keep the record of the last minutes: the file. Raises DumpError.

        Callable from any thread; better not from trio's: a full ring takes a slow machine a second.
        """
        ring = self._ring
        if ring is None:
            raise DumpError("there is no flight record: the log has the reason, at the kiosk's start")
        with self._lock:
            return self._dumps.keep(find(ring.copy()), reason)

    def close(self, *, clean: bool = True) -> None:
        """Record nothing more. Not `clean`: the next start keeps this record."""
        if clean:
            self.note("stopped")
        self._tape.stop()
        if self._pending is not None:
            reason, timer = self._pending
            timer.cancel()
            self._keep_unasked(reason)
        with self._lock:
            ring, self._ring = self._ring, None
            if ring is not None:
                ring.close(clean=clean)

    def _write(self, line: str) -> None:
        if self._ring is not None:
            self._ring.append(line.encode())

    def _watch_faults(self, what: Event | Effect, now: float) -> None:
        """Every fault shows on the lamp, however it was noticed."""
        if type(what) is Show and what.view.faults != self._faults:
            new, self._faults = what.view.faults - self._faults, what.view.faults
            if new and self._pending is None:
                reason = "fault " + " ".join(sorted(fault.value for fault in new))
                timer = threading.Timer(self._aftermath_s, self._keep_unasked, [reason])
                timer.daemon = True
                self._pending = reason, timer
                timer.start()

    def _keep_after_crash(self, before: Found) -> None:
        if not before.clean and before.records:
            self._keep("crash", lambda reason: self._dumps.keep(before, reason))

    def _keep_unasked(self, reason: str) -> None:
        """In a thread of its own, or at the end."""
        self._pending = None
        if self._ring is not None:
            self._keep(reason, self.dump)

    def _keep(self, reason: str, keep: Callable[[str], Path]) -> None:
        try:
            if self._dumps.may_keep_unasked:
                log.info("flight record of the %s: %s", reason, keep(reason))
            else:
                log.debug("flight record of the %s: not kept, there were enough in the last hour", reason)
        except DumpError as error:
            level = logging.DEBUG if self._told_off else logging.WARNING
            self._told_off = True
            log.log(level, "flight record of the %s can't be kept: %s", reason, error)

    def _turn_off(self, cause: str) -> None:
        """Loud once: it happens once."""
        log.warning("nothing is recorded any more by the flight recorder: %s", cause)
        self._tape.stop()
        self._told_off = True
