"""The faults of the network, over loopback sockets: what the proxy does to bytes, and to a client of the simulator."""

from __future__ import annotations

import json
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from urllib.parse import urlsplit

import pytest
import trio
from attrs import evolve
from simulator_client import PUSH_TO_TALK, ScriptedBrain, Witness, tone
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from kioskd.config.schema import Dialect
from kioskd.simulator.faults.catalogue import KINDS, Level, Phase
from kioskd.simulator.faults.script import FaultScript, Rule
from kioskd.simulator.proxy import Weather, serve_proxy
from kioskd.simulator.server import serve
from kioskd.simulator.settings import Pace, SimulatorError, SimulatorSettings
from kioskd.simulator.sound import encoded

pytestmark = pytest.mark.long

GUARD_S = 20.0  # a test that hangs fails
MILD = Weather(stall_s=0.2, bytes_per_s=40_000, jitter_s=0.02)
TEXT = bytes(range(256)) * 16


def once(kind: str, phase: Phase | None = None, after: int = 0) -> FaultScript:
    return FaultScript([Rule(kind, phase, times=1, after=after)])


async def echo(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        async for data in stream:
            await stream.send_all(data)


@asynccontextmanager
async def echoing(faults: FaultScript, weather: Weather = MILD) -> AsyncIterator[int]:
    """The port of a proxy before a server that says back what it hears."""
    with trio.fail_after(GUARD_S):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, echo, 0, host="127.0.0.1"))
            target = ("127.0.0.1", listeners[0].socket.getsockname()[1])
            yield await nursery.start(partial(serve_proxy, 0, target, faults, weather=weather))
            nursery.cancel_scope.cancel()


async def connect(port: int) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", port)


async def exchange(stream: trio.SocketStream, data: bytes) -> bytes:
    """What comes back, as long as the other side lives."""
    await stream.send_all(data)
    back = b""
    while len(back) < len(data) and (piece := await stream.receive_some(65_536)):
        back += piece
    return back


async def test_without_faults_it_carries_everything_both_ways() -> None:
    data = TEXT * 256
    async with echoing(FaultScript([])) as port, trio.open_nursery() as nursery:
        back = bytearray()

        async def read() -> None:
            async for piece in stream:
                back.extend(piece)

        stream = await connect(port)
        nursery.start_soon(read)
        await stream.send_all(data)
        await stream.send_eof()
    assert bytes(back) == data


@pytest.mark.parametrize("kind", ["refuse-connect", "dns-failure"])
async def test_a_connection_is_refused(kind: str) -> None:
    async with echoing(once(kind)) as port:
        with pytest.raises((trio.BrokenResourceError, OSError)):
            assert await exchange(await connect(port), b"hello")  # b"" would be a FIN
        assert await exchange(await connect(port), TEXT) == TEXT


@pytest.mark.parametrize(("hello", "answer"), [(b"\x16\x03\x01", b"HTTP/1.0 400 Bad Request\r\n\r\n"), (b"GET", b"")])
async def test_tls_is_answered_by_what_is_none(hello: bytes, answer: bytes) -> None:
    async with echoing(once("tls-failure")) as port:
        stream = await connect(port)
        await stream.send_all(hello)
        back = b""
        async for piece in stream:
            back += piece
        assert back == answer
        await stream.aclose()
        assert await exchange(await connect(port), hello) == hello


@pytest.mark.parametrize("phase", [Phase.CONNECT, Phase.IDLE])
async def test_a_reset_comes_in_the_middle(phase: Phase) -> None:
    after = 0 if phase is Phase.CONNECT else 1  # the second piece is the server's
    async with echoing(once("rst-mid-frame", phase, after)) as port:
        stream = await connect(port)
        with pytest.raises(trio.BrokenResourceError):
            await exchange(stream, TEXT)
            await exchange(stream, TEXT)
        assert await exchange(await connect(port), TEXT) == TEXT


async def test_an_end_comes_in_the_middle() -> None:
    async with echoing(once("fin-mid-frame", Phase.IDLE, after=1)) as port:
        stream = await connect(port)
        back = await exchange(stream, b"hello")
        assert back == b"hell"
        await stream.send_all(b"is anybody there")  # it goes nowhere, but is no error yet
        assert await stream.receive_some() == b""
        assert await exchange(await connect(port), TEXT) == TEXT
        await stream.send_all(b"still no error")


async def test_a_black_hole_tells_nobody() -> None:
    async with echoing(once("black-hole", Phase.IDLE, after=2)) as port:
        stream = await connect(port)
        assert await exchange(stream, b"hello") == b"hello"
        await stream.send_all(b"hello?")
        assert await exchange(await connect(port), TEXT) == TEXT  # others are served meanwhile
        with (
            pytest.raises(BlockingIOError),
            sockets.fromfd(stream.socket.fileno(), sockets.AF_INET, sockets.SOCK_STREAM) as bare,
        ):
            bare.recv(1, sockets.MSG_DONTWAIT)


async def test_a_stall_delays_but_loses_nothing() -> None:
    async with echoing(once("stall-5s", Phase.IDLE)) as port:
        stream = await connect(port)
        began = trio.current_time()
        assert await exchange(stream, TEXT) == TEXT
        assert trio.current_time() - began >= MILD.stall_s


async def test_a_slow_connection() -> None:
    async with echoing(once("slow-2kbs", Phase.CONNECT)) as port:
        stream = await connect(port)
        began = trio.current_time()
        assert await exchange(stream, TEXT) == TEXT
        assert trio.current_time() - began >= len(TEXT) / MILD.bytes_per_s


