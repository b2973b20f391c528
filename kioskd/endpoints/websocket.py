"""A client's WebSocket over a stream (RFC 6455).

A write is one call of the system, however many messages it holds, and a read gives every message that has come;
trio-websocket needs three passes of trio's scheduler for each.
"""

from __future__ import annotations

import fcntl
import os
from array import array
from collections import deque
from collections.abc import Sequence

import trio
from attrs import define, field

from kioskd.endpoints import frames
from kioskd.endpoints.frames import ABNORMAL_CLOSURE, CloseReason, Frame, close_frame
from kioskd.endpoints.gathering import READ_BYTES, Gathering
from kioskd.endpoints.incoming import Incoming
from kioskd.endpoints.upgrade import upgrade

FRAMES_MAX = 64  # at a time: a flood of tiny frames must not keep the other tasks from running
LAST_WORD_S = 1.0  # for a close frame to leave: whoever receives waits for it, and the link may be stuck
_PING_BYTES = 4
_KEY_BYTES = 4
_SIOCOUTQNSD = 0x894B  # linux/sockios.h


class ConnectionClosed(Exception):  # noqa: N818 - the field's name for it
    """The connection is over. `reason`: None while this side's goodbye is not answered yet."""

    def __init__(self, reason: CloseReason | None) -> None:
        super().__init__(reason)
        self.reason = reason


@define(eq=False, repr=False)
class WebSocket:
    """To be opened once, and closed by whoever opened the stream. One task receives; any may send."""

    _stream: trio.abc.Stream
    _message_bytes_max: int
    answer: bytearray = field(factory=bytearray, init=False)
    """What has come of the upgrade's answer, until it is accepted."""
    gathered: bool = field(default=False, init=False)
    """What was read last had time to gather: there was plenty of sound in store."""
    _sending: trio.Lock = field(factory=trio.Lock, init=False)
    _receiving: trio.Lock = field(factory=trio.Lock, init=False)
    _due: Frame | None = field(default=None, init=False)
    """A pong, or the last word, for whoever is sending to take along."""
    _torn: bool = field(default=False, init=False)
    """A frame may have left in part: whatever followed would be read as the rest of it."""
    _drained: bool = field(default=False, init=False)
    """All that has come is dealt with."""
    _pings: dict[bytes, trio.Event] = field(factory=dict, init=False)
    _messages: deque[str | bytes] = field(factory=deque, init=False)
    _said_goodbye: bool = field(default=False, init=False)
    _closed: CloseReason | None = field(default=None, init=False)
    _gathering: Gathering = field(factory=Gathering, init=False)
    _incoming: Incoming = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._incoming = Incoming(self._message_bytes_max)

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
        self._incoming.feed(await upgrade(self._stream, authority, resource, headers, self.answer, answer_bytes_max))

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
            await self._send(Frame(frames.PING, payload))
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
        """Every message that has come (FRAMES_MAX at a time), in order, and at least one.

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
            await self._send(close_frame(CloseReason(code)))
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
            self._end(CloseReason(ABNORMAL_CLOSURE))
            await self._stream.aclose()

    def _may_send(self, frame: Frame) -> bool:
        # A goodbye also when torn: perhaps nothing had left, and nothing follows it.
        return not self._said_goodbye and (frame.opcode == frames.CLOSE or not self._torn)

    async def _send(self, *outgoing: Frame) -> None:
        """In one write; then what is due. Raises ConnectionClosed."""
        if outgoing and (self._closed is not None or self._said_goodbye):
            raise ConnectionClosed(self._closed)
        await _acquire(self._sending)
        try:
            refused = not all(map(self._may_send, outgoing))
            if outgoing and not refused:
                await self._write(*outgoing)
            while self._due is not None:
                due, self._due = self._due, None
                if self._may_send(due):
                    await self._write(due)
            if refused:
                raise ConnectionClosed(self._closed or (CloseReason(ABNORMAL_CLOSURE) if self._torn else None))
        finally:
            self._sending.release()

    async def _write(self, *outgoing: Frame) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()  # nothing has left, and nothing is torn
        data = b"".join(frames.masked(frame, os.urandom(_KEY_BYTES)) for frame in outgoing)
        self._said_goodbye = outgoing[-1].opcode == frames.CLOSE
        self._torn = True
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):  # whoever receives learns why
            raise ConnectionClosed(self._closed or CloseReason(ABNORMAL_CLOSURE)) from None
        self._torn = False

    async def _reply(self, frame: Frame) -> None:
        """Send it, or leave it to whoever is sending: to wait for them would stop the reader."""
        self._due = frame  # of several pings the latest is enough (RFC 6455, 5.5.3)
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
            await self._take_frames()

    async def _receive(self) -> None:
        """Wait for more bytes; of an answer that is well ahead, let them gather (see `gathering`)."""
        nap_s = self._gathering.nap_s(trio.current_time())
        self.gathered = nap_s > 0
        if nap_s:
            await trio.sleep(nap_s)
        try:
            data = await self._stream.receive_some(READ_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if not data:
            self._end(CloseReason(ABNORMAL_CLOSURE))
            return
        self._gathering.came(len(data), trio.current_time())
        self._drained = False
        self._incoming.feed(bytes(data))

    async def _take_frames(self) -> None:
        """What the bytes so far mean: messages are kept, all else is done here."""
        for _ in range(FRAMES_MAX):
            match self._incoming.take():
                case str() | bytes() as message:
                    self._messages.append(message)
                case Frame(frames.PING, payload):
                    await self._reply(Frame(frames.PONG, payload))
                case Frame(frames.PONG, payload):
                    self._take_pong(payload)
                case CloseReason() as reason:
                    await self._end_politely(reason)
                    return
                case None:
                    self._drained = True
                    return

    async def _end_politely(self, reason: CloseReason) -> None:
        """Nothing more is read. Whoever closes first is answered with the same; whoever errs is told why."""
        self._end(reason)
        with trio.move_on_after(LAST_WORD_S):
            await self._reply(close_frame(reason))

    def _take_pong(self, payload: bytes) -> None:
        if payload not in self._pings:
            return
        for earlier in list(self._pings):  # RFC 6455, 5.5.3: a pong may answer for the pings before it
            self._pings.pop(earlier).set()
            if earlier == payload:
                return

    def _end(self, reason: CloseReason) -> None:
        if self._closed is None:
            self._closed = reason
            for ping in self._pings.values():
                ping.set()


async def _acquire(lock: trio.Lock) -> None:
    """As `async with` does, but without a pass of the scheduler where nobody holds it."""
    try:
        lock.acquire_nowait()
    except trio.WouldBlock:
        await lock.acquire()


def _framed(message: str | bytes) -> Frame:
    return Frame(frames.TEXT, message.encode()) if isinstance(message, str) else Frame(frames.BYTES, message)
