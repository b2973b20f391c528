"""The simulator on a real port of this machine."""

from __future__ import annotations

import contextlib
import json
import socket
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from attrs import evolve
from simulator_client import PUSH_TO_TALK, ScriptedBrain, tone
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    open_websocket_url,
    wrap_client_stream,
)

from kioskd.config.schema import Dialect
from kioskd.simulator.brain import Understanding
from kioskd.simulator.server import serve
from kioskd.simulator.settings import Pace, SimulatorError, SimulatorSettings
from kioskd.simulator.sound import encoded

KEY = "sk-right"
FAST = SimulatorSettings(port=0, pace=Pace(speed=1000.0, created_after_s=0.0))
GUARD_S = 20.0  # a test that hangs fails


@asynccontextmanager
async def simulator(settings: SimulatorSettings = FAST, brain: ScriptedBrain | None = None) -> AsyncIterator[int]:
    """The port of a running simulator."""
    with trio.fail_after(GUARD_S):
        async with trio.open_nursery() as nursery:
            port: int = await nursery.start(partial(serve, settings, brain or ScriptedBrain()))
            yield port
            nursery.cancel_scope.cancel()


def connecting(port: int, query: str = "?model=gpt-realtime", key: str | None = None, beta: bool = False) -> Any:
    headers = [("Authorization", f"Bearer {key}")] if key else []
    headers += [("OpenAI-Beta", "realtime=v1")] if beta else []
    url = f"ws://127.0.0.1:{port}/v1/realtime{query}"
    return open_websocket_url(url, extra_headers=headers, max_message_size=2**24)


async def send(socket: WebSocketConnection, kind: str, **fields: Any) -> None:
    await socket.send_message(json.dumps({"type": kind, **fields}))


async def until(socket: WebSocketConnection, kind: str) -> dict[str, Any]:
    while True:
        event: dict[str, Any] = json.loads(await socket.get_message())
        if event["type"] == kind:
            return event


async def turn(socket: WebSocketConnection, pcm: bytes) -> dict[str, Any]:
    await send(socket, "session.update", session=PUSH_TO_TALK[Dialect.GA])
    await send(socket, "input_audio_buffer.append", audio=encoded(pcm))
    await send(socket, "input_audio_buffer.commit")
    await send(socket, "response.create")
    response: dict[str, Any] = (await until(socket, "response.done"))["response"]
    return response


