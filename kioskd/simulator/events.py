"""Server events in the vocabulary of either dialect, and the queue in which they leave."""

from __future__ import annotations

import json
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from attrs import define, field

from kioskd.config.schema import Dialect
from kioskd.simulator.errors import ClientError
from kioskd.simulator.observer import Observer

# Source: REALTIME.md, "Server events". Names that aren't here are the same in both dialects.
_BETA_NAMES = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "conversation.item.added": "conversation.item.created",
}
_GA_ONLY = {"conversation.item.done"}

MAX_WAITING = 4096  # events: a client that lets so many lie reads no more
ROOM_BELOW = 64  # an answer waits while so many events do: about half a second of speech at its fastest


class ClientNotReading(Exception):  # noqa: N818 - it says what the client does
    """The client has not read for so long that the connection must go."""


def new_id(prefix: str) -> str:
    """An id like the real ones: unique, and short enough to be given back by a client (32 characters)."""
    return f"{prefix}_{secrets.token_hex(10)}"


@define
class Outbox:
    """Events leave in the order in which they were put, which is the order of what they tell."""

    dialect: Dialect
    observer: Observer
    _waiting: deque[str] = field(factory=deque, init=False)
    _filled: trio.Event = field(factory=trio.Event, init=False)
    _drained: trio.Event = field(factory=trio.Event, init=False)

    def put(self, kind: str, **fields: Any) -> None:
        """Queue an event, by its GA name. Never waits. Raises `ClientNotReading`."""
        if self.dialect is Dialect.BETA:
            if kind in _GA_ONLY:
                return
            kind = _BETA_NAMES.get(kind, kind)
        if len(self._waiting) >= MAX_WAITING:
            raise ClientNotReading(f"{MAX_WAITING} events wait for a client that does not read")
        text = json.dumps({"type": kind, "event_id": new_id("event"), **fields})
        self.observer.on_event("server", kind, len(text))
        self._waiting.append(text)
        self._filled.set()

    def put_error(self, error: ClientError) -> None:
        """Queue an `error`, with the event_id of the client's event that caused it."""
        details = {
            "type": error.type,
            "code": error.code,
            "message": error.message,
            "param": error.param,
            "event_id": error.event_id,
        }
        self.put("error", error=details)

    async def room(self) -> None:
        """Wait until the client has read most of what it was sent."""
        while len(self._waiting) >= ROOM_BELOW:
            await self._drained.wait()

    async def flush(self) -> None:
        """Wait until all has been handed to the channel."""
        while self._waiting:
            await self._drained.wait()

    async def drain(self, send: Callable[[str], Awaitable[None]]) -> None:
        """Hand the events to `send`, one after the other, until cancelled."""
        while True:
            while self._waiting:
                await send(self._waiting[0])
                self._waiting.popleft()
                self._drained.set()
                self._drained = trio.Event()
            self._filled = trio.Event()
            await self._filled.wait()
