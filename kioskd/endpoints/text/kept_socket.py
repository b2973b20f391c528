"""A WebSocket that is kept between questions, and another one where it has gone stale."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import trio
from attrs import define, field

from kioskd.config.schema import Endpoint
from kioskd.endpoints.connection import failure_of_close
from kioskd.endpoints.dial import dial
from kioskd.endpoints.failures import DialError, Headers
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.text.model import ModelError
from kioskd.endpoints.text.shops import with_hint
from kioskd.endpoints.websocket import ConnectionClosed, WebSocket
from kioskd.realtime import dialects

MESSAGES_MAX = 256  # of an answer that nobody takes yet; then the other side is made to wait
SETTLING_S = 0.5  # for a server that lets anybody in to look at the key
PARTING_S = 1.0  # for the one before to be closed: some accounts allow one connection only


class Wire:
    """One connection. `gone` says why there is no more of it."""

    def __init__(self, socket: WebSocket, settings: Endpoint, key: str, sent: Headers) -> None:
        self.host = urlsplit(settings.url).hostname or ""
        self.sent = sent
        self.key = key
        self.opened_at = trio.current_time()
        self.used = False
        """It has had a question before."""
        self.gone: Failure | None = None
        self._socket = socket
        self._settings = settings
        self._asking = False
        self._doubt = trio.Event()
        self._over = trio.Event()
        self._scope = trio.CancelScope()
        self._incoming, self._messages = trio.open_memory_channel[str](MESSAGES_MAX)

    @property
    def usable(self) -> bool:
        """It may take a question."""
        return self.gone is None and not self._scope.cancel_called

    async def run(self) -> None:
        """Read and ping until it is lost or dropped."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read)
                    nursery.start_soon(self._ping)
        finally:
            self._fail(Failure(Kind.LOST, f"{self.host}: the connection was closed on this side"))

    def drop(self) -> None:
        """It is of no more use."""
        self._scope.cancel()

    async def settled(self) -> None:
        """Some servers let anybody in, and then close with the reason: wait for that. Raises ModelError."""
        with trio.move_on_at(self.opened_at + SETTLING_S):
            await self._over.wait()
        if self.gone is not None:
            raise ModelError(self.gone)

    async def ask(self, text: str) -> None:
        """Send a question; its answer is what `receive` gives until `answered`. Raises ModelError."""
        self._asking = True
        self._doubt.set()  # one that has died in silence is found out while somebody still waits
        with suppress(trio.WouldBlock):  # what came since the last answer belongs to nobody
            while True:
                self._messages.receive_nowait()
        try:
            await self._socket.send_message(text)
        except ConnectionClosed as closed:
            raise ModelError(self._fail(failure_of_close(closed.reason))) from None

    async def receive(self, until: float, waited: str) -> str:
        """The next message. Raises ModelError, also at `until` (a time of trio's clock): then it is dropped."""
        with trio.move_on_at(until):
            try:
                return await self._messages.receive()
            except trio.EndOfChannel:
                assert self.gone is not None
                raise ModelError(self.gone) from None
        self.drop()
        raise ModelError(Failure(Kind.SILENCE, f"{self.host}: {waited}"))

    def answered(self) -> None:
        """The answer is over, and the connection ready for the next question."""
        self._asking, self.used = False, True

    def _fail(self, failure: Failure) -> Failure:
        if self.gone is None:
            self.gone = failure
            self._incoming.close()
            self._over.set()
        self._scope.cancel()
        return self.gone

    async def _read(self) -> None:
        try:
            while True:
                message = await self._socket.get_message()
                text = message if isinstance(message, str) else message.decode("utf-8", "replace")
                if self._asking:
                    await self._incoming.send(text)
        except ConnectionClosed as closed:
            self._fail(failure_of_close(closed.reason))

    async def _ping(self) -> None:
        timeout_s = self._settings.ping_timeout_s
        while True:
            with trio.move_on_after(self._settings.ping_interval_s):
                await self._doubt.wait()
            self._doubt = trio.Event()
            with trio.move_on_after(timeout_s) as scope, suppress(ConnectionClosed):
                await self._socket.ping()
            if scope.cancelled_caught:
                self._fail(Failure(Kind.LOST, f"{self.host}: no pong within {timeout_s:g} s: the connection is dead"))


@define(eq=False)
class _Attempt:
    over: trio.Event = field(factory=trio.Event)
    failure: Failure | None = None


class KeptSocket:
    """Gives the connection there is, or opens another. `run` keeps them."""

    def __init__(self, settings: Endpoint, read_key: Callable[[], str], url: str) -> None:
        """`url` is without the key; `settings.auth` says how that travels."""
        self._settings = settings
        self._read_key = read_key
        self._url = url
        self._wire: Wire | None = None
        self._attempt: _Attempt | None = None
        self._wanted = trio.Event()
        self._alone = trio.Event()  # no connection is left of those before
        self._alone.set()

    async def run(self) -> None:
        """Open what is asked for, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._wanted.wait()
                self._wanted = trio.Event()
                if self._attempt is not None:
                    with trio.move_on_after(PARTING_S):
                        await self._alone.wait()
                    self._alone = trio.Event()
                    nursery.start_soon(self._live, self._attempt, self._alone)

    async def wire(self, *, new: bool = False) -> Wire:
        """A connection that may take a question; `new`: one that had none yet. Raises ModelError."""
        if self._wire is not None and ((new and self._wire.used) or not self._still_good(self._wire)):
            self._wire.drop()
            self._wire = None
        if self._wire is None:
            attempt = self.want()
            await attempt.over.wait()
            if attempt.failure is not None:
                raise ModelError(attempt.failure)
        if self._wire is None or self._wire.gone is not None:  # accepted, and closed at once
            gone = self._wire.gone if self._wire is not None else None
            raise ModelError(gone or Failure(Kind.LOST, "the connection was closed as soon as it was open"))
        return self._wire

    async def check(self, *, settles: bool = False) -> None:
        """Whether the key opens it; it is kept for the next question. `settles`: see `Wire`. Raises ModelError."""
        wire = await self.wire()
        try:
            if settles:
                await wire.settled()
        except ModelError as error:
            raise ModelError(with_hint(error.failure, wire.host, wire.key)) from None

    def want(self) -> _Attempt:
        """Have a connection opened: it will be used soon."""
        if self._attempt is None:
            self._attempt = _Attempt()
            self._wanted.set()
        return self._attempt

    def _still_good(self, wire: Wire) -> bool:
        """Not stale, not about to reach its limit, and opened with the key that counts now."""
        margin_s = min(60.0, self._settings.session_limit_s / 4)  # an answer takes less
        old = trio.current_time() - wire.opened_at > self._settings.session_limit_s - margin_s
        try:
            return wire.usable and not old and self._read_key() == wire.key
        except (OSError, ValueError):
            return wire.usable and not old  # it still serves

    async def _live(self, attempt: _Attempt, alone: trio.Event) -> None:
        host = urlsplit(self._url).hostname or ""
        key = ""
        try:
            key = self._read_key()
            headers = dialects.headers(self._settings, key)
            url = dialects.with_key(self._settings, self._url, key)
            async with dial(self._settings, headers, url) as socket:
                wire = Wire(socket, self._settings, key, [*headers, (b"", key.encode())])
                self._wire, self._attempt = wire, None
                attempt.over.set()
                await wire.run()
        except DialError as error:
            attempt.failure = with_hint(error.failure, host, key)
        except (OSError, ValueError) as error:
            attempt.failure = Failure(Kind.KEY, str(error))
        finally:
            if self._attempt is attempt:
                self._attempt = None
            attempt.over.set()
            alone.set()
