"""The network of the first stage, in memory: connections are made, or fail to be made, without any socket."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from kioskd.chaos.sabotage import swapped
from kioskd.chaos.schedule import Schedule
from kioskd.chaos.server import Server
from kioskd.chaos.wire import DELAY_S, Wire
from kioskd.chaos.world import ENDPOINT
from kioskd.config.schema import Endpoint
from kioskd.endpoints.failures import DialError
from kioskd.endpoints.policy import Failure
from kioskd.endpoints.policy import Kind as FailureKind
from kioskd.simulator.faults.catalogue import Kind, Phase


class MemoryGround:
    """A `world.Ground` in memory: stands in for `trio.open_tcp_stream` while it is laid."""

    quiet_s = 40.0  # what should end by itself has ended: it costs no time

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"{seed}/network")
        self._wires: list[Wire] = []  # open at one end at least; the newest last
        self._nursery: trio.Nursery
        self._server: Server
        self._schedule: Schedule
        self._on_strike: Callable[[str, str], None]

    @asynccontextmanager
    async def laid(
        self, server: Server, schedule: Schedule, on_strike: Callable[[str, str], None]
    ) -> AsyncIterator[Endpoint]:
        """See `world.Ground`."""
        self._server, self._schedule, self._on_strike = server, schedule, on_strike
        async with trio.open_nursery() as self._nursery:
            with swapped(trio, "open_tcp_stream", self._open_tcp_stream):
                yield ENDPOINT
            self._nursery.cancel_scope.cancel()

    def strike(self, kind: Kind) -> bool:
        """See `world.Ground`."""
        return bool(self._wires) and self._wires[-1].strike(kind.name)

    def open_ends(self) -> list[str]:
        """See `world.Ground`."""
        ends = [(name, end) for wire in self._wires for name, end in (("client", wire.client), ("server", wire.server))]
        return [f"the {name}'s end" for name, end in ends if not end.closed]

    async def _open_tcp_stream(self, host: str, port: int) -> trio.abc.Stream:
        """As trio's. Raises what the fault of this attempt brings."""
        await trio.sleep(self._rng.uniform(*DELAY_S))
        kind = self._schedule.refusal()
        if kind is not None:
            self._on_strike(kind.name, Phase.CONNECT.value)
            raise _REFUSALS[kind.name](host)
        wire = Wire(self._rng, self._wires.remove)
        self._wires.append(wire)
        self._nursery.start_soon(self._server.serve, wire.server, wire.stamps, wire.count_messages)
        return wire.client


_REFUSALS: dict[str, Callable[[str], Exception]] = {
    "refuse-connect": lambda _: ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    "dns-failure": lambda _: socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    "tls-failure": lambda host: DialError(Failure(FailureKind.TLS, f"{host}: TLS failed (wrong version number)")),
}
