"""The faults at the upgrade, over loopback sockets and over memory."""

from __future__ import annotations

import email.utils
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from simulator_client import ScriptedBrain, Witness
from trio.testing import MockClock, memory_stream_pair
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    open_websocket_url,
    wrap_client_stream,
)

from kioskd.config.schema import Dialect
from kioskd.simulator.faults.catalogue import KINDS, Level
from kioskd.simulator.faults.gate import Gate
from kioskd.simulator.faults.script import FaultScript, Rule
from kioskd.simulator.faults.upgrade import Rejection, rejection_of
from kioskd.simulator.memory import serve_stream
from kioskd.simulator.server import serve
from kioskd.simulator.settings import SimulatorSettings

GUARD_S = 20.0  # a test that hangs fails
SETTINGS = SimulatorSettings(port=0)
NOW = 1_445_412_480.0  # Wed, 21 Oct 2015 07:28:00 GMT
REJECTIONS = [
    ("upgrade-400", 400, None),
    ("upgrade-401", 401, "invalid_api_key"),
    ("upgrade-403", 403, "model_not_found"),
    ("upgrade-404", 404, "model_not_found"),
    ("upgrade-429-header", 429, "rate_limit_exceeded"),
    ("upgrade-429-date", 429, "rate_limit_exceeded"),
    ("upgrade-429-body", 429, "rate_limit_exceeded"),
    ("upgrade-429-text", 429, 429),
    ("upgrade-429-bare", 429, None),
    ("upgrade-500", 500, "internal_error"),
    ("upgrade-502", 502, None),
    ("upgrade-503", 503, None),
]


def once(kind: str) -> FaultScript:
    return FaultScript([Rule(kind, times=1)])


@asynccontextmanager
async def simulator(faults: FaultScript, witness: Witness) -> AsyncIterator[str]:
    """The address of a running simulator."""
    with trio.fail_after(GUARD_S):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(partial(serve, SETTINGS, ScriptedBrain(), witness, faults))
            yield f"ws://127.0.0.1:{port}/v1/realtime?model=m"
            nursery.cancel_scope.cancel()


async def first(socket: WebSocketConnection) -> str:
    kind: str = json.loads(await socket.get_message())["type"]
    return kind


async def rejected(url: str) -> ConnectionRejected:
    """How the upgrade is refused."""
    with pytest.RaisesGroup(ConnectionRejected, flatten_subgroups=True, allow_unwrapped=True) as told:
        async with open_websocket_url(url):
            pass
    error: Any = told.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ConnectionRejected)
    return error


def test_every_refusal_is_tried_here() -> None:
    at_upgrade = {name for name, kind in KINDS.items() if kind.level is Level.UPGRADE}
    assert at_upgrade == {name for name, _, _ in REJECTIONS} | {"second-connection-refused", "upgrade-then-silence"}


@pytest.mark.parametrize(("kind", "status", "code"), REJECTIONS)
async def test_an_upgrade_is_refused_once(kind: str, status: int, code: str | int | None) -> None:
    witness = Witness()
    async with simulator(once(kind), witness) as url:
        refusal = await rejected(url)
        assert refusal.status_code == status
        body = refusal.body or b""
        headers = dict(refusal.headers)
        if headers.get(b"content-type") == b"application/json":
            assert json.loads(body)["error"]["code"] == code
        else:
            assert code is None
            assert (body == b"") == (kind == "upgrade-429-bare")
        assert witness.faults == [(kind, "connect")]
        async with open_websocket_url(url) as socket:
            assert await first(socket) == "session.created"


def told(kind: str) -> tuple[str | None, dict[str, Any]]:
    """Where a 429 tells the wait: Retry-After, and the error of the body."""
    rejection = rejection_of(kind, NOW)
    assert rejection is not None
    body = json.loads(rejection.body)["error"] if rejection.body else {}
    return rejection.headers.get("retry-after"), body


def test_a_wait_is_told_in_five_ways() -> None:
    assert told("upgrade-429-header")[0] == "2"
    date = told("upgrade-429-date")[0]
    assert date is not None
    assert email.utils.parsedate_to_datetime(date).timestamp() == NOW + 2
    header, body = told("upgrade-429-body")
    assert (header, body["reset_seconds"]) == (None, 2.0)
    assert told("upgrade-429-text") == (None, {"code": 429, "message": "Rate limit exceeded. Retry after 2 seconds"})
    assert rejection_of("upgrade-429-bare", NOW) == Rejection(429)