async def http(port: int, path: str, key: str | None = None, method: str = "GET") -> tuple[int, dict[str, Any]]:
    """A plain request's status and JSON."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    await stream.send_all(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{authorization}\r\n".encode())
    answer = b"".join([piece async for piece in stream])
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


async def test_a_turn_over_a_real_socket() -> None:
    async with simulator() as port, connecting(port) as client:
        assert (await turn(client, tone(500)))["status"] == "completed"


async def refusal(port: int, **how: Any) -> tuple[dict[str, Any], int]:
    """The one event that a refused client gets, and the close code after it."""
    async with connecting(port, **how) as client:
        event = json.loads(await client.get_message())
        with pytest.raises(ConnectionClosed) as closed:
            await client.get_message()
        assert event["type"] == "error"
        return event["error"], closed.value.reason.code


@pytest.mark.parametrize(
    ("dialect", "how", "code", "close_code"),
    [
        ("ga", {"key": "sk-wrong"}, "invalid_api_key", 3000),
        ("ga", {"key": KEY, "beta": True}, "beta_api_shape_disabled", 4000),
        ("ga", {"key": KEY, "query": ""}, "missing_model", 4000),
        ("ga", {"key": KEY, "query": "?model="}, "missing_model", 4000),
        ("beta", {"key": KEY}, "missing_beta_header", 4000),
        ("beta", {"key": "sk-wrong", "beta": True}, "invalid_api_key", 3000),
    ],
)
async def test_a_client_is_turned_away_after_its_upgrade(
    dialect: str, how: dict[str, Any], code: str, close_code: int
) -> None:
    async with simulator(evolve(FAST, key=KEY, dialect=dialect)) as port:
        error, closed_with = await refusal(port, **how)
        assert (error["code"], closed_with) == (code, close_code)
        assert KEY not in json.dumps(error)


async def test_the_beta_is_spoken_to_who_asks_for_it() -> None:
    async with simulator(evolve(FAST, key=KEY, dialect="beta")) as port, connecting(port, key=KEY, beta=True) as client:
        created = json.loads(await client.get_message())
        assert created["session"]["input_audio_format"] == "pcm16"


async def test_an_upgrade_without_any_key_is_a_401() -> None:
    async with simulator(evolve(FAST, key=KEY)) as port:
        with pytest.raises(ConnectionRejected) as rejected:
            async with connecting(port):
                pass
        assert rejected.value.status_code == 401


async def test_an_upgrade_elsewhere_is_a_404() -> None:
    async with simulator() as port:
        with pytest.raises(ConnectionRejected) as rejected:
            async with open_websocket_url(f"ws://127.0.0.1:{port}/v1/elsewhere"):
                pass
        assert rejected.value.status_code == 404


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/v1/models", KEY, 200),
        ("/v1/models", "sk-wrong", 401),
        ("/v1/models", None, 401),
        ("/v1/auth/verify", KEY, 200),
        ("/v1/auth/verify", "sk-wrong", 401),
        ("/v1/elsewhere", KEY, 404),
        ("/", None, 404),
    ],
)
async def test_a_key_can_be_tried_with_a_plain_request(path: str, key: str | None, status: int) -> None:
    async with simulator(evolve(FAST, key=KEY)) as port:
        got, body = await http(port, path, key)
        assert got == status
        if status == 401:
            assert body["error"]["code"] == "invalid_api_key"
        elif path == "/v1/models":
            assert "gpt-realtime" in [model["id"] for model in body["data"]]


async def test_without_a_key_of_its_own_any_will_do() -> None:
    async with simulator() as port:
        assert (await http(port, "/v1/auth/verify", "anything"))[0] == 200
        async with connecting(port, key="anything") as client:
            assert json.loads(await client.get_message())["type"] == "session.created"


async def test_an_append_of_many_megabytes_passes() -> None:
    async with simulator() as port, connecting(port) as client:
        assert (await turn(client, bytes(11 * 2**20)))["status"] == "completed"


async def test_a_message_over_16_mib_closes_with_1009_and_only_its_own_connection() -> None:
    async with simulator() as port, connecting(port) as other:
        async with connecting(port) as client:
            with pytest.raises(ConnectionClosed) as closed:
                await client.send_message("x" * (2**24 + 1))
                while True:
                    await client.get_message()
            assert closed.value.reason.code == 1009
        assert (await turn(other, tone(300)))["status"] == "completed"


UPGRADE = (
    b"GET /v1/realtime?model=m HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


async def hung_up_on(stream: trio.SocketStream) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        async for _ in stream:
            pass


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xff\xff\xff garbage",  # reserved bits
        b"\x81\x05hello",  # not masked
        b"\x81\x82\x00\x00\x00\x00\xff\xfe",  # not UTF-8
        b"\x88\x81\x00\x00\x00\x00\x03",  # a close code of one byte
    ],
)
async def test_a_client_that_breaks_the_websocket_protocol_harms_no_other(garbage: bytes) -> None:
    async with simulator() as port, connecting(port) as other:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(UPGRADE + b"\r\n")
        seen = b""
        while b"session.created" not in seen:
            seen += await stream.receive_some(65536)
        await stream.send_all(garbage)
        await hung_up_on(stream)
        assert (await turn(other, tone(300)))["status"] == "completed"


@pytest.mark.parametrize(
    "request_bytes",
    [
        UPGRADE + b"\r\n\x81\x81\x00\x00\x00\x00x",  # a frame before the upgrade is accepted
        UPGRADE + b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=abc\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
    ],
)
async def test_a_broken_request_harms_no_other(request_bytes: bytes) -> None:
    async with simulator() as port, connecting(port) as other:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(request_bytes)
        await hung_up_on(stream)
        assert (await turn(other, tone(300)))["status"] == "completed"


async def test_a_connection_that_breaks_off_harms_no_other() -> None:
    async with simulator(evolve(FAST, pace=Pace(speed=1.0))) as port, connecting(port) as other:
        async with trio.open_nursery() as nursery:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            client = await wrap_client_stream(nursery, stream, "127.0.0.1", "/v1/realtime?model=m")
            await send(client, "session.update", session=PUSH_TO_TALK[Dialect.GA])
            await send(client, "input_audio_buffer.append", audio=encoded(tone(300)))
            await send(client, "input_audio_buffer.commit")
            await send(client, "response.create")
            await until(client, "response.output_audio.delta")
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # on, 0 s: a reset instead of an end
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()
        await send(other, "input_audio_buffer.clear")
        await until(other, "input_audio_buffer.cleared")


@asynccontextmanager
async def stoppable(settings: SimulatorSettings, brain: ScriptedBrain) -> AsyncIterator[tuple[int, trio.CancelScope]]:
    """A simulator that can be stopped while its clients go on: its port, and what stops it."""

    async def run(task_status: trio.TaskStatus[int]) -> None:
        with scope:
            await serve(settings, brain, task_status=task_status)

    scope = trio.CancelScope()
    with trio.fail_after(GUARD_S):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(run), scope


class BrokenBrain(ScriptedBrain):
    async def answer(self, said: Understanding) -> str:
        raise ZeroDivisionError


async def test_a_fault_of_the_simulator_closes_with_1011_and_only_that_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with simulator(brain=BrokenBrain()) as port, connecting(port) as other:
        async with connecting(port) as client:
            with pytest.raises(ConnectionClosed) as closed:
                await turn(client, tone(300))
            assert closed.value.reason.code == 1011
        assert "ZeroDivisionError" in caplog.text
        await send(other, "input_audio_buffer.clear")
        await until(other, "input_audio_buffer.cleared")


async def test_a_stop_says_1001_to_every_client() -> None:
    async with stoppable(FAST, ScriptedBrain()) as (port, scope), connecting(port) as one, connecting(port) as other:
        for client in (one, other):
            await client.get_message()
        scope.cancel()
        for client in (one, other):
            with pytest.raises(ConnectionClosed) as closed:
                await client.get_message()
            assert closed.value.reason.code == 1001


async def test_a_stop_waits_for_no_client_that_does_not_read() -> None:
    brain = ScriptedBrain(sound=bytes(32 * 2**20))  # more than the sockets' buffers take
    async with stoppable(evolve(FAST, pace=Pace(speed=10_000.0)), brain) as (port, scope):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with trio.open_nursery() as nursery:
            client = await wrap_client_stream(
                nursery, stream, "127.0.0.1", "/v1/realtime?model=m", message_queue_size=1
            )
            await send(client, "session.update", session=PUSH_TO_TALK[Dialect.GA])
            await send(client, "input_audio_buffer.append", audio=encoded(tone(300)))
            await send(client, "input_audio_buffer.commit")
            await send(client, "response.create")
            await until(client, "response.output_audio.delta")
            await trio.testing.wait_all_tasks_blocked(0.05)
            scope.cancel()
            with pytest.raises(ConnectionClosed):
                while True:
                    await client.get_message()
            nursery.cancel_scope.cancel()


async def test_a_taken_port_is_told_in_a_line() -> None:
    async with simulator() as port:
        with pytest.raises(SimulatorError, match=f"127.0.0.1:{port}: something listens there already"):
            await serve(evolve(FAST, port=port), ScriptedBrain())


@pytest.mark.parametrize("port", [-1, 65_536, 99_999])
async def test_a_port_out_of_range_is_told_in_a_line(port: int) -> None:
    with trio.fail_after(GUARD_S), pytest.raises(SimulatorError, match="ports go from 0"):
        await serve(evolve(FAST, port=port), ScriptedBrain())


async def test_a_faq_that_is_missing_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match=r"none\.yaml:1"):
        await serve(evolve(FAST, faq=tmp_path / "none.yaml"))


async def test_the_record_holds_what_was_heard_and_sent(tmp_path: Path) -> None:
    async with simulator(evolve(FAST, record=tmp_path / "new")) as port, connecting(port) as client:
        first = await turn(client, tone(500))
        await turn(client, tone(700))
        item_id = first["output"][0]["id"]
        await send(client, "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=900)
        await until(client, "conversation.item.truncated")
    folder = tmp_path / "new"
    for name, pcm in (("heard-1", tone(500)), ("heard-2", tone(700)), ("sent-1", tone(2000)), ("sent-2", tone(2000))):
        with wave.open(str(folder / f"{name}.wav")) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24000, 1, 2)
            assert file.readframes(10**6) == pcm
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [line["t_ms"] for line in lines] == sorted(line["t_ms"] for line in lines)
    told = [line for line in lines if line["kind"] != "wire"]
    assert [line["kind"] for line in told] == ["heard", "sent", "heard", "sent", "interrupt"]
    assert told[1] == {
        "t_ms": told[1]["t_ms"],
        "kind": "sent",
        "turn": 1,
        "item": item_id,
        "text": "It is what it is.",
        "status": "completed",
        "duration_ms": 2000,
    }
    assert (told[4]["item"], told[4]["audio_end_ms"]) == (item_id, 900)
    assert {"client", "server"} == {line["from"] for line in lines if line["kind"] == "wire"}


async def test_a_record_that_cannot_be_written_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SimulatorError, match="can't record into"):
        await serve(evolve(FAST, record=tmp_path / "file"), ScriptedBrain())
