"""Run a part for ever: a crash is told, counted, and followed by a restart with back-off."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

log = logging.getLogger(__name__)

FIRST_RESTART_S = 1.0
LONGEST_RESTART_S = 30.0  # a part that can't live must not keep the processor busy
STABLE_AFTER_S = 60.0  # a crash after so long is a new trouble, not the old one
EXCUSED_CRASHES = 5  # in a row: over 31 s of back-off. A part that never lives is dead, however often it is restarted


class Supervised:
    """A part that is run until cancelled. `on_crash` gets one line about each crash, before the restart.

    `restarts` counts all of them, whatever their reason.
    """

    def __init__(self, name: str, run: Callable[[], Awaitable[None]], on_crash: Callable[[str], None]) -> None:
        self.name = name
        self.restarts = 0
        self._run = run
        self._on_crash = on_crash
        self._crashes = 0  # in a row
        self._scope = trio.CancelScope()
        self._cause = ""
        self._down = False  # and waiting for its restart
        self._failing_since = 0.0
        self._began = 0.0
        self._living_since = 0.0
        self._asked = False  # for a restart
        self._next_at = 0.0

    def failing_s(self, now: float) -> float | None:
        """How long ago it began to crash in a row; None while it runs."""
        return now - self._failing_since if self._down else None

    def living_s(self, now: float) -> float:
        """How long ago it was started, or crashed. A restart that was asked for doesn't count: it has to help first."""
        return now - self._living_since

    def excuse(self, now: float) -> str:
        """Why it is down, and until when; "" if it runs, or has crashed too often to be excused."""
        if not self._down or self._crashes > EXCUSED_CRASHES or now > self._next_at + FIRST_RESTART_S:
            return ""
        return f"{self._cause}; restart in {max(0.0, self._next_at - now):.0f} s"

    def restart(self, cause: str) -> None:
        """Cancel what runs, or what is waited for, and begin anew at once."""
        log.error("%s is restarted: %s", self.name, cause)
        self._asked = True
        self._scope.cancel()

    async def run(self) -> None:
        """Run it, over and over."""
        while True:
            self._began = trio.current_time()
            if not self._asked:
                self._living_since = self._began
            self._asked = False
            with trio.CancelScope() as self._scope:
                cause = await self._once()
                self._wait_for_restart(cause)
                await trio.sleep_until(self._next_at)
            self._down = False
            self.restarts += 1

    async def _once(self) -> str:
        """One life; what ended it."""
        cause = "ended by itself"
        try:
            await self._run()
        # The edge of a part: whatever went wrong in it, also while it was cancelled, must not end the others.
        except* Exception as error:
            log.debug("%s crashed", self.name, exc_info=True)
            cause = f"crashed: {describe(error)}"
        return cause

    def _wait_for_restart(self, cause: str) -> None:
        now = trio.current_time()
        if now - self._began > STABLE_AFTER_S:
            self._crashes = 0
        delay_s = min(FIRST_RESTART_S * 2.0 ** min(self._crashes, 16), LONGEST_RESTART_S)
        if not self._crashes:
            self._failing_since = now
        self._crashes += 1
        self._cause = f"{self.name} {cause}"
        self._down, self._next_at = True, now + delay_s
        log.error("%s; restart %d in %.0f s", self._cause, self._crashes, delay_s)
        self._on_crash(self._cause)


def describe(error: BaseException) -> str:
    """The innermost cause, in one line."""
    error = innermost(error)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def innermost(error: BaseException) -> BaseException:
    """The first error that is no group: nurseries wrap what is raised in them, layer by layer."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
