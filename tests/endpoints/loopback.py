"""Servers and proxies on loopback sockets, honest and otherwise, for the tests of dialling."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trustme
from attrs import evolve
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from kioskd.config.schema import Endpoint
from kioskd.endpoints.dial import DialError, dial

SETTINGS = Endpoint("here", "wss://localhost/v1/realtime", "m", open_timeout_s=5)
PATIENT = evolve(SETTINGS, open_timeout_s=60)  # what takes so long has not been told at once
KEY = "sk-this-is-a-secret-key-1234567890"
HEADERS = [(b"Authorization", f"Bearer {KEY}".encode())]
REFUSE = json.dumps({"error": {"code": "slow_down", "message": f"Bearer {KEY} is too fast"}})
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n"
)


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


async def serve_tcp(handler: Callable[..., object], task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
    await trio.serve_tcp(handler, 0, host="127.0.0.1", task_status=task_status)  # type: ignore[arg-type]


async def failure(settings: Endpoint, url: str) -> DialError:
    with pytest.raises(DialError) as caught:
        async with dial(settings, HEADERS, url):
            raise AssertionError("there must be no connection")
    assert KEY not in str(caught.value) and "\n" not in str(caught.value)
    return caught.value


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


def authority(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A server's context, and the file of the CA that vouches for it."""
    issuer = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert("localhost").configure_cert(context)
    path = tmp_path / "ca.pem"
    issuer.cert_pem.write_to_path(str(path))
    return context, str(path)
