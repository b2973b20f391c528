"""A simulator with all its doors, a brain that knows a small FAQ and hears what it is told, and clients of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import trio
from simulator_client import ScriptedBrain, Witness
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from kioskd.local.faq import load_faq
from kioskd.simulator.brain import Call, FaqBrain, Situation, Understanding
from kioskd.simulator.faults.catalogue import Phase
from kioskd.simulator.faults.script import FaultScript, Rule
from kioskd.simulator.server import serve
from kioskd.simulator.settings import Pace, SimulatorSettings

KEY = "sk-right"
GUARD_S = 30.0  # a test that hangs fails
FAST = SimulatorSettings(port=0, key=KEY, pace=Pace(speed=1000.0, created_after_s=0.0))
EXIT = "The exit is behind you, past the cloakroom, through the glass doors."
QUESTION = "where is the exit"
TOOL = {"name": "set_volume", "parameters": {"type": "object"}}
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


class ToldBrain(ScriptedBrain):
    """Hears `question` in every sound, and answers as the FAQ says."""

    def __init__(self) -> None:
        super().__init__(question=QUESTION)
        faq = load_faq(Path(__file__).parent / "conversation-faq.yaml")
        self.faq = FaqBrain(faq, None)  # type: ignore[arg-type]  # it hears nothing

    async def read(self, text: str) -> Understanding:
        return await self.faq.read(text)

    async def hear(self, pcm: bytes) -> Understanding:
        self.heard.append(pcm)
        return await self.faq.read(self.question)

    async def answer(self, said: Understanding) -> str:
        return await self.faq.answer(said)

    async def consider(self, said: Understanding, situation: Situation) -> str | Call:
        return await self.faq.consider(said, situation)


def once(kind: str, phase: Phase | None = None, after: int = 0) -> FaultScript:
    return FaultScript([Rule(kind, phase, times=1, after=after)])


@asynccontextmanager
async def simulator(
    settings: SimulatorSettings = FAST, faults: FaultScript | None = None, witness: Witness | None = None
) -> AsyncIterator[int]:
    """The port of a running simulator."""
    with trio.fail_after(GUARD_S):
        async with trio.open_nursery() as nursery:
            start = partial(serve, settings, ToldBrain(), witness or Witness(), faults)
            yield await nursery.start(start)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def client_of(port: int, timeout_s: float = GUARD_S) -> AsyncIterator[httpx.AsyncClient]:
    base = f"http://127.0.0.1:{port}/v1"
    async with httpx.AsyncClient(base_url=base, headers=AUTHORIZED, timeout=timeout_s) as client:
        yield client


async def chat(port: int, messages: list[Any] | None = None, **more: Any) -> httpx.Response:
    """A chat completion."""
    body = {"model": "gpt-4.1", "messages": messages or [user(QUESTION)], **more}
    async with client_of(port) as client:
        return await client.post("/chat/completions", json=body)


def chunks(text: str) -> list[Any]:
    """What the events of a stream say; "[DONE]" as it is."""
    lines = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def words(events: list[Any]) -> str:
    deltas = [event["choices"][0]["delta"] for event in events if isinstance(event, dict) and event.get("choices")]
    return "".join(delta.get("content") or "" for delta in deltas)


def socket(port: int, path: str, **headers: str) -> Any:
    told = [(name.replace("_", "-"), value) for name, value in {**AUTHORIZED, **headers}.items() if value]
    return open_websocket_url(f"ws://127.0.0.1:{port}/v1/{path}", extra_headers=told)


async def respond(ws: WebSocketConnection, nested: bool = False, **fields: Any) -> list[dict[str, Any]]:
    """Ask Responses; the events up to the one that ends the answer."""
    fields = {"model": "gpt-4.1-mini", "store": False, **fields}
    await ws.send_message(json.dumps({"type": "response.create", **({"response": fields} if nested else fields)}))
    events: list[dict[str, Any]] = []
    ends = {"response.completed", "response.incomplete", "response.failed", "error"}
    while not events or events[-1]["type"] not in ends:
        events.append(json.loads(await ws.get_message()))
    return events


def said(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


async def converse(ws: WebSocketConnection, messages: list[Any] | None = None, **more: Any) -> list[Any]:
    """Ask over a chat socket; the messages up to [DONE], an error, or the close, whose code is the last."""
    body = {"model": "gpt-4.1", "messages": messages or [user(QUESTION)], "stream": True, **more}
    await ws.send_message(json.dumps(body))
    events: list[Any] = []
    try:
        while not events or (events[-1] != "[DONE]" and "error" not in events[-1]):
            message = await ws.get_message()
            events.append(message if message == "[DONE]" else json.loads(message))
    except ConnectionClosed as closed:
        events.append(closed.reason.code)
    return events
