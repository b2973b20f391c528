"""The simulator behind a trio stream: for runs in virtual time, without sockets."""

from __future__ import annotations

from contextlib import nullcontext

import trio
from attrs import define
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_server_stream
from wsproto.utilities import LocalProtocolError

from kioskd.simulator import door
from kioskd.simulator.brain import Brain
from kioskd.simulator.conversation import ChannelClosed
from kioskd.simulator.faults.gate import Admission, Gate, stay_silent
from kioskd.simulator.faults.upgrade import Rejection
from kioskd.simulator.observer import Observer, Unwatched
from kioskd.simulator.settings import SimulatorSettings

MAX_MESSAGE_BYTES = 16 * 2**20  # an append may have 15 MiB
QUEUED_MESSAGES = 64
HANDSHAKE_S = 10.0  # trio-websocket would wait for ever for the request of a client that has gone
RECEIVE_BYTES = 65_536


@define(eq=False)
class _SocketChannel:
    socket: WebSocketConnection

    async def send(self, message: str | bytes) -> None:
        try:
            await self.socket.send_message(message)
        except ConnectionClosed as closed:
            raise ChannelClosed from closed

    async def receive(self) -> str | bytes:
        try:
            message: str | bytes = await self.socket.get_message()
        except ConnectionClosed as closed:
            raise ChannelClosed from closed
        return message

    async def close(self, code: int, reason: str) -> None:
        await self.socket.aclose(code, reason)


async def serve_stream(
    stream: trio.abc.Stream,
    settings: SimulatorSettings,
    brain: Brain,
    observer: Observer | None = None,
    gate: Gate | None = None,
) -> None:
    """Serve the one client at the other end of `stream`, until it has gone. `settings.host` and `port` don't count.

    `gate` makes the faults: one for all streams of a server.
    """
    async with trio.open_nursery() as nursery:
        try:
            with trio.fail_after(HANDSHAKE_S):
                upgrade = await wrap_server_stream(
                    nursery,
                    stream,
                    max_message_size=MAX_MESSAGE_BYTES,
                    message_queue_size=QUEUED_MESSAGES,
                    receive_buffer_size=RECEIVE_BYTES,
                )
            path, _, query = upgrade.path.partition("?")
            headers = {name.decode().lower(): value.decode() for name, value in upgrade.headers}
            request = door.Request(path, query, headers)
            if path != door.PATH:
                await upgrade.reject(404)
            elif request.key is None and settings.key is not None:
                await upgrade.reject(401)
            elif isinstance(verdict := gate.knock() if gate else Admission(), Rejection):
                headers_sent = [(name.encode(), value.encode()) for name, value in verdict.headers.items()]
                await upgrade.reject(verdict.status, extra_headers=headers_sent, body=verdict.body)
            else:
                channel = _SocketChannel(await upgrade.accept())
                with gate.admitted(channel, verdict, stream) if gate else nullcontext(channel) as talking:
                    if verdict.silent:
                        await stay_silent(talking)
                    else:
                        await door.attend(talking, request, settings, brain, observer or Unwatched())
                await channel.close(1000, "")
        except (
            HandshakeError,
            ConnectionClosed,
            trio.TooSlowError,
            trio.BrokenResourceError,
            trio.ClosedResourceError,
            LocalProtocolError,  # trio-websocket 0.12: a ping that comes while it says goodbye
        ):
            return  # the client has gone
        finally:
            nursery.cancel_scope.cancel()