async def test_headers_reach_the_client() -> None:
    async with simulator(once("upgrade-429-header"), Witness()) as url:
        assert dict((await rejected(url)).headers)[b"retry-after"] == b"2"
    async with simulator(once("upgrade-429-date"), Witness()) as url:
        date = dict((await rejected(url)).headers)[b"retry-after"].decode()
        assert email.utils.parsedate_to_datetime(date)


async def test_a_second_connection_is_refused_while_another_is_open() -> None:
    witness = Witness()
    async with simulator(FaultScript([Rule("second-connection-refused")]), witness) as url:
        async with open_websocket_url(url) as socket:
            assert await first(socket) == "session.created"
            assert [(await rejected(url)).status_code for _ in range(3)] == [429, 403, 429]
        assert witness.faults == [("second-connection-refused", "connect")] * 3


async def test_one_connection_after_the_other_is_fine(autojump_clock: MockClock) -> None:
    witness = Witness()
    gate = Gate(once("second-connection-refused"), Dialect.GA, witness)
    for _ in range(3):
        async with connected(gate) as socket:
            assert await first(socket) == "session.created"
    assert witness.faults == []
    async with connected(gate):
        with pytest.RaisesGroup(ConnectionRejected, flatten_subgroups=True):
            async with connected(gate):
                pass
    assert witness.faults == [("second-connection-refused", "connect")]


async def test_silence_after_the_upgrade() -> None:
    witness = Witness()
    async with simulator(once("upgrade-then-silence"), witness) as url:
        async with open_websocket_url(url) as silent, open_websocket_url(url) as socket:
            await silent.send_message('{"type":"session.update"}')
            assert await first(socket) == "session.created"
            await silent.ping()  # the socket itself is well
            assert silent.closed is None
            with pytest.raises(trio.WouldBlock):
                silent._recv_channel.receive_nowait()
        assert witness.faults == [("upgrade-then-silence", "connect")]


@asynccontextmanager
async def connected(gate: Gate) -> AsyncIterator[WebSocketConnection]:
    """A client over memory."""
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, theirs, SETTINGS, ScriptedBrain(), None, gate)
        socket = await wrap_client_stream(nursery, ours, "memory", "/v1/realtime?model=m")
        yield socket
        await socket.aclose()


@pytest.mark.parametrize(("kind", "status", "code"), REJECTIONS)
async def test_upgrades_are_refused_over_memory_too(
    autojump_clock: MockClock, kind: str, status: int, code: str | int | None
) -> None:
    gate = Gate(once(kind), Dialect.GA, clock=lambda: NOW)
    expected = rejection_of(kind, NOW)
    assert expected is not None
    with pytest.RaisesGroup(ConnectionRejected, flatten_subgroups=True) as told:
        async with connected(gate):
            pass
    error: Any = told.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert (error.status_code, error.body or b"") == (expected.status, expected.body)
    headers = {name.decode().lower(): value.decode() for name, value in error.headers}
    assert expected.headers.items() <= headers.items()


async def test_silence_over_memory(autojump_clock: MockClock) -> None:
    gate = Gate(once("upgrade-then-silence"), Dialect.GA)
    async with connected(gate) as socket:
        with pytest.raises(trio.TooSlowError), trio.fail_after(60):
            await socket.get_message()
    async with connected(gate) as socket:
        assert await first(socket) == "session.created"


@pytest.mark.parametrize(("kind", "sent"), [("garbage-json", str), ("binary-frame", bytes), ("frame-20mb", None)])
async def test_frames_that_are_no_events_go_over_a_real_socket(kind: str, sent: type | None) -> None:
    async with (
        simulator(once(kind), Witness()) as url,
        open_websocket_url(url, max_message_size=2**24) as socket,
    ):
        if sent is None:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.get_message()
            assert closed.value.reason.code == 1009
            return
        assert isinstance(await socket.get_message(), sent)
        assert await first(socket) == "session.created"


@pytest.mark.parametrize("code", [1001, 1008, 1009, 1011, 1012])
async def test_closes_go_over_a_real_socket(code: int) -> None:
    async with simulator(once(f"close-{code}"), Witness()) as url, open_websocket_url(url) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.get_message()
        assert closed.value.reason.code == code
