"""WebSocket frames by hand (RFC 6455, 5.2), and a stream that says what it is told to: another's view of our bytes."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Sequence

import trio
from attrs import define, field
from loopback import GUID, UPGRADED

from kioskd.endpoints.websocket import WebSocket

MORE, TEXT, BYTES, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", *, last: bool = True) -> bytes:
    """A server's frame."""
    size = len(payload)
    head = bytes([opcode | (0x80 if last else 0)])
    if size < 126:
        return head + bytes([size]) + payload
    return head + (struct.pack("!BH", 126, size) if size < 2**16 else struct.pack("!BQ", 127, size)) + payload


def bye(code: int, words: str = "") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + words.encode())


def parsed(data: bytes) -> list[tuple[int, bytes]]:
    """The whole frames of a client, as (opcode, payload); each must be masked."""
    frames = []
    while len(data) >= 2:
        assert data[1] & 0x80, "a client masks its frames"
        size, at = data[1] & 0x7F, 2
        if size == 126:
            (size,), at = struct.unpack("!H", data[2:4]), 4
        elif size == 127:
            (size,), at = struct.unpack("!Q", data[2:10]), 10
        mask, payload = data[at : at + 4], data[at + 4 : at + 4 + size]
        if len(payload) < size:
            break
        frames.append((data[0] & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))))
        data = data[at + 4 + size :]
    return frames


@define(eq=False)
class Wire(trio.abc.Stream):
    """Gives each piece of `says` to one read, then what `say` adds; ends after `hang_up`. `sent`: each write.

    While it is `stuck`, a write waits; one that is cancelled then has left in part. `broken`: no write succeeds.
    """

    says: Sequence[bytes] = ()
    sent: list[bytes] = field(factory=list)
    broken: bool = False
    closed: bool = False
    free: trio.Event = field(factory=trio.Event)
    begun: int = 0
    _pieces: list[bytes] = field(factory=list)
    _news: trio.Event = field(factory=trio.Event)
    _over: bool = False

    def __attrs_post_init__(self) -> None:
        self.free.set()
        self._pieces = list(self.says)

    @property
    def frames(self) -> list[tuple[int, bytes]]:
        return parsed(b"".join(self.sent))

    def stick(self) -> None:
        self.free = trio.Event()

    def say(self, *pieces: bytes) -> None:
        self._pieces += pieces
        self._news.set()
        self._news = trio.Event()

    def hang_up(self) -> None:
        self._over = True
        self.say()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self._check()
        if self.broken:
            raise trio.BrokenResourceError
        self.begun += 1
        try:
            await self.free.wait()
            self._check()
        except BaseException:
            self.sent.append(bytes(data)[:3])
            raise
        self.sent.append(bytes(data))

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._pieces:
            self._check()
            if self._over:
                return b""
            await self._news.wait()
        self._check()
        return self._pieces.pop(0)

    def _check(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError

    async def wait_send_all_might_not_block(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        self.closed = True
        self.free.set()
        self.say()
        await trio.lowlevel.checkpoint()


async def upgraded(*pieces: bytes, limit: int = 2**20, behind: bytes = b"") -> tuple[WebSocket, Wire]:
    """An open WebSocket whose server says these pieces, one a read; `behind`: in the same packet as the upgrade."""
    wire = Wire()
    socket = WebSocket(wire, limit)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(socket.open, "here", "/v1", [(b"X-Key", b"sk-secret")], 65536)
        await trio.testing.wait_all_tasks_blocked()
        wire.say(accepted(wire) + behind)
    wire.sent.clear()
    wire.begun = 0
    wire.say(*pieces)
    return socket, wire


def accepted(wire: Wire) -> bytes:
    """The upgrade's right answer."""
    key = b"".join(wire.sent).partition(b"Sec-WebSocket-Key: ")[2].split(b"\r\n")[0]
    return UPGRADED.replace(b"ACCEPT", base64.b64encode(hashlib.sha1(key + GUID).digest()))