async def test_jitter_keeps_the_order() -> None:
    async with echoing(once("jitter-300ms", Phase.CONNECT)) as port:
        stream = await connect(port)
        began = trio.current_time()
        for number in range(10):
            assert await exchange(stream, b"%d" % number) == b"%d" % number
        assert trio.current_time() - began >= 0.4 * MILD.jitter_s * 20  # both ways; the mean is 0.46


async def test_a_server_that_is_not_there() -> None:
    with trio.fail_after(GUARD_S):
        async with trio.open_nursery() as nursery:
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            target = ("127.0.0.1", listener.socket.getsockname()[1])
            await listener.aclose()
            port = await nursery.start(partial(serve_proxy, 0, target, FaultScript([])))
            stream = await connect(port)
            with pytest.raises(trio.BrokenResourceError):
                assert await exchange(stream, b"hello")
            nursery.cancel_scope.cancel()


async def test_a_taken_port_is_told() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    with pytest.raises(SimulatorError, match="something listens there already"):
        await serve_proxy(port, ("127.0.0.1", 9), FaultScript([]))
    await listener.aclose()


async def test_clients_that_vanish_leave_nothing_behind() -> None:
    async with echoing(FaultScript([])) as port:
        for _ in range(100):  # more than it takes at a time
            stream = await connect(port)
            assert await exchange(stream, b"hello") == b"hello"
            await stream.aclose()


SIMULATED = SimulatorSettings(port=0, pace=Pace(speed=50.0, created_after_s=0.0))


@asynccontextmanager
async def simulator(faults: FaultScript, witness: Witness) -> AsyncIterator[str]:
    with trio.fail_after(GUARD_S):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(partial(serve, SIMULATED, ScriptedBrain(), witness, faults, proxied=True))
            yield evolve(SIMULATED, port=port).url + "?model=m"
            nursery.cancel_scope.cancel()


def port_in(url: str) -> int:
    return urlsplit(url).port or 0


async def converse(socket: WebSocketConnection) -> list[str]:
    """A turn; the events that came."""
    session = PUSH_TO_TALK[Dialect.GA]
    await socket.send_message(json.dumps({"type": "session.update", "session": session}))
    kinds = [await kind_of_next(socket)]
    while kinds[-1] != "session.updated":
        kinds.append(await kind_of_next(socket))
    for _ in range(3):
        await socket.send_message(json.dumps({"type": "input_audio_buffer.append", "audio": encoded(tone(100))}))
    await socket.send_message('{"type":"input_audio_buffer.commit"}')
    await socket.send_message('{"type":"response.create"}')
    while kinds[-1] != "response.done":
        kinds.append(await kind_of_next(socket))
    return kinds


async def kind_of_next(socket: WebSocketConnection) -> str:
    kind: str = json.loads(await socket.get_message())["type"]
    return kind


async def test_a_turn_goes_through_the_proxy() -> None:
    witness = Witness()
    async with simulator(once("jitter-300ms", Phase.LISTENING), witness) as url, open_websocket_url(url) as client:
        assert (await converse(client))[-1] == "response.done"
    assert witness.faults == [("jitter-300ms", "listening")]


@pytest.mark.parametrize("kind", ["rst-mid-frame", "fin-mid-frame"])
@pytest.mark.parametrize("phase", [Phase.SETUP, Phase.LISTENING, Phase.ASKED, Phase.ANSWERING])
async def test_the_network_breaks_in_a_phase_of_the_conversation(kind: str, phase: Phase) -> None:
    witness = Witness()
    async with simulator(once(kind, phase), witness) as url:
        async with open_websocket_url(url) as client:
            with pytest.raises(ConnectionClosed) as closed:
                await converse(client)
            assert closed.value.reason is None or closed.value.reason.code == 1006
        assert witness.faults == [(kind, phase.value)]
        async with open_websocket_url(url) as client:
            assert (await converse(client))[-1] == "response.done"


async def test_a_connection_is_one_opportunity_however_many_pieces_its_upgrade_has() -> None:
    witness = Witness()
    async with simulator(once("refuse-connect", after=1), witness) as url:
        async with open_websocket_url(url) as client:
            assert (await converse(client))[-1] == "response.done"
        assert witness.faults == []
        with pytest.raises((OSError, trio.BrokenResourceError)):
            await exchange(await connect(port_in(url)), b"GET")
    assert witness.faults == [("refuse-connect", "connect")]


@pytest.mark.parametrize("kind", ["rst-mid-frame", "fin-mid-frame"])
async def test_the_upgrade_breaks(kind: str) -> None:
    witness = Witness()
    async with simulator(once(kind, Phase.CONNECT), witness) as url:
        stream = await connect(port_in(url))
        await stream.send_all(b"GET /v1/realtime HTTP/1.1\r\n\r\n")  # trio-websocket would wait for its timeout
        if kind == "fin-mid-frame":
            assert await stream.receive_some() == b""
        else:
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
    assert witness.faults == [(kind, "connect")]


def test_every_fault_of_the_network_is_tried_here() -> None:
    tried = {"refuse-connect", "dns-failure", "tls-failure", "rst-mid-frame", "fin-mid-frame", "black-hole"}
    tried |= {"stall-5s", "slow-2kbs", "jitter-300ms"}
    assert {name for name, kind in KINDS.items() if kind.level is Level.NETWORK} == tried
