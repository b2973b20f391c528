"""A client's WebSocket over a stream (RFC 6455). The protocol is wsproto's; ours is the way of its bytes.

A write is one call of the system, however many messages it holds, and a read gives every message that has come.
trio-websocket, on the same wsproto, needs three passes of trio's scheduler for each of them, both ways: on a small
machine that is a third of what an answer costs, and most of the time from a question's end to its commit.
"""

from __future__ import annotations

import fcntl
import os
from array import array
from collections import deque
from collections.abc import Sequence

import trio
from attrs import define, field, frozen
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from kioskd.endpoints.gathering import Gathering

ABNORMAL_CLOSURE = 1006  # RFC 6455, 7.4.1: no close frame came
MESSAGE_TOO_BIG = 1009
RECEIVE_BYTES = 65536  # a quarter less processor time than 4 KiB
_PING_BYTES = 4
_SIOCOUTQNSD = 0x894B  # linux/sockios.h


@frozen
class CloseReason:
    """Why a connection ended: the close frame's code (RFC 6455, 7.4) and words."""

    code: int
    reason: str | None = None


class ConnectionClosed(Exception):  # noqa: N818 - the field's name for it
    """The connection is over. `reason`: None where this side ended it."""

    def __init__(self, reason: CloseReason | None) -> None:
        super().__init__(reason)
        self.reason = reason


