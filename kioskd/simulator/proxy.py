"""A TCP proxy with the faults of a network: it carries bytes to a server and back, late, slowly, or not at all."""

from __future__ import annotations

import itertools
import logging
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import trio
from attrs import define, field, frozen

from kioskd.simulator.faults.catalogue import Kind, Level, Phase
from kioskd.simulator.faults.channel import tell
from kioskd.simulator.faults.script import FaultSource
from kioskd.simulator.observer import Observer, Unwatched
from kioskd.simulator.ports import listen, port_of

MAX_CLIENTS = 64  # as many as the simulator takes
CHUNK_BYTES = 16_384  # all that is under way in one direction, beside the sockets' own buffers
GOODBYE_S = 5.0  # for a client that was sent a FIN to end its side
_STEPS_PER_S = 20  # in which a slow connection moves on
_JITTER = (0.0, 1.0, 0.2, 0.7, 0.4)  # of the greatest delay, over and over: nothing is random but the faults' source
_TLS_HANDSHAKE = b"\x16"  # the first byte of a ClientHello
_NO_TLS = b"HTTP/1.0 400 Bad Request\r\n\r\n"  # what a plain server says to one
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST

_log = logging.getLogger(__name__)


@frozen
class Weather:
    """How bad the faults are that have a measure."""

    stall_s: float = 5.0
    bytes_per_s: int = 2000
    jitter_s: float = 0.3


