"""Listening on a port of this machine."""

from __future__ import annotations

import errno

import trio

from kioskd.simulator.settings import SimulatorError

MAX_PORT = 65_535


async def listen(host: str, port: int) -> list[trio.SocketListener]:
    """Listen there; port 0 is any free one. Raises `SimulatorError`."""
    if not 0 <= port <= MAX_PORT:  # the C library would take it modulo 65,536
        raise SimulatorError(f"can't listen on port {port}: ports go from 0 (any free one) to {MAX_PORT}")
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        why = "something listens there already; stop it or choose another port" if in_use else str(error)
        raise SimulatorError(f"can't listen on {host}:{port}: {why}") from None


def port_of(listeners: list[trio.SocketListener]) -> int:
    """The port that was given."""
    return int(listeners[0].socket.getsockname()[1])
