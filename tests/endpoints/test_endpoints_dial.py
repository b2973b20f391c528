"""Dialling over real loopback sockets: TLS, proxy, refusals, each with its own clear line."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trustme
from attrs import evolve
from trio_websocket import WebSocketRequest, serve_websocket

from kioskd.config.schema import Endpoint
from kioskd.endpoints.dial import DialError, dial
from kioskd.endpoints.policy import Kind

SETTINGS = Endpoint("here", "wss://localhost/v1/realtime", "m", open_timeout_s=5)
KEY = "sk-this-is-a-secret-key-1234567890"
HEADERS = [(b"Authorization", f"Bearer {KEY}".encode())]
REFUSE = json.dumps({"error": {"code": "slow_down", "message": f"Bearer {KEY} is too fast"}})


async def answer(request: WebSocketRequest) -> None:
    """Echo one message, or refuse as the path says."""
    if request.path.startswith("/status/"):
        status = int(request.path.rpartition("/")[2])
        await request.reject(status, extra_headers=[(b"Retry-After", b"17")], body=REFUSE.encode())
        return
    connection = await request.accept()
    await connection.send_message(dict(request.headers)[b"authorization"].decode() + await connection.get_message())


@asynccontextmanager
async def server(context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        listening = await nursery.start(serve_websocket, answer, "127.0.0.1", 0, context)
        yield listening.port
        nursery.cancel_scope.cancel()


@pytest.fixture
def ca(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A server's context, and the file of the CA that vouches for it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return context, str(path)


async def failure(settings: Endpoint, url: str) -> DialError:
    with pytest.raises(DialError) as caught:
        async with dial(settings, HEADERS, url):
            raise AssertionError("there must be no connection")
    assert KEY not in str(caught.value) and "\n" not in str(caught.value)
    return caught.value


async def test_tls_with_the_owners_ca(ca: tuple[ssl.SSLContext, str]) -> None:
    async with server(ca[0]) as port:
        settings = evolve(SETTINGS, extra_ca=ca[1])
        async with dial(settings, HEADERS, f"wss://localhost:{port}/x?model=m") as connection:
            await connection.send_message("!")
            assert await connection.get_message() == f"Bearer {KEY}!"


async def test_an_unknown_ca_is_refused_and_named(ca: tuple[ssl.SSLContext, str]) -> None:
    async with server(ca[0]) as port:
        error = await failure(SETTINGS, f"wss://localhost:{port}/")
    assert error.failure.kind is Kind.TLS and "extra_ca" in str(error)


async def test_a_port_without_tls_is_told() -> None:
    async with server() as port:
        error = await failure(SETTINGS, f"wss://localhost:{port}/")
    assert error.failure.kind is Kind.TLS


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
async def test_a_refused_upgrade_carries_status_code_and_wait(status: int) -> None:
    async with server() as port:
        error = await failure(SETTINGS, f"ws://127.0.0.1:{port}/status/{status}")
    assert (error.failure.status, error.failure.code, error.failure.retry_after_s) == (status, "slow_down", 17)


async def test_nobody_listens() -> None:
    async with server() as port:
        pass
    assert (await failure(SETTINGS, f"ws://127.0.0.1:{port}/")).failure.kind is Kind.CONNECT


async def test_plain_text_stays_on_this_machine() -> None:
    error = await failure(SETTINGS, "ws://192.0.2.1/v1/realtime")
    assert error.failure.kind is Kind.SETTINGS and "wss://" in str(error)


async def test_a_name_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_found(*_: object, **__: object) -> object:
        raise trio.socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(trio.socket, "getaddrinfo", not_found)
    error = await failure(SETTINGS, "wss://nowhere.invalid/")
    assert error.failure.kind is Kind.DNS and "nowhere.invalid" in str(error)


async def test_silence_has_a_deadline(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> object:
        await trio.sleep_forever()

    monkeypatch.setattr(trio, "open_tcp_stream", never)
    error = await failure(SETTINGS, "wss://localhost/")
    assert error.failure.kind is Kind.SILENCE and "open_timeout_s" in str(error)
    assert trio.current_time() == pytest.approx(5, abs=0.1)


@asynccontextmanager
async def proxy(says: bytes, log: list[bytes]) -> AsyncIterator[int]:
    """An HTTP proxy that connects to whatever is asked for, if it `says` 200."""

    async def handle(client: trio.SocketStream) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += await client.receive_some()
        log.append(request)
        await client.send_all(says)
        if b" 200" not in says:
            return
        target = request.split()[1].decode().rpartition(":")
        upstream = await trio.open_tcp_stream(target[0], int(target[2]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump, client, upstream)
            nursery.start_soon(pump, upstream, client)

    async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            async for piece in source:
                await sink.send_all(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await sink.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(serve_tcp, handle)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def serve_tcp(handler: Callable[..., object], task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
    await trio.serve_tcp(handler, 0, host="127.0.0.1", task_status=task_status)  # type: ignore[arg-type]


async def test_through_a_proxy(ca: tuple[ssl.SSLContext, str]) -> None:
    log: list[bytes] = []
    async with server(ca[0]) as port, proxy(b"HTTP/1.1 200 Connection established\r\n\r\n", log) as proxy_port:
        settings = evolve(SETTINGS, extra_ca=ca[1], proxy=f"http://127.0.0.1:{proxy_port}")
        async with dial(settings, HEADERS, f"wss://localhost:{port}/") as connection:
            await connection.send_message("!")
            assert await connection.get_message() == f"Bearer {KEY}!"
        assert log[0].startswith(f"CONNECT localhost:{port} HTTP/1.1\r\n".encode())
        assert KEY.encode() not in log[0]


@pytest.mark.parametrize("says", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"SSH-2.0-x\r\n\r\n", b""])
async def test_a_proxy_that_refuses_is_named_with_its_words(says: bytes) -> None:
    async with proxy(says, []) as proxy_port:
        settings = evolve(SETTINGS, proxy=f"http://127.0.0.1:{proxy_port}")
        error = await failure(settings, "wss://localhost:9/")
    assert error.failure.kind is Kind.PROXY and f"127.0.0.1:{proxy_port}" in str(error)


async def test_what_the_caller_raises_comes_out_as_it_is() -> None:
    async with server() as port:
        with pytest.raises(KeyError):
            async with dial(SETTINGS, HEADERS, f"ws://127.0.0.1:{port}/"):
                raise KeyError("mine")


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"\0" * 5000])
async def test_a_server_that_is_no_websocket_is_one_failure(says: bytes) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(says)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(serve_tcp, handle)
        port = listeners[0].socket.getsockname()[1]
        error = await failure(evolve(SETTINGS, open_timeout_s=0.5), f"ws://127.0.0.1:{port}/")
        assert error.failure.kind in (Kind.LOST, Kind.UPGRADE, Kind.SILENCE)
        nursery.cancel_scope.cancel()