async def serve_proxy(
    listen_port: int,
    target: tuple[str, int],
    faults: FaultSource,
    *,
    host: str = "127.0.0.1",
    phase_of: Callable[[int], Phase] = lambda _: Phase.IDLE,
    observer: Observer | None = None,
    weather: Weather | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Carry every connection to `target` until cancelled; started with the port number. Raises `SimulatorError`.

    Opportunities: each connection that is made (CONNECT), then each piece of bytes, in either direction. `phase_of`
    tells the phase of the connection that comes to the target from this port; while that is CONNECT, none is drawn.
    """
    listeners = await listen(host, listen_port)
    free = trio.CapacityLimiter(MAX_CLIENTS)

    async def carry(client: trio.SocketStream) -> None:
        try:
            free.acquire_on_behalf_of_nowait(client)
        except trio.WouldBlock:
            _reset(client)
            return
        try:
            await _Tunnel(client, target, faults, phase_of, observer or Unwatched(), weather or Weather()).run()
        finally:
            free.release_on_behalf_of(client)

    port = port_of(listeners)
    _log.info("the network's faults are made on port %s, before the one of the simulator", port)
    task_status.started(port)
    await trio.serve_listeners(carry, listeners)


@define(eq=False)
class _Tunnel:
    """One client's connection."""

    client: trio.SocketStream
    target: tuple[str, int]
    faults: FaultSource
    phase_of: Callable[[int], Phase]
    observer: Observer
    weather: Weather
    _server: trio.SocketStream = field(init=False)
    _port: int = field(default=0, init=False)  # ours, as the server sees it
    _scope: trio.CancelScope = field(init=False)
    _moving: trio.Event = field(factory=trio.Event, init=False)
    _lost: bool = field(default=False, init=False)
    _slow: bool = field(default=False, init=False)
    _delays: Iterator[float] = field(init=False)
    _break: Kind | None = field(default=None, init=False)  # rst- or fin-mid-frame, due at the next piece

    def __attrs_post_init__(self) -> None:
        self._delays = itertools.repeat(0.0)
        self._moving.set()

    async def run(self) -> None:
        """Carry bytes until one side, or a fault, ends it."""
        try:
            kind = self.faults.draw(Level.NETWORK, Phase.CONNECT)
            if kind is not None:
                tell(self.observer, kind, Phase.CONNECT)
                if not await self._connects(kind):
                    return
            self._server = await trio.open_tcp_stream(*self.target)
        except OSError:
            _reset(self.client)
            return
        except trio.BrokenResourceError:
            return
        self._port = self._server.socket.getsockname()[1]
        try:
            with trio.CancelScope() as self._scope:
                async with trio.open_nursery() as nursery:
                    if kind is not None:
                        self._begin(kind, nursery)
                    nursery.start_soon(self._pump, self.client, self._server, nursery)
                    nursery.start_soon(self._pump, self._server, self.client, nursery)
        finally:
            await trio.aclose_forcefully(self._server)
            await trio.aclose_forcefully(self.client)

    async def _connects(self, kind: Kind) -> bool:
        """Whether the connection goes on to the server."""
        if kind.name == "tls-failure":
            hello = await self.client.receive_some(CHUNK_BYTES)
            if hello.startswith(_TLS_HANDSHAKE):
                await self.client.send_all(_NO_TLS)
            await _end_politely(self.client)
        elif kind.name in ("refuse-connect", "dns-failure"):
            _reset(self.client)
        else:
            return True
        return False

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream, nursery: trio.Nursery) -> None:
        try:
            while data := bytes(await source.receive_some(CHUNK_BYTES)):
                self._draw(nursery)
                if self._lost:
                    continue
                if self._break is None:
                    await self._pass(data, sink)
                    continue
                await sink.send_all(data[:-1])  # wherever frames end in it, this is not there
                await self._end_in_mid_frame(self._break)
            if not self._lost:
                await sink.send_eof()
            elif source is self.client:
                self._scope.cancel()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if not self._lost or source is self.client:
                _reset(self.client)
                self._scope.cancel()

    def _draw(self, nursery: trio.Nursery) -> None:
        phase = self.phase_of(self._port)
        if phase is Phase.CONNECT or self._lost or self._break is not None:
            return
        kind = self.faults.draw(Level.NETWORK, phase)
        if kind is not None:
            tell(self.observer, kind, phase)
            self._begin(kind, nursery)

    def _begin(self, kind: Kind, nursery: trio.Nursery) -> None:
        if kind.name == "black-hole":
            self._lost = True
        elif kind.name == "stall-5s":
            self._moving = trio.Event()
            nursery.start_soon(self._stall, self._moving)
        elif kind.name == "slow-2kbs":
            self._slow = True
        elif kind.name == "jitter-300ms":
            self._delays = (part * self.weather.jitter_s for part in itertools.cycle(_JITTER))
        else:
            self._break = kind

    async def _stall(self, over: trio.Event) -> None:
        await trio.sleep(self.weather.stall_s)
        over.set()

    async def _pass(self, data: bytes, sink: trio.SocketStream) -> None:
        await self._moving.wait()
        await trio.sleep(next(self._delays))
        if not self._slow:
            await sink.send_all(data)
            return
        step = max(1, self.weather.bytes_per_s // _STEPS_PER_S)
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            await trio.sleep(len(piece) / self.weather.bytes_per_s)
            await sink.send_all(piece)

    async def _end_in_mid_frame(self, kind: Kind) -> None:
        if kind.name == "rst-mid-frame":
            _reset(self.client)
            _reset(self._server)
            self._scope.cancel()
            return
        # A FIN to the client. To close with unread bytes would be a RST: what it sends is read, and goes nowhere.
        self._lost = True
        with suppress(OSError):
            self.client.socket.shutdown(socket.SHUT_WR)
        await trio.aclose_forcefully(self._server)
        self._scope.deadline = trio.current_time() + GOODBYE_S


async def _end_politely(client: trio.SocketStream) -> None:
    await client.send_eof()
    with trio.move_on_after(GOODBYE_S):
        while await client.receive_some(CHUNK_BYTES):
            pass
    await trio.aclose_forcefully(client)


def _reset(stream: trio.SocketStream) -> None:
    """Close it with a RST, unless it is closed."""
    with suppress(OSError):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        stream.socket.close()
