"""A WebSocket of the server's, as the simulator's conversations want it."""

from __future__ import annotations

from collections import deque

import trio
from attrs import define
from trio_websocket import ConnectionClosed, WebSocketConnection

from kioskd.simulator.conversation import ChannelClosed


@define(eq=False)
class SocketChannel:
    """A WebSocket, with the time at which each message was sent."""

    socket: WebSocketConnection
    stamps: deque[float] | None
    sent_at: float | None = None
    last: str | bytes = ""

    async def send(self, text: str | bytes) -> None:
        """See `Channel`."""
        try:
            await self.socket.send_message(text)
        except ConnectionClosed as closed:
            raise ChannelClosed from closed

    async def receive(self) -> str | bytes:
        """See `Channel`."""
        try:
            self.last = await self.socket.get_message()
        except ConnectionClosed as closed:
            raise ChannelClosed from closed
        self.sent_at = self.stamps.popleft() if self.stamps else trio.current_time()
        return self.last

    async def close(self, code: int, reason: str) -> None:
        """See `Channel`."""
        await self.socket.aclose(code, reason)
