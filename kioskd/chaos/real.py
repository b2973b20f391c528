"""The second stage: fewer turns over real TCP and TLS, through the proxy. It takes real time, and replays nothing."""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
import trio.testing
from attrs import evolve

from kioskd.chaos.schedule import Schedule
from kioskd.chaos.server import FaultWatch, Server
from kioskd.chaos.virtual import Result
from kioskd.chaos.visitor import Manners
from kioskd.chaos.world import ENDPOINT, LIMITS, Outcome, Plan, run_world
from kioskd.config.schema import Endpoint
from kioskd.simulator.faults.catalogue import KINDS, Kind, Level
from kioskd.simulator.proxy import serve_proxy

CLOCK_RATE = 6.0  # so much shorter are the kiosk's seconds; with more, a busy machine's delays look like faults
IN_FLIGHT_MS = 20_000.0  # when something was sent is not known here, only when it came: stalls and slowness count
SILENT_WITHIN_MS = 100.0  # of the kiosk's time: between a press and silence the processor may be elsewhere
MANNERS = evolve(Manners(), goes_away=0.0, waits_for_outage=0.0, holds_too_long=0.0)  # these take time, and no more
KINDS_HERE = tuple(name for name, kind in KINDS.items() if kind.level is Level.NETWORK and name != "dns-failure")
DESCRIPTORS_LEFT = 2  # trio and OpenSSL open a few of their own, late


class NoCertificatesError(RuntimeError):
    """What makes them is not installed."""


class SocketGround:
    """A `world.Ground` of sockets on loopback: TLS at the server, and a proxy that does the network's faults."""

    quiet_s = 12.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @asynccontextmanager
    async def laid(
        self, server: Server, schedule: Schedule, on_strike: Callable[[str, str], None]
    ) -> AsyncIterator[Endpoint]:
        """See `world.Ground`."""
        context, authority = _certificates(self._folder)
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_ssl_over_tcp, server.serve, 0, context, host="127.0.0.1")
            listeners = await nursery.start(serve)
            target = listeners[0].transport_listener.socket.getsockname()[:2]
            carry = partial(serve_proxy, 0, target, schedule, observer=FaultWatch(on_strike))
            port = await nursery.start(carry)
            yield evolve(ENDPOINT, url=f"wss://127.0.0.1:{port}/v1/realtime", extra_ca=str(authority))
            nursery.cancel_scope.cancel()

    def strike(self, kind: Kind) -> bool:
        """See `world.Ground`: the proxy draws by itself."""
        return False

    def open_ends(self) -> list[str]:
        """See `world.Ground`: descriptors are counted instead."""
        return []


def run(presses: int, seed: int, *, faults: bool = True) -> Result:
    """So many presses. Raises NoCertificatesError."""
    result = Result(presses)
    began = time.perf_counter()
    logging.disable(logging.CRITICAL)
    try:
        with TemporaryDirectory() as folder:
            before = descriptors()
            outcome: Outcome = trio.run(
                run_world,
                Plan(presses, seed, faults=faults, manners=MANNERS, kinds=KINDS_HERE),
                result.coverage,
                SocketGround(Path(folder)),
                clock=trio.testing.MockClock(rate=CLOCK_RATE),
            )
            more = descriptors() - before
            if more > DESCRIPTORS_LEFT:
                outcome.leaks.append(f"{more} more file descriptors are open")
    finally:
        logging.disable(logging.NOTSET)
    result.add(outcome, evolve(LIMITS, in_flight_ms=IN_FLIGHT_MS, silent_within_ms=SILENT_WITHIN_MS))
    result.seconds = time.perf_counter() - began
    return result


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counting, not walking


def _certificates(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context for 127.0.0.1, and the file of the CA that vouches for it."""
    try:
        import trustme
    except ImportError:
        raise NoCertificatesError("the second stage needs trustme (pip install kioskd[dev])") from None
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return context, path
