"""One attempt to be connected, and the connection that it becomes: from reading the key to the last byte."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import trio

from kioskd.config.schema import Endpoint
from kioskd.endpoints.connection import Connection
from kioskd.endpoints.failures import DialError
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.way_in import Door
from kioskd.endpoints.websocket import WebSocket


class Dial(Protocol):
    """How a connection is opened (see `dial.dial`)."""

    def __call__(
        self, settings: Endpoint, headers: list[tuple[bytes, bytes]], url: str, /
    ) -> AbstractAsyncContextManager[WebSocket]:
        """An open WebSocket, closed on leaving. Raises DialError."""


class Line:
    """`run` it once, as a task; `ended` is set when it is over, and `failure` says why (None: it was stopped)."""

    def __init__(
        self,
        settings: Endpoint,
        read_key: Callable[[], str],
        open_door: Callable[[Endpoint, str], Awaitable[Door]],
        dial: Dial,
        connection_on: Callable[[Line, WebSocket], Connection],
    ) -> None:
        self.connection: Connection | None = None
        self.door: Door | None = None
        self.opened_at = trio.current_time()  # its session's age counts from here
        self.ready_at: float | None = None
        self.closing_at = self.opened_at  # when its goodbye began, if it has
        self.revision = -1  # of the history that its session began with
        self.failure: Failure | None = None
        self.ready_or_over = trio.Event()
        self.ended = trio.Event()
        self.outdated = trio.Event()  # its settings or its key are no longer those that count
        self._settings = settings
        self._read_key = read_key
        self._open_door = open_door
        self._dial = dial
        self._connection_on = connection_on
        self._scope = trio.CancelScope(shield=True)  # a cancellation ends in a close frame: see _end_politely

    @property
    def usable(self) -> bool:
        """True while it takes questions."""
        return self.ready_at is not None and not self.stopping

    @property
    def stopping(self) -> bool:
        """True once it is over, or about to be."""
        ending = self.connection is not None and self.connection.stopping
        return ending or self.ended.is_set() or self._scope.cancel_called

    async def run(self) -> None:
        """Connect and serve."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_politely)
                with self._scope:
                    self.failure = await self._live()
                nursery.cancel_scope.cancel()
        finally:
            self.connection = None
            self.ended.set()
            self.ready_or_over.set()

    def be_ready(self) -> None:
        """Its session holds our settings."""
        self.ready_at = trio.current_time()
        self.ready_or_over.set()

    def stop(self) -> None:
        """End it as planned: politely, if it is connected."""
        if self.connection is not None:
            self.connection.stop()
        else:
            self._scope.cancel()

    async def _end_politely(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.stop()

    async def _live(self) -> Failure | None:
        try:
            self.door = await self._open_door(self._settings, self._read_key())
        except (OSError, ValueError) as error:
            return Failure(Kind.KEY, str(error))
        except DialError as error:
            return error.failure
        outcome: Failure | None = None
        served = False
        try:
            async with self._dial(self._settings, self.door.headers, self.door.url) as socket:
                self.opened_at = trio.current_time()
                self.connection = self._connection_on(self, socket)
                try:
                    outcome = await self.connection.run()
                    served = True
                finally:
                    self.connection = None
                    self.closing_at = trio.current_time()
        except DialError as error:
            if not served:  # else it is only the goodbye that went wrong
                return error.failure
        return outcome
