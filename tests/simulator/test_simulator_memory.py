"""The simulator behind a memory stream, spoken to by trio-websocket, in virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import evolve
from simulator_client import PUSH_TO_TALK, ScriptedBrain, tone
from trio.testing import MockClock, memory_stream_pair
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from kioskd.config.schema import Dialect
from kioskd.simulator.memory import serve_stream
from kioskd.simulator.settings import Pace, SimulatorSettings
from kioskd.simulator.sound import encoded

SETTINGS = SimulatorSettings(key="sk-right")


@asynccontextmanager
async def connected(
    settings: SimulatorSettings = SETTINGS, key: str | None = "sk-right", path: str = "/v1/realtime?model=m"
) -> AsyncIterator[WebSocketConnection]:
    ours, theirs = memory_stream_pair()
    headers = [("Authorization", f"Bearer {key}")] if key else []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, theirs, settings, ScriptedBrain())
        yield await wrap_client_stream(nursery, ours, "memory", path, extra_headers=headers)
        nursery.cancel_scope.cancel()


async def until(socket: WebSocketConnection, kind: str) -> dict[str, Any]:
    while True:
        event: dict[str, Any] = json.loads(await socket.get_message())
        if event["type"] == kind:
            return event


async def test_a_turn_takes_virtual_time_alone(autojump_clock: MockClock) -> None:
    async with connected() as socket:
        for event in (
            {"type": "session.update", "session": PUSH_TO_TALK[Dialect.GA]},
            {"type": "input_audio_buffer.append", "audio": encoded(tone(500))},
            {"type": "input_audio_buffer.commit"},
            {"type": "response.create"},
        ):
            await socket.send_message(json.dumps(event))
        began = trio.current_time()
        assert (await until(socket, "response.done"))["response"]["status"] == "completed"
        assert 0.4 <= trio.current_time() - began <= 0.6  # 2 s of speech at five times its speed


async def test_a_wrong_key_is_told_and_closed_with_3000(autojump_clock: MockClock) -> None:
    async with connected(key="sk-wrong") as socket:
        assert (await until(socket, "error"))["error"]["code"] == "invalid_api_key"
        with pytest.raises(ConnectionClosed) as closed:
            await socket.get_message()
        assert closed.value.reason.code == 3000


@pytest.mark.parametrize(("key", "path", "status"), [(None, "/v1/realtime?model=m", 401), ("sk-right", "/x", 404)])
async def test_some_upgrades_fail(autojump_clock: MockClock, key: str | None, path: str, status: int) -> None:
    ours, theirs = memory_stream_pair()
    headers = [("Authorization", f"Bearer {key}")] if key else []
    rejected = pytest.RaisesExc(ConnectionRejected, check=lambda error: error.status_code == status)
    with pytest.RaisesGroup(rejected, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:  # trio-websocket raises it there
            nursery.start_soon(serve_stream, theirs, SETTINGS, ScriptedBrain())
            await wrap_client_stream(nursery, ours, "memory", path, extra_headers=headers)


async def test_an_expired_session_closes_with_1001(autojump_clock: MockClock) -> None:
    async with connected(evolve(SETTINGS, pace=Pace(session_s=60))) as socket:
        assert (await until(socket, "error"))["error"]["code"] == "session_expired"
        with pytest.raises(ConnectionClosed) as closed:
            await socket.get_message()
        assert closed.value.reason.code == 1001


async def test_it_ends_when_the_stream_breaks(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_stream, theirs, SETTINGS, ScriptedBrain())
            await ours.send_all(b"GET /v1/realtime?model=m HTTP/1.1\r\n")
            await ours.aclose()
