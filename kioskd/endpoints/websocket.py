"""A client's WebSocket over a stream (RFC 6455). The protocol is wsproto's; ours is the way of its bytes.

A write is one call of the system, however many messages it holds, and a read gives every message that has come;
trio-websocket, on the same wsproto, needs three passes of trio's scheduler for each. Whole texts are read without the
library (`incoming`).
"""

from __future__ import annotations

import fcntl
import os
from array import array
from collections import deque
from collections.abc import Sequence
from io import BytesIO, StringIO

import trio
from attrs import define, field, frozen
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError

from kioskd.endpoints.gathering import Gathering
from kioskd.endpoints.incoming import Incoming
from kioskd.endpoints.upgrade import RECEIVE_BYTES, upgrade

ABNORMAL_CLOSURE = 1006  # RFC 6455, 7.4.1: no close frame came
MESSAGE_TOO_BIG = 1009
EVENTS_MAX = 64  # at a time: a flood of tiny frames must not keep the other tasks from running
LAST_WORD_S = 1.0  # for a close frame to leave: whoever receives waits for it, and the link may be stuck
_PING_BYTES = 4
_SIOCOUTQNSD = 0x894B  # linux/sockios.h


@frozen
class CloseReason:
    """Why a connection ended: the close frame's code (RFC 6455, 7.4) and words."""

    code: int
    reason: str | None = None


class ConnectionClosed(Exception):  # noqa: N818 - the field's name for it
    """The connection is over. `reason`: None while this side's goodbye is not answered yet."""

    def __init__(self, reason: CloseReason | None) -> None:
        super().__init__(reason)
        self.reason = reason