class UpgradeRefused(Exception):  # noqa: N818 - it is the server that errs, or the owner
    """The server answered the upgrade with something else than 101."""

    def __init__(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.headers, self.body = status, headers, body


class UpgradeCut(Exception):  # noqa: N818 - as above
    """The stream ended, or said too much, before the upgrade was answered."""


@define(eq=False)
class WebSocket:
    """To be opened once, and closed by whoever opened the stream. One task receives; any may send."""

    _stream: trio.abc.Stream
    _message_bytes_max: int
    answer: bytearray = field(factory=bytearray, init=False)
    """What has come of the upgrade's answer, until it is accepted."""
    _protocol: WSConnection = field(factory=lambda: WSConnection(ConnectionType.CLIENT), init=False)
    _sending: trio.Lock = field(factory=trio.Lock, init=False)
    _pings: dict[bytes, trio.Event] = field(factory=dict, init=False)
    _messages: deque[str | bytes] = field(factory=deque, init=False)
    _parts: list[str | bytes] = field(factory=list, init=False)
    _size: int = field(default=0, init=False)
    _closed: CloseReason | None = field(default=None, init=False)
    _gathering: Gathering = field(factory=Gathering, init=False)

    @property
    def flows(self) -> bool:
        """Nothing that was sent waits in the kernel until it may leave."""
        unsent = array("i", [0])
        try:
            fcntl.ioctl(self._stream.socket.fileno(), _SIOCOUTQNSD, unsent)  # type: ignore[attr-defined]
        except (AttributeError, OSError):  # no socket at all, or a closed one
            return False
        return unsent[0] == 0

    async def open(
        self, authority: str, resource: str, headers: Sequence[tuple[bytes, bytes]], answer_bytes_max: int
    ) -> None:
        """Upgrade. `authority`: for the Host header; `answer_bytes_max`: of header and body of a refusal.

        Raises UpgradeRefused, UpgradeCut, RemoteProtocolError, trio.BrokenResourceError.
        """
        await self._stream.send_all(
            self._protocol.send(Request(host=authority, target=resource, extra_headers=list(headers)))
        )
        refusal: RejectConnection | None = None
        body = bytearray()
        while True:
            for event in self._protocol.events():
                match event:
                    case AcceptConnection():
                        self.answer.clear()
                        return
                    case RejectConnection():
                        refusal = event
                    case RejectData():
                        body += event.data
                whole = isinstance(event, RejectData) and event.body_finished
                if refusal is not None and (whole or not refusal.has_body):
                    raise UpgradeRefused(refusal.status_code, list(refusal.headers), bytes(body))
            try:
                data = await self._stream.receive_some(RECEIVE_BYTES)
            except trio.BrokenResourceError:
                data = b""
            self.answer += data
            if not data or len(self.answer) > answer_bytes_max:
                raise UpgradeCut
            self._protocol.receive_data(bytes(data))

    async def send_message(self, *messages: str | bytes) -> None:
        """Send them in one write. Raises ConnectionClosed."""
        self._send_nothing_more_if_closed()
        await self._send(b"".join(self._protocol.send(_framed(message)) for message in messages))

    async def ping(self) -> None:
        """Send a ping and wait for its pong, or a later one's; somebody has to receive meanwhile.

        Raises ConnectionClosed.
        """
        self._send_nothing_more_if_closed()
        payload, ponged = os.urandom(_PING_BYTES), trio.Event()
        self._pings[payload] = ponged
        await self._send(self._protocol.send(Ping(payload=payload)))
        await ponged.wait()
        if payload in self._pings:
            raise ConnectionClosed(self._closed)

    async def get_message(self) -> str | bytes:
        """The next message. Raises ConnectionClosed."""
        await self._await_messages()
        return self._messages.popleft()

    async def get_messages(self) -> list[str | bytes]:
        """Every message that has come, in order, and at least one. Raises ConnectionClosed, after the last of them."""
        await self._await_messages()
        messages = list(self._messages)
        self._messages.clear()
        return messages

    async def _await_messages(self) -> None:
        while not self._messages:
            await self._take_events()
            if self._messages:
                return
            if self._closed is not None:
                raise ConnectionClosed(self._closed)
            await self._receive()

    async def aclose(self, code: int = 1000) -> None:
        """Say goodbye, wait for the other side's, and close the stream; cancelled, only the latter."""
        try:
            if self._closed is None and self._protocol.state is ConnectionState.OPEN:
                await self._send(self._protocol.send(CloseConnection(code=code)))
                while self._closed is None:
                    await self._take_events()
                    if self._closed is None:
                        await self._receive()
        except ConnectionClosed:
            return
        finally:
            self._end(ABNORMAL_CLOSURE)
            await self._stream.aclose()

    def _send_nothing_more_if_closed(self) -> None:
        if self._closed is not None or self._protocol.state is not ConnectionState.OPEN:
            raise ConnectionClosed(self._closed)

    async def _send(self, data: bytes) -> None:
        try:
            self._sending.acquire_nowait()  # `async with` would be a pass of the scheduler
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):  # whoever receives learns why
            raise ConnectionClosed(self._closed or CloseReason(ABNORMAL_CLOSURE)) from None
        finally:
            self._sending.release()

    async def _receive(self) -> None:
        """Wait for more bytes; of an answer that is well ahead, let them gather (see `gathering`)."""
        nap_s = self._gathering.nap_s(trio.current_time())
        if nap_s:
            await trio.sleep(nap_s)
        try:
            data = await self._stream.receive_some(RECEIVE_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if not data:
            self._end(ABNORMAL_CLOSURE)
            return
        self._gathering.came(len(data), trio.current_time())
        try:
            self._protocol.receive_data(bytes(data))
        except (RemoteProtocolError, LocalProtocolError):  # bytes behind the last frame
            self._end(ABNORMAL_CLOSURE)

    async def _take_events(self) -> None:
        """What the bytes so far mean: messages are kept, all else is done here."""
        if self._closed is not None:
            return
        for event in self._protocol.events():
            if isinstance(event, (TextMessage, BytesMessage)):
                self._collect(event)
                if self._size > self._message_bytes_max:
                    await self._refuse(MESSAGE_TOO_BIG, f"a message of more than {self._message_bytes_max} bytes")
            elif isinstance(event, Pong):
                self._take_pong(bytes(event.payload))
            else:
                await self._reply(event)
            if self._closed is not None:
                return

    def _collect(self, event: TextMessage | BytesMessage) -> None:
        data = event.data if isinstance(event.data, str) else bytes(event.data)
        if event.message_finished and not self._parts:
            self._messages.append(data)
            return
        self._parts.append(data)
        self._size += len(data)
        if event.message_finished and self._size <= self._message_bytes_max:
            whole = b"" if isinstance(event, BytesMessage) else ""
            self._messages.append(whole.join(self._parts))  # type: ignore[arg-type]  # all are of one kind
            self._parts, self._size = [], 0

    async def _reply(self, event: Event) -> None:
        if isinstance(event, Ping) and self._protocol.state is ConnectionState.OPEN:
            await self._send(self._protocol.send(event.response()))
        elif isinstance(event, CloseConnection):
            if self._protocol.state is ConnectionState.OPEN:  # so the library tells of frames that break the rules
                await self._refuse(event.code, event.reason or "")
            else:
                self._end(event.code, event.reason)
                if self._protocol.state is ConnectionState.REMOTE_CLOSING:
                    await self._say_last(self._protocol.send(event.response()))

    async def _refuse(self, code: int, reason: str) -> None:
        """Nothing more of this is read."""
        self._end(code, reason)
        await self._say_last(self._protocol.send(CloseConnection(code=code)))

    async def _say_last(self, frame: bytes) -> None:
        try:
            await self._send(frame)
        except ConnectionClosed:
            return  # it was the last word

    def _take_pong(self, payload: bytes) -> None:
        if payload not in self._pings:
            return
        for earlier in list(self._pings):  # RFC 6455, 5.5.3: a pong may answer for the pings before it
            self._pings.pop(earlier).set()
            if earlier == payload:
                return

    def _end(self, code: int, reason: str | None = None) -> None:
        if self._closed is None:
            self._closed = CloseReason(code, reason or None)
            for ping in self._pings.values():
                ping.set()


def _framed(message: str | bytes) -> Event:
    return TextMessage(data=message) if isinstance(message, str) else BytesMessage(data=message)
