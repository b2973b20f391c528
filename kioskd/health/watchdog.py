"""Looks at the vitals, tells the service manager that all is well, and takes the rungs of the ladder where it isn't.

The loop itself is looked at by a thread: a loop that hangs can't notice it. Where no thread can run either (a C library
hangs without having released the interpreter's lock), the kernel's alarm ends the process.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

import trio

from kioskd.health.notify import notify, watchdog_s
from kioskd.health.vitals import LAST_RESORT_S, LOOK_S, LOOP_LOOKS, VITALS, Ladder, Reading, Rung, Step, Verdict
from kioskd.landmarks import VITAL_STALE

log = logging.getLogger(__name__)

LAST_WORDS_S = 2.0  # a log that can't be written must not keep a dead kiosk alive

Leave = Callable[[int, str], None]
"""(exit code, why) -> the end of the process."""


class Watched(Protocol):
    """What is looked at, and where the rungs are taken."""

    def beat(self, now: float) -> None:
        """The loop turns."""

    def readings(self, now: float) -> tuple[Reading, ...]:
        """How each vital moves."""

    def reopen(self, vital: str, cause: str) -> None:
        """Take the device or connection anew."""

    def restart(self, vital: str, cause: str) -> None:
        """Begin the part anew."""


def leave(code: int, why: str) -> None:
    """End the process at once, with a word to the log and the service manager, and every thread's stack."""
    notify(STATUS=f"leaving with exit code {code}: {why}")
    words = threading.Thread(target=_last_words, args=(code, why), daemon=True)
    words.start()
    words.join(LAST_WORDS_S)
    os._exit(code)


def _last_words(code: int, why: str) -> None:
    log.critical("%s: leaving with exit code %d, to be started anew", why, code)
    faulthandler.dump_traceback()


class Watchdog:
    """`watched` is asked at each look, as a reload of the settings replaces it; `on_verdict` hears of each."""

    def __init__(
        self,
        watched: Callable[[], Watched],
        on_verdict: Callable[[Verdict], None] = lambda verdict: None,
        leave: Leave = leave,
        tell: Callable[..., object] = notify,
    ) -> None:
        self._watched = watched
        self._on_verdict = on_verdict
        self._leave = leave
        self._tell = tell
        self._ladder = Ladder()
        within_s = watchdog_s()
        self._expected = within_s is not None
        self._every_s = LOOK_S if within_s is None else min(LOOK_S, within_s / 2)

    async def run(self) -> None:
        """Look until cancelled."""
        with LoopGuard(self._leave) as guard, _Alarm() as alarm:
            while True:
                guard.beat()
                alarm.beat()
                self.look(trio.current_time())
                await trio.sleep(self._every_s)

    def look(self, now: float) -> Verdict:
        """One look, and what follows from it."""
        watched = self._watched()
        watched.beat(now)
        verdict = self._ladder.look(watched.readings(now), now)
        for name in verdict.recovered:
            log.info("%s moves again", name)
        self._on_verdict(verdict)
        for step in verdict.steps:
            self._take(watched, step)
        if verdict.alive and self._expected:
            self._tell(WATCHDOG=1)
        return verdict

    def _take(self, watched: Watched, step: Step) -> None:
        reading, rung = step.reading, step.rung
        log.error("%s: %s", reading.complaint, rung.value, extra=VITAL_STALE)
        match rung:
            case Rung.REOPEN:
                watched.reopen(reading.name, reading.complaint)
            case Rung.RESTART:
                watched.restart(reading.name, reading.complaint)
            case Rung.EXIT:
                self._leave(VITALS[reading.name].exit_code, reading.complaint)


class _Alarm:
    """SIGALRM once the loop has not beaten for LAST_RESORT_S: every thread's stack on standard error, and the end."""

    def __enter__(self) -> _Alarm:
        faulthandler.register(signal.SIGALRM, file=2, all_threads=True, chain=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.unregister(signal.SIGALRM)

    def beat(self) -> None:
        """The loop turns."""
        signal.setitimer(signal.ITIMER_REAL, LAST_RESORT_S)


class LoopGuard:
    """A thread that ends the process once the loop has not beaten for LOOP_LOOKS of its looks in a row.

    It counts looks, not time: a process that was stopped and goes on finds its loop alive at the next look.
    """

    def __init__(self, leave: Leave, look_s: float = LOOK_S) -> None:
        self._leave = leave
        self._look_s = look_s
        self._beats = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop guard", daemon=True)

    def __enter__(self) -> LoopGuard:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()

    def beat(self) -> None:
        """The loop turns."""
        self._beats += 1

    def _watch(self) -> None:
        seen, missed = self._beats, 0
        while not self._over.wait(self._look_s):
            missed = missed + 1 if self._beats == seen else 0
            seen = self._beats
            if missed >= LOOP_LOOKS:
                self._leave(VITALS["loop"].exit_code, f"loop: {VITALS['loop'].still}, for {missed * self._look_s:g} s")
                return
