"""A connection in memory, with a delay, and with everything that can happen to one. No socket, no thread."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

import trio
from attrs import define, field, frozen

ROOM_BYTES = 256 * 1024  # what a kernel and a network hold before a sender has to wait
DELAY_S = (0.005, 0.04)  # one way; each connection has its own
STALL_S = 5.0
SLOW_BYTES_PER_S = 2000.0
JITTER_S = 0.3
WEATHER_S = 8.0  # how long slowness and jitter last
SERVER_GIVES_UP_S = 30.0  # after the other side of a black hole has gone
_DATA = (1, 2)  # opcodes (RFC 6455, 5.2)


@frozen
class _Chunk:
    due: float
    sent_at: float
    data: bytes | memoryview
    is_rest: bool = False  # of a message whose beginning was read before


@define(eq=False)
class Pipe:
    """One direction of a connection."""

    delay_s: float
    rng: random.Random
    stamps: deque[float] = field(factory=deque)  # when the data messages that the reader has were sent
    stamped: bool = False  # the reader counts messages
    _chunks: deque[_Chunk] = field(factory=deque)
    _waiting: int = 0
    _last_due: float = 0.0
    _hold_until: float = 0.0
    _weather: tuple[str, float] = ("", 0.0)
    _ending: str = ""  # "fin" or "rst": what follows what is under way
    _cut_next: str = ""
    _gives_up_at: float = float("inf")
    _left: bool = False  # its reader has closed
    _changed: trio.Event = field(factory=trio.Event)

    async def send(self, data: bytes) -> None:
        """Raises BrokenResourceError where nobody reads any more. Its caller has passed a checkpoint: its lock's."""
        while self._waiting > ROOM_BYTES and not self._ending and not self._left:
            await self._changed.wait()
        if self._ending or self._left:
            raise trio.BrokenResourceError("the connection is gone")
        if self._cut_next:
            data, ending = data[: len(data) // 2], self._cut_next
            self._put(data)
            self.end(ending)
            raise trio.BrokenResourceError("the connection broke in the middle of this")
        self._put(data)

    async def receive(self, max_bytes: int | None) -> bytes:
        """All that has come, up to `max_bytes`. Raises BrokenResourceError after a reset."""
        waited = False
        while True:
            now = trio.current_time()
            if self._left:
                raise trio.ClosedResourceError("closed here")
            if now >= self._gives_up_at or (self._ending == "rst" and not self._chunks):
                raise trio.BrokenResourceError("reset by peer")
            due = self._due
            if due <= now:
                if not waited:
                    await trio.lowlevel.checkpoint()
                    waited = True
                    continue
                return self._take_all(now, max_bytes or ROOM_BYTES)
            with trio.move_on_at(min(due, self._gives_up_at)):
                await self._changed.wait()
            waited = True

    def end(self, how: str) -> None:
        """Nothing more comes: "fin" in order, "rst" after what is under way already."""
        self._ending = self._ending or how
        self._wake()

    def cut(self, how: str) -> None:
        """End in the middle of a frame: the one under way, or the next."""
        if self._chunks:
            first = self._chunks[0]
            self._chunks.clear()
            self._waiting = 0
            self._put(bytes(first.data[: len(first.data) // 2]))
            self.end(how)
        else:
            self._cut_next = how

    def hold(self, until: float) -> None:
        """Deliver nothing before that time."""
        self._hold_until = max(self._hold_until, until)
        self._wake()

    def weather(self, kind: str, until: float) -> None:
        """Be slow or uneven until that time."""
        self._weather = (kind, until)

    def leave(self) -> None:
        """The reader closes."""
        self._left = True
        self._chunks.clear()
        self._wake()

    def give_up_at(self, time: float) -> None:
        """The reader loses patience at that time."""
        self._gives_up_at = min(self._gives_up_at, time)
        self._wake()

    @property
    def held(self) -> bool:
        """Whether nothing will ever come through."""
        return self._hold_until == float("inf")

    def _put(self, data: bytes) -> None:
        now = trio.current_time()
        due = max(now + self.delay_s, self._last_due)
        kind, until = self._weather
        if now < until:
            extra = len(data) / SLOW_BYTES_PER_S if kind == "slow" else self.rng.random() * JITTER_S
            due += extra
        self._last_due = due
        self._chunks.append(_Chunk(due, now, data))
        self._waiting += len(data)
        if len(self._chunks) == 1:
            self._wake()

    @property
    def _due(self) -> float:
        """When there is something to read, or the end."""
        if self._chunks:
            return max(self._chunks[0].due, self._hold_until)
        return self._hold_until if self._ending == "fin" else float("inf")

    def _take_all(self, now: float, room: int) -> bytes:
        taken = []
        while self._chunks and self._chunks[0].due <= now and room > 0:
            chunk = self._chunks.popleft()
            if self.stamped and chunk.data[:1] and chunk.data[0] & 0x0F in _DATA and not chunk.is_rest:
                self.stamps.append(chunk.sent_at)
            taken.append(chunk.data[:room])
            if len(chunk.data) > room:
                rest = memoryview(chunk.data)[room:]  # no copy: a message may have 20 MB
                self._chunks.appendleft(_Chunk(chunk.due, chunk.sent_at, rest, is_rest=True))
            room -= len(taken[-1])
        data = b"".join(taken)
        was, self._waiting = self._waiting, self._waiting - len(data)
        if self._waiting <= ROOM_BYTES < was:
            self._wake()
        return data

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


@define(eq=False)
class End(trio.abc.Stream):
    """One end of a connection."""

    reads: Pipe
    writes: Pipe
    on_close: Callable[[], None]
    closed: bool = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio."""
        if self.closed:
            raise trio.ClosedResourceError("closed here")
        await self.writes.send(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        """See trio."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See trio."""
        if self.closed:
            raise trio.ClosedResourceError("closed here")
        return await self.reads.receive(max_bytes)

    async def aclose(self) -> None:
        """See trio."""
        if not self.closed:
            self.closed = True
            self.reads.leave()
            self.writes.end("fin")
            if self.writes.held:
                self.writes.give_up_at(trio.current_time() + SERVER_GIVES_UP_S)
            self.on_close()
        await trio.lowlevel.checkpoint()


class Wire:
    """A connection, seen from the middle."""

    def __init__(self, rng: random.Random, on_gone: Callable[[Wire], None]) -> None:
        delay_s = rng.uniform(*DELAY_S)
        self._up, self._down = Pipe(delay_s, rng), Pipe(delay_s, rng)
        self.client = End(self._down, self._up, lambda: self._closed(on_gone))
        self.server = End(self._up, self._down, lambda: self._closed(on_gone))

    @property
    def stamps(self) -> deque[float]:
        """When the messages that the server has received were sent, once `count_messages` was called."""
        return self._up.stamps

    def count_messages(self) -> None:
        """The upgrade is over: what comes now are frames."""
        self._up.stamped = True

    def strike(self, kind: str) -> bool:
        """Do one of the catalogue's network faults. False for one that can't happen to an open connection."""
        now = trio.current_time()
        match kind:
            case "rst-mid-frame" | "fin-mid-frame":
                self._down.cut(kind[:3])
                self._up.end(kind[:3])
            case "black-hole":
                self._both(lambda pipe: pipe.hold(float("inf")))
            case "stall-5s":
                self._both(lambda pipe: pipe.hold(now + STALL_S))
            case "slow-2kbs":
                self._both(lambda pipe: pipe.weather("slow", now + WEATHER_S))
            case "jitter-300ms":
                self._both(lambda pipe: pipe.weather("jitter", now + WEATHER_S))
            case _:
                return False
        return True

    def _both(self, do: Callable[[Pipe], None]) -> None:
        do(self._up)
        do(self._down)

    def _closed(self, on_gone: Callable[[Wire], None]) -> None:
        if self.client.closed and self.server.closed:
            on_gone(self)
