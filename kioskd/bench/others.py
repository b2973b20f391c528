"""The clients that others would write: on the `openai` package's realtime client, and on plain `websockets`.

Both come from their public packages, untouched, and are used as their documentation shows it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

from kioskd.bench.plan import Plan
from kioskd.bench.process import Meter
from kioskd.bench.sound import Microphone, Speaker, said

if TYPE_CHECKING:
    from openai.resources.realtime.realtime import AsyncRealtimeConnection
    from websockets.asyncio.client import ClientConnection

KEY = "a-key-for-loopback"


class Wire(Protocol):
    """What a client does on the wire."""

    async def append(self, chunk: bytes) -> None:
        """Send a chunk."""

    async def ask(self) -> None:
        """Commit."""

    def answer(self) -> AsyncIterator[bytes]:
        """Ask for an answer; its sound, piece by piece, to its end."""


class AsyncClient:
    """Microphone and speaker around a wire, on asyncio: threads that block in ALSA, a queue to each."""

    def __init__(self, plan: Plan, wire: Wire) -> None:
        self._plan, self._wire = plan, wire
        self._microphone, self._speaker = Microphone(plan), Speaker(plan)

    async def turn(self, talk_s: float) -> dict[str, float]:
        """Ask and hear the answer out; CPU ms, and seconds of sound, of both."""
        meter = Meter()
        async for chunk in self._chunks(talk_s):
            await self._wire.append(chunk)
        await self._wire.ask()
        (talk_ms, _), meter, size = meter.spent(), Meter(), 0
        async for piece in self._wire.answer():
            size += len(piece)
            self._speaker.play(piece)
        if self._plan.has_sound:
            await asyncio.to_thread(self._speaker.drain)
        else:
            await asyncio.sleep(self._speaker.remaining_s)
            self._speaker.forget()
        return {"talk_ms": talk_ms, "talk_s": talk_s, "answer_ms": meter.spent()[0], "answer_s": size / said(1)}

    async def _chunks(self, seconds: float) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        if not self._plan.has_sound:
            began = loop.time()
            for due_s, chunk in self._microphone.paced(seconds):
                await asyncio.sleep(began + due_s - loop.time())
                yield chunk
            return
        chunks: asyncio.Queue[bytes] = asyncio.Queue()

        def listen() -> None:
            for chunk in self._microphone.chunks(seconds):
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            loop.call_soon_threadsafe(chunks.put_nowait, b"")

        threading.Thread(target=listen, daemon=True).start()
        while chunk := await chunks.get():
            yield chunk


class SdkWire:
    """The `openai` package."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self._connection = connection

    @staticmethod
    async def connect(plan: Plan) -> SdkWire:
        """An open session."""
        from openai import AsyncOpenAI

        client = AsyncOpenAI(api_key=KEY, websocket_base_url=plan.url)
        manager = client.realtime.connect(
            model="bench",
            websocket_connection_options={"ssl": _context(plan)},  # type: ignore[typeddict-unknown-key]
        )
        connection = await manager.enter()
        await connection.session.update(session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
        async for event in connection:
            if event.type == "session.updated":
                break
        return SdkWire(connection)

    async def append(self, chunk: bytes) -> None:
        """See `Wire`."""
        await self._connection.input_audio_buffer.append(audio=base64.b64encode(chunk).decode())

    async def ask(self) -> None:
        """See `Wire`."""
        await self._connection.input_audio_buffer.commit()

    async def answer(self) -> AsyncIterator[bytes]:
        """See `Wire`."""
        await self._connection.response.create()
        async for event in self._connection:
            if event.type == "response.output_audio.delta":
                yield base64.b64decode(event.delta)
            elif event.type == "response.done":
                return


class PlainWire:
    """The `websockets` package, json and base64."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @staticmethod
    async def connect(plan: Plan) -> PlainWire:
        """An open session."""
        from websockets.asyncio.client import connect

        connection = await connect(
            f"{plan.url}/realtime?model=bench",
            ssl=_context(plan),
            additional_headers={"Authorization": f"Bearer {KEY}"},
            max_size=None,
        )
        wire = PlainWire(connection)
        session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        await wire._send({"type": "session.update", "session": session})
        async for text in connection:
            if json.loads(text)["type"] == "session.updated":
                break
        return wire

    async def append(self, chunk: bytes) -> None:
        """See `Wire`."""
        await self._send({"type": "input_audio_buffer.append", "audio": base64.b64encode(chunk).decode()})

    async def ask(self) -> None:
        """See `Wire`."""
        await self._send({"type": "input_audio_buffer.commit"})

    async def answer(self) -> AsyncIterator[bytes]:
        """See `Wire`."""
        await self._send({"type": "response.create"})
        async for text in self._connection:
            event = json.loads(text)
            if event["type"] == "response.output_audio.delta":
                yield base64.b64decode(event["delta"])
            elif event["type"] == "response.done":
                return

    async def _send(self, event: dict[str, object]) -> None:
        await self._connection.send(json.dumps(event))


def _context(plan: Plan) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=plan.ca)
    return context
