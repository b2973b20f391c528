"""Dialling over real loopback sockets: TLS, proxy, refusals, each with its own clear line."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
import trustme
from attrs import evolve
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from kioskd.config.schema import Endpoint
from kioskd.endpoints.dial import DialError, dial
from kioskd.endpoints.policy import Kind
from kioskd.endpoints.tls import client_context

SETTINGS = Endpoint("here", "wss://localhost/v1/realtime", "m", open_timeout_s=5)
KEY = "sk-this-is-a-secret-key-1234567890"
HEADERS = [(b"Authorization", f"Bearer {KEY}".encode())]
PATIENT = evolve(SETTINGS, open_timeout_s=60)  # what takes so long has not been told at once
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
REFUSE = json.dumps({"error": {"code": "slow_down", "message": f"Bearer {KEY} is too fast"}})


async def answer(request: WebSocketRequest) -> None:
    """Echo one message, or refuse as the path says."""
    if request.path.startswith("/status/"):
        status = int(request.path.rpartition("/")[2])
        await request.reject(status, extra_headers=[(b"Retry-After", b"17")], body=REFUSE.encode())
        return
    connection = await request.accept()
    try:
        said = await connection.get_message()
        await connection.send_message(dict(request.headers)[b"authorization"].decode() + said)
    except ConnectionClosed:
        return


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


@asynccontextmanager
async def raw_server(says: bytes, closes: bool = True) -> AsyncIterator[int]:
    """A server that reads the upgrade, says something, and closes or stays."""

    async def handle(stream: trio.SocketStream) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += await stream.receive_some()
        key = request.partition(b"Sec-WebSocket-Key: ")[2].split(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        try:
            await stream.send_all(says.replace(b"ACCEPT", accept))
            if not closes:
                await trio.sleep_forever()
        except trio.BrokenResourceError:
            return

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(serve_tcp, handle)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"\0" * 5000, b"x" * 200_000])
async def test_a_server_that_is_no_websocket_is_told_at_once(says: bytes) -> None:
    async with raw_server(says) as port:
        error = await failure(PATIENT, f"ws://127.0.0.1:{port}/")
    assert error.failure.kind is Kind.LOST


@pytest.mark.parametrize("says", [b"HTTP/1.1 200 OK\r\n\r\n<html>", b"HTTP/1.1 302 Found\r\nLocation: x\r\n\r\n"])
async def test_a_web_server_is_told_by_its_status(says: bytes) -> None:
    async with raw_server(says) as port:
        error = await failure(PATIENT, f"ws://127.0.0.1:{port}/")
    assert (error.failure.kind, error.failure.status) == (Kind.UPGRADE, int(says.split()[1]))


async def test_a_refusal_whose_body_ends_with_the_connection_keeps_its_status_and_words() -> None:
    async with raw_server(b'HTTP/1.1 401 Unauthorized\r\n\r\n{"error":{"code":null,"type":"invalid_api_key"}}') as port:
        error = await failure(PATIENT, f"ws://127.0.0.1:{port}/")
    assert (error.failure.status, error.failure.code) == (401, "invalid_api_key")


async def test_a_refusal_whose_body_never_ends_keeps_its_status() -> None:
    async with raw_server(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nno", closes=False) as port:
        error = await failure(evolve(SETTINGS, open_timeout_s=0.2), f"ws://127.0.0.1:{port}/")
    assert error.failure.status == 403


async def test_a_body_without_end_is_not_collected() -> None:
    async with raw_server(
        b"HTTP/1.1 500 Oops\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 10**6, closes=False
    ) as port:
        error = await failure(PATIENT, f"ws://127.0.0.1:{port}/")
    assert error.failure.status == 500 and len(str(error)) < 400


NOW = "Date: Sat, 21 Nov 2026 05:00:00 GMT\r\n"


@pytest.mark.parametrize(
    ("headers", "body", "wait_s"),
    [
        ("Retry-After: 17\r\n", "", 17),
        (f"Retry-After: Sat, 21 Nov 2026 05:01:30 GMT\r\n{NOW}", "", 90),
        (f"Retry-After: Sat, 21 Nov 2026 04:00:00 GMT\r\n{NOW}", "", 0),
        ("Retry-After: Sat, 21 Nov 2026 05:01:30 GMT\r\n", "", None),
        ("Retry-After: soon\r\n", "", None),
        (f"Retry-After: {'9' * 500}\r\n", "", None),
        ("", '{"error":{"code":429,"reset_seconds":12.5}}', 12.5),
        ("", '{"error":{"code":429,"reset_seconds":"x"}}', None),
        ("", '{"error":"too many"}', None),
        ("", "[" * 10_000, None),
    ],
)
async def test_the_told_wait_is_read_wherever_it_stands(headers: str, body: str, wait_s: float | None) -> None:
    text = f"HTTP/1.1 429 Too Many Requests\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}"
    async with raw_server(text.encode()) as port:
        error = await failure(PATIENT, f"ws://127.0.0.1:{port}/")
    assert (error.failure.status, error.failure.retry_after_s) == (429, wait_s)


async def test_a_key_of_any_shape_is_masked_in_the_servers_words() -> None:
    body = b'{"error":{"message":"the key token.of.a.broker\\u0007 is\\nunknown"}}'
    says = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    async with raw_server(says) as port:
        with pytest.raises(DialError, match=r"HTTP 401: the key \*\*\* is unknown$"):
            async with dial(PATIENT, [(b"api-key", b"token.of.a.broker")], f"ws://127.0.0.1:{port}/"):
                pass


UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n"
)
CLOSE = b"\x88\x02\x0b\xb8"  # 3000


async def drain(settings: Endpoint, port: int) -> list[str | bytes]:
    messages: list[str | bytes] = []
    async with dial(settings, HEADERS, f"ws://127.0.0.1:{port}/") as connection:
        try:
            while True:
                messages.append(await connection.get_message())
        except ConnectionClosed:
            pass
    return messages


async def test_words_that_come_with_the_upgrade_are_kept() -> None:
    async with raw_server(UPGRADED + b"\x81\x03bad" + CLOSE) as port:
        assert await drain(PATIENT, port) == ["bad"]


@pytest.mark.parametrize(
    "frames",
    [
        b"",
        b"\xff" * 100,
        b"\x81\xff" + b"\0" * 20,
        b"\x88\x01\x00",
        CLOSE + b"\x89\x01x",
        b"\x89\x01x" + CLOSE + CLOSE,
        b"\x8a\x01x",
        b"\x81\x02\xc3\x28",
        b"\x80\x01x",
        b"\x89\x7f" + b"\0" * 8,
        b"\x82\x7f\0\0\0\0\x02\0\0\0" + b"\0" * (2**25),
    ],
    ids=lambda frames: frames[:8].hex() or "nothing",
)
async def test_frames_that_no_honest_peer_sends_end_it_and_no_more(frames: bytes) -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with raw_server(UPGRADED + frames) as port:
        try:
            assert await drain(PATIENT, port) == []
        except DialError as error:
            assert error.failure.kind is Kind.LOST and "\n" not in str(error)
        open_inside = len(os.listdir("/proc/self/fd"))
    assert open_inside <= before + 2  # the listener and the server's own side: ours is closed


@pytest.mark.parametrize("url", ["", "wss://", "https://example.org/", "wss://h:99999/", "wss://[::1/", "h:1"])
async def test_a_url_that_leads_nowhere_is_the_owners_to_mend(url: str) -> None:
    assert (await failure(SETTINGS, url)).failure.kind is Kind.SETTINGS


async def test_a_cancelled_connection_says_good_bye() -> None:
    closed: list[int] = []
    bye = trio.Event()

    async def handle(request: WebSocketRequest) -> None:
        connection = await request.accept()
        try:
            await connection.get_message()
        except ConnectionClosed as error:
            closed.append(error.reason.code if error.reason else 0)
            bye.set()

    async with trio.open_nursery() as nursery:
        listening = await nursery.start(serve_websocket, handle, "127.0.0.1", 0, None)
        with trio.CancelScope() as scope:
            async with dial(SETTINGS, HEADERS, f"ws://127.0.0.1:{listening.port}/"):
                scope.cancel()
                await trio.sleep_forever()
        await bye.wait()
        nursery.cancel_scope.cancel()
    assert closed == [1000]


# TLS, at length


async def refused_certificate(context: ssl.SSLContext, settings: Endpoint) -> str:
    async with server(context) as port:
        error = await failure(settings, f"wss://localhost:{port}/")
    assert error.failure.kind is Kind.TLS
    return str(error)


async def test_an_expired_certificate_asks_for_the_clock(tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = datetime.now(UTC) - timedelta(days=1)
    authority.issue_cert("localhost", not_before=past - timedelta(days=1), not_after=past).configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    assert "timedatectl" in await refused_certificate(context, evolve(SETTINGS, extra_ca=str(tmp_path / "ca.pem")))


async def test_a_certificate_for_another_name_asks_for_the_url(tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    text = await refused_certificate(context, evolve(SETTINGS, extra_ca=str(tmp_path / "ca.pem")))
    assert "url" in text and "elsewhere.example" not in text.partition("url")[2]


@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
async def test_an_extra_ca_that_is_none_is_the_owners_to_mend(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    async with server() as port:
        error = await failure(evolve(SETTINGS, extra_ca=str(path)), f"wss://localhost:{port}/")
    assert error.failure.kind is Kind.SETTINGS and str(path) in str(error)


async def test_openssls_own_variables_are_honoured(
    ca: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ca[1])
    client_context.cache_clear()
    try:
        async with server(ca[0]) as port, dial(SETTINGS, HEADERS, f"wss://localhost:{port}/") as connection:
            await connection.send_message("!")
            assert await connection.get_message() == f"Bearer {KEY}!"
    finally:
        client_context.cache_clear()


def test_one_context_serves_all_connections() -> None:
    assert client_context(None) is client_context(None)


# The proxy, at length


async def test_the_proxys_login_comes_from_its_url_and_stays_out_of_every_text() -> None:
    log: list[bytes] = []
    async with proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", log) as proxy_port:
        settings = evolve(SETTINGS, proxy=f"http://me:p%40ss-word@127.0.0.1:{proxy_port}")
        error = await failure(settings, "wss://localhost:9/")
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"me:p@ss-word") in log[0]
    assert error.failure.status == 407
    assert "p@ss" not in str(error) and "p%40ss" not in str(error)


async def test_a_proxy_that_is_not_there() -> None:
    async with server() as port:
        pass
    error = await failure(evolve(SETTINGS, proxy=f"http://127.0.0.1:{port}"), "wss://localhost:9/")
    assert error.failure.kind is Kind.PROXY
