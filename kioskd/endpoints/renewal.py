"""When a session is replaced by a new one before its limit: while idle, and make-before-break where that is allowed."""

from __future__ import annotations

import logging
from typing import Protocol

import trio

from kioskd.endpoints.line import Line
from kioskd.endpoints.policy import Failure, Kind, told_wait_s

log = logging.getLogger(__name__)

RENEW_BEFORE_S = 300.0  # before the limit: a conversation that never pauses for so long has a patient visitor
RENEW_BEFORE_SHARE = 0.2  # of a limit that is shorter than that
IDLE_LOOK_S = 1.0  # while a renewal is due
RETRY_S = 30.0  # after a successor that could not be had


class Renewable(Protocol):
    """What a renewal needs of its endpoint."""

    @property
    def idle(self) -> bool:
        """Nobody speaks, and nobody waits."""

    def is_current(self, line: Line) -> bool:
        """Whether this line still serves."""

    def is_fresh(self, line: Line) -> bool:
        """Whether this line's session knows all that was said."""

    def open_successor(self) -> Line:
        """A line beside the one that serves."""

    def put_in_service(self, line: Line) -> None:
        """Let this line serve from now on; the one before ends."""


def renewal_due_s(session_limit_s: float) -> float:
    """How old a session may get before its renewal is due, in s."""
    return session_limit_s - min(RENEW_BEFORE_S, session_limit_s * RENEW_BEFORE_SHARE)


def refuses_a_second(failure: Failure) -> bool:
    """Whether it was refused because the first one is still open: some accounts have one connection only."""
    if failure.kind is Kind.UPGRADE:
        return failure.status in (403, 409, 423, 429)
    return failure.code in ("429", "rate_limit_exceeded", "rate_limit_error") or failure.close_code in (1008, 1013)


class Renewal:
    """Keeps one endpoint's session young. `is_single` becomes True once a second connection was refused."""

    def __init__(self, endpoint: Renewable, session_limit_s: float, name: str) -> None:
        self._endpoint = endpoint
        self._due_s = renewal_due_s(session_limit_s)
        self._name = name
        self.is_single = False

    async def watch(self, line: Line) -> None:
        """Replace `line` in time. Ends with it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._replace_in_time, line)
            await line.ended.wait()
            nursery.cancel_scope.cancel()

    async def _replace_in_time(self, line: Line) -> None:
        with trio.move_on_at(line.opened_at + self._due_s):
            await line.outdated.wait()
        while not await self._replaced(line):
            await trio.sleep(RETRY_S)

    async def _replaced(self, line: Line) -> bool:
        """One try. False if it has to be tried again later."""
        while True:
            await self._idle()
            if not self._endpoint.is_current(line):
                return True
            if self.is_single or line.outdated.is_set():  # where new settings don't work, that has to be seen
                log.debug("%s: the session ends before its limit; a new one follows", self._name)
                line.stop()
                return True
            successor = self._endpoint.open_successor()
            try:
                await successor.ready_or_over.wait()
                await self._idle()
                if successor.usable and self._endpoint.is_current(line) and self._endpoint.is_fresh(successor):
                    self._endpoint.put_in_service(successor)
                    return True
            finally:
                if not self._endpoint.is_current(successor):
                    successor.stop()
            if successor.failure is None:
                continue
            if not refuses_a_second(successor.failure):
                return False
            self.is_single = True
            await trio.sleep(told_wait_s(successor.failure) or 0.0)
            log.info("%s: takes no second connection (%s); renewed one by one", self._name, successor.failure.message)

    async def _idle(self) -> None:
        while not self._endpoint.idle:
            await trio.sleep(IDLE_LOOK_S)
