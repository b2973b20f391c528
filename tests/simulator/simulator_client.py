"""A client at the other end of a conversation: over memory, in virtual time, with a brain that does as it is told."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import define, field
from trio.testing import MockClock

from kioskd.config.schema import Dialect
from kioskd.simulator.brain import BrainError, Understanding
from kioskd.simulator.conversation import ChannelClosed, Conversation
from kioskd.simulator.faults.channel import FaultyChannel
from kioskd.simulator.faults.script import FaultSource
from kioskd.simulator.observer import Observer, Unwatched
from kioskd.simulator.settings import Pace

BYTES_PER_MS = 48
PUSH_TO_TALK = {
    Dialect.GA: {"type": "realtime", "audio": {"input": {"turn_detection": None}}},
    Dialect.BETA: {"turn_detection": None},
}


def tone(ms: int, hz: float = 440.0, level: float = 8000.0) -> bytes:
    """A sine, s16le mono 24 kHz."""
    count = ms * 24
    return struct.pack(f"<{count}h", *(int(level * math.sin(2 * math.pi * hz * n / 24000)) for n in range(count)))


def silence(ms: int) -> bytes:
    return bytes(ms * BYTES_PER_MS)


@define(eq=False)
class ScriptedBrain:
    """Hears `question` in everything but silence, and answers with `reply`, as `sound` or as a tone of `reply_ms`."""

    question: str = "what is it"
    reply: str = "It is what it is."
    reply_ms: int = 2000
    sound: bytes | None = None
    thinking_s: float = 0.0
    broken: str = ""
    heard: list[bytes] = field(factory=list)
    read_texts: list[str] = field(factory=list)

    async def hear(self, pcm: bytes) -> Understanding:
        self.heard.append(pcm)
        await trio.sleep(self.thinking_s)
        if self.broken:
            raise BrainError(self.broken)
        text = self.question if any(pcm) else ""
        return Understanding(text, bool(text))

    async def read(self, text: str) -> Understanding:
        self.read_texts.append(text)
        return Understanding(text, True)

    async def answer(self, said: Understanding) -> str:
        return self.reply if said.understood else "I did not understand."

    async def speak(self, text: str) -> bytes:
        return tone(self.reply_ms) if self.sound is None else self.sound


@define(eq=False)
class MemoryChannel:
    """The server's side. What is no JSON reaches the client as an event of the type "raw"."""

    to_client: trio.MemorySendChannel[Any]
    to_server: trio.MemoryReceiveChannel[str | bytes]
    closed: tuple[int, str] | None = None

    async def send(self, message: str | bytes) -> None:
        try:
            event = json.loads(message)
        except ValueError:
            event = {"type": "raw", "frame": message}
        try:
            await self.to_client.send(event)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as gone:
            raise ChannelClosed from gone

    async def receive(self) -> str | bytes:
        try:
            return await self.to_server.receive()
        except trio.EndOfChannel as gone:
            raise ChannelClosed from gone

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)
        await self.to_client.aclose()


@define(eq=False)
class Client:
    """Sends events, and reads what comes."""

    dialect: Dialect
    channel: MemoryChannel
    sending: trio.MemorySendChannel[str | bytes]
    receiving: trio.MemoryReceiveChannel[dict[str, Any]]
    conversation: Conversation
    brain: ScriptedBrain
    events: list[dict[str, Any]] = field(factory=list)

    async def send(self, kind: str, **fields: Any) -> None:
        await self.sending.send(json.dumps({"type": kind, **fields}))

    async def next(self) -> dict[str, Any]:
        event = await self.receiving.receive()
        self.events.append(event)
        return event

    async def until(self, *kinds: str) -> dict[str, Any]:
        """The next event of one of these kinds; the others before it are kept in `events`."""
        while (event := await self.next())["type"] not in kinds:
            pass
        return event

    async def error(self) -> dict[str, Any]:
        error: dict[str, Any] = (await self.until("error"))["error"]
        return error

    async def push_to_talk(self) -> None:
        await self.send("session.update", session=PUSH_TO_TALK[self.dialect])
        await self.until("session.updated")

    async def append(self, pcm: bytes) -> None:
        await self.send("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())

    async def say(self, pcm: bytes) -> str:
        """Commit this; the item's id."""
        await self.append(pcm)
        await self.send("input_audio_buffer.commit")
        committed = await self.until("input_audio_buffer.committed")
        return str(committed["item_id"])

    async def ask(self, pcm: bytes | None = None) -> dict[str, Any]:
        """A whole turn; its `response.done`."""
        await self.say(tone(500) if pcm is None else pcm)
        await self.send("response.create")
        response: dict[str, Any] = (await self.until("response.done"))["response"]
        return response

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]


@define(eq=False)
class Witness(Unwatched):
    """Keeps what was done to a conversation on purpose: (kind, phase)."""

    faults: list[tuple[str, str]] = field(factory=list)

    def on_fault(self, kind: str, phase: str) -> None:
        self.faults.append((kind, phase))


EPOCH = 1_000_000.5  # Unix time at the virtual clock's start


@asynccontextmanager
async def connected(
    clock: MockClock,
    dialect: Dialect = Dialect.GA,
    brain: ScriptedBrain | None = None,
    pace: Pace | None = None,
    reads: int = 1_000_000,
    observer: Observer | None = None,
    faults: FaultSource | None = None,
) -> AsyncIterator[Client]:
    """A client of a new conversation in virtual time, which lets at most `reads` events wait for it."""
    brain = brain or ScriptedBrain()
    began = clock.current_time()
    to_client, receiving = trio.open_memory_channel[dict[str, Any]](reads)
    sending, to_server = trio.open_memory_channel[str | bytes](1000)
    channel = MemoryChannel(to_client, to_server)
    observer = observer or Unwatched()
    conversation = Conversation(
        channel if faults is None else FaultyChannel(channel, faults, dialect, observer),
        brain,
        "gpt-realtime",
        dialect,
        pace or Pace(),
        observer,
        clock=lambda: EPOCH + clock.current_time() - began,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conversation.run)
        yield Client(dialect, channel, sending, receiving, conversation, brain)
        await sending.aclose()