@define(eq=False)
class WebSocket:
    """To be opened once, and closed by whoever opened the stream. One task receives; any may send."""

    _stream: trio.abc.Stream
    _message_bytes_max: int
    answer: bytearray = field(factory=bytearray, init=False)
    """What has come of the upgrade's answer, until it is accepted."""
    gathered: bool = field(default=False, init=False)
    """What was read last had time to gather: there was plenty of sound in store."""
    _protocol: WSConnection = field(factory=lambda: WSConnection(ConnectionType.CLIENT), init=False)
    _sending: trio.Lock = field(factory=trio.Lock, init=False)
    _receiving: trio.Lock = field(factory=trio.Lock, init=False)
    _due: Event | None = field(default=None, init=False)
    """A pong, or the last word, for whoever is sending to take along."""
    _torn: bool = field(default=False, init=False)
    """A frame may have left in part: whatever followed would be read as the rest of it."""
    _drained: bool = field(default=False, init=False)
    """All that has come is dealt with."""
    _pings: dict[bytes, trio.Event] = field(factory=dict, init=False)
    _messages: deque[str | bytes] = field(factory=deque, init=False)
    _parts: StringIO | BytesIO | None = field(default=None, init=False)
    """Of the message that is coming. No list: fragments may be tiny, or empty, and without number."""
    _size: int = field(default=0, init=False)
    _closed: CloseReason | None = field(default=None, init=False)
    _gathering: Gathering = field(factory=Gathering, init=False)
    _incoming: Incoming = field(factory=Incoming, init=False)

    @property
    def flows(self) -> bool:
        """Nothing that was sent waits in the kernel until it may leave."""
        unsent = array("i", [0])
        try:
            fcntl.ioctl(self._stream.socket.fileno(), _SIOCOUTQNSD, unsent)  # type: ignore[attr-defined]
        except (AttributeError, OSError, ValueError):  # no socket at all, or a closed one
            return False
        return unsent[0] == 0

    async def open(
        self, authority: str, resource: str, headers: Sequence[tuple[bytes, bytes]], answer_bytes_max: int
    ) -> None:
        """Upgrade. `authority`: for the Host header; `answer_bytes_max`: of header and body of a refusal.

        Raises as `upgrade` does.
        """
        request = Request(host=authority, target=resource, extra_headers=list(headers))
        self._incoming.feed(await upgrade(self._stream, self._protocol, request, self.answer, answer_bytes_max))

    async def send_message(self, *messages: str | bytes) -> None:
        """Send them in one write. Raises ConnectionClosed. Cancelled amid a frame, no other can be sent."""
        await self._send(*map(_framed, messages))

    async def ping(self) -> None:
        """Send a ping and wait for its pong, or a later one's; somebody has to receive meanwhile.

        Raises ConnectionClosed.
        """
        payload, ponged = os.urandom(_PING_BYTES), trio.Event()
        self._pings[payload] = ponged
        try:
            await self._send(Ping(payload=payload))
            await ponged.wait()
            if payload in self._pings:
                raise ConnectionClosed(self._closed)
        finally:
            self._pings.pop(payload, None)

    async def get_message(self) -> str | bytes:
        """The next message. Raises ConnectionClosed."""
        await self._await_messages()
        return self._messages.popleft()

    async def get_messages(self) -> list[str | bytes]:
        """Every message that has come (EVENTS_MAX at a time), in order, and at least one.

        Raises ConnectionClosed, after the last of them.
        """
        await self._await_messages()
        messages = list(self._messages)
        self._messages.clear()
        return messages

    async def _await_messages(self) -> None:
        if self._messages:
            return
        await _acquire(self._receiving)
        try:
            while not self._messages:
                if self._closed is not None:
                    raise ConnectionClosed(self._closed)
                await self._proceed()
        finally:
            self._receiving.release()

    async def aclose(self, code: int = 1000) -> None:
        """Say goodbye, wait for the other side's, and close the stream; cancelled, only the latter.

        What comes meanwhile, or was not taken yet, is dropped.
        """
        try:
            await self._send(CloseConnection(code=code))
            await _acquire(self._receiving)
            try:
                while self._closed is None:
                    await self._proceed()
                    self._messages.clear()
            finally:
                self._receiving.release()
        except ConnectionClosed:
            return
        finally:
            self._end(ABNORMAL_CLOSURE)
            await self._stream.aclose()

    def _may_send(self, event: Event) -> bool:
        if isinstance(event, CloseConnection):  # also when torn: perhaps nothing had left, and nothing follows it
            return self._protocol.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING)
        return self._protocol.state is ConnectionState.OPEN and not self._torn

    async def _send(self, *events: Event) -> None:
        """In one write; then what is due. Raises ConnectionClosed."""
        if events and (self._closed is not None or self._protocol.state is not ConnectionState.OPEN):
            raise ConnectionClosed(self._closed)
        await _acquire(self._sending)
        try:
            refused = not all(map(self._may_send, events))
            if events and not refused:
                await self._write(*events)
            while self._due is not None:
                due, self._due = self._due, None
                if self._may_send(due):
                    await self._write(due)
            if refused:
                raise ConnectionClosed(self._closed or (CloseReason(ABNORMAL_CLOSURE) if self._torn else None))
        finally:
            self._sending.release()

    async def _write(self, *events: Event) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()  # nothing has left, and nothing is torn
        data = b"".join(map(self._protocol.send, events))
        self._torn = True
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):  # whoever receives learns why
            raise ConnectionClosed(self._closed or CloseReason(ABNORMAL_CLOSURE)) from None
        self._torn = False

    async def _reply(self, event: Event) -> None:
        """Send it, or leave it to whoever is sending: to wait for them would stop the reader."""
        self._due = event  # of several pings the latest is enough (RFC 6455, 5.5.3)
        if not self._sending.locked():
            try:
                await self._send()
            except ConnectionClosed:
                return  # what came before the end is still to be read, and its reason

    async def _proceed(self) -> None:
        """Deal with some of what has come, or else wait for more."""
        if self._drained:
            await self._receive()
        else:
            await trio.lowlevel.checkpoint()
        if self._closed is None:
            await self._take_events()

    async def _receive(self) -> None:
        """Wait for more bytes; of an answer that is well ahead, let them gather (see `gathering`)."""
        nap_s = self._gathering.nap_s(trio.current_time())
        self.gathered = nap_s > 0
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
        self._drained = False
        self._incoming.feed(bytes(data))

    async def _take_events(self) -> None:
        """What the bytes so far mean: messages are kept, all else is done here."""
        for _ in range(EVENTS_MAX):
            piece = self._incoming.take()
            if piece is None:
                self._drained = True
            elif isinstance(piece, str):
                await self._collect(piece, True)
            else:
                await self._take_from_library(piece)
            if self._closed is not None or self._drained:
                return

    async def _take_from_library(self, data: bytes) -> None:
        try:
            self._protocol.receive_data(data)
        except LocalProtocolError:  # bytes behind the last frame
            self._end(ABNORMAL_CLOSURE)
            return
        for event in self._protocol.events():
            match event:
                case TextMessage() | BytesMessage():
                    await self._collect(_plain(event.data), event.message_finished)
                case Ping() if self._protocol.state is ConnectionState.OPEN:
                    await self._reply(event.response())
                case Pong():
                    self._take_pong(bytes(event.payload))
                case CloseConnection():  # while open, so the library tells of frames that break the rules
                    await self._end_politely(event)
            if self._closed is not None:
                return

    async def _collect(self, data: str | bytes, finished: bool) -> None:
        self._size += len(data.encode()) if isinstance(data, str) and not data.isascii() else len(data)
        if self._size > self._message_bytes_max:
            much = f"a message of more than {self._message_bytes_max} bytes"
            await self._end_politely(CloseConnection(MESSAGE_TOO_BIG, much))
            return
        if not finished or self._parts is not None:
            self._parts = self._parts or (StringIO() if isinstance(data, str) else BytesIO())
            self._parts.write(data)  # type: ignore[arg-type]  # all are of one kind
        if finished:
            self._messages.append(data if self._parts is None else self._parts.getvalue())
            self._parts, self._size = None, 0

    async def _end_politely(self, event: CloseConnection) -> None:
        """Nothing more is read. Whoever closes first is answered with the same; whoever errs is told why."""
        self._end(event.code, event.reason)
        with trio.move_on_after(LAST_WORD_S):
            await self._reply(event.response())

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


async def _acquire(lock: trio.Lock) -> None:
    """As `async with` does, but without a pass of the scheduler where nobody holds it."""
    try:
        lock.acquire_nowait()
    except trio.WouldBlock:
        await lock.acquire()


def _framed(message: str | bytes) -> Event:
    return TextMessage(data=message) if isinstance(message, str) else BytesMessage(data=message)


def _plain(data: str | bytes | bytearray) -> str | bytes:
    return data if isinstance(data, str) else bytes(data)
